"""Write the table of the doctor's checks into docs/doctor.md, from their own docstrings."""

from pathlib import Path

from ratchet.checks import GROUPS

PAGE = Path(__file__).parents[1] / "docs" / "doctor.md"
BEGIN, END = "<!-- checks: written by `make docs` -->\n", "<!-- end of checks -->"


def table() -> str:
    """Return the tables, one for each group, as Markdown."""
    lines = []
    for group, checks in GROUPS:
        lines += [f"| {group} | what should be so |", "|---|---|"]
        for check in checks:
            meaning = " ".join((check.__doc__ or "").split())
            lines.append(
                f"| `{check.__name__}` | {meaning.removeprefix('See that ').rstrip('.')} |"
            )
        lines.append("")
    return "\n".join(lines)


def with_table(text: str) -> str:
    """Return the page with the tables of today."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
