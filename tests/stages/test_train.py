"""A real model, trained for a moment, with a real MLflow store; TensorFlow is imported once for all of them."""

import csv
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components import SlipwayError, recipes
from components.files import model_digest, read_json, sha256
from components.recipes import networks
from components.serving import onnx_model
from components.stages import preprocess, train
from components.training import checkpoint
from tests import fabricate
from tests.conftest import ROOT, Make, no_quarantine

ARRAYS, MODEL, HISTORY = Path("build/arrays"), Path("build/model"), Path("build/training")
CLASSICAL = Path("build/classical")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mlflow.db", "other.db"):
        shutil.copy(empty_store, tmp_path / name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


def prepare(make: Make, recipe: str = "images", **sections: object):
    settings = make(recipe, **{"train": {"epochs": 4, "batch_size": 16, "log_every": 3}, **sections})
    preprocess.run(settings, Path("data"), no_quarantine(Path("q.parquet")), ARRAYS)
    return settings


def outputs() -> dict[str, str]:
    return {str(path): sha256(path) for folder in (MODEL, HISTORY) for path in sorted(folder.iterdir())}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "recipe", ["images", *(pytest.param(n, marks=pytest.mark.e2e) for n in recipes.names() if n != "images")]
)
def test_a_recipe_learns_its_sample(make: Make, recipe: str) -> None:
    settings = prepare(make, recipe, train={"epochs": 15, "batch_size": 16, "learning_rate": 0.01})
    cost = train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    epochs = read_csv(HISTORY / "epochs.csv")
    assert len(epochs) == 15
    assert float(epochs[-1]["loss"]) < 0.6 * float(epochs[0]["loss"])
    if recipes.load(recipe).target(settings.task).kind == "regression":
        assert float(epochs[-1]["val_mae"]) < 0.7 * float(epochs[0]["val_mae"])
    elif recipe == "detection":
        assert float(epochs[-1]["val_overlap"]) > 0.8
    elif recipe == "speech":
        assert float(epochs[-1]["val_exact"]) > 0.85
    else:
        assert float(epochs[-1]["val_accuracy"]) > 0.85
    assert cost["device"] == "cpu"
    assert cost["fit_seconds"] > 0
    assert not Path("build/checkpoints").exists()
    description = read_json(MODEL / "model.json")
    assert description["largest_difference"] < 1e-5
    assert description["params"] == settings.task.model_dump()
    assert description["network"] == settings.network.model_dump()
    # what is an answer is chosen for boxes, also where train.threshold names no rule
    if recipe != "speech":  # there an n-gram is an answer's rule where it helps
        assert (description["decision"] is not None) == (recipe == "detection")
    if recipe == "images":
        both_artefacts_are_one_model_and_can_be_used()


def both_artefacts_are_one_model_and_can_be_used() -> None:
    import keras
    import onnxruntime

    x = {"image": np.load(ARRAYS / "test/image.npy")}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        saved = keras.models.load_model(MODEL / "model.keras")
    session = onnxruntime.InferenceSession(MODEL / "model.onnx")
    assert [node.name for node in session.get_inputs()] == ["image"]
    assert [node.name for node in session.get_outputs()] == ["probabilities"]
    (ours,) = session.run(None, x)
    assert np.allclose(ours, fabricate.outputs(saved, x), atol=1e-5)
    before = saved.get_weights()
    saved.fit({"image": np.load(ARRAYS / "train/image.npy")}, np.load(ARRAYS / "train/label.npy"), verbose=0)
    assert all(not np.array_equal(old, new) for old, new in zip(before, saved.get_weights(), strict=True))


