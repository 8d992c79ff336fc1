"""Editors complete, check and explain params.yaml by a schema that says what the loader does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from ratchet import settings

SCHEMA = json.loads(settings.json_schema())
FILES = [ROOT / "params.yaml", *sorted((ROOT / "examples").rglob("*.yaml"))]
TYPES = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "object": dict,
    "array": list,
    "null": type(None),
}


def faults(value: Any, schema: dict, where: str = "") -> list[str]:
    """Check a value as an editor does, as far as this schema's words go."""
    if "$ref" in schema:
        return faults(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], where)
    if "anyOf" in schema:
        found = [faults(value, each, where) for each in schema["anyOf"]]
        return [] if [] in found else found[0]
    kind = TYPES[schema["type"]] if "type" in schema else object
    if not isinstance(value, kind) or (isinstance(value, bool) and kind in (int, (int, float))):
        return [f"{where} is no {schema['type']}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where} is none of {schema['enum']}")
    for word, wrong in (
        ("minimum", lambda least: value < least),
        ("maximum", lambda most: value > most),
        ("exclusiveMinimum", lambda least: value <= least),
        ("exclusiveMaximum", lambda most: value >= most),
        ("maxLength", lambda most: len(value) > most),
        ("minLength", lambda least: len(value) < least),
        ("pattern", lambda pattern: not re.search(pattern, value)),
    ):
        if word in schema and wrong(schema[word]):
            found.append(f"{where} breaks {word} {schema[word]}")
    if isinstance(value, list):
        for each in value:
            found += faults(each, schema["items"], where)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [
            f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value
        ]
        for name, each in value.items():
            if name in properties:
                found += faults(each, properties[name], f"{where}.{name}")
            elif schema.get("additionalProperties") is False:
                found.append(f"{where}.{name} is unknown")
    return found


def described(name: str) -> str:
    """Give what an editor shows of a setting."""
    section = SCHEMA
    *above, last = name.split(".")
    for each in above:
        section = SCHEMA["$defs"][section["properties"][each]["$ref"].rpartition("/")[2]]
    return section["properties"][last]["description"]


def test_the_file_is_what_the_command_prints(call):
    status, out, _ = call("schema")
    assert (status, out) == (0, settings.json_schema())
    file = ROOT / "params.schema.json"
    assert file.read_text(encoding="utf-8") == out, "run `make docs`"


def test_every_setting_is_explained_as_its_docstring_says():
    for name, _, meaning in settings.field_docs():
        assert described(name) == meaning


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_parameter_file_names_it_and_passes(file):
    text = file.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)[1]
    assert (file.parent / named).resolve() == ROOT / "params.schema.json"
    assert faults(yaml.safe_load(text), SCHEMA) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"sead": 1}, ".sead is unknown"),
        ({"seed": "soon"}, ".seed is no integer"),
        ({"seed": -1}, ".seed breaks minimum 0"),
        ({"name": "a b"}, ".name breaks pattern"),
        ({"split": {"test": "1 fortnight"}}, ".split.test"),
        ({"split": {"method": "luck"}}, ".split.method is none of"),
        ({"train": {"search": {"max_trials": 0}}}, ".train.search.max_trials breaks minimum 1"),
        ({"data": {"source": "data"}}, ".data.target is missing"),
    ],
)
def test_what_the_loader_refuses_an_editor_underlines(change, fault):
    values = {"name": "x", "data": {"source": "data", "target": "y"}, **change}
    assert faults(values, SCHEMA)[0].startswith(fault)
    with pytest.raises(settings.SettingsError):
        settings.from_mapping(values, origin="params.yaml")


def test_the_schema_holds_no_titles_that_repeat_names_and_no_defaults_of_sections():
    text = Path(ROOT / "params.schema.json").read_text(encoding="utf-8")
    assert '"title": "' not in text
    assert '"default": {\n        "' not in text
