"""Fit classical models, keep the one that suits unseen examples best, and write it as ONNX."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from components import SlipwayError
from components.classical import boosting, choosing, frames, linear, windows
from components.classical.graph import Graph, ask
from components.recipes import Arrays, Input
from components.streams import stream
from components.targets import Target

ACTIVATIONS = {"softmax": ("Softmax", {"axis": 1}), "sigmoid": ("Sigmoid", {}), "linear": ("Identity", {})}
FOLDS = 5  # Kohavi 1995, A study of cross-validation: five or ten; the validation split is a fifth of what is not test
FEW_EXAMPLES = 5000  # of training and validation: with fewer, which model one validation split likes is chance
FEW_ANSWERS = 20_000  # examples times names: more would take folds too long, for a round grows a tree for each name
ONE_THREAD = 10_000  # examples: fits of fewer are no faster with more threads, and far slower where others work too
MOST_REFITTED = 20_000  # training examples: of more, those of validation add little

Examples = tuple[Arrays, np.ndarray]  # encoded inputs, and labels


@dataclass(frozen=True)
class Fitted:
    """A classical model: what it is called, its ONNX, and the mean loss on unseen examples of each that was fitted.

    `compared` is the same fitted on the training examples alone: what it says of validation can be held against a
    network. `onnx` is fitted on those of validation too, if `refitted`. Settings were chosen by `folds` folds, or where
    that is 1 by the validation split.
    """

    name: str
    onnx: bytes
    compared: bytes
    losses: dict[str, float]
    folds: int
    refitted: bool


@dataclass(frozen=True)
class Task:
    """What all fits share: the inputs, their specs as build/arrays/manifest.json has them, and the kind of answer."""

    inputs: dict[str, Input]
    specs: dict[str, Any]
    target: Target
    seed: int

    def onnx(self, graph: Graph, logits: str) -> bytes:
        """Write the model whose logits stand in a graph."""
        operator, attributes = ACTIVATIONS[self.target.activation]
        last = graph.add(operator, logits, **attributes)
        return graph.written((last, self.target.output, np.float32), shape=(len(self.target.names),))

    def loss(self, onnx: bytes, examples: Examples) -> np.ndarray:
        """Return the loss of a model on each example."""
        return self.target.loss(answers(onnx, examples[0]), examples[1])


def fit(
    inputs: dict[str, Input],
    specs: dict[str, Any],
    target: Target,
    train: Examples,
    validation: Examples,
    seed: int,
    *,
    mixed: bool = False,
    ordered: bool = False,
) -> Fitted:
    """Fit a linear model, and of a table gradient boosting; keep the better one, in doubt the linear one.

    Settings are chosen by the loss on validation. `mixed` says that training and validation may be mixed, for they were
    split by chance: of FEW_EXAMPLES at most, FOLDS folds of both choose instead. Then the chosen one is fitted again on
    both, where training has MOST_REFITTED examples at most, or they are `ordered` by time: the last are the most like
    those to come.
    """
    task = Task(inputs, specs, target, seed)
    if target.maps:
        return _detector(task, train, validation)
    if target.losses[0] == "ctc":
        return _transcriber(task, train, validation)
    rows = len(train[1]) + len(validation[1])
    few = mixed and 2 * FOLDS <= rows <= min(FEW_EXAMPLES, FEW_ANSWERS // len(target.names))
    folds = _folds(_joined(train, validation), seed) if few else [(train, validation)]
    with _threads(few=rows <= ONE_THREAD):
        found = {way.name: way for way in (_linear(task, folds), _boosting(task, folds)) if way}
        best, *others = found  # from the simplest on
        for name in others:
            if choosing.worth(found[best].losses, found[name].losses)[-1]:
                best = name
        way = found[best]
        first = way.made or way.again(train, None)
        refitted = ordered or len(train[1]) <= MOST_REFITTED
        last = way.again(_joined(train, validation), first) if refitted else first
    for onnx in {first.onnx, last.onnx}:
        if not np.isfinite(answers(onnx, validation[0])).all():
            raise SlipwayError(f"the classical model ({last.name}) gives outputs that are not finite")
    means = {name: float(way.losses.mean()) for name, way in found.items()}
    return Fitted(last.name, last.onnx, first.onnx, means, len(folds), refitted)


def _detector(task: Task, train: Examples, validation: Examples) -> Fitted:
    """Fit a detector; its penalty is chosen by the loss on validation."""

    def made(examples: Examples, penalty: float) -> bytes:
        return windows.fit(task.inputs, task.specs, task.target, examples, penalty, task.seed)

    models = {penalty: made(train, penalty) for penalty in windows.PENALTIES}
    losses = {penalty: float(task.loss(model, validation).mean()) for penalty, model in models.items()}
    best = min(losses, key=lambda penalty: losses[penalty])
    names = {penalty: f"a linear model of windows, C = {penalty:g}" for penalty in models}
    told = {names[penalty]: loss for penalty, loss in losses.items()}
    return Fitted(names[best], made(_joined(train, validation), best), models[best], told, 1, refitted=True)


def _transcriber(task: Task, train: Examples, validation: Examples) -> Fitted:
    """Fit a transcriber; its penalty is chosen by the loss on validation. A fit takes minutes: none is made again."""
    fits = frames.fit(task.inputs, task.specs, task.target, train, frames.PENALTIES, task.seed)
    count = len(frames.drawn(train[1], task.seed))
    some = f", of {count:,} examples" if count < len(train[1]) else ""
    models = {
        f"a linear model of windows of sound, C = {penalty:g}{some}": model
        for penalty, model in zip(frames.PENALTIES, fits, strict=True)
    }
    losses = {name: float(task.loss(model, validation).mean()) for name, model in models.items()}
    best = min(losses, key=lambda name: losses[name])
    return Fitted(best, models[best], models[best], losses, 1, refitted=False)


def _threads(*, few: bool) -> AbstractContextManager[Any]:
    """Limit fits of few examples to one thread."""
    if not few:
        return nullcontext()
    import sklearn.ensemble  # noqa: F401 - what is not loaded yet cannot be limited
    from threadpoolctl import threadpool_limits

    limited: AbstractContextManager[Any] = threadpool_limits(limits=1)
    return limited


@dataclass(frozen=True)
class _Made:
    """A fitted model, and the weights from which a like fit may start."""

    name: str
    onnx: bytes
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class _Way:
    """A kind of model with its best setting: its loss on each unseen example, and what fits it again."""

    name: str
    losses: np.ndarray
    made: _Made | None  # on the training examples, where that was the only fold
    again: Callable[[Examples, _Made | None], _Made]


def _linear(task: Task, folds: list[tuple[Examples, Examples]]) -> _Way:
    losses: dict[linear.Setting, list[np.ndarray]] = {}
    models: dict[linear.Setting, linear.Model] = {}
    for train, other in folds:
        graph = Graph(task.specs)
        for path in linear.paths(task.inputs, task.target):
            least = None
            for choice, model in linear.fit(graph, task.inputs, task.target, train, path):
                loss = task.loss(task.onnx(graph, model.logits), other)
                losses.setdefault(choice, []).append(loss)
                models[choice] = model
                if least is not None and len(folds) == 1 and choosing.worth(loss, least)[-1]:
                    break  # it rises: a weaker penalty fits longer, and fits no better
                least = loss if least is None or loss.mean() < least.mean() else least
    joined = {choice: np.concatenate(found) for choice, found in losses.items()}
    best = min(joined, key=lambda choice: float(joined[choice].mean()))

    def made(graph: Graph, model: linear.Model) -> _Made:
        return _Made(model.name, task.onnx(graph, model.logits), model.weights)

    def again(examples: Examples, like: _Made | None) -> _Made:
        graph = Graph(task.specs)
        start = None if like is None else like.weights
        ((_, model),) = linear.fit(graph, task.inputs, task.target, examples, [best], start)
        return made(graph, model)

    return _Way(models[best].name, joined[best], made(graph, models[best]) if len(folds) == 1 else None, again)


def _boosting(task: Task, folds: list[tuple[Examples, Examples]]) -> _Way | None:
    forests = []
    for train, other in folds:
        graph = Graph(task.specs)
        forest = boosting.grow(graph, task.inputs, task.target, train, task.seed, other=other)
        if forest is None:
            return None
        forests.append((graph, forest))
    kept = sorted({key for _, forest in forests for key in forest.rounds})
    rounds = {
        key: round(float(np.mean([forest.rounds[key] for _, forest in forests if key in forest.rounds])))
        for key in kept
    }

    def made(graph: Graph, forest: boosting.Forest, rounds: dict[int, int]) -> _Made:
        logits, name = boosting.write(graph, forest, rounds, len(task.target.names))
        return _Made(name, task.onnx(graph, logits))

    def again(examples: Examples, _like: _Made | None) -> _Made:
        graph = Graph(task.specs)
        more = len(examples[1]) / len(folds[0][0][1])  # with more examples as many more rounds: they overfit later
        longer = {key: round(count * max(more, 1.0)) for key, count in rounds.items()}
        forest = boosting.grow(graph, task.inputs, task.target, examples, task.seed, rounds=longer)
        if forest is None:
            raise SlipwayError("gradient boosting cannot be fitted to all examples, but to some")
        return made(graph, forest, longer)

    models = [made(graph, forest, rounds) for graph, forest in forests]
    losses = [task.loss(model.onnx, other) for model, (_, other) in zip(models, folds, strict=True)]
    return _Way(models[0].name, np.concatenate(losses), models[0] if len(folds) == 1 else None, again)


def _joined(train: Examples, validation: Examples) -> Examples:
    arrays = {name: np.concatenate([array, validation[0][name]]) for name, array in train[0].items()}
    return arrays, np.concatenate([train[1], validation[1]])


def _folds(examples: Examples, seed: int) -> list[tuple[Examples, Examples]]:
    """Return FOLDS pairs of examples and those that were left out, each label in as many folds as it can be."""
    arrays, truth = examples
    chance = stream(seed, "folds of the classical model").permutation(len(truth))
    order = np.lexsort([chance, truth if truth.ndim == 1 else truth[:, 0]])
    fold = np.empty(len(truth), int)
    fold[order] = np.arange(len(truth)) % FOLDS

    def some(rows: np.ndarray) -> Examples:
        return {name: array[rows] for name, array in arrays.items()}, truth[rows]

    return [(some(fold != number), some(fold == number)) for number in range(FOLDS)]


def answers(model: bytes, arrays: Arrays) -> np.ndarray:
    """Return what an ONNX model says of encoded examples, `(n, names)` float32."""
    return ask(model, arrays)[0]
