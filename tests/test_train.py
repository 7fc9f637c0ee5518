"""A real model, trained for a moment, with a real MLflow store; TensorFlow is imported once for all of them."""

import csv
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from components import SlipwayError, checkpoint, preprocess, recipes, train
from components.files import read_json, sha256
from tests.conftest import Make, no_quarantine

ARRAYS, MODEL, HISTORY = Path("build/arrays"), Path("build/model"), Path("build/training")


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


@pytest.mark.parametrize("recipe", recipes.names())
def test_a_recipe_learns_its_sample(make: Make, recipe: str) -> None:
    settings = prepare(make, recipe, train={"epochs": 15, "batch_size": 16, "learning_rate": 0.01})
    cost = train.run(settings, ARRAYS, MODEL, HISTORY)
    epochs = read_csv(HISTORY / "epochs.csv")
    assert len(epochs) == 15
    assert float(epochs[-1]["loss"]) < 0.6 * float(epochs[0]["loss"])
    if recipes.load(recipe).target(settings.task).kind == "values":
        assert float(epochs[-1]["val_mae"]) < 0.7 * float(epochs[0]["val_mae"])
    else:
        assert float(epochs[-1]["val_accuracy"]) > 0.85
    assert cost["device"] == "cpu"
    assert cost["fit_seconds"] > 0
    assert not Path("build/checkpoints").exists()
    description = read_json(MODEL / "model.json")
    assert description["largest_difference"] < 1e-5
    assert description["params"] == settings.task.model_dump()


def test_both_artefacts_are_one_model_and_can_be_used(make: Make) -> None:
    import keras
    import onnxruntime

    settings = prepare(make)
    train.run(settings, ARRAYS, MODEL, HISTORY)
    x = {"image": np.load(ARRAYS / "test/image.npy")}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        saved = keras.models.load_model(MODEL / "model.keras")
    session = onnxruntime.InferenceSession(MODEL / "model.onnx")
    assert [node.name for node in session.get_inputs()] == ["image"]
    assert [node.name for node in session.get_outputs()] == ["probabilities"]
    (ours,) = session.run(None, x)
    assert np.allclose(ours, saved.predict(x, verbose=0), atol=1e-5)
    before = saved.get_weights()
    saved.fit({"image": np.load(ARRAYS / "train/image.npy")}, np.load(ARRAYS / "train/label.npy"), verbose=0)
    assert all(not np.array_equal(old, new) for old, new in zip(before, saved.get_weights(), strict=True))


def test_an_exact_gelu_is_exported(tmp_path: Path) -> None:
    import keras
    import onnxruntime

    from components import export

    x = np.linspace(-6, 6, 201, dtype=np.float32)[:, None]
    given = keras.Input((1,), name="x")
    model = keras.Model({"x": given}, keras.layers.Activation("gelu", name="gelu")(given))
    expected = model.predict({"x": x}, verbose=0)
    export._export(model, tmp_path / "model.onnx", "gelu")
    (exported,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"x": x})
    assert np.abs(exported - expected).max() < 1e-6


@pytest.mark.e2e
def test_the_same_bytes_each_time_and_others_for_another_seed(make: Make) -> None:
    settings = prepare(make)
    train.run(settings, ARRAYS, MODEL, HISTORY)
    first = outputs()
    train.run(settings, ARRAYS, MODEL, HISTORY)
    assert outputs() == first
    train.run(settings.model_copy(update={"seed": 2}), ARRAYS, MODEL, HISTORY)
    assert outputs()[str(MODEL / "model.onnx")] != first[str(MODEL / "model.onnx")]


@pytest.mark.e2e
def test_an_interrupted_training_goes_on_and_ends_with_the_same_bytes(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from components import tracking

    settings = prepare(make)
    train.run(settings, ARRAYS, MODEL, HISTORY)
    undisturbed = outputs()
    save = checkpoint.save

    def interrupt(model, folder, progress) -> None:
        save(model, folder, progress)
        if len(progress.epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", interrupt)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(KeyboardInterrupt):
        train.run(settings, ARRAYS, MODEL, HISTORY)
    assert outputs() == undisturbed  # what was there is kept until the new model is whole
    monkeypatch.setattr(checkpoint, "save", save)
    capsys.readouterr()
    train.run(settings, ARRAYS, MODEL, HISTORY)
    said = capsys.readouterr().out
    assert "going on after epoch 2 of 4" in said
    assert "epoch 3/4" in said
    assert "epoch 2/4" not in said
    assert outputs() == undisturbed
    import mlflow

    runs = mlflow.MlflowClient(tracking.uri()).search_runs(
        [e.experiment_id for e in mlflow.MlflowClient(tracking.uri()).search_experiments()]
    )
    assert len(runs) == 1  # the resumed training went on in its own run
    assert runs[0].info.status == "FINISHED"


def test_a_checkpoint_of_anything_else_is_not_taken_up(make: Make) -> None:
    settings = prepare(make)
    manifest = read_json(ARRAYS / "manifest.json")
    key = train._key(settings, manifest, "")
    assert train._key(settings, manifest, "") == key
    assert train._key(settings.model_copy(update={"evaluate": None, "name": "other"}), manifest, "") == key
    others = [
        (settings.model_copy(update={"seed": 2}), manifest),
        (settings.model_copy(update={"train": settings.train.model_copy(update={"learning_rate": 0.5})}), manifest),
        (settings.model_copy(update={"task": settings.task.model_copy(update={"hidden": [3]})}), manifest),
        (settings, manifest | {"digest": "of other examples"}),
        (settings, manifest, "other weights"),
    ]
    assert len({key, *(train._key(*other, *[""][: 3 - len(other)]) for other in others)}) == 6


@pytest.mark.e2e
def test_live_metrics_are_means_over_the_steps_since_the_last(make: Make) -> None:
    settings = prepare(make, train={"epochs": 1, "batch_size": 16, "log_every": 2, "learning_rate": 1e-9})
    train.run(settings, ARRAYS, MODEL, HISTORY)
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
        SlipwayError, match=r"the (validation )?loss became (nan|inf) in epoch 1, by step \d+, at learning rate 1e\+30"
    ):
        train.run(settings, ARRAYS, MODEL, HISTORY)
    assert not MODEL.exists()


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(make: Make) -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    settings = prepare(make, train={"device": "gpu"})
    with pytest.raises(SlipwayError, match=r"train\.device: gpu, but TensorFlow finds none"):
        train.run(settings, ARRAYS, MODEL, HISTORY)


@pytest.mark.e2e
def test_mixed_precision_ships_a_float32_model(make: Make) -> None:
    import keras

    settings = prepare(make, train={"epochs": 2, "batch_size": 16, "mixed_precision": "on"})
    try:
        train.run(settings, ARRAYS, MODEL, HISTORY)
        saved = keras.models.load_model(MODEL / "model.keras")
        assert {layer.compute_dtype for layer in saved.layers} <= {"float32", "uint8"}
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.e2e
def test_a_model_whose_artefacts_differ_is_an_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from components import export

    settings = prepare(make)
    monkeypatch.setattr(export, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(SlipwayError, match="the ONNX model differs from the Keras model"):
        train.run(settings, ARRAYS, MODEL, HISTORY)
    assert not MODEL.exists()


@pytest.mark.e2e
def test_tensorflow_is_quiet_on_the_command_line(make: Make, tmp_path: Path) -> None:
    prepare(make, train={"epochs": 1})
    paths = ["--arrays", str(ARRAYS), "--out", str(MODEL), "--history", str(HISTORY)]
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", "components", "train", *paths]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads((tmp_path / "build/cost/train.json").read_text())["seconds"] > 1
