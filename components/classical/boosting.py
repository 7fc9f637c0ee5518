"""Gradient boosting of trees, as many as suit validation best, and its trees in ONNX."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.classical import features
from components.classical.graph import NEVER, Graph
from components.recipes import Arrays, Input
from components.targets import Target

MAX_NAMES = 50  # classes or numbers: a tree per name and round, of a thousand it would take hours
MAX_CATEGORIES = 250  # of a column: scikit-learn's bins
MAX_ROUNDS, LEARNING_RATE = 1000, 0.05  # half of scikit-learn's: better on most datasets of bench/defaults, for time
PATIENCE = 20  # rounds without a better validation loss, of classes
PATIENCE_OF_NUMBERS = 100  # the squared error stands still for a while and falls again, and the absolute one later yet
LESS_OR_EQUAL, MEMBER = 0, 6  # modes of a node: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
FLOAT, DOUBLE = 1, 11  # element types of ONNX


@dataclass(frozen=True)
class Forest:
    """Trees that were grown, not yet in a graph: of all names together, or a model for each name."""

    joined: str  # the tensor of all columns
    columns: np.ndarray  # those of it that are read
    models: dict[int, Any]  # by the first name to which each adds
    bases: np.ndarray  # (names,) the logits that they begin at
    places: dict[int, list[int]]  # the names to which each model's trees add
    rounds: dict[int, int]  # as many as suit the examples best by which it was stopped


def grow(
    graph: Graph,
    inputs: dict[str, Input],
    target: Target,
    train: tuple[Arrays, np.ndarray],
    seed: int,
    *,
    other: tuple[Arrays, np.ndarray] | None = None,
    rounds: dict[int, int] | None = None,
) -> Forest | None:
    """Grow trees on the training examples, stopped by `other` examples, or after `rounds` of each model.

    A model that `rounds` lacks gets as many as the others at most.
    Ke et al. (2017), LightGBM, as scikit-learn has it: histograms, categories split as such. None where the inputs are
    not a table, or of more than MAX_NAMES classes or numbers. `train` and `other` are encoded inputs and labels.
    """
    arrays, truth = train
    if len(target.names) > MAX_NAMES:
        return None
    read = features.trees(graph, inputs, arrays, MAX_CATEGORIES)
    if read is None:
        return None
    numbers, categories = read
    columns = [*categories, *numbers]
    joined = columns[0] if len(columns) == 1 else graph.add("Concat", *columns, axis=1)
    (x,) = graph.ask({joined: np.float32}, arrays)
    coded = np.arange(x.shape[1]) < sum(arrays[name].shape[1] for name, e in inputs.items() if e.kind == "codes")
    empty = np.isnan(x).all(axis=0)  # nothing to cut into bins
    if empty.all():
        return None
    kept = np.flatnonzero(~empty)
    held = None
    if other is not None:
        held = graph.ask({joined: np.float32}, other[0])[0][:, kept], other[1]
    settings = {"categorical_features": coded[kept], "random_state": seed, "learning_rate": LEARNING_RATE}
    models, bases, places, best = _fitted(x[:, kept], truth, held, target, settings, rounds or {})
    if not models:
        return None
    return Forest(joined, kept, models, bases, places, best)


def write(graph: Graph, forest: Forest, rounds: dict[int, int], names: int) -> tuple[str, str]:
    """Add trees to the graph, `rounds` of each model; return the logits' tensor and what the model is called."""
    trees = [
        (tree, place)
        for key, model in forest.models.items()
        for group in model._predictors[: rounds[key]]
        for tree, place in zip(group, forest.places[key], strict=True)
    ]
    start = graph.constant(forest.bases[None], np.float64)
    if trees:  # in float64, or the last bits of a sum of trees depend on how many cores and examples share the work
        wide = graph.add("Cast", forest.joined, to=DOUBLE)
        logits = graph.total([graph.add("TreeEnsemble", wide, **_ensemble(trees, forest.columns, names)), start])
    else:  # the same for each example
        rows = graph.add("Shape", forest.joined, end=1)
        logits = graph.add("Expand", start, graph.add("Concat", rows, graph.constant([1], np.int64), axis=0))
    grown = max(rounds[key] for key in forest.models)
    name = f"gradient boosting, {grown} rounds" if trees else "the same answer for all: no tree was better"
    return graph.add("Cast", logits, to=FLOAT), name


