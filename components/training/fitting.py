"""The model as a training needs it: built, initialised, regularised and compiled by the settings of `train:`."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from components import recipes
from components.params import Params, Train
from components.recipes import networks
from components.training import schedules

if TYPE_CHECKING:
    import keras

METRICS = {"label": "accuracy", "labels": "accuracy", "values": "mae"}  # beside the loss, by the target's kind


def target(manifest: dict[str, Any]) -> recipes.Target:
    """Return what the arrays' labels are."""
    return recipes.Target(manifest["target"]["kind"], tuple(manifest["target"]["names"]))


def read_by(model: "keras.Model", manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest with only those inputs that the model reads: a network may leave out some of encode's."""
    names = [given.name for given in model.inputs]
    return manifest | {"inputs": {name: spec for name, spec in manifest["inputs"].items() if name in names}}


def inputs(params: Params, manifest: dict[str, Any]) -> dict[str, recipes.Input]:
    """Return what each input of the manifest is made of."""
    every = recipes.load(params.recipe).inputs(params.task, manifest["state"])
    return {name: every[name] for name in manifest["inputs"]}


def steps(settings: Train, manifest: dict[str, Any]) -> int:
    """Return the batches in an epoch."""
    return int(-(-manifest["rows"]["train"] // settings.batch_size))


def build(params: Params, manifest: dict[str, Any], *, mixed: bool = False) -> "keras.Model":
    """Build the recipe's model, its weights drawn from the seed; not compiled."""
    import keras

    keras.config.set_dtype_policy("mixed_float16" if mixed else "float32")
    keras.utils.clear_session()  # layers are named alike each time
    keras.utils.set_random_seed(params.seed)
    model = networks.load(params.recipe).build(params.network, params.task, manifest["state"], params.train.dropout)
    initialise(model, params.train.initialization, params.seed)
    return model


def kernels(model: "keras.Model") -> list[tuple[Any, Any]]:
    """Return (layer, variable) of the weights of the layers' inputs: no biases, no embeddings, no normalisation."""
    found = []
    for layer in model._flatten_layers(include_self=False):  # also those within attention
        own = [v for v in layer._trainable_variables if v.name == "kernel" or v.name.endswith("_kernel")]
        found += [(layer, variable) for variable in own]
    return found


def initialise(model: "keras.Model", name: str | None, seed: int) -> None:
    """Draw every kernel anew, each from a seed of its own, by the layer's name; None leaves the layers' own.

    normal and uniform have Keras's deviation and limit of 0.05; the others: Glorot and Bengio 2010, He et al.
    arXiv:1502.01852, LeCun et al. 1998, Saxe et al. arXiv:1312.6120. https://keras.io/api/layers/initializers/
    """
    import keras

    if name is None:
        return
    full = {"normal": "random_normal", "uniform": "random_uniform"}.get(name, name)
    for layer, variable in kernels(model):
        own = int.from_bytes(hashlib.sha256(f"{seed} {variable.path}".encode()).digest()[:4])
        if isinstance(layer, keras.layers.EinsumDense):  # Keras would take its first axes for those of an image
            groups, fan_in, fan_out = _fans(layer.equation, variable.shape)
            parts = []
            for group in range(groups):
                draw = keras.initializers.get({"class_name": full, "config": {"seed": (own + group) % 2**32}})
                parts.append(np.asarray(draw((fan_in, fan_out), dtype="float32")))
            variable.assign(np.stack(parts).reshape(variable.shape))
        else:
            draw = keras.initializers.get({"class_name": full, "config": {"seed": own}})
            variable.assign(draw(variable.shape, dtype="float32"))


def _fans(equation: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Read an Einstein sum such as `abc,cde->abde`: how many separate maps it is, and what goes in and out of each."""
    given, rest = equation.replace("...", "").split(",")
    weights, out = rest.split("->")
    sides = {"groups": 1, "in": 1, "out": 1}
    for letter, length in zip(weights, shape, strict=True):
        sides["in" if letter not in out else "out" if letter not in given else "groups"] *= length
    return sides["groups"], sides["in"], sides["out"]


def penalised(model: "keras.Model") -> list[Any]:
    """Return the variables that l1 and l2 are about: all kernels, and embeddings that are a linear model's weights."""
    linear = [layer for layer in model.layers if layer.name.startswith("coefficients")]
    return [v for _, v in kernels(model)] + [
        v for layer in linear for v in layer.trainable_variables if v.name != "bias"
    ]


def compile_to_fit(model: "keras.Model", params: Params, manifest: dict[str, Any]) -> None:
    """Compile for this training: its loss, optimizer, schedule and penalties."""
    import keras

    settings, kind = params.train, manifest["target"]["kind"]
    if settings.l1 or settings.l2:
        for variable in penalised(model):
            variable.regularizer = keras.regularizers.L1L2(settings.l1, settings.l2)
    number = steps(settings, manifest)
    metric: Any = "accuracy"
    if kind != "label":
        metric = {"labels": keras.metrics.BinaryAccuracy, "values": keras.metrics.MeanAbsoluteError}[kind]
        metric = metric(name=METRICS[kind])
    elif dense(settings):
        metric = keras.metrics.CategoricalAccuracy(name="accuracy")
    model.compile(
        optimizer=optimizer(settings, schedules.learning_rate(settings, number)),
        loss=loss(settings, manifest),
        metrics=[metric],
        steps_per_execution=min(settings.log_every, number, 25),  # a callback a step would cost a third
    )


def compile_to_ship(model: "keras.Model", params: Params, manifest: dict[str, Any]) -> None:
    """Compile with Keras's own parts only, so that any Keras can load the model and train it on."""
    losses = {"label": "sparse_categorical_crossentropy", "labels": "binary_crossentropy", "values": "mse"}
    kind = manifest["target"]["kind"]
    model.compile(
        optimizer=optimizer(params.train, params.train.learning_rate), loss=losses[kind], metrics=[METRICS[kind]]
    )
    model.optimizer.build(model.trainable_variables)


def optimizer(settings: Train, rate: Any) -> "keras.optimizers.Optimizer":
    """Return the optimizer: https://keras.io/api/optimizers/.

    Weight decay, where it is set, leaves out biases and the scales of normalisations, as in Devlin et al.,
    arXiv:1810.04805 (their released code).
    """
    import keras

    common: dict[str, Any] = {
        "learning_rate": rate,
        "global_clipnorm": settings.clip_norm,
        "gradient_accumulation_steps": settings.accumulate if settings.accumulate > 1 else None,
    }
    if settings.ema is not None:
        common |= {"use_ema": True, "ema_momentum": settings.ema}
    if settings.weight_decay is not None:
        common["weight_decay"] = settings.weight_decay
    if settings.optimizer == "sgd":
        common |= {"momentum": settings.momentum, "nesterov": settings.nesterov}
    if settings.optimizer == "muon" and settings.weight_decay is not None:
        common["adam_weight_decay"] = settings.weight_decay
    names = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "lion": "Lion", "muon": "Muon"}
    made: keras.optimizers.Optimizer = getattr(keras.optimizers, names[settings.optimizer])(**common)
    if made.weight_decay:
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def dense(settings: Train) -> bool:
    """Tell if labels are given to the loss as a probability for each class, and not as the class's number."""
    mixed = settings.augment.mixup or settings.augment.cutmix
    return bool(mixed or settings.label_smoothing or settings.loss == "focal")


def loss(settings: Train, manifest: dict[str, Any]) -> Any:
    """Return the loss: a name or function of Keras, or ours of `(actual, predicted)` to `(n,)`.

    Focal: Lin et al., arXiv:1708.02002, without their alpha: class_weights does that. Label smoothing: Szegedy et
    al., arXiv:1512.00567. Several labels: the weight of a label multiplies the terms of the examples that have it.
    Numbers are divided by the deviation of the training labels first; Huber's delta is one deviation.
    """
    import keras

    kind, found = manifest["target"]["kind"], keras.losses
    smoothing, gamma = settings.label_smoothing, settings.focal_gamma
    if kind == "values":
        scale = np.array(manifest["state"]["target"]["deviation"], np.float32)
        base = {"mae": found.mean_absolute_error, "huber": found.huber}.get(settings.loss, found.mean_squared_error)
        return lambda actual, predicted: base(keras.ops.cast(actual, "float32") / scale, predicted / scale)
    if kind == "label":
        if settings.loss == "focal":
            return found.CategoricalFocalCrossentropy(alpha=1.0, gamma=gamma, label_smoothing=smoothing)
        if dense(settings):
            return found.CategoricalCrossentropy(label_smoothing=smoothing)
        return "sparse_categorical_crossentropy"
    weights = class_weights(settings, manifest)

    def binary(actual: Any, predicted: Any) -> Any:
        actual = keras.ops.cast(actual, "float32")
        one = (actual[..., None], predicted[..., None])  # Keras takes means over the last axis
        if settings.loss == "focal":
            terms = found.binary_focal_crossentropy(*one, gamma=gamma, label_smoothing=smoothing)
        else:
            terms = found.binary_crossentropy(*one, label_smoothing=smoothing)
        if weights is not None:
            terms = terms * (1 + actual * (weights - 1))
        return keras.ops.mean(terms, axis=-1)

    return binary


def class_weights(settings: Train, manifest: dict[str, Any]) -> np.ndarray | None:
    """Return a weight a label `(names,)` float32, or None.

    balanced: for one label per example n / (labels x count), as scikit-learn's compute_class_weight; for several
    the examples without a label, one at least, to each with it, as pos_weight of torch.nn.BCEWithLogitsLoss.
    """
    names, kind = manifest["target"]["names"], manifest["target"]["kind"]
    if isinstance(settings.class_weights, dict):
        return np.array([settings.class_weights.get(name, 1.0) for name in names], np.float32)
    if settings.class_weights == "none":
        return None
    counts = np.array([manifest["classes"]["train"][name] for name in names], np.float64)
    rows = manifest["rows"]["train"]
    weights = rows / (len(names) * np.maximum(counts, 1))
    if kind == "labels":
        weights = np.maximum(rows - counts, 1) / np.maximum(counts, 1)
    found: np.ndarray = weights.astype(np.float32)
    return found
