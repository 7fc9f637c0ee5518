"""Weights that a model starts from: of a registered version, a .keras file, a KerasHub preset, or a task of its own.

They are matched by the layers' names.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components import SlipwayError, recipes, temporary
from components.files import read_json, sha256
from components.params import Train

if TYPE_CHECKING:
    import keras

# the layers that answer: of recipes/networks.py, and of series/networks.py, whose forecast and shift are of one horizon
HEAD_LAYERS = frozenset({"logits", "standardised", "values", "probabilities", "forecast", "shift"})
HUB_PREFIX = "keras_hub:"


@dataclass(frozen=True)
class Source:
    """Weights by layer, where they come from, and the digest of what was read."""

    name: str
    digest: str
    layers: dict[str, list[np.ndarray]]
    state: recipes.State | None = None  # what was fitted for them, where that is known


def read(settings: Train) -> Source | None:
    """Read what train.pretrained names; None where it names nothing.

    Raises SlipwayError for what is not there or cannot be read, and where keras_hub is not installed.
    """
    name = settings.pretrained
    if name is None:
        return None
    if name.startswith("models:/"):
        return _registered(name)
    if name.startswith(HUB_PREFIX):
        return _hub(name)
    path = Path(name)
    if path.suffix != ".keras":
        raise SlipwayError(
            f"params.yaml: train.pretrained: {name}: expected models:/NAME@ALIAS, models:/NAME/VERSION, FILE.keras or "
            f"{HUB_PREFIX}PRESET"
        )
    return _file(name, path)


def _file(name: str, path: Path) -> Source:
    import keras

    if not path.exists():
        raise SlipwayError(f"params.yaml: train.pretrained: {path}: no such file")
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # noqa: BLE001 - Keras, zip and HDF5 raise anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SlipwayError(f"params.yaml: train.pretrained: {name}: not a readable Keras model: {reason}") from None
    beside = path.with_name("model.json")  # export.write leaves it there
    state = read_json(beside).get("state") if beside.exists() else None
    return Source(name, sha256(path), _weights(model.layers), state)


def _registered(name: str) -> Source:
    """The run of a version that Slipway registered keeps model.keras among its artefacts."""
    from components.tracking import connection

    connection.check()
    version = connection.pinned(name)
    with temporary.folder() as folder, connection.plainly(f"fetch {version}"):
        client = connection.client()
        _, model, number = version.rsplit("/", 2)
        run_id = client.get_model_version(model, number).run_id
        kept = [item.path for item in client.list_artifacts(run_id, "build")] if run_id else []
        if run_id is None or "build/model.keras" not in kept:
            raise SlipwayError(
                f"params.yaml: train.pretrained: {version}: its run has no artefact build/model.keras, as a network has"
            )
        if "build/model.json" in kept:
            client.download_artifacts(run_id, "build/model.json", str(folder))
        return _file(version, Path(client.download_artifacts(run_id, "build/model.keras", str(folder))))


def _hub(name: str) -> Source:
    try:
        import keras_hub
    except ImportError:
        raise SlipwayError(
            f"params.yaml: train.pretrained: {name} needs the package keras-hub: add it to pyproject.toml, `make lock`"
        ) from None
    preset = name.removeprefix(HUB_PREFIX)
    try:
        backbone = keras_hub.models.Backbone.from_preset(preset)
    except Exception as error:  # noqa: BLE001 - a wrong name, no network, no credentials: anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SlipwayError(f"params.yaml: train.pretrained: {name}: cannot be loaded: {reason}") from None
    layers = _weights(backbone.layers)
    digest = hashlib.sha256()
    for layer in sorted(layers):
        for array in layers[layer]:
            digest.update(f"{layer} {array.shape} {array.dtype}".encode() + array.tobytes())
    return Source(name, digest.hexdigest(), layers)


def _weights(layers: Iterable[Any]) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in layers if layer.weights}


def take(
    model: "keras.Model", layers: dict[str, list[np.ndarray]], *, head: bool, embeddings: bool = True
) -> tuple[list[str], list[str]]:
    """Give each layer the weights of that name, where all shapes agree; `head`: also the layers of HEAD_LAYERS.

    `embeddings`: also those, whose rows stand for a vocabulary. Layers that do not learn keep what they have: it was
    computed from this training split. Returns the names of the layers that took weights, and of those that there
    are weights for which do not fit.
    """
    import keras

    taken, unfit = [], []
    for layer in model.layers:
        if not layer.trainable_weights or layer.name not in layers or (layer.name in HEAD_LAYERS and not head):
            continue
        weights = layers[layer.name]
        fits = [array.shape for array in weights] == [tuple(weight.shape) for weight in layer.weights]
        if fits and (embeddings or not isinstance(layer, keras.layers.Embedding)):
            layer.set_weights(weights)
            taken.append(layer.name)
        else:
            unfit.append(layer.name)
    return taken, unfit


def start(model: "keras.Model", source: Source, settings: Train, state: recipes.State) -> list[str]:
    """Start the model from a source; say what it took, and return the layers' names.

    Embeddings are taken where the vocabulary that was fitted for them is today's: the n-th row would else be
    another word's. Raises SlipwayError where no layer fits.
    """
    same = source.state is not None and _names(source.state) == _names(state)
    taken, unfit = take(model, source.layers, head=settings.pretrained_part == "whole", embeddings=same)
    there = [layer.name for layer in model.layers if layer.weights]
    left = f"; not {', '.join(unfit)}: different shape or vocabulary" if unfit else ""
    if not taken:
        if settings.pretrained_part == "backbone" and any(layer.name in HEAD_LAYERS for layer in model.layers):
            left += " (train.pretrained_part: whole also takes the output layers)"
        raise SlipwayError(
            f"params.yaml: train.pretrained: no layer of {source.name} fits the model{left}: it has "
            f"{', '.join(sorted(source.layers)[:20])}, the model {', '.join(there[:20])}"
        )
    print(f"{len(taken)} of {len(there)} layers start from {source.name}{left}", flush=True)
    return taken


def _names(state: Any) -> Any:
    """Keep of a fitted state what is text: vocabularies, categories, groups. Numbers may differ."""
    if isinstance(state, dict):
        kept = {key: _names(value) for key, value in state.items()}
        return {key: value for key, value in kept.items() if value is not None} or None
    if isinstance(state, list):
        return [_names(value) for value in state] if any(_names(value) is not None for value in state) else None
    return state if isinstance(state, str) else None
