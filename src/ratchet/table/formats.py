"""Tells by its first bytes what a file is that has the name of something else."""

from dataclasses import dataclass
from pathlib import Path

from ratchet.errors import DataError

# A page or a JSON document may begin with blanks; no text needs more to be known.
_HEAD = 512


@dataclass(frozen=True)
class Format:
    """A kind of file that is no table in the form its name says."""

    told: str
    """What it is, after "is"."""
    way_out: str
    """What to do, as a sentence."""


_EXCEL = "Save the sheet as CSV in UTF-8."
_CONVERT = "Write it as parquet, where it was made."
_BEGINNINGS = {
    b"PAR1": Format("a parquet file", "Let its name end in .parquet."),
    b"PK\x03\x04": Format(
        "a zip archive or an Excel workbook", f"Unpack it. Of a workbook: {_EXCEL}"
    ),
    b"\xd0\xcf\x11\xe0": Format("an old Excel workbook", _EXCEL),
    b"\x1f\x8b": Format("packed by gzip", "Let its name end in .csv.gz or .tsv.gz."),
    b"BZh": Format("packed by bzip2", "Unpack it."),
    b"\xfd7zXZ": Format("packed by xz", "Unpack it."),
    b"\x28\xb5\x2f\xfd": Format("packed by zstd", "Unpack it."),
    b"ARROW1": Format("an Arrow (feather) file", _CONVERT),
    b"ORC": Format("an ORC file", _CONVERT),
    b"\x89HDF": Format("an HDF5 file", _CONVERT),
    b"SQLite format 3": Format("an SQLite database", _CONVERT),
    b"%PDF": Format("a PDF document", "Get the table in another form."),
    # Protocols 2 to 5; a pickle may run any code, so that it is never opened.
    **{
        bytes([0x80, protocol]): Format(
            "a pickle, which may run any code when it is opened", _CONVERT
        )
        for protocol in range(2, 6)
    },
    b"version https://git-lfs": Format(
        "a pointer of Git LFS", "Fetch its content: `git lfs pull`."
    ),
}
_TEXTS = {
    b"<!doctype html": Format("a web page", "A download may have ended in a page; get it again."),
    b"<html": Format("a web page", "A download may have ended in a page; get it again."),
    b"<?xml": Format("an XML document", _CONVERT),
    b"{": Format("JSON", _CONVERT),
    b"[{": Format("JSON", _CONVERT),
}

UNREAD = {
    ".xlsx": _EXCEL,
    ".xls": _EXCEL,
    ".ods": _EXCEL,
    ".zip": "Unpack archives.",
    ".7z": "Unpack archives.",
    ".tar": "Unpack archives.",
    ".tgz": "Unpack archives.",
    ".bz2": "Unpack archives.",
    ".xz": "Unpack archives.",
    ".zst": "Unpack archives.",
    ".txt": "Rename text files to .csv if commas separate their fields, to .tsv if tabs do.",
    ".json": "Write JSON as parquet or CSV.",
    ".jsonl": "Write JSON as parquet or CSV.",
    ".pkl": "Pickles may run any code and are never opened: write them as parquet.",
    ".pickle": "Pickles may run any code and are never opened: write them as parquet.",
    ".feather": "Write feather files as parquet.",
    ".arrow": "Write Arrow files as parquet.",
    ".orc": "Write ORC files as parquet.",
    ".h5": "Write HDF5 files as parquet.",
}
"""What to do with files of other kinds, by the ending of their names."""


def refuse_others(path: Path, kind: str) -> None:
    """Refuse a file that is known to be something else than its name says.

    Parameters
    ----------
    path : Path
        A file that can be read.
    kind : str
        What its name says: ``parquet``, ``csv`` or ``tsv``.

    Raises
    ------
    DataError
        Saying what it is, and what to do.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    packed = path.name.lower().endswith(".gz")
    found = next((f for magic, f in _BEGINNINGS.items() if head.startswith(magic)), None)
    expected = b"PAR1" if kind == "parquet" else b"\x1f\x8b" if packed else None
    if expected is not None and head.startswith(expected):
        return
    if found is None and not packed:
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        found = next((f for magic, f in _TEXTS.items() if start.startswith(magic)), None)
    if found is None and packed:
        found = Format("not packed by gzip", f"Let its name end in .{kind} if it is text.")
    elif found is None and kind == "parquet" and b"\0" not in head and b"\n" in head:
        found = Format("text", "Let its name end in .csv or .tsv.")
    if found is not None:
        raise DataError(f"{path} is {found.told}. {found.way_out}")
