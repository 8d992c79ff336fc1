"""The backends that models come from; importing this module registers the built-in ones."""

from ratchet.backends import sklearn as _sklearn  # noqa: F401, I001  (the baseline comes first)
from ratchet.backends import lightgbm as _lightgbm  # noqa: F401  (registers)
from ratchet.backends import catboost as _catboost  # noqa: F401  (registers)
from ratchet.backends import xgboost as _xgboost  # noqa: F401  (registers)
from ratchet.backends import neural_network as _neural_network  # noqa: F401  (registers)
from ratchet.backends import hooks as _hooks  # noqa: F401  (registers)
from ratchet.backends import clustering as _clustering  # noqa: F401  (registers)
from ratchet.backends.base import (
    Backend,
    Choice,
    Dimension,
    Family,
    Fitted,
    Integer,
    Interpretability,
    Looks,
    Params,
    Real,
    Request,
    Rows,
    Space,
    Stream,
    Task,
    available,
    callable_modules,
    get,
    load,
    packages,
    register,
)

__all__ = [
    "Backend",
    "Choice",
    "Dimension",
    "Family",
    "Fitted",
    "Integer",
    "Interpretability",
    "Looks",
    "Params",
    "Real",
    "Request",
    "Rows",
    "Space",
    "Stream",
    "Task",
    "available",
    "callable_modules",
    "get",
    "load",
    "packages",
    "register",
]
