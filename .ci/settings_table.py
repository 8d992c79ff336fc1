"""Write the table of settings into README.md, from the settings' own docstrings."""

from pathlib import Path

from ratchet.settings import field_docs

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- settings: written by `make docs` -->\n", "<!-- end of settings -->"


def table() -> str:
    """Return the table as Markdown."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, default, meaning in field_docs():
        shown = default if default == "required" else f"`{default}`"
        lines.append(f"| `{name}` | {shown} | {' '.join(meaning.split()).replace('|', '&#124;')} |")
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """Return a README with the table of today."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
