"""Fit the network; write the candidate that ships, ONNX to predict with and of a network .keras to train on.

Killed half-way, it resumes from the last epoch's checkpoint and ends with the same bytes as if undisturbed:
every batch is a function of the seed, the epoch and its number, and the checkpoint holds every variable.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from components import shipped, targets
from components.files import read_json, sha256, write_csv
from components.params import Params
from components.recipes import networks
from components.streams import stream
from components.tracking import apart
from components.training import (
    augment,
    checkpoint,
    device,
    export,
    fitting,
    pretrained_weights,
    pretraining,
)


def run(params: Params, arrays: Path, classical: Path, out: Path, history: Path) -> dict[str, Any]:
    """Write `out` (model.onnx, model.json, of a network model.keras) and `history` (epochs.csv, steps.csv).

    `classical` is the folder of the classical model, a candidate beside the network where train.candidates says so;
    without `network` among them no network is fitted. Raises SlipwayError for a device that is not there, settings that
    do not fit the recipe, weights to start from that cannot be read, an MLflow that does not answer, a loss that is not
    a number, and two artefacts of a network whose outputs differ by more than 1e-4.
    """
    manifest = read_json(arrays / "manifest.json")
    with apart.opened() as tracking:
        if "network" in params.train.candidates:
            return _network(params, manifest, arrays, classical, out, history, tracking)
        return _classical(params, manifest, arrays, classical, out, history, tracking)


def _classical(
    params: Params,
    manifest: dict[str, Any],
    arrays: Path,
    classical: Path,
    out: Path,
    history: Path,
    tracking: apart.Tracking,
) -> dict[str, Any]:
    """Ship the classical model."""
    hardware = {"device": "cpu", "device_name": "", "mixed_precision": False}
    key = _key(params, manifest, "", hardware, classical)
    with tracking.training(params, key, manifest, hardware) as live:
        digest = export.write(None, params, arrays, manifest, classical, out)
        _write_history(history, checkpoint.Progress(), targets.of(manifest["target"]).metric)
        live.done(digest)
    return {**hardware, "training": key, "model_digest": digest}


def _write_history(history: Path, progress: checkpoint.Progress, metric: str) -> None:
    columns = ["loss", metric, "val_loss", f"val_{metric}", "learning_rate"]
    write_csv(history / "epochs.csv", progress.epochs, ["epoch", *columns])
    write_csv(history / "steps.csv", progress.steps, ["step", "loss", metric, "learning_rate"])


def _network(
    params: Params,
    manifest: dict[str, Any],
    arrays: Path,
    classical: Path,
    out: Path,
    history: Path,
    tracking: apart.Tracking,
) -> dict[str, Any]:
    """Fit the network, and write what ships."""
    hardware = device.start(params)
    from components.training import loop  # after the start: it imports Keras, which is set up there

    source = pretrained_weights.read(params.train)
    key = _key(params, manifest, source.digest if source else "", hardware, classical)
    folder = out.parent / "checkpoints" / key
    model = fitting.build(params, manifest, mixed=bool(hardware["mixed_precision"]))
    taken = pretrained_weights.start(model, source, params.train, manifest["state"]) if source else []
    fitting.compile_to_fit(model, params, manifest)
    read = fitting.read_by(model, manifest)  # from here on only that is loaded
    progress = checkpoint.restore(model, folder / "fit")
    names = ", ".join(f"{name} {value}" for name, value in hardware.items())
    print(f"{model.count_params():,} parameters; {names}", flush=True)
    if unread := networks.unread(params.recipe, params.network, params.task):
        print(f"params.yaml: the network chosen does not read network.{', network.'.join(unread)}", flush=True)
    if progress.epochs:
        print(f"resuming after epoch {len(progress.epochs)} of {params.train.epochs}", flush=True)
    with tracking.training(params, key, manifest, hardware) as live:
        if not progress.epochs:
            pretraining.run(model, params, arrays, manifest, folder / "pretraining", live)
            _show(params, arrays, read, live)
        loop.fit(model, params, arrays, read, progress, folder / "fit", live, taken)
        # computes in float32, and starts a later training afresh
        shipped = fitting.build(params, manifest)
        shipped.set_weights(model.get_weights())
        fitting.compile_to_ship(shipped, params, manifest)
        started = {"from": source.name, "digest": source.digest, "layers": taken} if source else None
        digest = export.write(shipped, params, arrays, manifest, classical, out, started)
        _write_history(history, progress, targets.of(manifest["target"]).metric)
        live.done(digest)
    shutil.rmtree(folder.parent, ignore_errors=True)  # also those of trainings that were given up
    seen = manifest["rows"]["train"] * len(progress.epochs)
    return {
        "fit_seconds": round(progress.seconds, 2),
        "examples_per_second": round(seen / max(progress.seconds, 1e-9)),
        **hardware,
        "training": key,  # by which a run that lost its server is found again
        "model_digest": digest,
    }


def _key(params: Params, manifest: dict[str, Any], source: str, hardware: Mapping[str, object], classical: Path) -> str:
    """Hash all that the training depends on: a checkpoint of anything else is never taken up.

    `source` is the digest of the weights that it starts from, `hardware` what device.start says: another device or
    precision, or another version of what computes, would not end with the bytes of an undisturbed training.
    """
    training = sorted(Path(str(checkpoint.__file__)).parent.glob("*.py"))
    own = sha256(Path(__file__), *training, *shipped.code(params.recipe))
    costs = params.costs if params.train.threshold == "cost" else None
    sections = [section.model_dump() for section in (params.train, params.task, params.network)]
    settings = [params.recipe, params.seed, *sections, costs, manifest]
    computes = [hardware[name] for name in ("device", "device_name", "mixed_precision")]
    computes += [version(name) for name in ("keras", "numpy", "tensorflow")]
    other = sha256(*sorted(classical.iterdir())) if "classical" in params.train.candidates else ""
    text = json.dumps([settings, source, own, computes, other], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _show(params: Params, arrays: Path, manifest: dict[str, Any], live: apart.Live) -> None:
    """Give the run an image of augmented examples, where there are any: those of the first batch."""
    spec = fitting.inputs(params, manifest)
    change = augment.changes(params.train.augment, spec)
    if change is None:
        return
    rows = min(32, manifest["rows"]["train"])
    before = {name: np.load(arrays / "train" / f"{name}.npy", mmap_mode="r")[:rows] for name in manifest["inputs"]}
    labels = np.load(arrays / "train" / "label.npy", mmap_mode="r")[:rows]
    own = np.array(labels) if labels.ndim > 2 else np.zeros((rows, 1), np.float32)  # boxes move with the image
    after, others = change(before, own, stream(params.seed, "examples shown"))
    live.figure(*augment.shown(before, after, spec, (own, others)))
