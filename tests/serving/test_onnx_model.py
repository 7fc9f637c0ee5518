import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import SlipwayError, recipes
from components.params import Params
from components.serving import onnx_model, worker
from components.targets import Target, multi_label, regression, single_label
from components.tracking import registry
from tests import fabricate
from tests.conftest import ROOT

Made = tuple[onnx_model.Model, Any, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("serving")
    settings = fabricate.project(root, flip=0.3)
    return onnx_model.load(root / "build" / "model"), settings, root


def sample(rows: int) -> pa.Table:
    return recipes.load("images").sample(rows, 11)[1]


def test_answers_do_not_depend_on_the_batch(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    model, settings, _ = made
    arrays = model.recipe.encode(sample(50), settings.task, {})
    whole = onnx_model.outputs(model, arrays)
    assert whole.shape == (50, 2)
    assert np.allclose(whole.sum(axis=1), 1)
    monkeypatch.setattr(recipes, "AT_ONCE", 7)
    assert np.allclose(whole, onnx_model.outputs(model, arrays), atol=1e-6)
    assert onnx_model.outputs(model, {"image": arrays["image"][:0]}).shape == (0, 2)


def test_one_bad_example_costs_only_its_own_answer(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, _ = made
    monkeypatch.setattr(onnx_model, "BATCH_ROWS", 8)
    images = sample(20)["image"].to_pylist()
    good = onnx_model.predict(model, pa.table({"image": images}))
    images[3], images[12] = b"no image at all", None
    mixed = onnx_model.predict(model, pa.table({"image": pa.array(images, pa.binary())})).to_pylist()
    for row, (alone, together) in enumerate(zip(good.to_pylist(), mixed, strict=True)):
        if row in (3, 12):
            assert together["label"] is None
            assert together["probabilities"] is None
            assert "image" in together["error"]
        else:
            assert together["error"] is None
            assert together["label"] == alone["label"]
            assert together["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-6)


def test_missing_column_and_missing_model(made: Made, tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match="column image is missing"):
        onnx_model.predict(made[0], pa.table({"picture": [b""]}))
    with pytest.raises(SlipwayError, match="dvc repro"):
        onnx_model.load(tmp_path)
    fabricate.model(tmp_path, made[1], 0.0)
    (tmp_path / "model" / "model.onnx").write_bytes(b"\x08cut off")
    with pytest.raises(SlipwayError, match="not a usable model"):
        onnx_model.load(tmp_path / "model")


def test_text_of_a_csv_is_cast_row_by_row() -> None:
    """A value that is no number is an error of its own row; an empty one is a missing value."""
    section = {"numeric": ["x"], "labels": ["no", "yes"]}
    recipe = recipes.load("tabular")
    settings = recipe.Params.model_validate(section)
    state = recipe.fit([pa.table({"x": [-1.0, 0.0, 1.0]})], settings)

    class OfText(Session):
        def run(self, _: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            x = feeds["numeric"][:, 0]
            return [np.stack([x < 0, x >= 0], axis=1).astype(np.float32)]

    model = onnx_model.Model(
        OfText(recipe.target(settings), 0.0), recipe, settings, state, recipe.target(settings), None
    )
    answers = onnx_model.predict(model, pa.table({"x": ["-1.5", "two", None, "3"]})).to_pylist()
    assert [row["label"] for row in answers] == ["no", None, "yes", "yes"]
    assert "two" in answers[1]["error"]


def test_pyfunc_takes_and_gives_a_frame(made: Made) -> None:
    _, _, root = made
    served = onnx_model._load_pyfunc(str(root / "build" / "model"))
    answers = served.predict(pd.DataFrame({"image": [*sample(2)["image"].to_pylist(), b"x"]}, index=[7, 9, 11]))
    assert list(answers.columns) == ["label", "probability", "probabilities", "error"]
    assert len(answers) == 3
    assert answers["error"].isna().tolist() == [True, True, False]


class Session:
    """A model that answers with its number, and with what is no number where that is 0."""

    def __init__(self, target: Target, broken: float) -> None:
        self.target, self.broken = target, broken

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="numeric")]

    def run(self, _: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = feeds["numeric"] * np.array([1, -1], np.float32)[: len(self.target.names)]
        found[feeds["numeric"][:, 0] == 0, -1] = self.broken
        return [found]


def of_numbers(target: Target, broken: float = np.nan) -> onnx_model.Model:
    recipe = recipes.load("tabular")
    settings = recipe.Params.model_validate({"numeric": ["x"], "labels": ["no", "yes"]})
    state = recipe.fit([pa.table({"x": [-1.0, 0.0, 1.0]})], settings)
    return onnx_model.Model(Session(target, broken), recipe, settings, state, target, None)


TARGETS = {
    "label": single_label.Target(("no", "yes")),
    "labels": multi_label.Target(("loud", "red")),
    "value": regression.Target(("price",)),
    "values": regression.Target(("low", "high")),
}
every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())


@every_target
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_is_an_error_of_its_own_row(target: Target, broken: float) -> None:
    model = of_numbers(target, broken)
    answers = onnx_model.predict(model, pa.table({"x": [-1.5, 0.0, 3.0, None]}))
    assert answers.take([0, 2]).equals(onnx_model.predict(model, pa.table({"x": [-1.5, 3.0]})))
    assert answers["error"].to_pylist()[::2] == [None, None]
    for row in (1, 3):  # a gap is filled with the median, here 0
        failed = answers.slice(row, 1).to_pylist()[0]
        assert failed.pop("error") == "the model's output is not finite (NaN or infinite)"
        assert set(failed.values()) == {None}


@every_target
@pytest.mark.parametrize("rows", [[-1.5, 1e300, 0.0, 3.0], [-1.5, 3.0], [1e300], []])
def test_a_served_answer_is_json(target: Target, rows: list[float]) -> None:
    """What is missing is None in the frame and null in what MLflow's server writes, never NaN."""
    from mlflow.pyfunc import scoring_server

    model = of_numbers(target)
    answers = onnx_model.predict(model, pa.table({"x": pa.array(rows, pa.float64())}))
    frame = onnx_model.Pyfunc(model).predict(pd.DataFrame({"x": np.array(rows)}, index=range(7, 7 + len(rows))))
    assert frame["error"].tolist() == answers["error"].to_pylist()
    text = io.StringIO()
    scoring_server.predictions_to_json(frame, text)
    assert fabricate.strict(text.getvalue()) == {"predictions": answers.to_pylist()}
    # and the way back, as `predict` goes it
    assert pa.Table.from_pandas(frame, onnx_model.schema(target), preserve_index=False).equals(answers)


def test_a_column_without_gaps_keeps_its_type() -> None:
    table = pa.table({"label": ["a", "b"], "probability": [0.5, 0.75], "error": pa.nulls(2, pa.string())})
    assert onnx_model._frame(table).dtypes.astype(str).to_dict() == {
        "label": "str",
        "probability": "float64",
        "error": "object",
    }
    gaps = {"values": [[1.0, None], None], "labels": [["a", None], []]}
    assert onnx_model._frame(pa.table(gaps)).to_dict("list") == gaps


@pytest.mark.parametrize("answer", [{"labels": ["no", "yes"]}, {"targets": ["a"]}, {"targets": ["a", "b"]}])
def test_predicts_process_tells_gaps_from_answers(
    answer: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of text that is no number, of a number that is too large, and of an output that is not finite."""
    import mlflow.pyfunc

    recipe = recipes.load("tabular")
    task = recipe.Params.model_validate({"numeric": ["x"]} | answer)
    signature = registry._signature(Params(name="numbers", recipe="tabular", task=task))
    pyfunc = onnx_model.Pyfunc(of_numbers(recipe.target(task)))
    about = SimpleNamespace(
        metadata={"recipe": "tabular"},
        get_input_schema=lambda: signature.inputs,
        get_output_schema=lambda: signature.outputs,
    )
    loaded = SimpleNamespace(metadata=about, predict=pyfunc.predict)
    monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda *_, **__: loaded)
    given, answered = tmp_path / "given.parquet", tmp_path / "answered.parquet"
    for texts in (["-1.5", "two", "0", "1e300", "3"], ["two"], ["3", "two"], ["-1.5", "3"]):
        pq.write_table(pa.table({"x": texts}), given)
        worker._answer("models:/numbers/1", str(given), str(answered))
        answers = pq.read_table(answered).to_pylist()
        readable = [float(text) if text != "two" else None for text in texts]
        expected = onnx_model.predict(pyfunc.model, pa.table({"x": pa.array(readable, pa.float64())})).to_pylist()
        for text, row, alone in zip(texts, answers, expected, strict=True):
            wrong = dict.fromkeys(alone) | {"error": "x: 'two' is not a number"}
            assert row == (wrong if text == "two" else alone)


@pytest.mark.parametrize(
    "how",
    [
        "from components.serving import onnx_model; onnx_model.runtime()",
        "from components import surroundings; surroundings.settle(); import onnxruntime",
    ],
)
def test_onnxruntime_reports_to_nobody(how: str, tmp_path: Path) -> None:
    """Where no_telemetry.pth is not installed, and no CI keeps onnxruntime quiet: no identifier, no queue of events."""
    code = f"import sys; sys.path += {sys.path!r}; {how}"
    subprocess.run([sys.executable, "-S", "-c", code], env={"HOME": str(tmp_path)}, cwd=ROOT, check=True)
    assert not list(tmp_path.iterdir())


def test_a_column_that_is_only_kept_is_not_asked_for() -> None:
    """A recording answers for itself: its speaker is for the slices of the evaluation."""
    import onnxruntime
    from mlflow.types import DataType
    from onnx import TensorProto, helper, numpy_helper

    audio = recipes.load("audio")
    section, examples = audio.sample(3, 1)
    task: Any = audio.Params.model_validate(section | {"group": ["speaker"], "scale": "recording"})
    weights = np.random.default_rng(1).normal(size=(task.bands, 2)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMax", ["spectrogram"], ["loudest"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["loudest", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    given = helper.make_tensor_value_info("spectrogram", TensorProto.FLOAT, ["examples", task.frames, task.bands])
    answer = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["examples", 2])
    graph = helper.make_graph(nodes, "audio", [given], [answer], [numpy_helper.from_array(weights, "weights")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    model = onnx_model.Model(session, audio, task, {}, audio.target(task), None)

    alone = onnx_model.predict(model, examples.select(["audio"]))
    assert alone["error"].to_pylist() == [None] * 3
    assert onnx_model.predict(model, examples.append_column("speaker", pa.array([1, 2, 3]))).equals(alone)
    with pytest.raises(SlipwayError, match=r"column audio is missing; the model needs audio$"):
        onnx_model.predict(model, pa.table({"speaker": ["a"]}))

    settings = Params(name="calls", recipe="audio", task=task)
    inputs = registry._signature(settings).inputs
    assert [(column.name, column.type) for column in inputs] == [("audio", DataType.binary)]
    (batch,) = pa.table({worker.FILE_COLUMN: examples["audio"].combine_chunks()}).to_batches()
    frame, problems = worker._asked(batch, inputs)
    assert not problems
    assert onnx_model.Pyfunc(model).predict(frame)["label"].tolist() == alone["label"].to_pylist()


def test_latency_is_of_one_example(made: Made) -> None:
    model, settings, _ = made
    arrays = model.recipe.encode(sample(3), settings.task, {})
    found = onnx_model.latency(model, arrays, calls=5, warm_up=1)
    assert 0 < found["latency_ms"] < 1000
    assert found["latency_spread_ms"] >= 0
    with pytest.raises(SlipwayError, match="empty"):
        onnx_model.latency(model, {"image": arrays["image"][:0]})


def test_serving_imports_nothing_heavy(made: Made) -> None:
    """Not even MLflow: a server starts with onnxruntime, numpy and pyarrow."""
    text = (
        "import sys; from pathlib import Path; import pyarrow as pa; from components.serving import onnx_model\n"
        "model = onnx_model.load(Path(sys.argv[1]))\n"
        "onnx_model.predict(model, pa.table({'image': pa.array([b'x'], pa.binary())}))\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'dvc', 'prefect', 'great_expectations', 'sklearn', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", text, made[2] / "build" / "model"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
