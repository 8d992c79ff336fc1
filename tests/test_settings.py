"""params.yaml is checked whole, and every mistake comes with the way out."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from ratchet import settings
from ratchet.errors import SettingsError
from ratchet.settings import Search, as_yaml, field_docs, flat, from_mapping, load, parse_overrides

ROOT = Path(__file__).parents[1]
LEAST = {"name": "tiny", "data": {"source": "data", "target": "price"}}


def merged(changes):
    """Give the least settings with ``changes``, whose names are dotted."""
    values = {"name": "tiny", "data": dict(LEAST["data"])}
    for name, value in changes.items():
        *sections, last = name.split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return values


def problems(values):
    with pytest.raises(SettingsError) as error:
        from_mapping(values, origin="params.yaml")
    first, *rest = str(error.value).split("\n  - ")
    count = "1 problem" if len(rest) == 1 else f"{len(rest)} problems"
    assert first == f"params.yaml has {count}:"
    return rest


@pytest.fixture
def params(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(LEAST))
    return path


def test_a_name_a_source_and_a_target_are_enough():
    chosen = from_mapping(LEAST, origin="params.yaml")
    assert chosen.model_name == chosen.experiment_name == "tiny"
    assert chosen.seed == 42
    assert chosen.train.search == Search(budget_seconds=60.0, max_trials=1000)
    assert chosen.registry.stage == "Production"


def test_what_a_run_does_with_a_dirty_tree_is_one_of_three():
    assert from_mapping(LEAST, origin="params.yaml").lineage.dirty == "record"
    assert problems(merged({"lineage.dirty": "ignore"})) == [
        "lineage.dirty must be 'allow', 'record' or 'refuse', got 'ignore'"
    ]


def test_model_and_experiment_may_have_names_of_their_own():
    chosen = from_mapping(
        merged({"registry.model": "m", "tracking.experiment": "two words"}), origin="params.yaml"
    )
    assert (chosen.name, chosen.model_name, chosen.experiment_name) == ("tiny", "m", "two words")


def test_all_problems_are_told_at_once_with_the_way_out():
    values = {
        "name": "tiny",
        "sead": 3,
        "data": {"sauce": "data", "target": "price"},
        "train": {"search": {"budget_seconds": "soon", "max_trials": 0}, "max_trials": 5},
    }
    assert problems(values) == [
        "data.source is required and not given",
        "data.sauce is not a setting; did you mean data.source?",
        "train.search.budget_seconds must be a number, got 'soon'",
        "train.search.max_trials must be at least 1, got 0",
        "train.max_trials is not a setting; did you mean train.search.max_trials?",
        "sead is not a setting; did you mean seed?",
    ]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("name", 3, "must be text, got 3"),
        (
            "name",
            "two words",
            "must begin with a letter or digit and hold only letters, digits, '.', '_' and '-',"
            " got 'two words'",
        ),
        (
            "name",
            "n" * 101,
            f"must have at most 100 characters, got '{'n' * 56}...",
        ),
        ("seed", -1, "must be at least 0, got -1"),
        ("seed", 2**32, "must be at most 4294967295, got 4294967296"),
        ("seed", 1.5, "must be a whole number, got 1.5"),
        ("seed", True, "must be a whole number, got true"),
        ("seed", "42", "must be a whole number, got '42'"),
        ("seed", None, "must be a whole number, got null"),
        ("data", None, "must be a section with settings of its own, got null"),
        ("data.source", None, "must be text, got null"),
        (
            "data.target",
            " ",
            "must be a column or an expression over columns, got nothing.",
        ),
        ("data.filter", "os.system('ls')", None),
        ("data.features", "size", "must be a list, got 'size'"),
        ("data.drop", None, "must be a list, got null"),
        (
            "data.positive",
            [1],
            "must be text or a whole number or a number or true or false, got [1]",
        ),
        (
            "split.method",
            "shuffled",
            "must be 'random', 'stratified', 'group' or 'time', got 'shuffled'",
        ),
        ("split.valid", 1.0, "must be a share between 0 and 1, got 1.0"),
        ("split.valid", float("nan"), "must be a finite number or text, got nan"),
        ("split.test", 0, "must be a share between 0 and 1, got 0.0"),
        ("split.test", True, "must be a number or text, got true"),
        (
            "split.test",
            "1 fortnight",
            "must be a share between 0 and 1 such as 0.2, or a span of time such as '1 month'"
            " (day, week, month or year), got '1 fortnight'",
        ),
        (
            "split.test",
            "0 days",
            "must be a share between 0 and 1 such as 0.2, or a span of time such as '1 month'"
            " (day, week, month or year), got '0 days'",
        ),
        (
            "train.problem",
            "ranking",
            "must be 'binary', 'multiclass', 'regression' or 'clustering', got 'ranking'",
        ),
        ("train.metric", 1, "must be text, got 1"),
        ("train.threads", 0, "must be at least 1, got 0"),
        ("train.search", None, "must be a section with settings of its own, got null"),
        ("train.search.budget_seconds", 0, "must be a number greater than 0, got 0"),
        ("train.search.budget_seconds", float("inf"), "must be a finite number, got inf"),
        ("train.search.max_trials", 2.0, "must be a whole number, got 2.0"),
        ("evaluate.resamples", 99, "must be at least 100, got 99"),
        ("evaluate.confidence", 1.0, "must be a number less than 1, got 1.0"),
        ("promote.required", float("nan"), "must be a finite number, got nan"),
        ("promote.required", "high", "must be a number, got 'high'"),
        ("promote.min_gain", -0.1, "must be at least 0, got -0.1"),
        ("promote.confidence", 0.0, "must be a number greater than 0, got 0.0"),
        ("promote.resamples", 10, "must be at least 100, got 10"),
        ("registry.model", "", None),
        ("registry.stage", "Archived", "must be 'Staging' or 'Production', got 'Archived'"),
        ("registry.alias", "-x", None),
        ("tracking.uri", 5000, "must be text, got 5000"),
        ("tracking.trials", -1, "must be at least 0, got -1"),
        ("tracking.system_metrics", "yes", "must be true or false, got 'yes'"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(name, value, problem):
    [told] = problems(merged({name: value}))
    assert told.startswith(f"{name} ")
    if problem is not None:
        assert told == f"{name} {problem}"


def test_a_wrong_entry_of_a_list_is_told_by_its_place():
    assert problems(merged({"data.drop": ["a", 3]})) == ["data.drop.1 must be text, got 3"]


@pytest.mark.parametrize("name", ["sead", "data.targets", "train.bool", "split.a[b]", "nothing"])
def test_an_unknown_setting_is_named_as_it_was_written(name):
    [told] = problems(merged({name: 1}))
    assert told.startswith(f"{name} is not a setting")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("regstry", "; did you mean registry?"),
        ("train.serach", "; did you mean train.search?"),
        ("max_trials", "; did you mean train.search.max_trials?"),
        ("qqq", ""),
    ],
)
def test_a_misspelt_setting_gets_a_suggestion(name, meant):
    assert problems(merged({name: 1})) == [f"{name} is not a setting{meant}"]


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        ({"method": "time"}, "split.column must name the time column, got null"),
        ({"method": "group"}, "split.column must name the group column, got null"),
        ({"column": "when"}, "split.column must be null with method random, got 'when'"),
        (
            {"method": "group", "column": "who", "test": "1 month"},
            "split.test may be a span only with method time, got '1 month'",
        ),
        ({"valid": "7 days"}, "split.valid may be a span only with method time, got '7 days'"),
    ],
)
def test_the_settings_of_a_split_must_fit_together(split, problem):
    assert problems({**LEAST, "split": split}) == [problem]


@pytest.mark.parametrize(
    "split",
    [
        {"method": "time", "column": "when", "test": "1 month", "valid": "14 days"},
        {"method": "time", "column": "when", "test": 0.1, "valid": "1 year"},
        {"method": "group", "column": "who"},
        {"method": "stratified", "valid": 0.3},
    ],
)
def test_every_way_to_split_can_be_asked_for(split):
    assert from_mapping({**LEAST, "split": split}, origin="x").split.method == split["method"]


def test_a_data_fault_in_an_expression_names_the_setting():
    [told] = problems(merged({"data.filter": "__import__('os').system('ls')"}))
    assert told.startswith("data.filter may call a function by its name only, got")


def test_settings_can_not_be_changed():
    chosen = from_mapping(LEAST, origin="x")
    with pytest.raises(ValueError, match="frozen"):
        chosen.seed = 3
    assert from_mapping(merged({"data.drop": ["a"]}), origin="x").data.drop == ("a",)


def test_the_shipped_parameter_files_load():
    for path in ROOT.glob("params*.yaml"):
        load(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "params.yaml must hold settings such as `name: my-task`, got null."),
        ("- a\n- b", "params.yaml must hold settings such as `name: my-task`, got ['a', 'b']."),
        (
            "name: [",
            "params.yaml is not valid YAML: while parsing a flow node expected the node content,"
            " but found '<stream end>' in \"<unicode string>\", line 1, column 8: name: [ ^.",
        ),
        ("name: 2024-02-31", None),
        ("name: !!python/object:os.system ls", None),
    ],
)
def test_a_file_that_is_not_yaml_is_told_in_a_sentence(params, text, problem):
    params.write_text(text)
    with pytest.raises(SettingsError) as error:
        load(params)
    if problem is None:
        assert str(error.value).startswith("params.yaml is not valid YAML: ")
    else:
        assert str(error.value) == problem
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_told_in_a_sentence(tmp_path):
    with pytest.raises(SettingsError) as error:
        load(tmp_path / "params.yaml")
    assert str(error.value) == (
        f"{tmp_path / 'params.yaml'} is not there."
        " Name a parameter file with --params, or run in its folder."
    )


def test_a_file_that_can_not_be_read_is_told_in_a_sentence(tmp_path):
    with pytest.raises(SettingsError) as error:
        load(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} can't be read: [Errno 21] Is a directory: '{tmp_path}'."
    )
    (tmp_path / "params.yaml").write_bytes(b"name: \xff")
    with pytest.raises(SettingsError) as error:
        load(tmp_path / "params.yaml")
    assert str(error.value) == (
        f"{tmp_path / 'params.yaml'} can't be read:"
        " 'utf-8' codec can't decode byte 0xff in position 6: invalid start byte."
    )


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ([], {}),
        ([""], {}),
        (["seed=3"], {"seed": 3}),
        (["seed=3 name=x", " train.threads=1 "], {"seed": 3, "name": "x", "train.threads": 1}),
        (["seed=3", "seed=4"], {"seed": 4}),
        (["data.filter=a == 1"], {"data.filter": "a == 1"}),
        (["data.filter=a==1 and b==2 seed=1"], {"data.filter": "a==1 and b==2", "seed": 1}),
        (["data.filter=1 <= a <= 2 seed=1"], {"data.filter": "1 <= a <= 2", "seed": 1}),
        (["data.filter=a>=1\tseed=1"], {"data.filter": "a>=1", "seed": 1}),
        (
            ["split.test=1 month split.method=time"],
            {"split.test": "1 month", "split.method": "time"},
        ),
        (["train.families=[linear, xgboost]"], {"train.families": ["linear", "xgboost"]}),
        (["train.metric=null registry.stage="], {"train.metric": None, "registry.stage": None}),
        (["data.positive='yes'"], {"data.positive": "yes"}),
        (["data.positive=yes"], {"data.positive": True}),
        (["promote.required=1e-3"], {"promote.required": "1e-3"}),
        (["promote.required=1.0e-3"], {"promote.required": 0.001}),
    ],
)
def test_overrides_are_assignments_read_as_yaml(given, parsed):
    assert parse_overrides(given) == parsed


@given(
    values=st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}(\.[a-z_]{1,8}){0,2}", fullmatch=True),
        st.one_of(st.integers(), st.booleans(), st.floats(allow_nan=False), st.none()),
        max_size=5,
    ),
    together=st.booleans(),
)
@budget(max_examples=60, deadline=None)
def test_assignments_mean_the_same_one_by_one_and_in_one_text(values, together):
    texts = [f"{name}={yaml.safe_dump(value).split(chr(10))[0]}" for name, value in values.items()]
    assert parse_overrides([" ".join(texts)] if together else texts) == values


@pytest.mark.parametrize("text", ["seed", "seed =3", "=3", "3=4", "a-b=1", "seed: 3"])
def test_an_override_that_is_no_assignment_is_told_in_a_sentence(text):
    with pytest.raises(SettingsError) as error:
        parse_overrides([text])
    assert str(error.value) == (
        f"An override must look like name=value, got {text!r}."
        " Example: --set train.search.max_trials=10"
    )


@pytest.mark.parametrize("value", ["[1", "2024-02-31"])
def test_an_override_that_is_not_yaml_names_the_setting(value):
    with pytest.raises(SettingsError) as error:
        parse_overrides([f"seed={value}"])
    assert str(error.value).startswith("The value of the override seed is not valid YAML: ")
    assert "\n" not in str(error.value)


def test_an_override_beats_the_file_and_does_not_change_it(params):
    before = params.read_text()
    chosen = load(params, ["train.search.max_trials=7 seed=1", "data.target=size"])
    assert (chosen.train.search.max_trials, chosen.seed, chosen.data.target) == (7, 1, "size")
    assert chosen.data.source == "data"
    assert params.read_text() == before


def test_an_override_is_checked_like_the_file(params):
    with pytest.raises(SettingsError) as error:
        load(params, ["train.serch.max_trials=7", "seed=x"])
    assert str(error.value) == (
        "params.yaml has 2 problems:\n"
        "  - seed must be a whole number, got 'x'\n"
        "  - train.serch is not a setting; did you mean train.search?"
    )


def test_an_override_can_not_go_inside_a_value(params):
    with pytest.raises(SettingsError) as error:
        load(params, ["name.first=3"])
    assert str(error.value) == ("The override name.first goes inside name, which is not a section.")


def test_flat_names_are_those_of_the_docs_and_of_overrides(params):
    chosen = load(params)
    values = flat(chosen)
    assert list(values) == [name for name, _, _ in field_docs()]
    assert values["train.search.max_trials"] == 1000
    assert type(values["split.method"]) is str
    assert values["data.drop"] == []
    assert not any(isinstance(value, settings.Section | tuple) for value in values.values())
    texts = [f"{name}={yaml.safe_dump(value).split('...')[0]}" for name, value in values.items()]
    assert load(params, texts) == chosen


def test_every_setting_is_explained():
    for name, default, description in field_docs():
        assert description.endswith((".", "?")), name
        assert default, name
    defaults = {name: default for name, default, _ in field_docs()}
    assert defaults["name"] == "required"
    assert defaults["split.method"] == "random"
    assert defaults["data.drop"] == "[]"
    assert defaults["train.threads"] == "null"


def test_every_section_is_explained_in_the_schema_for_editors():
    described = settings.Settings.model_json_schema()
    for definition in described["$defs"].values():
        assert definition["description"]
    assert described["additionalProperties"] is False


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data.positive": "yes"},
        {"data.positive": True},
        {"data.positive": 1},
        {"data.positive": 1.0},
        {"data.features": ["a b", "ä", "null"], "data.drop": ["3"]},
        {"split.method": "time", "split.column": "when", "split.test": "1 month"},
        {"train.problem": "binary", "train.metric": "f0.5", "train.families": ["linear"]},
        {"train.search.budget_seconds": None, "promote.required": 1e-12},
        {"registry.stage": None, "data.filter": "a == 'x: y # z'"},
    ],
)
def test_settings_written_as_yaml_mean_the_same(changes):
    chosen = from_mapping(merged(changes), origin="x")
    again = from_mapping(yaml.safe_load(as_yaml(chosen)), origin="x")
    assert again == chosen
    assert type(again.data.positive) is type(chosen.data.positive)
