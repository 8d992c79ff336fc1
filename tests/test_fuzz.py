"""Whatever is typed, and whatever a file holds: an answer, or a sentence, and never a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
import yaml
from conftest import ROOT, tiny_settings
from hypothesis import HealthCheck, example, given
from hypothesis import settings as effort

from ratchet import leakage, settings, splits
from ratchet.cli import app
from ratchet.errors import DataError, RatchetError, SettingsError
from ratchet.settings import Data, Split
from ratchet.table import prepare_table, read_table, row_hashes, with_statistics

# The same inputs each time, so that a failure is the change's.
SAME = {"derandomize": True, "deadline": None, "suppress_health_check": list(HealthCheck)}
LONGEST = 20_000


def sentence(error: RatchetError) -> None:
    """See that an error is something to read."""
    text = str(error)
    assert text.strip()
    assert len(text) < LONGEST
    assert "Traceback" not in text


# Settings

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
NAMES = sorted(name for name, _, _ in settings.field_docs())
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**4000), 2**4000),
    st.floats(),
    st.text(max_size=30),
    st.dates(),
    st.binary(max_size=5),
    st.sampled_from(["1 month", "a > b", "module:function", "~", "../x", "$(x)", "\x00", "\ud800"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=12), st.integers(), st.none()), inner, max_size=3
        ),
    ),
    max_leaves=6,
)
ATTACKS = {
    "ten lines that are billions": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
    ),
    "itself": "a: &a [*a]",
    "itself in a mapping": "a: &a {b: *a}",
    "brackets": "[" * 50_000,
    "braces": "{a: " * 20_000,
    "a number without end": f"seed: {'9' * 50_000}",
    "a number that can't be printed": f"seed: 0x{'f' * 50_000}",
    "a number too large for a fraction": f"train: {{search: {{budget_seconds: 1{'0' * 400}}}}}",
    "minutes of minutes": f"seed: {':'.join(['59'] * 3000)}",
    "code": "!!python/object/apply:os.system ['touch made']",
    "code that is new": "!!python/object/new:os.system ['touch made']",
    "a tag that fits nothing": "seed: !!timestamp x",
    "half a pair": 'name: "\\ud800"',
    "a key that is a list": "? [a, b]\n: c",
    "a very long name": f"{'a' * 900}: 1",
    "a very long file": "a" * 2**21,
    "no text": "\x00\x01\x02",
    "a merge of nothing": "<<: 1",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_parameter_file_that_is_an_attack_is_refused_in_a_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(ATTACKS[name], encoding="utf-8")
    with pytest.raises(SettingsError) as error:
        settings.load(tmp_path / "params.yaml")
    sentence(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@effort(max_examples=400, **SAME)
@given(
    text=st.one_of(st.text(max_size=200), values.map(lambda each: json.dumps(each, default=str)))
)
def test_any_text_is_settings_or_a_sentence(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        settings.load(path)
    except SettingsError as error:
        sentence(error)


@effort(max_examples=500, **SAME)
@given(name=st.sampled_from(NAMES), value=values)
@example(name="data.source", value="\ud800")
@example(name="train.search.budget_seconds", value=10**400)
def test_any_value_of_any_setting_is_taken_or_refused_in_a_sentence(name, value):
    chosen = json.loads(json.dumps(SHIPPED, default=str))
    inner = chosen
    *sections, last = name.split(".")
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[last] = value
    try:
        found = settings.from_mapping(chosen, origin="params.yaml")
    except SettingsError as error:
        sentence(error)
        assert name.split(".")[0] in str(error)
        return
    # What was taken can be written down and means the same again.
    again = settings.from_mapping(yaml.safe_load(settings.as_yaml(found)), origin="again")
    assert again == found


@effort(max_examples=400, **SAME)
@given(
    texts=st.lists(
        st.one_of(
            st.text(max_size=40),
            st.builds(
                "{}={}".format, st.sampled_from([*NAMES, "seed.x", "x"]), st.text(max_size=20)
            ),
        ),
        max_size=3,
    )
)
def test_any_override_is_taken_or_refused_in_a_sentence(somewhere, texts):
    try:
        settings.load(somewhere / "odd.yaml", texts)
    except SettingsError as error:
        sentence(error)


# Tables

cells = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.text(max_size=8),
    st.datetimes(),
    st.sampled_from(["", "nan", "1e999", "00042", "=1+1", "<script>", "2024-02-30", "1,5"]),
)
whole_columns = st.one_of(
    st.lists(st.floats(), min_size=12, max_size=12),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=12, max_size=12),
    st.lists(st.sampled_from(["a", "b", "c", None]), min_size=12, max_size=12),
    st.lists(st.datetimes(), min_size=12, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.lists(cells, min_size=12, max_size=12),
)
tables = st.dictionaries(
    st.one_of(
        st.sampled_from(["y", "x", "target", "a b", "col('y')", "__row"]), st.text(max_size=10)
    ),
    whole_columns,
    min_size=1,
    max_size=5,
)


def prepared(path: Path, target: str) -> None:
    """Do what prepare does before it writes."""
    data = Data(source=path.name, target=target)
    raw = read_table(path)
    row_hashes(raw.frame)
    found = prepare_table(raw, data, None)
    dealt = splits.split(len(found.frame), Split(), 0)
    with_statistics(found.schema, found.frame.iloc[dealt.train])
    leakage.look(found.with_computed(), dealt, Split(), seed=0)


@effort(max_examples=120, **SAME)
@given(
    columns=tables, form=st.sampled_from(["csv", "parquet"]), target=st.sampled_from(["y", "x > 1"])
)
def test_any_table_is_prepared_or_refused_in_a_sentence(tmp_path_factory, columns, form, target):
    path = tmp_path_factory.getbasetemp() / f"any.{form}"
    if form == "csv":
        text = pd.DataFrame(columns).to_csv(index=False)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    else:
        made = {}
        for name, each in columns.items():
            try:
                made[name] = pa.array(each)
                name.encode()
            except (pa.ArrowException, UnicodeEncodeError, OverflowError):
                made.pop(name, None)  # no parquet file can hold it
        if not made:
            return
        pq.write_table(pa.table(made), path)
    try:
        prepared(path, target)
    except DataError as error:
        sentence(error)


def test_hundreds_of_spoilt_files_end_in_no_traceback():
    """`benchmarks/fuzz.py` does it with thousands: it reads in another process, which may crash."""
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "benchmarks" / "fuzz.py",
            "--files",
            "150",
            "--seed",
            "7",
            "--json",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["faults"] == []
    counts = told["counts"]
    assert sum(sum(each.values()) for each in counts.values()) == 150
    # Neither is everything refused at the door, nor has nothing been spoilt.
    for ending in (".parquet", ".csv"):
        assert counts[ending]["read"] >= 10
        assert counts[ending]["refused"] >= 10


# The command line

GROUP = typer.main.get_command(app)
# The doctor looks at the machine, and a simulation takes seconds: each has a test of its own.
COMMANDS = sorted(set(GROUP.commands) - {"doctor", "sample"})
OPTIONS = sorted(
    {option for each in GROUP.commands.values() for one in each.params for option in one.opts}
    | {"--help", "--no-such", "-x", "--"}
)
words = st.one_of(
    st.sampled_from(COMMANDS),
    st.sampled_from(OPTIONS),
    st.sampled_from(["params.yaml", "odd.yaml", "data", ".", "", "-", "1", "nan", "-1", "1e400"]),
    st.sampled_from(["champion", "x@y", "x/1", "0" * 32, "NAME=VALUE", "seed=3", "promoted"]),
    st.text(st.characters(exclude_characters="/\\~"), max_size=12),
)


@pytest.fixture(scope="module")
def somewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings that are odd, and nothing else that could be lost."""
    folder = tmp_path_factory.mktemp("somewhere")
    odd = tiny_settings(train__metric="no_such_metric", split__valid=2)
    (folder / "odd.yaml").write_text(yaml.safe_dump(odd), encoding="utf-8")
    return folder


