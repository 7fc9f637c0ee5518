"""What a training makes small: the losses by their names in `train.loss`, and the weights of classes."""

from typing import Any

import numpy as np

from components.params import Train
from components.targets import Target
from components.training import ctc, detection

# The loss -> itself, and what is shown beside it.
OURS = {"detection": (detection.loss, detection.overlap), "ctc": (ctc.loss, ctc.exact)}
# The same loss as Keras alone names it, for a model that any Keras can train on.
PLAIN = {"cross_entropy": "sparse_categorical_crossentropy", "binary": "binary_crossentropy", "mse": "mse"}


def dense(settings: Train) -> bool:
    """Tell if one class per example is given to the loss as a probability for each, and not as the class's number."""
    mixed = settings.augment.mixup or settings.augment.cutmix
    return bool(mixed or settings.label_smoothing or settings.loss == "focal")


def loss(settings: Train, target: Target, manifest: dict[str, Any]) -> Any:
    """Return the loss: a name or function of Keras, or ours of `(actual, predicted)` to `(n,)`."""
    name = target.losses[0] if settings.loss == "auto" else settings.loss
    if name in ("cross_entropy", "focal") and target.exclusive:
        return _categorical(name, settings)
    if name in OURS:
        return OURS[name][0]
    if name in ("binary", "focal"):
        return _binary(name, settings, class_weights(settings, target, manifest))
    return _scaled(name, np.array(manifest["state"]["target"]["deviation"], np.float32))


def _categorical(name: str, settings: Train) -> Any:
    """Cross-entropy of one class.

    Focal: Lin et al., arXiv:1708.02002, without their alpha: class_weights does that. Label smoothing: Szegedy et
    al., arXiv:1512.00567.
    """
    import keras

    smoothing = settings.label_smoothing
    if name == "focal":
        gamma = settings.focal_gamma
        return keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=gamma, label_smoothing=smoothing)
    if dense(settings):
        return keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
    return PLAIN[name]


def _binary(name: str, settings: Train, weights: np.ndarray | None) -> Any:
    """Cross-entropy of several classes: the weight of a class multiplies the terms of the examples that have it."""
    import keras

    smoothing, gamma = settings.label_smoothing, settings.focal_gamma

    def binary(actual: Any, predicted: Any) -> Any:
        actual = keras.ops.cast(actual, "float32")
        one = (actual[..., None], predicted[..., None])  # Keras takes means over the last axis
        if name == "focal":
            terms = keras.losses.binary_focal_crossentropy(*one, gamma=gamma, label_smoothing=smoothing)
        else:
            terms = keras.losses.binary_crossentropy(*one, label_smoothing=smoothing)
        if weights is not None:
            terms = terms * (1 + actual * (weights - 1))
        return keras.ops.mean(terms, axis=-1)

    return binary


def _scaled(name: str, deviation: np.ndarray) -> Any:
    """Errors of numbers in units of the training labels' deviation; Huber's delta is one deviation."""
    import keras

    found = keras.losses
    base = {"mse": found.mean_squared_error, "mae": found.mean_absolute_error, "huber": found.huber}[name]
    return lambda actual, predicted: base(keras.ops.cast(actual, "float32") / deviation, predicted / deviation)


def metric(settings: Train, target: Target) -> Any:
    """Return the metric that is shown beside the loss, named as the target says."""
    import keras

    if target.losses[0] in OURS:
        return OURS[target.losses[0]][1]
    if target.metric == "mae":
        return keras.metrics.MeanAbsoluteError(name="mae")
    if not target.exclusive:
        return keras.metrics.BinaryAccuracy(name="accuracy")
    return keras.metrics.CategoricalAccuracy(name="accuracy") if dense(settings) else "accuracy"


def class_weights(settings: Train, target: Target, manifest: dict[str, Any]) -> np.ndarray | None:
    """Return a weight per class `(names,)` float32, or None; `balanced` is the target's own."""
    if isinstance(settings.class_weights, dict):
        return np.array([settings.class_weights.get(name, 1.0) for name in target.names], np.float32)
    if settings.class_weights == "none":
        return None
    counts = np.array([manifest["classes"]["train"][name] for name in target.names], np.float64)
    return target.balanced(counts, manifest["rows"]["train"]).astype(np.float32)
