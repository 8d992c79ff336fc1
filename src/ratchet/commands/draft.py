"""A parameter file whose comments say what was found in the table, and why each choice was made."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ratchet import settings
from ratchet.survey import Choice, Remark, Survey

SCHEMA_FILE = "params.schema.json"
"""The schema by which editors complete and check the file, beside it."""

# Where comments begin, and where lines end.
_COLUMN = 32
_WIDTH = 100


@dataclass(frozen=True)
class Draft:
    """What the parameter file of a new project says."""

    text: str
    """The file."""
    settings: settings.Settings
    """What it means."""


def write(survey: Survey, title: str, choices: Sequence[Choice]) -> Draft:
    """Write every setting with its comment.

    Parameters
    ----------
    survey : Survey
        What was found in the table, and what follows from it.
    title : str
        Which table it was, in a line.
    choices : sequence of Choice
        Settings that something else than the table decides, such as the name.

    Raises
    ------
    SettingsError
        If a value isn't allowed.
    """
    every = {choice.setting: choice for choice in (*survey.choices, *choices)}
    lists = {"data.drop": survey.drop, "data.categorical": survey.labels}
    values: dict[str, Any] = {}
    for name, choice in every.items():
        _put(values, name, choice.value)
    for name, remarks in lists.items():
        _put(values, name, [remark.column for remark in remarks])
    meant = settings.from_mapping(values, origin="params.yaml")
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        *_comment(f"Every choice of this project, made by `ratchet init` for {title}."),
        *_comment("Paths are relative to this file; editors show what each setting means."),
        *_found(survey),
        *_body(meant, every, lists),
    ]
    return Draft("\n".join(lines) + "\n", meant)


def _found(survey: Survey) -> Iterator[str]:
    if survey.facts:
        yield "#"
        yield "# What else was found:"
    for fact in survey.facts:
        yield from _comment(fact, first="# - ", next_="#   ")
    for refusal in survey.refused:
        told = f"prepare will stop, unless data.allow gives a reason: {refusal}."
        yield from _comment(told, first="# - ", next_="#   ")


def _body(
    meant: settings.Settings,
    choices: Mapping[str, Choice],
    lists: Mapping[str, Sequence[Remark]],
) -> Iterator[str]:
    """Yield the settings in their order, each section once."""
    plain = meant.model_dump(mode="json")
    sections: list[str] = []
    for name, _, meaning in settings.field_docs():
        *above, last = name.split(".")
        if above[:1] != sections[:1] or name == "name":
            yield ""
        for depth, section in enumerate(above):
            if above[: depth + 1] != sections[: depth + 1]:
                yield f"{'  ' * depth}{section}:"
        sections = above
        value: Any = plain
        for part in name.split("."):
            value = value[part]
        indent = "  " * len(above)
        because = choices[name].because if name in choices else ""
        yield from _comment(because, first=f"{indent}# ", next_=f"{indent}# ")
        if lists.get(name):
            yield _line(f"{indent}{last}:", meaning)
            for remark in lists[name]:
                yield from _item(indent, remark)
        else:
            yield _line(f"{indent}{last}: {scalar(value)}", meaning)


def _line(code: str, meaning: str) -> str:
    """Put the first clause of what a setting means behind it."""
    return f"{code:<{_COLUMN}} # {meaning.partition(';')[0].rstrip('.')}"


def _item(indent: str, remark: Remark) -> Iterator[str]:
    code = f"{indent}  - {scalar(remark.column)}"
    whole = f"{code:<{_COLUMN}} # {_printable(remark.because)}"
    if len(whole) <= _WIDTH:
        yield whole
    else:
        yield from _comment(remark.because, first=f"{indent}  # ", next_=f"{indent}  # ")
        yield code


def scalar(value: Any) -> str:
    """Write a value in one line of YAML.

    Examples
    --------
    >>> scalar("no"), scalar(60.0), scalar(["a b", "1"]), scalar(None)
    ("'no'", '60', "[a b, '1']", 'null')
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _comment(text: str, first: str = "# ", next_: str = "# ") -> list[str]:
    return textwrap.wrap(
        _printable(text),
        _WIDTH,
        initial_indent=first,
        subsequent_indent=next_,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _printable(text: str) -> str:
    """Keep a comment a comment, whatever is in the name of a column."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    *sections, last = name.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[last] = value