@pytest.mark.e2e
def test_a_network_that_leaves_out_inputs_is_trained_exported_measured_and_served(make: Make) -> None:
    """The seasonal naive forecast has no use for the calendar and the group that encode makes."""
    from components.stages import baseline, evaluate

    settings = prepare(make, "series", network={"model": "seasonal_naive"}, train={"epochs": 1, "batch_size": 16})
    assert read_json(ARRAYS / "manifest.json")["inputs"].keys() == {"history", "calendar", "group"}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The structure of `inputs`")  # Keras, of inputs that the model has not
        train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    loaded = onnx_model.load(MODEL)
    assert [given.name for given in loaded.session.get_inputs()] == ["history"] == list(onnx_model.inputs(loaded))

    baseline.run(settings, ARRAYS, Path("build/baseline"), CLASSICAL)
    evaluate.run(settings, Path("data"), ARRAYS, MODEL, Path("build/baseline"), Path("build/evaluation"))
    measured = read_json(Path("build/evaluation/metrics.json"))
    assert measured["mae"] == pytest.approx(measured["baseline_mae"], rel=1e-5)
    important = read_csv(Path("build/evaluation/importance.csv"))
    assert [row["column"] for row in important] == ["value"]

    examples = recipes.load("series").sample(20, 4)[1].drop_columns(["label"])
    answers = onnx_model.predict(loaded, examples)
    assert answers["error"].null_count == 20
    for history, values in zip(examples["history"].to_pylist(), answers["values"].to_pylist(), strict=True):
        if None not in history:
            assert values == pytest.approx(history[12:15])


def test_an_exact_gelu_is_exported(tmp_path: Path) -> None:
    import keras
    import onnxruntime

    from components.training import export

    x = np.linspace(-6, 6, 201, dtype=np.float32)[:, None]
    given = keras.Input((1,), name="x")
    model = keras.Model({"x": given}, keras.layers.Activation("gelu", name="gelu")(given))
    expected = fabricate.outputs(model, {"x": x})
    export._export(model, tmp_path / "model.onnx", "gelu")
    (exported,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"x": x})
    assert np.abs(exported - expected).max() < 1e-6


@pytest.mark.e2e
def test_the_same_bytes_each_time_and_others_for_another_seed(make: Make) -> None:
    settings = prepare(make)
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    first = outputs()
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    assert outputs() == first
    train.run(settings.model_copy(update={"seed": 2}), ARRAYS, CLASSICAL, MODEL, HISTORY)
    assert outputs()[str(MODEL / "model.onnx")] != first[str(MODEL / "model.onnx")]


def interrupted(save: Callable[..., None]) -> Callable[..., None]:
    """A checkpoint's save that is followed by Ctrl-C after the second epoch."""

    def interrupt(model, folder, progress) -> None:
        save(model, folder, progress)
        if len(progress.epochs) == 2:
            raise KeyboardInterrupt

    return interrupt


