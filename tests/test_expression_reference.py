"""The language of filters and targets against another reading of it, and against attacks."""

import math
import operator
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings

from ratchet.errors import DataError
from ratchet.expressions import FUNCTIONS, MAX_EXPONENT, MAX_LENGTH, evaluate, parse

# The same inputs each time, so that a failure is the change's.
effort = partial(settings, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck])

# A second reading: trees of our own making, row by row, in Python's own numbers. None is missing.

ROWS = {
    "a": [1.0, -2.5, 0.0, None, 1e300, 7.0],
    "b": [3.0, 0.0, -1.0, 2.0, None, 7.0],
    "n": [1, 2, 3, 0, -5, 64],
    "s": [True, False, None, True, False, True],
}
FRAME = pd.DataFrame(
    {
        "a": ROWS["a"],
        "b": ROWS["b"],
        "n": ROWS["n"],
        "s": pd.array(ROWS["s"], dtype="boolean"),
    }
)


@dataclass(frozen=True)
class Node:
    """A part of an expression: how it is written, and what it is for a row."""

    text: str
    value: Any
    """Of a row's number: a float, or for truth a bool; None is missing."""


def finite(compute: Any, *given: float | None) -> float | None:
    if any(each is None for each in given):
        return None
    try:
        found = compute(*given)
    except (ArithmeticError, ValueError):
        return None
    return found if isinstance(found, float) and math.isfinite(found) else None


def column(name: str) -> Node:
    return Node(name, lambda row: None if ROWS[name][row] is None else float(ROWS[name][row]))


def number(value: float) -> Node:
    # Python takes -1 ** 2 for -(1 ** 2).
    return Node(f"({value!r})", lambda _: float(value))


ARITHMETIC = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
EXACT = {"abs": abs, "sqrt": math.sqrt, "round": lambda x: float(round(x))}
# Of these the last bits are the library's own.
NEARLY = {"log": math.log, "log1p": math.log1p, "exp": math.exp}
OF_ONE = {**EXACT, **NEARLY}


def binary(left: Node, sign: str, right: Node) -> Node:
    compute = ARITHMETIC[sign]
    return Node(
        f"({left.text} {sign} {right.text})",
        lambda row: finite(compute, left.value(row), right.value(row)),
    )


def power(base: Node, exponent: int) -> Node:
    return Node(
        f"({base.text} ** {exponent})",
        lambda row: finite(lambda x: x**exponent, base.value(row)),
    )


def negated(inner: Node) -> Node:
    return Node(f"(-{inner.text})", lambda row: finite(lambda x: x * -1.0, inner.value(row)))


def called(name: str, inner: Node) -> Node:
    return Node(f"{name}({inner.text})", lambda row: finite(OF_ONE[name], inner.value(row)))


def compared(left: Node, sign: str, right: Node) -> Node:
    def value(row: int) -> bool | None:
        x, y = left.value(row), right.value(row)
        return None if x is None or y is None else bool(COMPARISONS[sign](x, y))

    return Node(f"({left.text} {sign} {right.text})", value)


def among(inner: Node, listed: list[int], negative: bool) -> Node:
    def value(row: int) -> bool | None:
        x = inner.value(row)
        return None if x is None else (x in listed) is not negative

    return Node(f"({inner.text} {'not in' if negative else 'in'} {listed})", value)


def joined(left: Node, word: str, right: Node) -> Node:
    def value(row: int) -> bool | None:
        both = (left.value(row), right.value(row))
        sure = word == "or"
        if sure in both:
            return sure
        return None if None in both else not sure

    return Node(f"({left.text} {word} {right.text})", value)


def opposite(inner: Node) -> Node:
    def value(row: int) -> bool | None:
        x = inner.value(row)
        return None if x is None else not x

    return Node(f"(not {inner.text})", value)


def absent(inner: Node) -> Node:
    return Node(f"missing({inner.text})", lambda row: inner.value(row) is None)


TRUTH = Node("s", lambda row: ROWS["s"][row])
numbers = st.recursive(
    st.sampled_from(["a", "b", "n"]).map(column)
    | st.integers(-100, 100).map(number)
    | st.floats(-1e6, 1e6).map(number),
    lambda inner: st.one_of(
        st.builds(binary, inner, st.sampled_from([*ARITHMETIC]), inner),
        st.builds(called, st.sampled_from([*EXACT]), inner),
        st.builds(negated, inner),
    ),
    max_leaves=8,
)
nearly = st.one_of(
    st.builds(power, numbers, st.integers(-MAX_EXPONENT, MAX_EXPONENT)),
    st.builds(called, st.sampled_from([*NEARLY]), numbers),
)
truths = st.recursive(
    st.one_of(
        st.just(TRUTH),
        st.builds(compared, numbers, st.sampled_from([*COMPARISONS]), numbers),
        st.builds(among, numbers, st.lists(st.integers(-3, 7), max_size=4), st.booleans()),
        st.builds(absent, numbers),
    ),
    lambda inner: st.one_of(
        st.builds(joined, inner, st.sampled_from(["and", "or"]), inner),
        st.builds(opposite, inner),
        st.builds(absent, inner),
    ),
    max_leaves=5,
)


def said(node: Node) -> list[Any]:
    return [node.value(row) for row in range(len(FRAME))]


def found(text: str) -> list[Any]:
    return [None if pd.isna(each) else each for each in evaluate(text, FRAME)]