def _fitted(
    x: np.ndarray,
    truth: np.ndarray,
    other: tuple[np.ndarray, np.ndarray] | None,
    target: Target,
    settings: dict[str, Any],
    rounds: dict[int, int],
) -> tuple[dict[int, Any], np.ndarray, dict[int, list[int]], dict[int, int]]:
    """Return the models of a Forest, where they begin, the names to which they add, and as many rounds as suit best."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    most = max(rounds.values(), default=0)
    numbers = target.activation == "linear"

    def options(key: int) -> dict[str, Any]:
        if other is None:
            return settings | {"max_iter": max(rounds.get(key, most), 1), "early_stopping": False}
        patience = PATIENCE_OF_NUMBERS if numbers else PATIENCE
        return settings | {"max_iter": MAX_ROUNDS, "early_stopping": True, "n_iter_no_change": patience}

    def suits(key: int, model: Any, held: dict[str, np.ndarray]) -> int:
        if not held:
            return rounds.get(key, most)
        if not numbers:
            return int(np.argmax(model.validation_score_))  # the first is that of no round
        stages = [np.ravel(model._baseline_prediction), *model.staged_predict(held["X_val"])]
        return int(np.argmin([np.abs(stage - held["y_val"]).mean() for stage in stages]))  # as Regression.loss

    names = len(target.names)
    if target.activation == "softmax":
        seen = np.unique(truth)
        if len(seen) == 1:
            return {}, np.zeros(names), {}, {}
        held = {}
        if other is not None:
            rows = np.isin(other[1], seen)  # a class that training has not is none to stop by
            if not rows.any():
                return {}, np.zeros(names), {}, {}
            held = {"X_val": other[0][rows], "y_val": other[1][rows]}
        model = HistGradientBoostingClassifier(**options(0)).fit(x, truth, **held)
        bases = np.full(names, NEVER)
        base = np.ravel(model._baseline_prediction)
        bases[seen] = [0.0, base[0]] if len(seen) == 2 else base
        places = [int(seen[1])] if len(seen) == 2 else [int(name) for name in seen]
        return {0: model}, bases, {0: places}, {0: suits(0, model, held)}
    models, bases, best = {}, np.zeros(names), {}
    for name in range(names):
        y, unit = truth[:, name], 1.0
        if target.activation == "sigmoid":
            if len(np.unique(y)) == 1:
                bases[name] = NEVER if y[0] == 0 else -NEVER
                continue
            maker = HistGradientBoostingClassifier
        else:  # when to stop is an absolute tolerance of scikit-learn's: in deviations of the label
            maker = HistGradientBoostingRegressor
            unit = y.std(dtype=np.float64) or 1.0
            y = y / unit
        held = {}
        if other is not None:
            held = {"X_val": other[0], "y_val": other[1][:, name] / unit if numbers else other[1][:, name]}
        model = maker(**options(name)).fit(x, y, **held)
        best[name] = suits(name, model, held)
        for tree in itertools.chain(*model._predictors):
            tree.nodes["value"] *= unit
        models[name] = model
        bases[name] = unit * float(np.ravel(model._baseline_prediction)[0])
    return models, bases, {name: [name] for name in models}, best


def _ensemble(trees: list[tuple[Any, int]], columns: np.ndarray, names: int) -> dict[str, Any]:
    """Return the attributes of a TreeEnsemble of float64: scikit-learn's trees, each with the name to which it adds."""
    from onnx import numpy_helper

    nodes: dict[str, list[Any]] = {name: [] for name in ("column", "mode", "split", "true", "false", "missing")}
    leaf: dict[str, list[int]] = {"true": [], "false": []}
    members: list[float] = []
    leaves: list[float] = []
    targets: list[int] = []
    roots = []
    for tree, place in trees:
        rows = tree.nodes
        inner = np.flatnonzero(rows["is_leaf"] == 0)
        number = {int(row): len(nodes["column"]) + at for at, row in enumerate(inner)}
        for row in np.flatnonzero(rows["is_leaf"]):
            number[int(row)] = len(leaves)
            leaves.append(float(rows["value"][row]))
            targets.append(place)
        if not len(inner):  # a tree that is a leaf: both sides of any question
            roots.append(len(nodes["column"]))
            _node(nodes, leaf, int(columns[0]), LESS_OR_EQUAL, 0.0, (number[0], True), (number[0], True), missing=False)
            continue
        roots.append(number[0])
        for row in inner:
            node = rows[row]
            left, right = int(node["left"]), int(node["right"])
            sides = [(number[side], bool(rows["is_leaf"][side])) for side in (left, right)]
            column, missing = int(columns[node["feature_idx"]]), bool(node["missing_go_to_left"])
            if node["is_categorical"]:
                bits = tree.raw_left_cat_bitsets[node["bitset_idx"]]
                held = [code for code in range(256) if bits[code // 32] >> np.uint32(code % 32) & np.uint32(1)]
                members += [*(held or [-1]), np.nan]  # it may tell missing from all others
                _node(nodes, leaf, column, MEMBER, 0.0, *sides, missing=missing)
            else:
                _node(nodes, leaf, column, LESS_OR_EQUAL, float(node["num_threshold"]), *sides, missing=missing)
    found = {
        "n_targets": names,
        "nodes_featureids": nodes["column"],
        "nodes_modes": numpy_helper.from_array(np.array(nodes["mode"], np.uint8)),
        "nodes_splits": numpy_helper.from_array(np.array(nodes["split"], np.float64)),
        "nodes_truenodeids": nodes["true"],
        "nodes_trueleafs": leaf["true"],
        "nodes_falsenodeids": nodes["false"],
        "nodes_falseleafs": leaf["false"],
        "nodes_missing_value_tracks_true": nodes["missing"],
        "leaf_targetids": targets,
        "leaf_weights": numpy_helper.from_array(np.array(leaves, np.float64)),
        "tree_roots": roots,
    }
    if members:
        found["membership_values"] = numpy_helper.from_array(np.array(members, np.float64))
    return found


def _node(
    nodes: dict[str, list[Any]],
    leaf: dict[str, list[int]],
    column: int,
    mode: int,
    split: float,
    true: tuple[int, bool],
    false: tuple[int, bool],
    *,
    missing: bool,
) -> None:
    values = {"column": column, "mode": mode, "split": split, "true": true[0], "false": false[0], "missing": missing}
    for name, value in values.items():
        nodes[name].append(int(value) if name != "split" else value)
    leaf["true"].append(int(true[1]))
    leaf["false"].append(int(false[1]))