def command_line(call, monkeypatch, *arguments: str) -> tuple[int, str]:
    """Call it with any words; give its exit code and what it printed."""
    code, out, err = call(*arguments)
    assert code in {0, 1, 2, 130}, (arguments, code)
    assert "Traceback" not in out + err, arguments
    return code, out + err


@effort(max_examples=150, **SAME)
@given(first=st.sampled_from(COMMANDS), rest=st.lists(words, max_size=5))
@example(first="run", rest=["--set", "seed"])
@example(first="run", rest=["--params", "."])
@example(first="predict", rest=["--data", "", "--out", ""])
@example(first="history", rest=["--at", "yesterday"])
@example(first="reproduce", rest=["x", "--tolerance", "nan"])
@example(first="serve", rest=["--port", "99999999999999999999"])
@example(first="init", rest=["--data", "\x00", "--yes"])
@example(first="schema", rest=["--help"])
def test_any_words_end_with_an_exit_code_and_without_a_traceback(
    somewhere, call, monkeypatch, first, rest
):
    monkeypatch.chdir(somewhere)
    command_line(call, monkeypatch, first, *rest)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("\ud800",),
        ("--",),
        ("no-such-command",),
        ("sample", "--month", "9999-99"),
        ("sample", "--rows", "0"),
        ("sample", "--drift", "nan", "--rows", "5"),
        ("sample", "--drift", "1e308", "--rows", "5"),
        ("sample", "--seed", "99999999999999999999999", "--rows", "5"),
        ("sample", "--out", "odd.yaml", "--rows", "5"),
        ("doctor", "--params", "\x00"),
        ("doctor", "--params", "."),
        ("run", "--params", "/dev/zero"),
        ("run", "--params", "a" * 5000),
        ("status", "--params", "odd.yaml/x"),
    ],
    ids=range(15),
)
def test_odd_words_end_with_an_exit_code_and_without_a_traceback(
    arguments, somewhere, call, monkeypatch
):
    monkeypatch.chdir(somewhere)
    command_line(call, monkeypatch, *arguments)


@effort(max_examples=60, **SAME)
@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="\x00"), min_size=1, max_size=20), max_size=3
    )
)
def test_any_name_of_a_file_may_be_asked_for(somewhere, call, monkeypatch, names):
    monkeypatch.chdir(somewhere)
    kept = "".join(names).translate(str.maketrans(dict.fromkeys("/~", "_"))) or "x"
    command_line(call, monkeypatch, "checks", "--params", kept)


def test_what_is_fuzzed_is_what_there_is():
    assert {"run", "train", "predict", "serve", "webhooks", "init", "compare"} <= set(COMMANDS)
    assert len(OPTIONS) > 40
