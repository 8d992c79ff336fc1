"""A loaded version as MLflow's scoring server asks one: its formats in, its JSON out."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INTERNAL_ERROR
from mlflow.pyfunc import scoring_server

from ratchet.errors import DataError
from ratchet.serving import rows
from ratchet.serving.served import Served
from ratchet.serving.together import Together

logger = logging.getLogger(__name__)

JSON = scoring_server.CONTENT_TYPE_JSON
METHOD_PARAM = "predict_fn"
"""Param of a request that says how the model is asked, by the name that MLflow has for it."""

# MLflow repeats in its sentence what it could not read, and that may be megabytes.
_LONGEST = 1_000


@dataclass(frozen=True)
class Answer:
    """What goes back over the wire."""

    status: int
    """Of HTTP."""
    body: bytes
    """UTF-8."""
    kind: str = JSON
    """Its content type."""


def refusal(status: int, code: str, sentence: str) -> Answer:
    """Say why there is no answer, in the form of MLflow's errors.

    Parameters
    ----------
    status : int
        Of HTTP.
    code : str
        One of MLflow's error codes, such as ``"BAD_REQUEST"``.
    sentence : str
        For people.
    """
    told = sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST]}…"
    return Answer(status, json.dumps({"error_code": code, "message": told}).encode())


class Unnamed:
    """What MLflow asks a model of its columns, once: nothing, since the next version has others."""

    def get_input_schema(self) -> None:
        """Leave values as they come: ``rows.accept`` knows what they should be."""

    def get_params_schema(self) -> None:
        """Leave params as they come, too."""


class Answering:
    """A version that answers requests in MLflow's formats."""

    metadata = Unnamed()
    """For MLflow."""

    def __init__(self, served: Served) -> None:
        self.served = served
        methods: list[Callable[[Any], Any]] = [served.model.predict]
        if served.schema.problem.is_classification and hasattr(served.model, "predict_proba"):
            methods.append(served.model.predict_proba)
        self._asked = {each.__name__: Together(each) for each in methods}

    def ask(self, body: bytes, content_type: str | None) -> Answer:
        """Answer a request to ``/invocations``; whatever is wrong with it is an answer, too.

        Parameters
        ----------
        body : bytes
            Rows in one of MLflow's formats.
        content_type : str or None
            ``application/json``, ``text/csv`` or ``application/vnd.apache.parquet``.
        """
        if content_type is None:
            return refusal(
                415,
                "BAD_REQUEST",
                "The request doesn't say what it holds. Send the header Content-Type:"
                f" {', '.join(scoring_server.CONTENT_TYPES)} are allowed.",
            )
        try:
            found = scoring_server.invocations(body, content_type, self, None)
        except _Refused as refused:
            return refusal(refused.get_http_status_code(), refused.error_code, refused.sentence)
        except MlflowException as error:
            return refusal(error.get_http_status_code(), error.error_code, error.message)
        except (RecursionError, ValueError) as error:
            return refusal(400, "BAD_REQUEST", f"The request can't be read: {error}.")
        return Answer(found.status, found.response.encode(), found.mimetype)

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Answer rows as MLflow has parsed them; it finds this by its name.

        Parameters
        ----------
        data : pd.DataFrame, dict, list or np.ndarray
            Rows, named in any of MLflow's ways.
        params : mapping, optional
            ``predict_fn``: ``predict`` or, for classes, ``predict_proba``.

        Raises
        ------
        MlflowException
            If the rows or the params are not what the model takes, or it fails.
        """
        method, schema = self._method(params), self.served.schema
        try:
            accepted = rows.accept(_named(data, schema.names), schema)
            if accepted.empty:
                return []
            said = self._asked[method](accepted)
        except DataError as error:
            raise _Refused(str(error)) from error
        except Exception as error:  # a model may fail in any way, and the server goes on
            logger.exception("serve: %s failed", self.served.label)
            told = f"{self.served.label} failed: {type(error).__name__}: {error}"
            raise _Refused(told, INTERNAL_ERROR) from error
        return said if method == "predict" else pd.DataFrame(said, columns=self._classes)

    @cached_property
    def _classes(self) -> list[str]:
        return [str(each) for each in self.served.model.classes_]

    def _method(self, params: Mapping[str, Any] | None) -> str:
        params = params or {}
        method = params.get(METHOD_PARAM, "predict") if isinstance(params, Mapping) else None
        if method not in self._asked or set(params) - {METHOD_PARAM}:
            allowed = " or ".join(f'{{"{METHOD_PARAM}": "{name}"}}' for name in self._asked)
            raise _Refused(f"params must be {allowed} for {self.served.label}, got {params!r}.")
        return str(method)


class _Refused(MlflowException):
    """A sentence that stays as it is: MLflow puts the whole request before its own."""

    def __init__(self, sentence: str, code: int = BAD_REQUEST) -> None:
        super().__init__(sentence, error_code=code)
        self.sentence = sentence


def _named(data: Any, names: list[str]) -> pd.DataFrame:
    """Make a table of what MLflow makes of ``instances`` and ``inputs``; a table stays as it is."""
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, np.ndarray) and data.ndim == 1 and len(names) == 1:
        data = {names[0]: data}
    try:
        if isinstance(data, Mapping):
            return pd.DataFrame({name: _column(values) for name, values in data.items()})
        if isinstance(data, list):
            return pd.DataFrame([{name: _cell(each[name]) for name in each} for each in data])
    except (ValueError, TypeError) as error:
        raise DataError(f"The rows make no table: {error}.") from error
    raise DataError(
        "The rows don't say which value belongs to which column. Send dataframe_records,"
        " dataframe_split with columns, or instances or inputs with names."
    )


def _column(values: Any) -> Any:
    values = np.atleast_1d(values)
    # MLflow puts every value into an array of its own, and numpy leaves those that are None there.
    plain = values.ndim == 1 and values.dtype != object
    return values if plain else [_cell(each) for each in values]


def _cell(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
