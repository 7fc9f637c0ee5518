"""Baseline and evaluate on every kind of target and input, with a model made by hand: it need not be good."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper

from components import SlipwayError, params, recipes
from components.evaluation import metrics, rates, tested
from components.evaluation.examples import Examples
from components.files import model_digest, read_json, write_csv, write_json
from components.reports import card, figures, results, terminal
from components.reports import page as mistakes_page
from components.reports.results import read_csv
from components.serving import onnx_model
from components.stages import baseline, evaluate, preprocess
from components.targets import single_label
from tests.conftest import Make, no_quarantine

DATA, BUILD = Path("data"), Path("build")
EVALUATION = BUILD / "evaluation"

SEVERAL = '''
"""Numbers, codes and tokens, several labels each, and no baseline of its own."""

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from components.recipes import Input
from components.targets import multi_label

requirements = ()


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    labels: list[str] = ["high", "red", "seven"]


def columns(params):
    return pa.schema({"x": pa.float64(), "colour": pa.string(), "words": pa.list_(pa.float64())})


def target(params):
    return multi_label.Target(tuple(params.labels))


def facts(table, params):
    return pa.table({"positive": pa.array(np.asarray(table["x"]) > 0)})


def fit(tables, params):
    return {"colours": ["red", "green"]}


def encode(table, params, state):
    codes = [1 + state["colours"].index(name) for name in table["colour"].to_pylist()]
    return {
        "x": np.asarray(table["x"], np.float32)[:, None],
        "colour": np.array(codes, np.int32)[:, None],
        "words": np.array(table["words"].to_pylist(), np.int32),
    }


def inputs(params, state):
    return {"x": Input("numbers", ("x",)), "colour": Input("codes", ("colour",)), "words": Input("tokens", mask=1)}


def spell(tokens, state, name):
    return [f"<{token}>" for token in tokens]


def sample(rows, seed):
    random = np.random.default_rng(seed)
    x, red = random.normal(size=rows), random.random(rows) < 0.5
    words = random.integers(2, 9, (rows, 4)).astype(float)
    held = np.stack([x > 0, red, (words == 7).any(axis=1)], axis=1)
    labels = [[name for name, yes in zip(("high", "red", "seven"), row) if yes] for row in held]
    colour = ["red" if yes else "green" for yes in red]
    return {}, pa.table({"x": x, "colour": colour, "words": list(words), "label": labels})
'''


NETWORKS = """
from pydantic import BaseModel


class Network(BaseModel):
    pass


