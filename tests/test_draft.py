"""A parameter file that was written for a table loads, whatever the table is called."""

from pathlib import Path

import yaml

from ratchet import settings
from ratchet.commands import draft
from ratchet.problem import ProblemType
from ratchet.survey import Choice, Remark, Survey

NAMES = ("yes", "a: b", "# note", "x\ny", "größe", "tab\there", "1", "null", "- item", "{a}", "'q'")


def survey(**changes: object) -> Survey:
    values = {
        "files": (Path("rows.csv"),),
        "n_rows": 1000,
        "n_columns": 12,
        "problem": ProblemType.REGRESSION,
        "choices": (Choice("data.target", "price", "A quantity."),),
        "drop": (),
        "labels": (),
        "facts": (),
        "refused": (),
    }
    return Survey(**{**values, **changes})


OWN = (Choice("name", "houses", ""), Choice("data.source", "data", ""))


def test_every_setting_is_there_once_with_what_it_means():
    text = draft.write(survey(), "rows.csv", OWN).text
    found = settings.from_mapping(yaml.safe_load(text), origin="params.yaml")
    for name, _, meaning in settings.field_docs():
        last, clause = name.rpartition(".")[2], meaning.partition(";")[0].rstrip(".")
        lines = [line for line in text.splitlines() if line.strip().startswith(f"{last}:")]
        assert any(line.endswith(f"# {clause}") for line in lines), name
    usual = settings.Settings(name="houses", data=settings.Data(source="data", target="price"))
    assert found == usual


def test_editors_are_told_where_the_schema_is():
    text = draft.write(survey(), "rows.csv", OWN).text
    assert text.startswith("# yaml-language-server: $schema=params.schema.json\n")


def test_choices_stand_under_the_reason_for_them():
    choices = (
        Choice("data.target", "price", "A quantity."),
        Choice("split.method", "time", "The rows follow it."),
        Choice("split.column", "sold", ""),
    )
    text = draft.write(survey(choices=choices), "rows.csv", OWN).text
    assert "  # The rows follow it.\n  method: time " in text
    assert "  column: sold " in text


def test_any_name_of_a_column_survives():
    remarks = tuple(Remark(name, f"because of {name}: it\nis so") for name in NAMES)
    written = draft.write(survey(drop=remarks, facts=NAMES), "a\nb.csv", OWN)
    assert settings.from_mapping(yaml.safe_load(written.text), origin="x") == written.settings
    assert written.settings.data.drop == NAMES


def test_what_prepare_will_refuse_is_told_at_the_top():
    text = draft.write(survey(refused=("half of it stands there twice",)), "rows.csv", OWN).text
    told = "# - prepare will stop, unless data.allow gives a reason: half of it stands there twice."
    assert told in text