@pytest.mark.e2e
def test_an_interrupted_training_goes_on_and_ends_with_the_same_bytes(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from components.tracking import runs

    settings = prepare(make)
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    undisturbed = outputs()
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", interrupted(save))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(KeyboardInterrupt):
        train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    assert outputs() == undisturbed  # what was there is kept until the new model is whole
    monkeypatch.setattr(checkpoint, "save", save)
    capsys.readouterr()
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    said = capsys.readouterr().out
    assert "resuming after epoch 2 of 4" in said
    assert "epoch 3/4" in said
    assert "epoch 2/4" not in said
    assert outputs() == undisturbed
    import mlflow

    client = mlflow.MlflowClient(runs.uri())
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert len(found) == 1  # the resumed training went on in its own run
    assert found[0].info.status == "FINISHED"


def test_a_checkpoint_of_anything_else_is_not_taken_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = prepare(make)
    manifest = read_json(ARRAYS / "manifest.json")
    cpu = {"device": "cpu", "device_name": "a", "gpus": 0, "cores": 2, "memory_gb": 8, "mixed_precision": 0}

    def key(settings=settings, manifest=manifest, source="", **hardware: Any) -> str:
        return train._key(settings, manifest, source, cpu | hardware, CLASSICAL)

    first = key()
    assert key() == first
    assert key(settings.model_copy(update={"evaluate": None, "name": "other"})) == first
    assert key(cores=4, memory_gb=16) == first
    others = [
        key(settings.model_copy(update={"seed": 2})),
        key(settings.model_copy(update={"train": settings.train.model_copy(update={"learning_rate": 0.5})})),
        key(settings.model_copy(update={"task": settings.task.model_copy(update={"max_pixels": 3})})),
        key(settings.model_copy(update={"network": settings.network.model_copy(update={"hidden": [3]})})),
        key(manifest=manifest | {"digest": "of other examples"}),
        key(source="other weights"),
        key(device="gpu"),
        key(device_name="b"),
        key(mixed_precision=1),
    ]
    monkeypatch.setattr(train, "version", lambda name: f"another {name}")
    assert len({first, *others, key()}) == 11


@pytest.mark.e2e
def test_live_metrics_are_means_over_the_steps_since_the_last(make: Make) -> None:
    settings = prepare(make, train={"epochs": 1, "batch_size": 16, "log_every": 2, "learning_rate": 1e-9})
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    steps, (epoch,) = read_csv(HISTORY / "steps.csv"), read_csv(HISTORY / "epochs.csv")
    rows = read_json(ARRAYS / "manifest.json")["rows"]["train"]
    assert [int(step["step"]) for step in steps] == list(range(2, -(-rows // 16) + 1, 2))
    # with weights that stand still, the parts' means add up to the epoch's
    weights = [32] * (len(steps) - 1) + [min(rows, len(steps) * 32) - 32 * (len(steps) - 1)]
    mean = sum(w * float(step["loss"]) for w, step in zip(weights, steps, strict=True)) / sum(weights)
    assert mean == pytest.approx(float(epoch["loss"]), rel=0.05)
    assert len({step["loss"] for step in steps}) == len(steps)


def test_a_loss_that_is_not_a_number_stops_the_training(make: Make) -> None:
    settings = prepare(make, "tabular", train={"epochs": 3, "batch_size": 16, "learning_rate": 1e30, "log_every": 1})
    with pytest.raises(
        SlipwayError, match=r"the (validation )?loss became (nan|inf) in epoch 1, by step \d+ at learning rate 1e\+30"
    ):
        train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    assert not MODEL.exists()


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(make: Make) -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    settings = prepare(make, train={"device": "gpu"})
    with pytest.raises(SlipwayError, match=r"train\.device: gpu, but TensorFlow finds none"):
        train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)


@pytest.mark.e2e
def test_mixed_precision_ships_a_float32_model(make: Make) -> None:
    import keras

    settings = prepare(make, train={"epochs": 2, "batch_size": 16, "mixed_precision": "on"})
    try:
        train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
        saved = keras.models.load_model(MODEL / "model.keras")
        assert {layer.compute_dtype for layer in saved.layers} <= {"float32", "uint8"}
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.e2e
def test_a_model_whose_artefacts_differ_is_an_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.training import export

    settings = prepare(make)
    monkeypatch.setattr(export, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(SlipwayError, match="the ONNX model differs from the Keras model"):
        train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    assert not MODEL.exists()


@pytest.mark.e2e
def test_tensorflow_is_quiet_on_the_command_line(make: Make, tmp_path: Path) -> None:
    prepare(make, train={"epochs": 1})
    paths = ["--arrays", str(ARRAYS), "--classical", str(CLASSICAL), "--out", str(MODEL), "--history", str(HISTORY)]
    root = ROOT
    command = [sys.executable, "-m", "components", "train", *paths]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads((tmp_path / "build/cost/train.json").read_text())["seconds"] > 1


# --- the toolbox, through the whole stage; what each setting computes is tested in test_fitting and its neighbours


def evaluated() -> dict[str, float]:
    """The loss and accuracy on validation of the model that was written."""
    import keras

    model = keras.models.load_model(MODEL / "model.keras")
    x = {"image": np.load(ARRAYS / "validation/image.npy")}
    found = model.evaluate(x, np.load(ARRAYS / "validation/label.npy"), verbose=0, return_dict=True, batch_size=1024)
    return {name: float(value) for name, value in found.items()}


def layers(path: Path = MODEL / "model.keras") -> dict[str, np.ndarray]:
    import keras

    return {layer.name: layer.get_weights()[0] for layer in keras.models.load_model(path).layers if layer.weights}


def toolbox(**settings: object) -> dict[str, object]:
    return {"epochs": 3, "batch_size": 16, "log_every": 3, **settings}


@pytest.mark.e2e
def test_the_average_of_the_weights_is_validated_and_shipped(make: Make) -> None:
    settings = prepare(make, train=toolbox(ema=0.9))
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    last = read_csv(HISTORY / "epochs.csv")[-1]
    assert evaluated()["loss"] == pytest.approx(float(last["val_loss"]), rel=1e-5)
    average = layers()
    plain = settings.model_copy(update={"train": settings.train.model_copy(update={"ema": None})})
    train.run(plain, ARRAYS, CLASSICAL, MODEL, HISTORY)
    raw = read_csv(HISTORY / "epochs.csv")[-1]
    assert raw["loss"] == last["loss"]  # it trains alike
    assert raw["val_loss"] != last["val_loss"]
    assert not np.allclose(layers()["hidden_1"], average["hidden_1"])


@pytest.mark.e2e
def test_early_stopping_ships_the_best_epoch(make: Make) -> None:
    settings = prepare(make, train=toolbox(epochs=30, early_stopping=2, learning_rate=0.3))
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    losses = [float(epoch["val_loss"]) for epoch in read_csv(HISTORY / "epochs.csv")]
    assert len(losses) < 30
    assert len(losses) == int(np.argmin(losses)) + 3
    assert evaluated()["loss"] == pytest.approx(min(losses), rel=1e-4, abs=1e-7)


@pytest.mark.e2e
def test_a_plateau_lowers_the_rate(make: Make) -> None:
    plateau = {"name": "plateau", "patience": 1, "factor": 0.5}
    settings = prepare(make, train=toolbox(epochs=6, learning_rate=0.3, schedule=plateau))
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    epochs = read_csv(HISTORY / "epochs.csv")
    losses, rate = [float(epoch["val_loss"]) for epoch in epochs], 0.3
    for at, epoch in enumerate(epochs):
        assert float(epoch["learning_rate"]) == pytest.approx(rate)
        rate *= 1 if losses[at] < min(losses[:at], default=9e9) else 0.5
    assert rate < 0.3


@pytest.mark.e2e
def test_what_is_pretrained_stands_still_and_then_moves(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = prepare(make, train=toolbox())
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    source = Path("source.keras")
    shutil.copy(MODEL / "model.keras", source)
    before = layers(source)
    seen: list[dict[str, np.ndarray]] = []
    save = checkpoint.save

    def watched(model, folder, progress) -> None:
        seen.append({layer.name: layer.get_weights()[0] for layer in model.layers if layer.weights})
        save(model, folder, progress)

    monkeypatch.setattr(checkpoint, "save", watched)
    new = {"pretrained": str(source), "freeze_epochs": 2, "learning_rate": 0.01}
    changed = settings.model_copy(update={"train": settings.train.model_copy(update=new), "seed": 5})
    train.run(changed, ARRAYS, CLASSICAL, MODEL, HISTORY)
    assert [np.array_equal(epoch["hidden_1"], before["hidden_1"]) for epoch in seen] == [True, True, False]
    assert not np.array_equal(seen[1]["logits"], seen[0]["logits"])  # the head learns meanwhile
    assert np.abs(seen[0]["logits"] - before["logits"]).max() > 0.05  # and did not start from the other's
    assert read_json(MODEL / "model.json")["pretrained"] == {
        "from": "source.keras",
        "digest": sha256(source),
        "layers": ["hidden_1"],
    }
    seen.clear()
    whole = new | {"pretrained_part": "whole", "freeze_epochs": 0, "learning_rate": 1e-9}
    changed = settings.model_copy(update={"train": settings.train.model_copy(update=whole), "seed": 5})
    train.run(changed, ARRAYS, CLASSICAL, MODEL, HISTORY)
    assert all(np.allclose(layers()[name], weights, atol=1e-6) for name, weights in before.items())


@pytest.mark.e2e
def test_a_training_starts_from_a_registered_version(make: Make) -> None:
    from components.tracking import runs
    from components.tracking.connection import client
    from components.training import pretrained_weights

    settings = prepare(make, train=toolbox(epochs=1))
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    mlflow = client()
    run = runs._find("trial", model=model_digest(MODEL))
    assert run is not None
    mlflow.log_artifact(run.info.run_id, str(MODEL / "model.keras"), "build")
    mlflow.create_registered_model("trial")
    version = mlflow.create_model_version("trial", str(run.info.artifact_uri), run.info.run_id)
    mlflow.set_registered_model_alias("trial", "champion", version.version)
    for name in ("models:/trial@champion", "models:/trial/1"):
        chosen = settings.train.model_copy(update={"pretrained": name, "pretrained_part": "whole"})
        source = pretrained_weights.read(chosen)
        assert source is not None
        assert source.name == "models:/trial/1"
        assert source.digest == sha256(MODEL / "model.keras")
        assert np.array_equal(source.layers["hidden_1"][0], layers()["hidden_1"])
    other = mlflow.create_run(run.info.experiment_id)
    mlflow.create_model_version("trial", str(other.info.artifact_uri), other.info.run_id)
    with pytest.raises(SlipwayError, match=r"models:/trial/2: its run has no artefact build/model\.keras"):
        pretrained_weights.read(settings.train.model_copy(update={"pretrained": "models:/trial/2"}))


def test_what_cannot_be_started_from_is_an_error(make: Make) -> None:
    import importlib.util

    import keras

    settings = prepare(make, train=toolbox())
    Path("broken.keras").write_bytes(b"no")
    strange = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="elsewhere")])
    strange.save("strange.keras")
    wanted = {
        "away.keras": "away.keras: no such file",
        "broken.keras": "broken.keras: not a readable Keras model",
        "some.h5": "expected models:/NAME@ALIAS",
        "strange.keras": r"no layer of strange.keras fits the model .*whole.*: it has elsewhere, the model hidden_1",
    }
    if importlib.util.find_spec("keras_hub") is None:
        wanted["keras_hub:bert_tiny_en_uncased"] = "needs the package keras-hub"
    for name, text in wanted.items():
        chosen = settings.model_copy(update={"train": settings.train.model_copy(update={"pretrained": name})})
        with pytest.raises(SlipwayError, match=text):
            train.run(chosen, ARRAYS, CLASSICAL, MODEL, HISTORY)


def autoencoder(network, params, state, dropout):
    """Learns to tell how bright the image's left half is."""
    import keras

    image = keras.Input((6, 6, 1), dtype="uint8", name="image")
    x = keras.layers.Flatten(name="flat")(keras.layers.Rescaling(1 / 255, name="scale")(image))
    x = keras.layers.Dense(16, activation="relu", name="hidden_1")(x)
    model = keras.Model({"image": image}, keras.layers.Dense(1, name="left")(x))

    def batch(arrays, random):
        left = arrays["image"][:, :, :3].mean(axis=(1, 2, 3), dtype=np.float32)[:, None] / 255
        return arrays, left + random.normal(0, 0.01, left.shape).astype(np.float32), None

    return networks.Pretraining(model, batch, epochs=4, loss="mse", learning_rate=0.01)


@pytest.mark.e2e
@pytest.mark.parametrize("killed_after", [None, 2, 4])
def test_a_recipes_own_pretraining_comes_first(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], killed_after: int | None
) -> None:
    settings = prepare(make, train=toolbox(epochs=1, learning_rate=1e-9))
    monkeypatch.setattr(networks.load("images"), "pretraining", autoencoder, raising=False)
    save, learned = checkpoint.save, []

    def watched(model, folder, progress) -> None:
        save(model, folder, progress)
        if folder.name == "pretraining":
            learned.append(model.get_layer("hidden_1").get_weights()[0])
            if len(progress.epochs) == killed_after and len(learned) == killed_after:
                raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", watched)
    if killed_after is not None:
        with pytest.raises(KeyboardInterrupt):
            train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    said = capsys.readouterr().out
    assert said.count("pretraining 4/4") == (1 if killed_after != 4 else 0)
    assert "1 layers start from the pretraining" in said
    assert len(learned) == 4  # no epoch twice
    assert np.allclose(layers()["hidden_1"], learned[-1], atol=1e-5)
    assert not np.allclose(learned[0], learned[-1], atol=1e-3)
    LEARNED.append(learned[-1].tobytes())
    assert len(set(LEARNED)) == 1  # killed or not


LEARNED: list[bytes] = []


@pytest.mark.e2e
def test_a_threshold_is_chosen_and_written(make: Make) -> None:
    settings = prepare(make, train=toolbox(threshold="cost"), costs={"left": {"right": 9.0}, "right": {"left": 1.0}})
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    decision = read_json(MODEL / "model.json")["decision"]
    target: Any = settings.target()
    assert target.chosen(np.array([[0.4, 0.6]]), decision) == [0]  # `left` taken for `right` is dear
    assert target.chosen(np.array([[0.01, 0.99]]), decision) == [1]


@pytest.mark.e2e
def test_augmented_examples_are_shown_in_the_run(make: Make) -> None:
    from components.tracking import runs
    from components.tracking.connection import client

    settings = prepare(make, train=toolbox(epochs=1, augment={"flip": "vertical", "shift": 0.1, "brightness": 0.1}))
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    run = runs._find("trial", model=model_digest(MODEL))
    assert run is not None
    assert [item.path for item in client().list_artifacts(run.info.run_id, "figures")] == ["figures/augmented.png"]


EVERYTHING = {
    "optimizer": "adamw",
    "clip_norm": 1.0,
    "accumulate": 2,
    "ema": 0.9,
    "schedule": {"name": "cosine", "warmup": 1},
    "label_smoothing": 0.1,
    "resample": "balanced",
    "initialization": "he_normal",
    "l1": 1e-4,
    "dropout": 0.2,
    "early_stopping": 3,
    "augment": {"rotate": 10, "mixup": 0.2, "cutmix": 1.0, "rand_augment": 0.3},
    "threshold": "f1",
}
PLATEAU = {
    "optimizer": "lion",
    "schedule": {"name": "plateau", "patience": 1},
    "loss": "focal",
    "class_weights": "balanced",
}


@pytest.mark.e2e
@pytest.mark.parametrize("chosen", [EVERYTHING, PLATEAU])
def test_a_training_with_everything_on_goes_on_and_ends_with_the_same_bytes(
    make: Make, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, object]
) -> None:
    settings = prepare(make, train=toolbox(epochs=5, learning_rate=0.01, **chosen))
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    undisturbed = outputs()
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", interrupted(save))
    with pytest.raises(KeyboardInterrupt):
        train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    monkeypatch.setattr(checkpoint, "save", save)
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    assert outputs() == undisturbed


