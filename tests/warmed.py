"""What the processes are forks of that are killed or meet: all that they would import."""

import git  # noqa: F401
import matplotlib.backends.backend_svg  # noqa: F401
import mlflow.sklearn  # noqa: F401
import sklearn.ensemble  # noqa: F401
import skops.io  # noqa: F401
import skrub  # noqa: F401
import xgboost  # noqa: F401
from mlflow.store.model_registry import sqlalchemy_store as registry  # noqa: F401
from mlflow.store.tracking import sqlalchemy_store as tracking  # noqa: F401
from sqlalchemy.dialects import sqlite  # noqa: F401

from ratchet import lineage
from ratchet.commands import retrain  # noqa: F401
from ratchet.steps import monitor, promote  # noqa: F401

lineage.environment()