sample = {}
"""


@pytest.fixture(autouse=True)
def several(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "several").mkdir()
    (folder / "several/__init__.py").write_text('"""A recipe of the tests."""')
    (folder / "several/example.py").write_text(SEVERAL)
    (folder / "several/networks.py").write_text(NETWORKS)
    monkeypatch.setattr(recipes, "__path__", [*recipes.__path__, str(folder)])


def model(settings: params.Params, decision: list[Any] | None = None) -> None:
    """Write to build/model a linear model of all inputs, with weights drawn by chance."""
    manifest = read_json(BUILD / "arrays" / "manifest.json")
    target, random = recipes.load(settings.recipe).target(settings.task), np.random.default_rng(1)
    nodes, weights, given, parts = [], [], [], []
    for name, spec in manifest["inputs"].items():
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec["dtype"]))
        given.append(helper.make_tensor_value_info(name, kind, ["examples", *spec["shape"]]))
        width = int(np.prod(spec["shape"]))
        scale = 0.002 if spec["dtype"] == "uint8" else 0.5
        drawn = random.normal(0, scale, (width, len(target.names))).astype(np.float32)
        weights.append(numpy_helper.from_array(drawn, f"{name}_weights"))
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", [f"{name}_float"], [f"{name}_flat"]),
            helper.make_node("MatMul", [f"{name}_flat", f"{name}_weights"], [f"{name}_part"]),
        ]
        parts.append(f"{name}_part")
    output = target.output
    last = {"softmax": "Softmax", "sigmoid": "Sigmoid", "linear": "Identity"}[target.activation]
    nodes += [helper.make_node("Sum", parts, ["sum"]), helper.make_node(last, ["sum"], [output])]
    answer = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["examples", len(target.names)])
    graph = helper.make_graph(nodes, "linear", given, [answer], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (BUILD / "model").mkdir(parents=True, exist_ok=True)
    (BUILD / "model" / "model.onnx").write_bytes(made.SerializeToString(deterministic=True))
    content = {"recipe": settings.recipe, "params": settings.task.model_dump(mode="json"), "state": manifest["state"]}
    content |= {"target": manifest["target"], "decision": decision}
    write_json(BUILD / "model" / "model.json", content)
    measure = target.metric
    epochs = [{"epoch": e, "loss": 1 / e, measure: 0.5, "val_loss": 2 / e, f"val_{measure}": 0.4} for e in (1, 2)]
    write_csv(BUILD / "training" / "epochs.csv", epochs, list(epochs[0]))


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> None:
    from components.tracking import runs

    monkeypatch.setattr(runs, "evaluated", lambda *_: None)  # tests/tracking has that


def prepared(settings: params.Params, decision: list[Any] | None = None) -> None:
    preprocess.run(settings, DATA, no_quarantine(Path("q.parquet")), BUILD / "arrays")
    model(settings, decision)
    baseline.run(settings, BUILD / "arrays", BUILD / "baseline", BUILD / "classical")


def evaluated(settings: params.Params) -> dict[str, Any]:
    evaluate.run(settings, DATA, BUILD / "arrays", BUILD / "model", BUILD / "baseline", EVALUATION)
    found: dict[str, Any] = read_json(EVALUATION / "metrics.json")
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def made_page(settings: params.Params, kinds: set[Any]) -> None:
    """What a person sees of the mistakes: as they are in the data, the worst first."""
    wrong = read_json(EVALUATION / "mistakes.json")
    predictions = {row["id"]: row for row in pq.read_table(EVALUATION / "predictions.parquet").to_pylist()}
    answer, several = settings.target().answer, settings.recipe == "several"
    assert 0 < len(wrong) <= settings.evaluate.mistakes
    for each in wrong:
        row = predictions[each["id"]]
        assert (each["actual"], each[answer]) == (row["actual"], row[answer]) and row["actual"] != row[answer]
        assert bool(each["shown"]) == bool(kinds & {"image", "spectrogram", "tokens"} and not several)
        assert bool(each["series"]) == ("history" in kinds or several)
        assert bool(each["columns"]) != bool(each["shown"])
    if settings.target().kind == "single_label":
        sure = [each["probability"] for each in wrong]
        assert sure == sorted(sure, reverse=True)
        assert len(wrong) == min(24, sum(row["actual"] != row[answer] for row in predictions.values()))
    html = mistakes_page.html(settings, BUILD)
    assert html == mistakes_page.html(settings, BUILD)
    assert "Of the model that was evaluated last when and where this page was made, which need not be" in html
    assert html.count("<figure>") == len(wrong) and "<script" not in html
    assert ("<polyline" in html) == ("history" in kinds or several)
    assert ('id="calibration"' in html) == bool(settings.target().classes) != ('id="errors"' in html)


@pytest.mark.usefixtures("stages")
@pytest.mark.parametrize(
    "recipe",
    ["images", *(pytest.param(n, marks=pytest.mark.e2e) for n in ("tabular", "audio", "series", "text", "several"))],
)
def test_every_recipe_is_measured_beside_its_baselines_and_explained(make: Make, recipe: str) -> None:
    settings = make(recipe, rows=400, evaluate={"resamples": 200})
    prepared(settings)
    found = evaluated(settings)
    module = recipes.load(recipe)
    target = module.target(settings.task)
    main = results.main_metric(settings)
    assert {main, f"baseline_{main}", f"classical_{main}", "size_mb", "rows"} <= found.keys()
    intervals = {row["metric"]: row for row in read_csv(EVALUATION / "intervals.csv")}
    assert set(intervals) == {name for name in found if name not in ("size_mb", "rows") and "_mae" not in name} - {
        f"baseline_{main}",
        f"classical_{main}",
    }
    assert all(float(row["low"]) <= float(row["high"]) for row in intervals.values())
    assert float(intervals[main]["low"]) <= found[main] <= float(intervals[main]["high"])
    compared = {row["metric"]: row for row in read_csv(EVALUATION / "baselines.csv") if row["baseline"] == "classical"}
    better = float(compared[main]["better"])
    assert abs(better) == pytest.approx(abs(found[main] - found[f"classical_{main}"]), rel=1e-5, abs=1e-7)
    assert float(compared[main]["low"]) <= better <= float(compared[main]["high"])
    # the predictions are what serving answers
    loaded = onnx_model.load(BUILD / "model")
    entries = module.inputs(settings.task, loaded.state)
    inputs = {name: np.load(BUILD / "arrays" / "test" / f"{name}.npy") for name in entries}
    predictions = pq.read_table(EVALUATION / "predictions.parquet")
    answers = target.answers(onnx_model.outputs(loaded, inputs))
    assert predictions.drop_columns(["id", "actual"]).equals(answers)
    assert np.array_equal(
        target.encode(predictions["actual"].to_pylist()), np.load(BUILD / "arrays" / "test" / "label.npy")
    )
    kinds = {entry.kind for entry in entries.values()}
    assert (EVALUATION / "importance.csv").exists() == bool(kinds & {"numbers", "codes", "history"})
    assert (EVALUATION / "explanations.json").exists() == bool(kinds & {"image", "spectrogram", "tokens"})
    assert (EVALUATION / "confusion.csv").exists() == (target.kind == "single_label")
    assert (EVALUATION / "residuals.csv").exists() == (target.kind == "regression")
    # what the run gets: a metric a number, a card that says what is not beaten, a figure a file
    digest = model_digest(BUILD / "model")
    numbers = results.numbers(BUILD, digest, {"latency_ms": 0.1})
    assert numbers[f"test/{main}"] == pytest.approx(found[main])
    write_json(BUILD / "cost" / "train.json", {"fit_seconds": 1.0, "device": "cpu"})
    page = card.text(settings, BUILD, digest, {"latency_ms": 0.1})
    assert f"| {main}{card.GAP} | {found[main]:,.4g} (" in page
    ends = [float(compared[metrics.score(target, settings.costs)][end]) for end in ("low", "high")]
    assert ("DOES NOT BEAT the classical baseline" in page) == (ends[0] <= 0 <= ends[1])
    assert ("IS WORSE THAN the classical baseline" in page) == (ends[1] < 0)
    assert "its own answers, dealt at random" in page
    assert len(page) < 8000
    made_page(settings, kinds)
    with figures.drawn(BUILD) as folder:
        drawn = {path.name for path in folder.iterdir()}
    assert {"loss.png", "mae.png" if target.kind == "regression" else "accuracy.png"} <= drawn
    assert ("importance.png" in drawn) == (EVALUATION / "importance.csv").exists()
    assert ("tokens.html" in drawn) == ("tokens" in kinds)
    assert ("occlusion.png" in drawn) == bool(kinds & {"image", "spectrogram"})
    assert ("forecasts.png" in drawn) == ("history" in kinds)
    # the same inputs, the same bytes; a file of another kind does not stay
    before = files(EVALUATION) | files(BUILD / "baseline")
    (EVALUATION / "stale.csv").write_text("")
    baseline.run(settings, BUILD / "arrays", BUILD / "baseline", BUILD / "classical")
    evaluated(settings)
    assert files(EVALUATION) | files(BUILD / "baseline") == before


@pytest.mark.usefixtures("stages")
def test_boxes_are_measured_beside_their_baselines_and_explained(make: Make) -> None:
    settings = make("detection", rows=160, evaluate={"resamples": 100, "slices": ["label", "boxes"], "explain": 2})
    prepared(settings)
    shutil.copyfile(BUILD / "classical" / "model.onnx", BUILD / "model" / "model.onnx")
    found = evaluated(settings)
    assert {"map_50", "map", "f1", "count_error", "baseline_map_50", "classical_map_50"} <= found.keys()
    assert found["map_50"] == found["classical_map_50"] > 2 * found["baseline_map_50"]
    intervals = {row["metric"]: row for row in read_csv(EVALUATION / "intervals.csv")}
    assert float(intervals["map_50"]["low"]) <= found["map_50"] <= float(intervals["map_50"]["high"])
    beside = {(row["baseline"], row["metric"]) for row in read_csv(EVALUATION / "baselines.csv")}
    assert {("chance", "map_50"), ("trivial", "map_50"), ("classical", "map")} <= beside
    assert ("chance", "map") not in beside
    classes = read_csv(EVALUATION / "classes.csv")
    truth = np.load(BUILD / "arrays" / "test" / "label.npy")
    assert [row["label"] for row in classes] == ["bar", "square"]
    assert [int(row["rows"]) for row in classes] == [int((truth[:, :, 4] == at).any(axis=1).sum()) for at in (0, 1)]
    assert all(float(row["ap_50_low"]) <= float(row["ap_50"]) <= float(row["ap_50_high"]) for row in classes)
    cut = {(row["slice"], row["value"]) for row in read_csv(EVALUATION / "slices.csv")}
    assert ("label", '["bar", "square"]') in cut and ("boxes", "2") in cut
    explained = read_json(EVALUATION / "explanations.json")
    assert all(np.isfinite(entry["drop"]).all() and entry["kind"] == "image" for entry in explained)
    assert {"precision_recall.csv", "counts.csv", "predictions.parquet"} <= files(EVALUATION).keys()
    before = files(EVALUATION)
    evaluated(settings)
    assert files(EVALUATION) == before


@pytest.mark.usefixtures("stages")
def test_texts_are_measured_beside_their_baselines_and_explained(make: Make) -> None:
    settings = make("speech", rows=160, evaluate={"resamples": 100, "slices": ["words", "symbols"], "explain": 2})
    prepared(settings)
    shutil.copyfile(BUILD / "classical" / "model.onnx", BUILD / "model" / "model.onnx")
    found = evaluated(settings)
    assert {"wer", "cer", "exact", "insertions", "baseline_wer", "classical_wer"} <= found.keys()
    assert found["wer"] < 0.7 * found["baseline_wer"] and found["classical_wer"] == found["wer"]
    intervals = {row["metric"]: row for row in read_csv(EVALUATION / "intervals.csv")}
    assert float(intervals["wer"]["low"]) <= found["wer"] <= float(intervals["wer"]["high"])
    beside = {(row["baseline"], row["metric"]) for row in read_csv(EVALUATION / "baselines.csv")}
    assert {("chance", "wer"), ("trivial", "exact"), ("classical", "cer")} <= beside
    truth = np.load(BUILD / "arrays" / "test" / "label.npy")
    symbols = read_csv(EVALUATION / "symbols.csv")
    assert [int(row["rows"]) for row in symbols] == [int((truth == at).any(axis=1).sum()) for at in (1, 2, 3)]
    assert {row["slice"] for row in read_csv(EVALUATION / "slices.csv")} == {"words", "symbols"}
    explained = read_json(EVALUATION / "explanations.json")
    assert all(np.isfinite(entry["drop"]).all() and entry["kind"] == "spectrogram" for entry in explained)
    assert {"words.csv", "lengths.csv", "predictions.parquet"} <= files(EVALUATION).keys()
    before = files(EVALUATION)
    evaluated(settings)
    assert files(EVALUATION) == before


@pytest.mark.usefixtures("stages")
def test_mistakes_that_cost_differently_are_measured_by_their_cost(make: Make) -> None:
    costs = {"no": {"yes": 1.0}, "yes": {"no": 5.0}}
    settings = make("tabular", rows=400, costs=costs, evaluate={"resamples": 200})
    decision = [[0.0, -1.0], [-5.0, 0.0]]
    prepared(settings, decision)
    found = evaluated(settings)
    predictions = pq.read_table(EVALUATION / "predictions.parquet").to_pylist()
    expected = np.mean([costs[row["actual"]].get(row["label"], 0.0) for row in predictions])
    assert found["cost"] == pytest.approx(expected)
    assert {"baseline_cost", "classical_cost"} <= found.keys()
    # to say always yes costs 1 for each no: less than always no, though no may be the commoner
    assert found["baseline_cost"] == pytest.approx(np.mean([row["actual"] == "no" for row in predictions]))
    confused = read_csv(EVALUATION / "confusion.csv")
    assert sum(row["predicted"] == "yes" for row in confused) == sum(row["label"] == "yes" for row in predictions)
    assert "cost" in terminal.told(settings, EVALUATION)[0]
    # a model without a decision takes the likeliest label, and so do the baselines
    model(settings)
    share = np.load(BUILD / "baseline" / "trivial.npy")[0]
    always = ("no", "yes")[share.argmax()]
    expected = np.mean([costs[row["actual"]].get(always, 0.0) for row in predictions])
    assert evaluated(settings)["baseline_cost"] == pytest.approx(expected)


@pytest.mark.usefixtures("stages")
def test_slices_by_columns_and_facts_come_worst_first_and_may_be_gated(make: Make) -> None:
    settings = make("tabular", rows=400, evaluate={"resamples": 200, "slices": ["colour", "x", "missing", "label"]})
    prepared(settings)
    found = evaluated(settings)
    rows = read_csv(EVALUATION / "slices.csv")
    assert {row["slice"] for row in rows} == {"colour", "x", "missing", "label"}
    values = [float(row["accuracy"]) for row in rows]
    assert values == sorted(values)
    assert found["worst_slice_accuracy"] == min(float(row["accuracy"]) for row in rows if int(row["rows"]) >= 30)
    # by hand: raw rows of the dataset beside the predictions, matched by their ids
    raw = {row["id"]: row for row in pq.read_table("data/a.parquet").to_pylist()}
    predictions = pq.read_table(EVALUATION / "predictions.parquet").to_pylist()
    red = [row["actual"] == row["label"] for row in predictions if raw[row["id"]]["colour"] == "red"]
    shown = next(row for row in rows if row["value"] == "red")
    assert int(shown["rows"]) == len(red)
    assert float(shown["accuracy"]) == pytest.approx(np.mean(red))
    assert "worst slice" in terminal.told(settings, EVALUATION)[-1]
    assert "### The worst slices" in card.text(settings, BUILD, model_digest(BUILD / "model"), {})
    assert "slices" in figures.figures(BUILD)
    wrong = settings.model_copy(update={"evaluate": params.Evaluate(slices=["colur"])})
    with pytest.raises(SlipwayError, match=r"evaluate\.slices: no column or fact 'colur'; did you mean colour\?"):
        evaluated(wrong)


@pytest.mark.usefixtures("stages")
def test_nothing_is_explained_where_it_is_not_wanted(make: Make) -> None:
    settings = make("images", evaluate={"resamples": 100, "explain": 0})
    prepared(settings)
    evaluated(settings)
    assert not (EVALUATION / "explanations.json").exists()


@pytest.mark.usefixtures("stages")
def test_intervals_draw_groups_where_groups_are_split_and_few_of_them_are_told(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make("tabular", evaluate={"resamples": 100, "explain": 0}, split={"by": {"group": "machine"}})
    table = pq.read_table("data/a.parquet")
    machines = np.repeat(np.arange(40), 5)
    pq.write_table(table.append_column("machine", pa.array(machines)), "data/a.parquet", row_group_size=50)
    prepared(settings)
    evaluated(settings)
    drawn = (EVALUATION / "intervals.csv").read_bytes()
    tests = {int(machines[row]) for row in np.load(BUILD / "arrays" / "test" / "row.npy")}
    assert f"the test split has only {len(tests)} groups: intervals" in capsys.readouterr().out.split("baseline")[-1]
    (BUILD / "arrays" / "test" / "block.npy").unlink()
    evaluated(settings)
    assert (EVALUATION / "intervals.csv").read_bytes() != drawn
    assert "the test split has only" not in capsys.readouterr().out


def test_a_classical_model_learns_what_there_is_to_learn(make: Make) -> None:
    """Also the plain one, of numbers, codes and tokens, where the recipe has none of its own."""
    for recipe in ("tabular", "several"):
        settings = make(recipe, rows=600)
        preprocess.run(settings, DATA, no_quarantine(Path("q.parquet")), BUILD / "arrays")
        baseline.run(settings, BUILD / "arrays", BUILD / "baseline", BUILD / "classical")
        target: Any = settings.target()
        truth = np.load(BUILD / "arrays" / "test" / "label.npy")
        for name, least, most in (("classical", 0.9, 1.0), ("trivial", 0.3, 0.85)):
            outputs = np.load(BUILD / "baseline" / f"{name}.npy")
            assert outputs.dtype == np.float32
            right = (target.chosen(outputs) == truth).mean()
            assert least <= right <= most, (recipe, name)


def test_a_classical_model_gets_no_more_examples_than_are_allowed(
    make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make("tabular", rows=400, evaluate={"baseline_rows": 50})
    preprocess.run(settings, DATA, no_quarantine(Path("q.parquet")), BUILD / "arrays")
    baseline.run(settings, BUILD / "arrays", BUILD / "baseline", BUILD / "classical")
    about = read_json(BUILD / "baseline" / "baseline.json")
    rows = len(np.load(BUILD / "arrays" / "train" / "label.npy"))
    assert (about["rows"], about["of"]) == (50, rows)
    assert f"on 50 of {rows} training examples" in capsys.readouterr().out
    monkeypatch.setattr(baseline, "MAX_TRAINING_BYTES", 300)
    baseline.run(settings, BUILD / "arrays", BUILD / "baseline", BUILD / "classical")
    assert read_json(BUILD / "baseline" / "baseline.json")["rows"] < 50


@pytest.mark.usefixtures("stages")
def test_the_scale_of_a_series_is_that_of_its_group(make: Make) -> None:
    settings = make("series", rows=400, evaluate={"resamples": 100})
    prepared(settings)
    found = evaluated(settings)
    manifest = read_json(BUILD / "arrays" / "manifest.json")
    scale = manifest["state"]["mase_scale"]
    predictions = pq.read_table(EVALUATION / "predictions.parquet").to_pylist()
    groups = {row["id"]: row.get("group", "") for row in pq.read_table("data/a.parquet").to_pylist()}
    errors = []
    for row in predictions:
        error = np.abs(np.array(row["actual"]) - np.array(row["values"])).mean()
        errors.append(error / (scale[groups[row["id"]]] if isinstance(scale, dict) else scale)[0])
    assert found["mase"] == pytest.approx(np.mean(errors), rel=1e-5)
    rows = [row for row in read_csv(EVALUATION / "baselines.csv") if row["baseline"] == "classical"]
    beside = {row["metric"]: float(row["value"]) for row in rows}
    assert 0.3 < beside["mase"] < 3


def test_a_missing_group_has_the_scale_that_was_fitted_for_it(make: Make) -> None:
    settings = make("series", rows=20)
    examples = pq.read_table("data/a.parquet")
    groups = pa.array([None if name == "north" else name for name in examples["group"].to_pylist()], pa.string())
    examples = examples.set_column(examples.schema.get_field_index("group"), "group", groups)
    pq.write_table(examples, "data/a.parquet")
    state = recipes.load("series").fit([examples], settings.task)
    Path("arrays/test").mkdir(parents=True)
    np.save("arrays/test/row.npy", np.arange(20))
    np.save("arrays/test/id.npy", np.array(examples["id"].to_pylist(), "S32"))
    found = tested._scale(settings, Path("data"), Path("arrays"), {"state": state})
    assert found is not None
    expected = [state["mase_scale"]["" if name is None else name] * 3 for name in groups.to_pylist()]
    assert found.tolist() == expected


def test_curves_have_the_areas_that_were_measured() -> None:

    random = np.random.default_rng(1)
    held = random.random(300) < 0.3
    scores = (held * 0.4 + random.random(300)).round(2)
    false, true, precision = rates.thresholds(held, scores)
    outputs = np.stack([1 - scores, scores], axis=1)
    found, _ = metrics.measure(Examples(held.astype(int), outputs, single_label.Target(("no", "yes"))))
    assert np.trapezoid(true, false) == pytest.approx(found["roc_auc"][0])
    assert np.sum(np.diff(true) * precision[1:]) == pytest.approx(found["pr_auc"][0])


def test_text_of_strangers_is_no_markup(tmp_path: Path) -> None:
    entry = {"row": 0, "input": "text", "kind": "tokens", "actual": "<b>", "answer": "好", "probability": 0.5}
    write_json(tmp_path / "evaluation" / "explanations.json", [entry | {"tokens": ["<script>"], "drop": [0.25]}])
    page = figures.explanations.tokens(tmp_path)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "actual &lt;b&gt;" in page
    assert "rgba(31,111,235,0.80)" in page


@pytest.mark.e2e
def test_names_are_drawn_as_they_are_and_long_ones_keep_their_bars(tmp_path: Path) -> None:
    """Price tiers such as $$ are no formulas."""
    names = ["$", "$$", "$$$", "$" * 40 + "b", "$" * 40 + "c"]
    section = recipes.load("tabular").Params(numeric=["x"], labels=names).model_dump(mode="json")
    content = {"recipe": "tabular", "params": section, "target": {"kind": "single_label", "names": names}}
    state: dict[str, Any] = {"numbers": {}, "categories": {}}
    write_json(tmp_path / "model" / "model.json", content | {"state": state})
    write_csv(tmp_path / "training" / "epochs.csv", [], ["epoch"])
    folder = tmp_path / "evaluation"
    probabilities = pa.array(np.eye(5).tolist(), pa.list_(pa.float64()))
    folder.mkdir()
    pq.write_table(pa.table({"actual": names, "probabilities": probabilities}), folder / "predictions.parquet")
    write_csv(folder / "confusion.csv", [{"actual": n, "predicted": n} for n in names], ["actual", "predicted"])
    areas = [{"label": name, "f1": 0.5, "roc_auc": 0.5, "pr_auc": 0.5} for name in names]
    write_csv(folder / "classes.csv", [*areas, {"label": "neither there nor predicted"}], list(areas[0]))
    cut = [{"slice": "$", "value": name, "rows": 9, "accuracy": 0.5, "low": 0.4, "high": 0.6} for name in names]
    write_csv(folder / "slices.csv", cut, list(cut[0]))
    columns = [{"column": name, "importance": 0.5, "spread": 0.1} for name in names]
    write_csv(folder / "importance.csv", columns, list(columns[0]))
    entry = {"row": 0, "input": "image", "kind": "image", "actual": "$", "answer": "$$", "probability": 0.5}
    entry |= {"patch": [2, 2], "tops": [0], "lefts": [0], "drop": [[0.5]]}
    write_json(folder / "explanations.json", [entry])
    (tmp_path / "arrays" / "test").mkdir(parents=True)
    np.save(tmp_path / "arrays" / "test" / "image.npy", np.zeros((1, 4, 4, 1), np.uint8))
    with figures.drawn(tmp_path) as drawn:
        found = {path.stem for path in drawn.iterdir()}
    assert found == {"confusion", "f1", "slices", "importance", "roc", "precision_recall", "occlusion"}
    for title in ("f1", "importance"):
        bars: list[Any] = list(figures.figures(tmp_path)[title].axes[0].patches)
        assert len({bar.get_y() for bar in bars}) == len(names)
