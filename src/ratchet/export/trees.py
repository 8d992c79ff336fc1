"""Ensembles of decision trees, from the library that grew them to one operator of ONNX."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ratchet.export.graph import ConversionError, Graph, Value

# Modes of a node, as the operator numbers them.
LEQ, LT, MEMBER = 0, 1, 6
# What LightGBM takes for nothing.
_ZERO = 1e-35


@dataclass(frozen=True)
class Node:
    """A question to a row, with the answer yes or no."""

    column: int
    """The column that it is about."""
    mode: int
    """``LEQ``, ``LT`` or ``MEMBER``."""
    split: float
    """What the value is compared with."""
    members: tuple[float, ...]
    """The values of ``MEMBER``."""
    missing: bool
    """The answer where the value is missing."""
    yes: "Node | Leaf"
    """Where to go on with yes."""
    no: "Node | Leaf"
    """And with no."""


@dataclass(frozen=True)
class Leaf:
    """The end of a way through a tree."""

    values: tuple[float, ...]
    """What it adds to each target."""


@dataclass
class _Arrays:
    """Nodes and leaves by number, as the operator takes them."""

    n_targets: int
    columns: list[int] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    members: list[float] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    yes: list[int] = field(default_factory=list)
    no: list[int] = field(default_factory=list)
    yes_is_leaf: list[int] = field(default_factory=list)
    no_is_leaf: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)

    def tree(self, root: Node | Leaf, target: int, place: int) -> None:
        """Add what a tree says of one target."""
        if isinstance(root, Leaf):  # the operator has no tree that is a leaf
            root = Node(0, LEQ, 0.0, (), True, root, root)
        self.roots.append(len(self.columns))
        waiting: list[tuple[Node, int]] = [(root, self._node(root))]
        while waiting:
            node, number = waiting.pop()
            for side, next_one in (("yes", node.yes), ("no", node.no)):
                is_leaf = isinstance(next_one, Leaf)
                if isinstance(next_one, Leaf):
                    at = len(self.targets)
                    self.targets.append(target)
                    self.weights.append(next_one.values[place])
                else:
                    at = self._node(next_one)
                    waiting.append((next_one, at))
                getattr(self, side)[number] = at
                getattr(self, f"{side}_is_leaf")[number] = int(is_leaf)

    def _node(self, node: Node) -> int:
        self.columns.append(node.column)
        self.modes.append(node.mode)
        self.splits.append(node.split)
        if node.mode == MEMBER:
            # The sets follow each other in the order of their nodes, a NaN after each. No set may
            # be empty, and no code is negative.
            self.members += [*(node.members or (-1.0,)), np.nan]
        self.missing.append(int(node.missing))
        for each in (self.yes, self.no, self.yes_is_leaf, self.no_is_leaf):
            each.append(0)
        return len(self.columns) - 1


def added(graph: Graph, value: Value, trees: Sequence[tuple[Node | Leaf, int]], n: int) -> Value:
    """Add up what trees say.

    Parameters
    ----------
    graph : Graph
        Gets the operator.
    value : Value
        The rows.
    trees : sequence of (tree, int)
        Each with the target that it is about; -1 says that its leaves have a value for each.
    n : int
        Targets.

    Returns
    -------
    Value
        The sums, of width n, in double precision.
    """
    from onnx import numpy_helper

    arrays = _Arrays(n)
    for root, target in trees:
        for each in range(n) if target < 0 else (target,):
            arrays.tree(root, each, each if target < 0 else 0)

    def tensor(name: str, values: Sequence[Any], dtype: type) -> Any:
        return numpy_helper.from_array(np.asarray(values, dtype=dtype), name)

    more = {}
    if arrays.members:
        more["membership_values"] = tensor("members", arrays.members, np.float64)
    name = graph.op(
        "TreeEnsemble",
        value.name,
        domain="ai.onnx.ml",
        aggregate_function=1,
        post_transform=0,
        n_targets=n,
        tree_roots=arrays.roots,
        nodes_featureids=arrays.columns,
        nodes_modes=tensor("modes", arrays.modes, np.uint8),
        nodes_splits=tensor("splits", arrays.splits, np.float64),
        nodes_truenodeids=arrays.yes,
        nodes_falsenodeids=arrays.no,
        nodes_trueleafs=arrays.yes_is_leaf,
        nodes_falseleafs=arrays.no_is_leaf,
        nodes_missing_value_tracks_true=arrays.missing,
        leaf_targetids=arrays.targets,
        leaf_weights=tensor("weights", arrays.weights, np.float64),
        **more,
    )
    return Value(name, n)


def of_forest(estimator: Any) -> Iterator[Node | Leaf]:
    """Read the trees of a forest; each leaf has its share of the forest's answer."""
    n = len(estimator.estimators_)
    for grown in estimator.estimators_:
        tree = grown.tree_
        values = tree.value[:, 0, :]
        if hasattr(estimator, "classes_"):
            values = values / values.sum(axis=1, keepdims=True)
        values = values / n
        built: dict[int, Node | Leaf] = {}
        # Children come after their parents.
        for at in range(tree.node_count - 1, -1, -1):
            left, right = int(tree.children_left[at]), int(tree.children_right[at])
            if left < 0:
                built[at] = Leaf(tuple(map(float, values[at])))
                continue
            built[at] = Node(
                column=int(tree.feature[at]),
                mode=LEQ,
                split=float(tree.threshold[at]),
                members=(),
                missing=bool(tree.missing_go_to_left[at]),
                yes=built.pop(left),
                no=built.pop(right),
            )
        yield built[0]


