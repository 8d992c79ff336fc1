"""Builds a graph of ONNX operators, a value after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ratchet.errors import RatchetError

OPSET = 18
"""Version of ONNX's own operators; that of 2022, which every runtime of today knows."""

ML_OPSET = 5
"""Version of its operators for machine learning: the first one with trees that split by sets of
categories and in double precision."""


# What the names of values begin with, so that no column has one of them.
_OURS = "ratchet/"


class ConversionError(RatchetError):
    """A part of a model has no counterpart in ONNX."""


@dataclass(frozen=True)
class Value:
    """What an operator gives: a matrix with a row for each row of the input."""

    name: str
    """Its name in the graph."""
    width: int
    """Its columns."""


class Graph:
    """Operators in their order, with the constants that they need."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._known: dict[tuple[Any, ...], str] = {}

    def constant(self, values: Any) -> str:
        """Add a constant, or find the one that is equal; give its name."""
        from onnx import numpy_helper

        array = np.asarray(values)
        key = (array.dtype.str, array.shape, array.tobytes() if array.dtype != object else None)
        if key[2] is None or key not in self._known:
            name = f"{_OURS}c{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, name))
            self._known[key] = name
        return self._known[key]

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operator; give the name of what comes out."""
        from onnx import helper

        name = f"{_OURS}v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], domain=domain, **attributes))
        return name

    def joined(self, parts: Sequence[Value]) -> Value:
        """Put matrices beside each other."""
        if len(parts) == 1:
            return parts[0]
        name = self.op("Concat", *(part.name for part in parts), axis=1)
        return Value(name, sum(part.width for part in parts))

    def columns(self, value: Value, places: Sequence[int]) -> Value:
        """Take some columns of a matrix, in any order."""
        if list(places) == list(range(value.width)):
            return value
        index = self.constant(np.asarray(places, dtype=np.int64))
        return Value(self.op("Gather", value.name, index, axis=1), len(places))

    def cast(self, name: str, to: type) -> str:
        """Convert numbers to float32, float64, int64 or bool."""
        from onnx import helper

        return self.op("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))

    def single(self, value: Value) -> Value:
        """Round to single precision, and go on in double."""
        return Value(self.cast(self.cast(value.name, np.float32), np.float64), value.width)

    def linear(self, value: Value, weights: np.ndarray, offset: np.ndarray) -> Value:
        """Multiply with a matrix of shape (width, k), and add a row of shape (k,)."""
        product = self.op("MatMul", value.name, self.constant(weights.astype(np.float64)))
        offset = np.asarray(offset, dtype=np.float64).reshape(1, -1)
        return Value(self.op("Add", product, self.constant(offset)), weights.shape[1])

    def affine(self, value: Value, factor: np.ndarray, shift: np.ndarray) -> Value:
        """Subtract a row and multiply with another one, both of shape (width,)."""
        moved = self.op("Sub", value.name, self.constant(_row(shift)))
        return Value(self.op("Mul", moved, self.constant(_row(factor))), value.width)

    def without_nan(self, value: Value, instead: np.ndarray) -> Value:
        """Put a row's values, of shape (width,), where numbers are missing."""
        missing = self.op("IsNaN", value.name)
        name = self.op("Where", missing, self.constant(_row(instead)), value.name)
        return Value(name, value.width)


def _row(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(1, -1)
