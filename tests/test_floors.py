"""Imports may only point down."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "ratchet"

FLOORS = (
    {"container", "errors", "hooked", "masking"},
    {
        "drawing",
        "exact",
        "expressions",
        "files",
        "folds",
        "interrupts",
        "manifest",
        "memory",
        "packaged",
        "problem",
        "processes",
        "sources",
        "terminal",
        "turns",
    },
    {"conformal", "derived", "lineage", "metrics", "schema", "settings", "signatures"},
    {
        "association",
        "executor",
        "features",
        "project",
        "retraining",
        "splits",
        "table",
        "taxi",
        "wording",
    },
    {"backends", "datachecks", "ensemble", "gates", "leakage", "profile"},
    {"advice", "evaluation", "figures", "likeness", "model", "searched"},
    {
        "behaviour",
        "cost",
        "curves",
        "dependence",
        "drift",
        "explanation",
        "export",
        "importance",
        "rivals",
        "search",
        "slices",
        "survey",
    },
    {"bench", "course", "journal", "placement", "progress", "tradeoff", "weaknesses"},
    {"datastore", "model_trainer", "report", "trainer"},
    {"dvc_source", "scratch", "vetting"},
    {"clusters", "tracking"},
    {"recorded", "registry", "runfile"},
    {"hooks", "serving"},
    {"checks", "recipe", "steps"},
    {"commands"},
    {"cli"},
)
FLOOR_OF = {name: height for height, names in enumerate(FLOORS) for name in names}
ONLY_IN = {
    "mlflow": {"checks", "dvc_source", "recorded", "registry", "runfile", "serving", "tracking"},
    "dask": {"backends", "executor"},
    "distributed": {"backends", "executor"},
    "hyperopt": {"search"},
    "onnx": {"export"},
    "onnxruntime": {"export"},
    "catboost": {"backends"},
    "lightgbm": {"backends"},
    "xgboost": {"backends"},
    "numba": {"explanation"},
    "shap": {"explanation"},
    "matplotlib": {"drawing", "figures", "report"},
    "typer": {"cli"},
    "uvicorn": {"serving"},
    "pandera": {"datachecks"},
    "cryptography": {"signatures"},
}


def modules() -> list[Path]:
    paths = sorted(SOURCE.rglob("*.py"))
    return [path for path in paths if path.parent != SOURCE or path.stem != "__init__"]


def room(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} uses a relative import"
            if node.module == "ratchet":
                yield from (f"ratchet.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def privately_imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ratchet"):
            yield from (alias.name for alias in node.names if alias.name.startswith("_"))


def test_every_room_has_a_floor():
    assert {room(path) for path in modules()} == set(FLOOR_OF)


def test_the_page_on_architecture_has_the_same_floors():
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", page, re.MULTILINE)
    told = {int(floor): set(re.findall(r"`(\w+)`", rooms)) for floor, rooms in rows}
    assert told == dict(enumerate(FLOORS))
    (highest,) = re.findall(r"Floors 0 to (\d+) touch no MLflow", page)
    assert int(highest) + 1 == min(FLOOR_OF[name] for name in ONLY_IN["mlflow"])


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path):
    here = room(path)
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "ratchet" and rest and rest[0] != here:
            assert FLOOR_OF[rest[0]] < FLOOR_OF[here], f"{here} may not import {rest[0]}"
        assert here in ONLY_IN.get(top, {here}), f"only {ONLY_IN[top]} may import {top}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_private_names_stay_in_their_module(path):
    assert list(privately_imported(path)) == []
