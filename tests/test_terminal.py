"""What is shown fits the window, and goes where it is read."""

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from ratchet import terminal

HEADINGS = ("family", "trials", "failed", "best valid/rmse", "seconds")
TRIED = [("lightgbm", "12", "0", "11.534", "20.1"), ("extra_trees", "3", "1", "12.002", "4.9")]
GATES = [
    ("better_than_champion", "no", "rmse 10.4, champion 10.2: worse by 0.2 [0.1, 0.3]"),
    ("recorded_data", "yes", "the data version is on record"),
]


def shown(width, show, **how):
    text = io.StringIO()
    show(Console(file=text, width=width, highlight=False, **how))
    return text.getvalue()


def table(width, headings=HEADINGS, rows=TRIED, right=4):
    return shown(
        width, lambda console: terminal.show_table(console, headings, rows, right=right)
    ).splitlines()


# Tables


def test_a_table_has_its_numbers_below_each_other():
    assert [line.rstrip() for line in table(80)] == [
        "family       trials  failed  best valid/rmse  seconds",
        "lightgbm         12       0           11.534     20.1",
        "extra_trees       3       1           12.002      4.9",
    ]


def test_a_table_that_does_not_fit_has_a_row_below_its_name():
    assert [line.rstrip() for line in table(40)] == [
        "lightgbm",
        "  trials 12 · failed 0 · best valid/rmse",
        "  11.534 · seconds 20.1",
        "extra_trees",
        "  trials 3 · failed 1 · best valid/rmse",
        "  12.002 · seconds 4.9",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize(
    ("headings", "rows", "right"),
    [(HEADINGS, TRIED, 4), (("gate", "passed", "because"), GATES, 0)],
    ids=["tried", "gates"],
)
def test_no_line_is_wider_than_the_window_and_no_cell_is_lost(width, headings, rows, right):
    lines = table(width, headings, rows, right)
    assert max(map(len, lines)) <= width
    whole = "".join("".join(lines).split())
    for row in rows:
        for cell in row:
            parts = cell.split()
            assert all(part in whole for part in parts), cell
            assert "…" not in whole


def test_what_looks_like_markup_is_printed_as_it_is():
    rows = [("[red]", "yes", "[/] [bold]columns[/bold]")]
    [_, line] = table(80, ("gate", "passed", "because"), rows, 0)
    assert line.split() == ["[red]", "yes", "[/]", "[bold]columns[/bold]"]


FACTS = [("won", "xgboost"), ("because", "it is better by 0.2 [0.1, 0.3] than the champion was")]


def test_facts_are_folded_beside_their_names_on_a_terminal():
    lines = shown(
        40, lambda console: terminal.show_facts(console, FACTS, 10), force_interactive=True
    )
    assert [line.rstrip() for line in lines.splitlines()] == [
        "won        xgboost",
        "because    it is better by 0.2 [0.1,",
        "           0.3] than the champion was",
    ]


def test_a_command_is_whole_on_a_terminal_too():
    command = [("look", "mlflow ui --backend-store-uri sqlite:////home/me/project/mlflow.db")]
    told = shown(
        40,
        lambda console: terminal.show_facts(console, command, 10, commands=("look",)),
        force_interactive=True,
    )
    assert told == f"look       {command[0][1]}\n"


def test_facts_have_a_line_each_in_a_pipe():
    lines = shown(40, lambda console: terminal.show_facts(console, FACTS, 10)).splitlines()
    assert lines == [f"won        {FACTS[0][1]}", f"because    {FACTS[1][1]}"]


# Colours


@pytest.fixture
def console(monkeypatch):
    """Give the console of a stream, real terminal or not, under an environment."""

    def make(*, tty=True, **environment):
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm-256color", **environment}.items():
            monkeypatch.setenv(name, value)
        stream = io.StringIO()
        stream.isatty = lambda: tty
        monkeypatch.setattr(sys, "stderr", stream)
        return terminal.console(stderr=True)

    return make


def coloured(console):
    console.print("[bold red]red[/]", end="")
    return "\x1b[1;31m" in console.file.getvalue()


def test_a_terminal_is_drawn_upon_in_colour(console):
    made = console()
    assert made.is_interactive and coloured(made)


def test_a_pipe_gets_plain_text(console):
    made = console(tty=False)
    assert not made.is_interactive and not coloured(made)


def test_no_color_is_honoured_and_the_terminal_still_drawn_upon(console):
    made = console(NO_COLOR="1")
    assert made.is_interactive and not coloured(made)


def test_a_log_that_asks_for_colours_gets_them_and_no_moving_pictures(console):
    made = console(tty=False, FORCE_COLOR="1")
    assert not made.is_interactive and coloured(made)


def test_a_dumb_terminal_gets_plain_text(console):
    made = console(TERM="dumb")
    assert not made.is_interactive and not coloured(made)


# Streams


def writes(text, encoding="ascii"):
    """Let another process print a text, on a stream of this encoding."""
    code = (
        "import sys\nfrom ratchet import terminal\nterminal.make_readable()\n"
        f"print({text!r})\nprint({text!r}, file=sys.stderr)\n"
    )
    source = os.path.dirname(os.path.dirname(terminal.__file__))  # noqa: PTH120
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": source, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_a_stream_of_ascii_gets_stand_ins_for_our_signs_and_escapes_for_names():
    out, err = writes("train · search: 1 → 2… for Köln and 北京")
    told = b"train - search: 1 -> 2... for K\\xf6ln and \\u5317\\u4eac\n"
    assert (out, err) == (told, told)


def test_a_stream_of_utf_8_gets_all_as_it_is():
    text = "train · 北京"
    assert writes(text, "utf-8") == (f"{text}\n".encode(),) * 2


@pytest.mark.parametrize("told", [True, False])
def test_stdout_stays_empty_whoever_writes_to_it(capfd, told):
    with terminal.nothing_on_stdout(told=told):
        sys.stdout.write("from Python\n")
        os.write(1, b"from C\n")
        subprocess.run([sys.executable, "-c", "print('from a program')"], check=True)
    sys.stdout.write("the answer\n")
    out, err = capfd.readouterr()
    assert out == "the answer\n"
    lines = ["from C", "from Python", "from a program"]
    assert sorted(err.splitlines()) == (lines if told else [])
