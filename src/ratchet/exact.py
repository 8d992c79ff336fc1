"""Values as JSON that come back exactly as they were: tuples, numbers of numpy, infinities."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ratchet.errors import RatchetError

# What a value that JSON doesn't have is wrapped in, under the name of its kind.
_FLOAT, _LOST, _MAPPING, _NUMPY, _TUPLE = "float", "lost", "mapping", "numpy", "tuple"
_KINDS = (_FLOAT, _LOST, _MAPPING, _NUMPY, _TUPLE)


def pack(value: Any) -> Any:
    """Turn a value into what JSON has.

    Something that can't be written down, such as a function, becomes a note
    of it, which ``unpack`` refuses.

    Examples
    --------
    >>> pack({"sizes": (50, 50), "alpha": 0.1})
    {'mapping': {'sizes': {'tuple': [50, 50]}, 'alpha': 0.1}}
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {_FLOAT: repr(value)}
    if type(value) is tuple:
        return {_TUPLE: [pack(each) for each in value]}
    if type(value) is list:
        return [pack(each) for each in value]
    if isinstance(value, Mapping) and all(type(name) is str for name in value):
        return {_MAPPING: pack_all(value)}
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return {_NUMPY: [value.dtype.str, pack(value.item())]}
    return {_LOST: repr(value)}


def unpack(value: Any) -> Any:
    """Turn what ``pack`` gave, also after JSON, back into the value.

    Raises
    ------
    RatchetError
        If the value could not be written down.

    Examples
    --------
    >>> unpack({"mapping": {"sizes": {"tuple": [50, 50]}, "alpha": 0.1}})
    {'sizes': (50, 50), 'alpha': 0.1}
    """
    if isinstance(value, list):
        return [unpack(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    if len(value) != 1 or next(iter(value)) not in _KINDS:
        return unpack_all(value)
    [(kind, content)] = value.items()
    if kind == _TUPLE:
        return tuple(unpack(each) for each in content)
    if kind == _MAPPING:
        return unpack_all(content)
    if kind == _FLOAT:
        return float(content)
    if kind == _NUMPY:
        return np.dtype(content[0]).type(unpack(content[1]))
    raise RatchetError(f"{content} can't be written down, so that it is not known any more.")


def pack_all(values: Mapping[str, Any]) -> dict[str, Any]:
    """Pack each value of a mapping, whose names stay as they are."""
    return {name: pack(each) for name, each in values.items()}


def unpack_all(values: Mapping[str, Any]) -> dict[str, Any]:
    """Unpack each value of a mapping.

    Raises
    ------
    RatchetError
        If one could not be written down.
    """
    return {name: unpack(each) for name, each in values.items()}
