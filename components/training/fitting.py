"""The model as a training needs it: built, initialised, regularised and compiled by the settings of `train:`."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from components import recipes, targets
from components.params import Params, Train
from components.recipes import networks
from components.training import losses, schedules

if TYPE_CHECKING:
    import keras


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

    settings, target = params.train, targets.of(manifest["target"])
    if settings.l1 or settings.l2:
        for variable in penalised(model):
            variable.regularizer = keras.regularizers.L1L2(settings.l1, settings.l2)
    number = steps(settings, manifest)
    model.compile(
        optimizer=optimizer(settings, schedules.learning_rate(settings, number)),
        loss=losses.loss(settings, target, manifest),
        metrics=[losses.metric(settings, target)],
        steps_per_execution=min(settings.log_every, number, 25),  # a callback a step would cost a third
    )


def compile_to_ship(model: "keras.Model", params: Params, manifest: dict[str, Any]) -> None:
    """Compile with Keras's own parts only, so that any Keras can load the model and train it on."""
    target = targets.of(manifest["target"])
    model.compile(
        optimizer=optimizer(params.train, params.train.learning_rate),
        loss=losses.PLAIN.get(target.losses[0]),  # those of detectors and transcribers are ours
        metrics=None if target.losses[0] in losses.OURS else [target.metric],
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
