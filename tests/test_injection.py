"""Nothing that is typed, and no name of a column or a file, gets into a shell."""

import json
import os
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT, Clone, tiny_table

from ratchet.errors import RatchetError

# Each would make the file `made` where a shell read it.
PAYLOADS = (
    "$(touch made)",
    "`touch made`",
    "; touch made",
    "&& touch made #",
    "| touch made",
    "|| touch made",
    "& touch made &",
    "' ; touch made ; '",
    '" ; touch made ; "',
    "'\"'\"'; touch made; #",
    "\ntouch made\n",
    "a\r\ntouch made",
    "$IFS$(touch${IFS}made)",
    "${PATH:0:0}$(touch made)",
    "> made",
    "<(touch made)",
    "\\$(touch made)",
    "!touch made",
    "{params}$(touch made)",
    "$'\\n'touch made",
    "-- touch made",
    "~ * ? [a-z] {a,b}",
)
PROJECT = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))
# Stands in for `python`, and writes its arguments down, each ended by what no argument can hold.
LISTENS = '#!/bin/bash\nprintf "%s\\0" "$@" > "$SAID"\n'


@pytest.fixture
def listening(tmp_path: Path) -> dict[str, str]:
    """Variables in which `python` only tells what it was given."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python").write_text(LISTENS, encoding="utf-8")
    (programs / "python").chmod(0o755)
    return {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "SAID": str(tmp_path / "said")}


@pytest.mark.parametrize("name", sorted(PROJECT["entry_points"]))
def test_every_parameter_of_an_entry_point_arrives_as_it_was_typed(name, listening, tmp_path):
    from mlflow.projects._project_spec import load_project

    place = tmp_path / "there"
    place.mkdir()
    entry = load_project(str(ROOT)).get_entry_point(name)
    for payload in PAYLOADS:
        # All at once, and each another, so that none stands in for its neighbour.
        given = {each: f"{payload} {each}" for each in entry.parameters}
        command = entry.compute_command(given, str(tmp_path))
        # As MLflow's local backend starts it.
        subprocess.run(["bash", "-c", command], cwd=place, env=listening, check=True)
        said = Path(listening["SAID"]).read_bytes().decode().split("\0")[:-1]
        program, step, *rest = said
        assert (program, step) == ("src", "run" if name == "main" else name)
        told = dict(zip(rest[::2], rest[1::2], strict=True))
        assert told == {f"--{each}": text for each, text in given.items()}, payload
    assert list(place.iterdir()) == []


def test_a_project_that_init_makes_has_the_same_entry_points():
    made = ROOT / "src" / "ratchet" / "templates" / "project" / "MLproject.jinja"
    text = made.read_text(encoding="utf-8").replace("{{ name }}", "x")
    assert yaml.safe_load(text)["entry_points"] == PROJECT["entry_points"]


@pytest.mark.parametrize("name", ["a; touch made", "$(touch made)", "a b", "a'b", "-rf", "a$b"])
def test_a_folder_that_make_would_read_as_more_than_a_name_is_refused(name, tmp_path):
    from ratchet.commands import init

    folder = tmp_path / "project"
    (folder / name).mkdir(parents=True)
    tiny_table().to_parquet(folder / name / "rows.parquet")
    with pytest.raises(RatchetError, match=r"would be named in the Makefile and in dvc\.yaml"):
        init.plan(folder, folder / name, "price")


def hostile_table() -> pd.DataFrame:
    """A table whose columns and labels are commands."""
    names = {"size": PAYLOADS[0], "rooms": PAYLOADS[1], "town": PAYLOADS[7], "price": PAYLOADS[2]}
    table = tiny_table().rename(columns=names)
    table[PAYLOADS[7]] = table[PAYLOADS[7]].map(
        dict(zip(("Aachen", "Berlin"), PAYLOADS, strict=False))
    )
    return table


@pytest.mark.slow
@pytest.mark.xdist_group("clones")
def test_neither_front_door_hands_a_name_or_a_parameter_to_a_shell(fresh_clone):
    clone: Clone = fresh_clone("injection")
    data = clone.root / "data"
    data.mkdir()
    hostile_table().to_parquet(data / f"{PAYLOADS[0]}; touch made.parquet")
    values = yaml.safe_load((clone.root / "params.yaml").read_text(encoding="utf-8"))
    kept = {"search": {"warm_start": None}, "problem": "regression"}
    values = {
        "name": "hostile",
        "seed": 1,
        "data": {
            "source": "data",
            "target": f"col({PAYLOADS[2]!r})",
            "drop": ["dear", "sold"],
            "filter": f"col({PAYLOADS[2]!r}) > 0",
        },
        "split": {"method": "random"},
        "train": kept,
        "monitor": {"sample_rows": 0},
        "promote": {},
        "evaluate": {},
        "registry": {},
    }
    (clone.root / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    clone.run("dvc", "repro", "prepare")
    columns = json.loads((clone.root / "build" / "prepared" / "schema.json").read_text())
    assert {PAYLOADS[0], PAYLOADS[1]} <= {each["name"] for each in columns["columns"]}
    told = clone.run(
        *("mlflow", "run", ".", "--env-manager", "local", "--entry-point", "prepare"),
        *("-P", f"params={PAYLOADS[0]}", "-P", f"set={PAYLOADS[8]}{PAYLOADS[10]}"),
        fails=True,
    )
    assert re.search(r"SettingsError: .*\$\(touch made\) is not there", told)
    assert not list(clone.root.rglob("made"))