@pytest.mark.e2e
def test_find_lr_draws_where_the_loss_falls_and_leaves_the_model_alone(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    from components import __main__

    prepare(make, train=toolbox(schedule="one_cycle"))  # whose place the test's own rates take
    assert __main__.main(["find-lr", "--steps", "60"]) == 0
    assert "try train.learning_rate:" in capsys.readouterr().out
    assert sorted(path.name for path in Path("build/find-lr").iterdir()) == ["curve.csv", "curve.png"]
    assert not MODEL.exists()
    rows = read_csv(Path("build/find-lr/curve.csv"))
    rates = np.array([float(row["learning_rate"]) for row in rows])
    assert np.allclose(rates[1:] / rates[:-1], (10 / 1e-6) ** (1 / 59))
    assert min(float(row["smoothed"]) for row in rows) < 0.8 * float(rows[0]["smoothed"])
    assert __main__.main(["find-lr", "--steps", "3"]) == 1


def test_find_lr_says_what_to_do_where_the_first_loss_is_no_number(make: Make) -> None:
    from components.stages import find_lr

    prepare(make, "series")
    path = ARRAYS / "train" / "label.npy"
    np.save(path, np.full_like(np.load(path), np.nan))
    with pytest.raises(SlipwayError, match=r"first batch is not a number.*extreme values"):
        find_lr.run(ARRAYS, Path("build/find-lr"), 20, Path("params.yaml"))


def test_the_suggestion_is_the_steepest_fall() -> None:
    from components.stages import find_lr

    rates = np.logspace(-6, 1, 141)
    loss = 1 / (1 + np.exp(4 * (np.log10(rates) + 3))) + (rates > 0.1) * rates
    rows = [{"learning_rate": float(r), "smoothed": float(value)} for r, value in zip(rates, loss, strict=True)]
    assert find_lr.suggestion(rows) == pytest.approx(1e-3, rel=0.3)
    assert find_lr.suggestion([{"learning_rate": 1.0, "smoothed": float(x)} for x in range(30)]) is None


# --- candidates


@pytest.mark.e2e
def test_what_ships_is_better_than_the_other_or_costs_less(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that has learnt nothing is no match for the classical model; one that has is, for one that has not."""
    from components.stages import baseline

    settings = prepare(make, train={"epochs": 1, "learning_rate": 1e-6, "candidates": ["network", "classical"]})
    baseline.run(settings, ARRAYS, Path("build/baseline"), CLASSICAL)
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    assert "a network is not worth it here" in capsys.readouterr().out
    assert sorted(path.name for path in MODEL.iterdir()) == ["model.json", "model.onnx"]
    assert sha256(MODEL / "model.onnx") == sha256(CLASSICAL / "model.onnx")
    made = read_json(MODEL / "model.json")
    assert (made["candidates"]["shipped"], made["network"]) == ("classical", None)
    assert len(read_csv(HISTORY / "epochs.csv")) == 1
    loaded = onnx_model.load(MODEL)
    answers = onnx_model.predict(loaded, recipes.load("images").sample(20, 5)[1].drop_columns(["label"]))
    assert answers["error"].null_count == 20

    rows = len(np.load(ARRAYS / "validation" / "label.npy"))
    np.save(CLASSICAL / "validation.npy", np.full((rows, 2), 0.5, np.float32))  # what it says, fitted on training alone
    better = settings.model_copy(
        update={"train": settings.train.model_copy(update={"epochs": 12, "learning_rate": 0.01})}
    )
    train.run(better, ARRAYS, CLASSICAL, MODEL, HISTORY)
    assert read_json(MODEL / "model.json")["candidates"]["shipped"] == "network"
    assert (MODEL / "model.keras").exists()


def test_without_a_network_among_the_candidates_none_is_fitted(make: Make) -> None:
    from components.stages import baseline

    settings = prepare(make, "tabular", train={"candidates": ["classical"], "threshold": "f1"})
    baseline.run(settings, ARRAYS, Path("build/baseline"), CLASSICAL)
    code = (
        "import sys; from pathlib import Path; from components import params; from components.stages import train; "
        "train.run(params.load(), *map(Path, sys.argv[1:])); "
        "sys.exit(bool({'keras', 'tensorflow'} & sys.modules.keys()))"
    )
    paths = map(str, (ARRAYS, CLASSICAL, MODEL, HISTORY))
    subprocess.run([sys.executable, "-c", code, *paths], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    undisturbed = outputs()
    train.run(settings, ARRAYS, CLASSICAL, MODEL, HISTORY)
    assert outputs() == undisturbed
    made = read_json(MODEL / "model.json")
    assert made["candidates"]["shipped"] == "classical" and made["decision"] is not None
    assert made["candidates"]["why"].endswith("what ships is fitted on the validation split too")
    assert read_csv(HISTORY / "epochs.csv") == []


def test_of_two_that_are_as_good_the_simpler_one_ships() -> None:
    """Simulated: by the one-standard-error rule a network that is no better ships in about a sixth of the cases."""
    from components.targets import single_label
    from components.training import candidates

    target, random = single_label.Target(("a", "b")), np.random.default_rng(1)

    def shipped(gain: float) -> float:
        found = []
        for _ in range(400):
            actual = random.integers(0, 2, 200)
            logits = {name: random.normal((2 * actual - 1) * 1.0, 1.0) for name in ("network", "classical")}
            logits["network"] += gain * (2 * actual - 1)
            outputs = {
                name: np.stack([1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))], axis=1) for name, z in logits.items()
            }
            found.append(candidates.chosen(outputs, actual, target, {})["shipped"] == "network")
        return float(np.mean(found))

    assert 0.08 < shipped(0.0) < 0.25
    assert shipped(0.5) > 0.95
    one = {name: np.array([[0.5, 0.5]]) for name in ("network", "classical")}
    assert candidates.chosen(one, np.array([1]), target, {})["shipped"] == "classical"  # of one example nothing is sure


def test_of_numbers_the_loss_alone_decides_and_is_told() -> None:
    from components.targets import regression
    from components.training import candidates

    target, random = regression.Target(("y",)), np.random.default_rng(1)
    actual = random.normal(size=(200, 1)).astype(np.float32)
    good, poor = (actual + random.normal(size=(200, 1)).astype(np.float32) * noise for noise in (0.1, 1.0))
    names = {"network": "the network mlp", "classical": "ridge regression"}
    for outputs, ends in (
        ({"network": good, "classical": poor}, "surely better"),
        ({"network": poor, "classical": good}, "a network is not worth it here: it is not better"),
    ):
        found = candidates.chosen(outputs, actual, target, {})
        assert candidates.told(found | {"names": names}).endswith(ends)


def test_a_network_whose_answers_are_no_better_does_not_ship_for_its_probabilities() -> None:
    from components.targets import single_label
    from components.training import candidates, thresholds

    target = single_label.Target(("a", "b"))
    actual = np.array([0] * 60 + [1] * 40)
    sure = {"network": np.where(actual == 1, 0.49, 0.05), "classical": np.where(actual == 1, 0.51, 0.4)}
    outputs = {name: np.stack([1 - second, second], axis=1) for name, second in sure.items()}
    scores = {name: thresholds.score(target.chosen(found), actual, target, None) for name, found in outputs.items()}
    assert scores == {"network": pytest.approx(0.375), "classical": 1.0}
    found = candidates.chosen(outputs, actual, target, scores)
    assert found["losses"]["network"] < found["losses"]["classical"] and found["shipped"] == "classical"
    names = {"network": "the network mlp", "classical": "logistic regression"}
    assert candidates.told(found | {"names": names}).endswith("its answers are no better (score 0.375, of the other 1)")
    for network, ships in ((0.9, "classical"), (0.91, "network")):
        scores = {"network": network, "classical": 0.9}
        assert candidates.chosen(outputs, actual, target, scores)["shipped"] == ships
