"""The backends that models come from; importing this module registers the built-in ones."""

from ratchet.backends import sklearn as _sklearn  # noqa: F401  (registers)
from ratchet.backends import xgboost as _xgboost  # noqa: F401  (registers)
from ratchet.backends.base import (
    Backend,
    Choice,
    Dimension,
    Family,
    Fitted,
    Integer,
    Params,
    Real,
    Request,
    Rows,
    Space,
    Task,
    available,
    get,
    load,
    register,
)

__all__ = [
    "Backend",
    "Choice",
    "Dimension",
    "Family",
    "Fitted",
    "Integer",
    "Params",
    "Real",
    "Request",
    "Rows",
    "Space",
    "Task",
    "available",
    "get",
    "load",
    "register",
]
