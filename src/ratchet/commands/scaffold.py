"""The files of a project that uses the installed package."""

from collections.abc import Iterator
from pathlib import Path

from ratchet import files, packaged, settings
from ratchet.commands.draft import SCHEMA_FILE, scalar
from ratchet.errors import RatchetError
from ratchet.report.pieces import rendered

# Where each template goes.
_FILES = {
    "MLproject": "MLproject",
    "Makefile": "Makefile",
    "README.md": "README.md",
    "dvc.yaml": "dvc.yaml",
    "dvcignore": ".dvcignore",
    "gitignore": ".gitignore",
    "main.py": "src/__main__.py",
    "own.py": "src/own.py",
    "test_project.py": "tests/test_project.py",
}

OWN = "own"
"""Module of a project's own features and kinds of models, in its ``src``."""


def write(folder: Path, *, name: str, what: str, data: str) -> None:
    """Write everything but params.yaml and the data.

    Parameters
    ----------
    folder : Path
        Where to write.
    name : str
        Of the task.
    what : str
        Which table it was, in a line.
    data : str
        Name of the folder with the data.

    Raises
    ------
    RatchetError
        If a file can't be written, or nothing says what this package needs.
    """
    for template, place in _FILES.items():
        text = rendered(f"project/{template}.jinja", name=name, what=what, data=data)
        files.write_text(folder / place, text)
    files.write_text(folder / SCHEMA_FILE, settings.json_schema())
    write_environment(folder, name)


def write_environment(folder: Path, name: str, others: tuple[str, ...] = ()) -> int:
    """Write conda.yaml with what is installed now, and the wheel that it names if it does.

    Parameters
    ----------
    folder : Path
        The project.
    name : str
        Of the environment.
    others : tuple of str
        Requirements that the project has besides.

    Returns
    -------
    int
        How many packages it lists.

    Raises
    ------
    RatchetError
        If nothing here says what this package needs.
    """
    origin = packaged.origin()
    if origin.needs_wheel:
        packaged.write_wheel(folder / packaged.WHEELS)
    pins = [*packaged.pins(), *others, origin.requirement]
    listed = {
        "name": name,
        "pins": [scalar(pin) for pin in sorted(pins, key=str.lower)],
        "travels": origin.needs_wheel,
        "wheels": packaged.WHEELS,
    }
    files.write_text(folder / "conda.yaml", rendered("project/conda.yaml.jinja", **listed))
    return len(pins)


def lock(root: Path, name: str) -> int:
    """Bring conda.yaml up to date with the packages that are installed now.

    What it lists and Ratchet doesn't need stays, at the version that is installed. Where editors
    have the settings' schema beside params.yaml, it follows the version that runs.

    Returns
    -------
    int
        How many packages it lists.

    Raises
    ------
    RatchetError
        If the project has a lock of its own, or no conda.yaml.
    """
    if (root / "uv.lock").is_file():
        raise RatchetError(f"{root} has a uv.lock, and conda.yaml follows that: run `make lock`.")
    listed = packaged.listed_in(root / "conda.yaml")
    if not listed:
        raise RatchetError(f"{root / 'conda.yaml'} is not there, or lists no packages.")
    needed = {packaged.required_name(pin) for pin in packaged.pins()}
    others = tuple(
        packaged.pin_of(each)
        for each in listed
        if packaged.named_version(each) is None and packaged.required_name(each) not in needed
    )
    before = set(_wheels(root))
    count = write_environment(root, name, others)
    wanted = packaged.origin()
    for wheel in before:
        if not wanted.requirement.endswith(f"/{wheel.name}"):
            wheel.unlink()
    if (root / SCHEMA_FILE).is_file():
        files.write_text(root / SCHEMA_FILE, settings.json_schema())
    return count


def _wheels(root: Path) -> Iterator[Path]:
    yield from (root / packaged.WHEELS).glob(f"{packaged.NAME}-*.whl")