def names_a_column(node: Node) -> bool:
    return bool(parse(node.text).names)


@effort(max_examples=300)
@given(numbers.filter(names_a_column))
def test_a_number_is_what_python_computes_row_by_row_to_the_last_bit(node):
    assert found(node.text) == said(node), node.text


@effort(max_examples=200)
@given(nearly.filter(names_a_column))
def test_a_power_or_a_logarithm_is_what_python_computes_but_for_the_last_bits(node):
    for ours, theirs in zip(found(node.text), said(node), strict=True):
        assert (ours is None) is (theirs is None), node.text
        assert ours is None or np.isclose(ours, theirs, rtol=1e-9, atol=1e-300), node.text


@effort(max_examples=300)
@given(truths.filter(names_a_column))
def test_a_rule_is_what_three_valued_logic_says_row_by_row(node):
    assert found(node.text) == said(node), node.text


def test_the_second_reading_knows_what_is_missing():
    assert said(binary(column("a"), "/", column("b"))) == [1 / 3, None, -0.0, None, None, 1.0]
    assert said(joined(TRUTH, "or", compared(column("a"), ">", number(0)))) == [
        True,
        False,
        None,
        True,
        True,
        True,
    ]


# Attacks

ESCAPES = [
    "a.__class__.__mro__[1].__subclasses__()",
    "().__class__.__bases__[0].__subclasses__()",
    "col.__globals__",
    "col('a').__class__",
    "missing.__code__",
    "getattr(a, '__class__')",
    "globals()",
    "vars(a)",
    "eval('1')",
    "exec('import os')",
    "compile('1', '', 'eval')",
    "__builtins__",
    "a.values.tofile('made')",
    "a.to_pickle('made')",
    "col(__import__('os').system('touch made'))",
    "contains(s, __import__('os').system('touch made'))",
    "datetime(open('made', 'w'))",
    "a if __import__('os').system('touch made') else b",
    "[open('made', 'w') for x in [1]]",
    "{open('made', 'w'): 1}",
    "(lambda: open('made', 'w'))()",
    "f'{open(chr(109), chr(119))}'",
    "(yield a)",
    "await a",
    "*a",
    "a := open('made', 'w')",
    "a; open('made', 'w')",
    "a\nopen('made', 'w')",
    "print(a)",
    "@a",
    "`touch made`",
    "$(touch made)",
    "%x",
    "a['__class__']",
    "abs(*[a])",
    "abs(**{'x': a})",
    "a @ open('made', 'w')",
    "not open('made', 'w')",
    "'{0.__class__}'.format(a)",
    "'%s' % open('made', 'w')",
    "b'' + open('made', 'wb').read()",
    "a == ...",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_no_way_leads_out_of_the_language(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        evaluate(text, FRAME)
    assert list(tmp_path.iterdir()) == []


HEAVY = {
    "a tower of powers": "9 ** 9 ** 9 ** 9 + a",
    "a power of a power": "((a ** 64) ** 64) ** 64",
    "many powers": " * ".join(["n ** 64"] * 200),
    "a long number": f"a + {'9' * 1_900}",
    "many brackets": "(" * 900 + "a" + ")" * 900,
    "many signs": "-" * 1_900 + "a",
    "many words": "not " * 450 + "s",
    "a long chain": " + ".join(["a"] * 490),
    "a long comparison": " < ".join(["n"] * 490),
    "a long list": f"n in [{', '.join(map(str, range(100, 500)))}]",
    "a long text": f"a == '{'x' * 1_900}'",
    "a text of many": "'a' * 1000000000",
    "a list of many": "[1] * 1000000000",
    "calls in calls": "abs(" * 300 + "a" + ")" * 300,
    "a name like a function": f"{'a' * 1_990}(n)",
    "brackets of all kinds": "([{" * 300,
    "quotes": "'" * 1_999,
    "strings in strings": "f'{" * 300,
    "too long": "a + " * (MAX_LENGTH // 4 + 1) + "a",
    "much too long": "a" * 10_000_000,
    "shifts": "1 << 1000000000 + a",
    "exponents": "a ** 1e308",
    "letters that Python changes": "\uff41 + " * 400 + "a",
}
# What each may take on 10,000 rows: of a machine with other things to do, too.
SECONDS = 10
MEGABYTES = 1_500


def test_nothing_that_is_written_takes_long_or_much_memory():
    """In a process of its own, which has no more memory than that to take."""
    done = subprocess.run(
        [sys.executable, __file__],
        capture_output=True,
        text=True,
        timeout=SECONDS * len(HEAVY),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == list(HEAVY)


def _endure() -> None:
    limit = MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    frame = pd.concat([FRAME] * 2_000, ignore_index=True)
    for name, text in HEAVY.items():
        began = time.process_time()
        try:
            assert len(evaluate(text, frame)) == len(frame)
        except DataError as error:
            assert len(str(error)) < 2_000, name
        assert time.process_time() - began < SECONDS, name
        print(name)  # noqa: T201


def test_every_function_of_numbers_has_a_second_reading_or_none_is_needed():
    others = {"share", "haversine", "missing", "contains", "col", "datetime"}
    times = {"seconds", "minutes", "hours", "days", "year", "month", "day", "hour", "weekday"}
    assert set(FUNCTIONS) == {*OF_ONE, *others, *times, "lower", "upper", "strip"}


if __name__ == "__main__":
    _endure()
