"""`docs/reliability.md`: every fault there has a test, which is there."""

import ast
import re
from functools import cache

import pytest
from conftest import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| fault |", "| input |"))
]


@cache
def named_in(name: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / name).read_text(encoding="utf-8"))
    return frozenset(
        each.name
        for each in ast.walk(tree)
        if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")
    )


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_says_what_must_happen_and_names_the_test_that_shows_it(row):
    fault, expected, shown = row
    assert fault
    assert expected
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", shown)
    assert named, shown
    for file, test in named:
        assert test in named_in(file), f"{file}::{test}"


def test_no_fault_is_told_twice():
    faults = [row[0] for row in ROWS]
    assert len(faults) == len(set(faults))


def test_the_page_is_whole():
    assert len(ROWS) >= 200
