"""What the user's own section of params.yaml says about a backend's hyperparameters."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ratchet.backends.base import Backend, Family
from ratchet.errors import SettingsError


def fixed(
    backend: Backend, families: Sequence[Family], also: Iterable[str] = ()
) -> tuple[Family, ...]:
    """Fix the hyperparameters that the backend's options name.

    A fixed hyperparameter has its value in every start and is searched no
    more. A family takes the options that it has a hyperparameter for.

    Parameters
    ----------
    backend : Backend
        Whose options they are.
    families : sequence of Family
        What it offers.
    also : iterable of str
        Further hyperparameters, which every family takes.

    Raises
    ------
    SettingsError
        If no family has a hyperparameter of that name.
    """
    if not backend.options:
        return tuple(families)
    everywhere = set(also)
    known = everywhere.union(*(_hyperparameters(family) for family in families))
    for name in backend.options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise SettingsError(
                f"train.backends.{backend.name} names {name!r}, which is no hyperparameter"
                + (f" of it; did you mean {close[0]}?" if close else " of it.")
                + f" Allowed: {', '.join(sorted(known))}."
            )
    return tuple(_with_options(backend, family, everywhere) for family in families)


def _hyperparameters(family: Family) -> set[str]:
    names = {name for start in family.starts for name in start} | set(family.space)
    return names | ({family.rounds} if family.rounds else set())


def _with_options(backend: Backend, family: Family, everywhere: set[str]) -> Family:
    if family.is_baseline:
        return family
    taken = _hyperparameters(family) | everywhere
    given = {name: value for name, value in backend.options.items() if name in taken}
    starts = []
    for start in family.starts:
        if (merged := {**start, **given}) not in starts:
            starts.append(merged)
    space = {name: each for name, each in family.space.items() if name not in given}
    return replace(family, starts=tuple(starts), space=space)
