"""What one run has otherwise than another: where it comes from, and its parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

COMPARED = {
    "ratchet.data_version": "data",
    "mlflow.source.git.commit": "commit",
    "ratchet.dirty": "dirty tree",
    "ratchet.lock_digest": "lock",
}
"""Tags of two runs that are worth comparing, and what they are called."""


@dataclass(frozen=True)
class Change:
    """One thing that two runs have otherwise."""

    name: str
    """What it is."""
    old: str | None
    """What the first one has; None where it says nothing."""
    new: str | None
    """What the second one has; None where it says nothing."""


def between(
    names: Mapping[str, str], old: Mapping[str, str], new: Mapping[str, str]
) -> Iterator[Change]:
    """Yield which of some named values differ.

    Parameters
    ----------
    names : mapping
        Keys of the values, and what they are called.
    old, new : mapping
        The values of the two.
    """
    for key, name in names.items():
        if old.get(key) != new.get(key):
            yield Change(name, old.get(key), new.get(key))


def of_origin(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    """Tell which data, code and environment the tags of two runs name otherwise."""
    return tuple(between(COMPARED, old, new))


def of_params(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    """Tell which parameters differ, by name; what a search has found is none."""
    names = sorted(name for name in old.keys() | new.keys() if not name.startswith("leader"))
    return tuple(between(dict(zip(names, names, strict=True)), old, new))