def of_hist_boosting(estimator: Any) -> Iterator[tuple[Node | Leaf, int]]:
    """Read the trees of histogram boosting, each with its target."""
    for round_ in estimator._predictors:
        for target, predictor in enumerate(round_):
            nodes = predictor.nodes
            built: dict[int, Node | Leaf] = {}
            for at in range(len(nodes) - 1, -1, -1):
                node = nodes[at]
                if node["is_leaf"]:
                    built[at] = Leaf((float(node["value"]),))
                    continue
                members: tuple[float, ...] = ()
                if node["is_categorical"]:
                    bits = predictor.raw_left_cat_bitsets[node["bitset_idx"]]
                    members = _members(bits)
                built[at] = Node(
                    column=int(node["feature_idx"]),
                    mode=MEMBER if node["is_categorical"] else LEQ,
                    split=float(node["num_threshold"]) if not node["is_categorical"] else 0.0,
                    members=members,
                    missing=bool(node["missing_go_to_left"]),
                    yes=built.pop(int(node["left"])),
                    no=built.pop(int(node["right"])),
                )
            yield built[0], target


def of_xgboost(model: Mapping[str, Any]) -> Iterator[tuple[Node | Leaf, int]]:
    """Read the trees of a booster that XGBoost has written as JSON, each with its target."""
    learned = model["learner"]["gradient_booster"]
    if "model" not in learned:
        raise ConversionError(
            f"XGBoost's booster {learned.get('name')!r} can't be converted; gbtree can."
        )
    for tree, target in zip(learned["model"]["trees"], learned["model"]["tree_info"], strict=True):
        left, right = tree["left_children"], tree["right_children"]
        # Of a split by categories: its members, all of whom go right.
        members = {
            node: tuple(map(float, tree["categories"][begin : begin + size]))
            for node, begin, size in zip(
                tree["categories_nodes"],
                tree["categories_segments"],
                tree["categories_sizes"],
                strict=True,
            )
        }
        built: dict[int, Node | Leaf] = {}
        for at in _children_first(left, right):
            condition = float(np.float32(tree["split_conditions"][at]))
            if left[at] < 0:
                built[at] = Leaf((condition,))
                continue
            goes_left = bool(tree["default_left"][at])
            by_set = at in members
            yes, no = (right, left) if by_set else (left, right)
            built[at] = Node(
                column=int(tree["split_indices"][at]),
                mode=MEMBER if by_set else LT,
                split=0.0 if by_set else condition,
                members=members.get(at, ()),
                missing=goes_left != by_set,
                yes=built.pop(yes[at]),
                no=built.pop(no[at]),
            )
        yield built[0], int(target)


def of_lightgbm(model: Mapping[str, Any]) -> Iterator[tuple[Node | Leaf, int]]:
    """Read the trees of a booster that LightGBM has dumped, each with its target."""
    per_round = model["num_tree_per_iteration"]
    for number, tree in enumerate(model["tree_info"]):
        yield _lightgbm_node(tree["tree_structure"]), number % per_round


def _lightgbm_node(told: Mapping[str, Any]) -> Node | Leaf:
    if "split_feature" not in told:
        if "leaf_const" in told:
            raise ConversionError("LightGBM's linear trees can't be converted.")
        return Leaf((float(told["leaf_value"]),))
    yes, no = _lightgbm_node(told["left_child"]), _lightgbm_node(told["right_child"])
    column = int(told["split_feature"])
    if told["decision_type"] == "==":
        members = tuple(float(each) for each in str(told["threshold"]).split("||"))
        return Node(column, MEMBER, 0.0, members, False, yes, no)
    threshold = float(told["threshold"])
    kind = told["missing_type"]
    if kind == "Zero":
        raise ConversionError("LightGBM's option zero_as_missing can't be converted.")
    # Where no value was missing in training, one that is counts as 0.
    goes_left = bool(told["default_left"]) if kind == "NaN" else threshold >= 0
    return Node(column, LEQ, threshold, (), goes_left, yes, no)


def xgboost_json(booster: Any) -> dict[str, Any]:
    """Give all of a booster as XGBoost writes it."""
    return dict(json.loads(booster.save_raw("json").decode("utf-8")))


def _children_first(left: Sequence[int], right: Sequence[int]) -> list[int]:
    order, waiting = [], [0]
    while waiting:
        at = waiting.pop()
        order.append(at)
        if left[at] >= 0:
            waiting += [left[at], right[at]]
    return order[::-1]


def _members(bits: np.ndarray) -> tuple[float, ...]:
    """Read the categories of a set that is kept in bits."""
    return tuple(
        float(32 * word + bit)
        for word, value in enumerate(bits)
        for bit in range(32)
        if int(value) >> bit & 1
    )
