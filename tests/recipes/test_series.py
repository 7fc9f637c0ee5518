import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import SlipwayError, recipes
from components.data import csv_reader, splits
from components.params import new_dataset
from components.recipes.series import example as series
from components.recipes.series import networks
from components.recipes.series.source import latest
from components.recipes.series.source import series as read
from components.recipes.source import Source, commands
from components.reports import results
from components.stages import predict
from tests import fabricate
from tests.conftest import ROOT

DATASETS = Path(os.environ.get("SLIPWAY_DATASETS", ROOT.parent / "shared" / "datasets")) / "series"
needs_data = pytest.mark.skipif(not DATASETS.is_dir(), reason=f"no data sets in {DATASETS}")
NO_STATE = {"groups": ["a", "b"], "mase_scale": {"a": [1.0], "b": [1.0]}}


def ingest(file: Path, value: str | list[str] = "v", **options: Any) -> Source:
    given: dict[str, Any] = {
        "time": "t",
        "group": None,
        "history": 3,
        "horizon": 2,
        "season": None,
        "step": None,
        "every": 1,
    }
    given |= {"missing": [], "form": None} | options
    return read(file, value=[value] if isinstance(value, str) else value, **given)


def whole(source: Source) -> pa.Table:
    return pa.concat_tables(source.tables).combine_chunks()


def csv(folder: Path, *lines: str, header: str = "t,v") -> Path:
    path = folder / "s.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def days(*values: object, start: str = "2020-01-01") -> list[str]:
    return [f"{np.datetime64(start) + at},{value}" for at, value in enumerate(values)]


def example(history: list[Any] | None, **others: Any) -> pa.Table:
    row = {"time": np.datetime64("2020-01-31T00:00:00", "us").item(), "group": "a", "history": history} | others
    types = {"time": pa.timestamp("us"), "group": pa.string(), "history": pa.list_(pa.float64())}
    types |= {"label": pa.list_(pa.float64())} if "label" in others else {}
    return pa.table({name: pa.array([row[name]], kind) for name, kind in types.items()})


def params(**settings: Any) -> series.Params:
    return series.Params.model_validate({"history": 4, "horizon": 2, "season": 2} | settings)


def fitted(table: pa.Table, chosen: series.Params) -> dict[str, Any]:
    labels = np.array(table["label"].to_pylist(), float).reshape(len(table), -1)
    scale = {"mean": labels.mean(axis=0).tolist(), "deviation": labels.std(axis=0).tolist()}
    return series.fit([table], chosen) | {"target": scale}


# --- what an example is


def test_columns_and_names_of_one_value_and_of_several() -> None:
    assert series.columns(params()).names == ["time", "history"]
    assert series.target(params()).names == ("h1", "h2")
    several = params(values=["wind", "sun"], group=True)
    assert series.columns(several).names == ["time", "group", "history_wind", "history_sun"]
    assert series.target(several).names == ("wind_h1", "wind_h2", "sun_h1", "sun_h2")
    assert series.ordered(params(horizon=7)) == ("time", 6)
    assert [series.ordered(params(horizon=size, every=12))[1] for size in (1, 12, 13, 24, 25)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"season": 5}, "longer than the history of 4"),
        ({"values": ["a", "a"]}, "named twice: a"),
        ({"values": []}, "at least 1"),
        ({"step": "fortnight"}, "step is 'fortnight'; expected second"),
        ({"step": "0 days"}, "step is '0 days'"),
        ({"history": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(section: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        params(**section)


@given(st.integers(1, 400), st.integers(1, 12), st.integers(1, 15), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_no_label_reaches_into_a_later_split(
    origins: int, horizon: int, every: int, test: float, validation: float
) -> None:
    column, gap = series.ordered(params(horizon=horizon, every=every))
    assert column == "time"
    times = pa.table({"time": np.repeat(np.arange(origins), 2), "id": ["x"] * 2 * origins})  # two groups
    times = times.append_column("split", pa.nulls(2 * origins, pa.string()))
    sides = splits.assigned(splits.make("time", "time", (test, validation), 1, [times], gap), times)[::2]
    for earlier, later in ((0, 1), (1, 2), (0, 2)):
        if (sides == earlier).any() and (sides == later).any():
            first = np.flatnonzero(sides == later).min() * every + 1  # the first step that a later split is asked for
            last = np.flatnonzero(sides == earlier).max()
            assert last * every + horizon < first
            if later == earlier + 1:  # and no more is left out than must be
                assert (last + 1) * every + horizon >= first
    assert (np.diff(sides[sides >= 0]) >= 0).all()


# --- facts and encoding


def test_facts_of_an_example() -> None:
    (found,) = series.facts(example([1.0, None, 3.0, 2.0], label=[1.0, None]), params()).to_pylist()
    assert found == {
        "year": 2020,
        "month": 1,
        "steps": 4,
        "missing": 1,
        "minimum": 1.0,
        "maximum": 3.0,
        "finite": True,
        "constant": False,
        "label_missing": 1,
        "label_finite": True,
    }


HOSTILE: dict[str, tuple[list[Any] | None, str]] = {
    "none": (None, "history is empty; expected 4"),
    "empty": ([], "history is empty"),
    "short": ([1.0, 2.0], "history has 2 values"),
    "long": ([1.0] * 5, "history has 5 values"),
    "all missing": ([None] * 4, "history: all values are missing"),
    "all NaN": ([float("nan")] * 4, "history: all values are missing"),
    "infinite": ([1.0, float("-inf"), 2.0, 3.0], "infinite"),
    "huge": ([1.0, 1e300, 2.0, 3.0], "exceeds 1e\\+15"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_history_is_a_fact_and_an_error_never_a_crash(name: str) -> None:
    history, expected = HOSTILE[name]
    bad = example(history, label=[1.0, 2.0])
    (found,) = series.facts(bad, params()).to_pylist()
    assert found["steps"] != 4 or found["missing"] == 4 or not found["finite"]
    with pytest.raises(ValueError, match=expected):
        series.encode(bad, params(), {})
    series.fit([bad], params())  # leaves it to encode, which names the row


def test_a_time_that_is_missing_or_far_is_a_fact_and_no_crash() -> None:
    numbers = [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(ValueError, match="time is missing"):
        series.encode(example(numbers, time=None), params(), {})
    assert series.facts(example(numbers, time=None), params())["year"].to_pylist() == [None]
    far = example(numbers, time=np.datetime64("9999-12-31", "us").item())
    assert series.facts(far, params())["year"].to_pylist() == [9999]
    assert np.isfinite(series.encode(far, params(), {})["calendar"]).all()


def test_facts_of_ragged_rows_are_each_row_s_own() -> None:
    lists = [[5.0, 7.0], None, [], [None], [1.0, float("inf"), 2.0], [3.0, 3.0]]
    rows = pa.table({"time": pa.nulls(6, pa.timestamp("us")), "history": pa.array(lists, pa.list_(pa.float64()))})
    for part, start in ((rows, 0), (rows.slice(2), 2)):
        found = series.facts(part, params())
        assert found["steps"].to_pylist() == [2, 0, 0, 1, 3, 2][start:]
        assert found["missing"].to_pylist() == [0, 0, 0, 1, 0, 0][start:]
        assert found["minimum"].to_pylist() == [5.0, None, None, None, 1.0, 3.0][start:]
        assert found["finite"].to_pylist() == [True, True, True, True, False, True][start:]
        assert found["constant"].to_pylist() == [False, False, False, False, False, True][start:]


def test_gaps_are_filled_on_a_straight_line() -> None:
    found = series.encode(example([None, 2.0, None, 4.0]), params(), {})
    assert found["history"].tolist() == [[[2.0], [2.0], [3.0], [4.0]]]
    assert found["history"].dtype == np.float32


def test_the_calendar_is_a_circle_of_each_cycle_longer_than_a_step() -> None:
    noon = np.datetime64("2024-07-02T12:00:00", "us").item()  # a Tuesday, half of a leap year less half a day
    found = series.encode(example([1.0] * 4, time=noon), params(step="hour"), {})["calendar"][0]
    year, week, day = (2 * np.pi * part for part in (183.5 / 366, 1.5 / 7, 0.5))
    expected = [np.sin(year), np.cos(year), np.sin(week), np.cos(week), np.sin(day), np.cos(day)]
    assert found == pytest.approx(expected, abs=1e-6)
    names = series.inputs(params(step="hour"), {})["calendar"].names
    assert names == ("year_sine", "year_cosine", "week_sine", "week_cosine", "day_sine", "day_cosine")
    widths = {"10 minutes": 6, "day": 4, "week": 2, "month": 2, "quarter": 2}
    for step, width in widths.items():
        assert series.encode(example([1.0] * 4), params(step=step), {})["calendar"].shape == (1, width)
    for longest in ("year", "2 years", None):
        assert list(series.encode(example([1.0] * 4), params(step=longest), {})) == ["history"]


def test_a_group_never_seen_is_code_0() -> None:
    seen = params(group=True)
    rows = pa.concat_tables(example([1.0] * 4, group=name) for name in ("a", "b", "new", None))
    assert series.encode(rows, seen, NO_STATE)["group"].tolist() == [[1], [2], [0], [0]]


# --- what is fitted, and the baselines


def windows(values: np.ndarray, history: int, horizon: int) -> pa.Table:
    ends = range(history, len(values) - horizon + 1)
    types = [pa.timestamp("us"), pa.list_(pa.float64()), pa.list_(pa.float64())]
    columns = [
        [(np.datetime64("2000-01-01") + end).astype("datetime64[us]").item() for end in ends],
        [values[end - history : end].tolist() for end in ends],
        [values[end : end + horizon].tolist() for end in ends],
    ]
    return pa.table([pa.array(c, t) for c, t in zip(columns, types, strict=True)], ["time", "history", "label"])


@given(st.integers(1, 6), st.integers(1, 4), st.integers(12, 60), st.integers(0, 9))
def test_the_scale_of_mase_is_the_in_sample_error_of_the_seasonal_naive(
    season: int, horizon: int, size: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(10, 3, size)
    chosen = params(history=6, horizon=horizon, season=season, step="day")
    cut = windows(values, 6, horizon)
    known = values[: len(values) - horizon + 1]  # up to the first step of the last label
    expected = np.abs(known[season:] - known[:-season]).mean()
    mixed = cut.take(pa.array(np.random.default_rng(seed).permutation(len(cut))))
    found = series.fit([mixed.slice(at, 5) for at in range(0, len(cut), 5)], chosen)
    if horizon > 1:
        assert found["mase_scale"] == pytest.approx([expected])


@pytest.mark.parametrize("change", [{"every": 2}, {"step": "quarter"}])
def test_settings_of_another_ingest_are_refused(change: dict[str, Any]) -> None:
    section, table = series.sample(100, 3)
    with pytest.raises(SlipwayError, match=r"the examples are 31 days apart, but .* or ingest the files anew"):
        series.fit([table.slice(0, 50), table.slice(50)], series.Params(**section | change))
    series.fit([table], series.Params(**section | {"step": None, "every": 2}))  # nothing to hold it against


def test_a_constant_series_has_scale_1_and_each_group_its_own() -> None:
    flat = windows(np.full(20, 7.0), 4, 2)
    assert series.fit([flat], params(step="day"))["mase_scale"] == [1.0]
    moving = windows(np.arange(20.0), 4, 2)
    both = pa.concat_tables(
        part.append_column("group", pa.array([name] * len(part))) for name, part in (("b", moving), ("a", flat))
    )
    found = series.fit([both], params(group=True, step="day"))
    assert found == {"mase_scale": {"a": [1.0], "b": [2.0]}, "groups": ["a", "b"]}


def test_the_baseline_repeats_the_last_season_of_each_value() -> None:
    history = np.array([[[1, 10], [2, 20], [3, 30], [4, 40]]], np.float32)
    found = series.baseline({"history": history}, params(values=["x", "y"], horizon=3), {})
    assert found.tolist() == [[3, 4, 3, 30, 40, 30]]
    assert series.baseline({"history": history[..., :1]}, params(season=1), {}).tolist() == [[4, 4]]


# --- models


@pytest.mark.parametrize(
    ("section", "expected"), [({"width": 10}, "not a multiple of heads"), ({"model": "arima"}, "seasonal_naive")]
)
def test_networks_that_cannot_be_are_refused(section: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        networks.Network.model_validate(section)


MODELS = ["seasonal_naive", "linear", "cnn", "transformer"]


def small(name: str) -> networks.Network:
    return networks.Network.model_validate(
        {"model": name, "filters": 8, "patch": 8, "width": 8, "heads": 2, "blocks": 1}
    )


def exported(model: Any, folder: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    from components.training import export

    export._export(model, folder / "m.onnx", "values")
    return export._answers(folder / "m.onnx", arrays)


@pytest.mark.e2e
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_exported_faithfully_and_answers_in_the_values_own_units(tmp_path: Path, name: str) -> None:
    import keras

    _, sample = series.sample(60, 1)
    for scale in (1.0, 1e6):
        chosen = series.Params(history=24, horizon=3, group=True)
        network = small(name)
        lists = {
            n: pa.array(
                [[None if x is None else x * scale for x in row] for row in sample[n].to_pylist()],
                pa.list_(pa.float64()),
            )
            for n in ("history", "label")
        }
        scaled = pa.table({"time": sample["time"], "group": sample["group"]} | lists)
        state = fitted(scaled, chosen)
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        model = networks.build(network, chosen, state, 0.1)
        arrays = series.encode(scaled, chosen, state)
        assert set(arrays) == set(series.inputs(chosen, state)) == {"history", "calendar", "group"}
        if name == "seasonal_naive":  # it reads nothing else
            arrays = {"history": arrays["history"]}
        assert {i.name: i.shape[1:] for i in model.inputs} == {n: a.shape[1:] for n, a in arrays.items()}
        assert model.layers[-1].name == "values"
        found = fabricate.outputs(model, arrays)
        assert found.shape == (60, 3)
        assert found.dtype == np.float32
        assert np.abs(found / scale).max() < 100  # near the histories, whatever the unit
        if scale == 1:
            assert np.abs(exported(model, tmp_path, arrays) - found).max() < 1e-4
        if name == "seasonal_naive":
            assert np.array_equal(found, series.baseline(arrays, chosen, state))
            assert not model.trainable_weights


@pytest.mark.parametrize("name", ["linear", "cnn", "transformer"])
def test_a_history_that_moves_up_or_grows_takes_its_forecast_along(name: str) -> None:
    import keras

    cut = windows(np.random.default_rng(1).normal(5, 2, 40), 16, 2)
    chosen = params(history=16, step=None)
    keras.utils.set_random_seed(1)
    model = networks.build(small(name), chosen, fitted(cut, chosen), 0.0)
    if name == "linear":  # it starts from zero
        kernel = model.get_layer("forecast").kernel
        kernel.assign(np.random.default_rng(2).normal(0, 0.3, kernel.shape))
    history = series.encode(cut, chosen, {})["history"]
    first = fabricate.outputs(model, {"history": history})
    assert fabricate.outputs(model, {"history": history + 1000}) == pytest.approx(first + 1000, abs=0.05)
    assert fabricate.outputs(model, {"history": history * 20}) == pytest.approx(first * 20, rel=1e-3, abs=1e-2)
    for rows in range(1, 6):  # among them as many as there are steps to forecast
        assert fabricate.outputs(model, {"history": history[:rows]}) == pytest.approx(first[:rows], rel=1e-4)
    flat = fabricate.outputs(model, {"history": np.full((1, 16, 1), 7, np.float32)})
    assert flat == pytest.approx(7, abs=0.2)


@pytest.mark.parametrize("name", ["linear", "cnn", "transformer"])
def test_the_layers_that_answer_are_known_as_the_head(name: str) -> None:
    """Of a backbone they are not taken, and they learn while it stands still."""
    from components.training import pretrained_weights

    state = NO_STATE | {"target": {"mean": [0.0] * 2, "deviation": [1.0] * 2}}
    network = small(name)
    source, model = (networks.build(network, params(history=16, group=True), state, 0.0) for _ in range(2))
    layers = {layer.name: [array + 1 for array in layer.get_weights()] for layer in source.layers if layer.weights}
    taken, _ = pretrained_weights.take(model, layers, head=False)
    assert set(layers) - set(taken) == {"forecast", "shift"}
    taken, _ = pretrained_weights.take(model, layers, head=True)
    assert set(taken) == set(layers)


@pytest.mark.parametrize("name", ["linear", "cnn", "transformer"])
def test_several_values_and_dropout(name: str) -> None:
    import keras

    random = np.random.default_rng(1)
    chosen, network = params(history=16, values=["x", "y"]), small(name)
    state = {"target": {"mean": [0.0] * 4, "deviation": [1.0, 1.0, 50.0, 50.0]}}
    keras.utils.set_random_seed(1)
    model = networks.build(network, chosen, state, 0.5)
    arrays = {"history": random.normal(0, 1, (8, 16, 2)) * [1, 50], "calendar": random.normal(0, 1, (8, 2))}
    arrays = {key: value.astype(np.float32) for key, value in arrays.items()}
    if name == "linear":
        kernel = model.get_layer("forecast").kernel
        kernel.assign(random.normal(0, 0.3, kernel.shape))
    quiet, loud = (np.asarray(model(arrays, training=training)) for training in (False, True))
    assert quiet.shape == (8, 4)
    assert not np.allclose(quiet, loud)
    assert np.array_equal(quiet, np.asarray(model(arrays, training=False)))
    assert not any("dropout" in layer.name for layer in networks.build(network, chosen, state, 0.0).layers)


@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_the_whole_history_counts_and_the_last_step_too(name: str) -> None:
    chosen, network = params(history=37, step=None), small(name)
    import keras

    keras.utils.set_random_seed(3)
    model = networks.build(network, chosen, {"target": {"mean": [0.0] * 2, "deviation": [1.0] * 2}}, 0.0)
    last = next(layer for layer in model.layers if layer.name == "forecast")
    inner = keras.Model(model.inputs, last.output)
    history = np.random.default_rng(1).normal(0, 1, (1, 37, 1)).astype(np.float32)
    for step in (5, 20, 36):  # a transformer leaves at most half a patch of the oldest out
        other = history.copy()
        other[0, step, 0] += 1
        assert not np.allclose(fabricate.outputs(inner, [history]), fabricate.outputs(inner, [other]), atol=1e-6)


def test_serving_answers_the_good_examples_and_tells_what_is_wrong_with_the_others(tmp_path: Path) -> None:
    import onnxruntime

    from components.serving import onnx_model

    chosen = params()
    arrays = {"history": np.array([[[1], [2], [3], [4]]], np.float32)}
    naive = networks.build(networks.Network(model="seasonal_naive"), chosen, {}, 0.0)
    assert np.array_equal(naive(arrays), exported(naive, tmp_path, arrays))
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    model = onnx_model.Model(session, recipes.load("series"), chosen, {}, series.target(chosen), None)
    good = [example([1.0, 2.0, 3.0, 4.0]), example([1.0, 2.0, None, 4.0])]
    bad = [example(history) for history, _ in HOSTILE.values()]
    found = onnx_model.predict(model, pa.concat_tables([good[0], *bad, good[1]])).to_pylist()
    assert [found[0], found[-1]] == [{"values": [3, 4], "error": None}] * 2
    for answer, (_, expected) in zip(found[1:-1], HOSTILE.values(), strict=True):
        assert answer["values"] is None
        assert re.search(expected, answer["error"])


# --- the source


def test_a_file_becomes_windows(tmp_path: Path) -> None:
    source = ingest(csv(tmp_path, *days(1, 2, 3, 4, 5, 6, 7)))
    assert source.settings == {
        "values": ["v"],
        "group": False,
        "history": 3,
        "horizon": 2,
        "every": 1,
        "season": 1,
        "step": "day",
        "time_zone": None,
        "format": None,
        "reading": {},
    }
    found = whole(source)
    assert found["history"].to_pylist() == [[1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert found["label"].to_pylist() == [[4, 5], [5, 6], [6, 7]]
    assert str(found["time"][0]) == "2020-01-03 00:00:00"
    assert not source.skipped
    assert source.others == {"register": {"maximum": {"mase": 1.0}}}
    assert recipes.schema(recipes.load("series"), series.Params.model_validate(source.settings)).equals(found.schema)


def test_a_new_dataset_of_a_series_has_a_gate_of_its_own(tmp_path: Path) -> None:
    others = new_dataset.others(ingest(csv(tmp_path, *days(1, 2, 3, 4, 5))), None, results.measures_cost)
    assert others == {"register": {"maximum": {"mase": 1.0, "latency_ms": 50.0, "size_mb": 100.0}}}


def test_a_horizon_of_one_is_a_number(tmp_path: Path) -> None:
    found = whole(ingest(csv(tmp_path, *days(1, 2, 3, 4)), horizon=1))
    assert found["label"].to_pylist() == [4.0]
    assert found.schema.field("label").type == pa.float64()


def test_the_order_of_a_file_does_not_matter(tmp_path: Path) -> None:
    lines = days(*range(10))
    assert whole(ingest(csv(tmp_path, *lines))).equals(whole(ingest(csv(tmp_path, *lines[::-1]))))


def test_several_values_and_groups(tmp_path: Path) -> None:
    lines = [f"2020-01-0{day},{name},{day},{day * 10}" for day in range(1, 8) for name in ("b", "a")]
    path = csv(tmp_path, *lines, "2020-01-05,c,1,1", "2020-01-06,c,2,2", header="t,g,v,w")
    source = ingest(path, ["v", "w"], group="g")
    found = whole(source)
    assert found["group"].to_pylist() == ["a"] * 3 + ["b"] * 3 or found["group"].to_pylist() == ["b"] * 3 + ["a"] * 3
    assert found["history_w"].to_pylist()[0] == [10, 20, 30]
    assert found["label"].to_pylist()[0] == [4, 5, 40, 50]
    assert source.skipped == {"a series shorter than 5 steps": 1}


def test_a_gap_stays_one_in_a_history_and_makes_no_label(tmp_path: Path) -> None:
    lines = days(*range(1, 13))
    del lines[5]
    source = ingest(csv(tmp_path, *lines))
    found = whole(source)
    assert found["history"].to_pylist() == [[1, 2, 3], [5, None, 7], [None, 7, 8], [7, 8, 9], [8, 9, 10]]
    assert source.skipped == {
        "a step of time that has no row (a gap in the windows)": 1,
        "a window: a value to predict is missing": 2,
        "a window: no value at the window's last step": 1,
    }


def test_windows_every_few_steps_stay_where_they_are_when_the_series_grows(tmp_path: Path) -> None:
    short = whole(ingest(csv(tmp_path, *days(*range(20))), every=4))
    grown = ingest(csv(tmp_path, *days(*range(30))), every=4)
    assert grown.settings["every"] == 4  # the split by time goes by it
    longer = whole(grown)
    assert longer.slice(0, len(short)).equals(short)
    assert len(longer) > len(short)


def test_footers_and_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = csv(
        tmp_path, *days(1, 2, 3), "", *days(4, 5, 6, start="2020-01-04"), "", "Source: the office", ",", "end,of it"
    )
    source = ingest(path)
    assert len(whole(source)) == 2
    left = "a line at the end without a time; the first is line 10 ('Source: the office')"
    assert source.skipped == {"a blank line": 3, left: 2}


def test_a_byte_order_mark_and_quotes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    lines = ['"t","the value"', *(f'"2020-0{month}","{month}.5"' for month in range(1, 8))]
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    source = ingest(path, "the value")
    assert whole(source)["history"].to_pylist()[0] == [1.5, 2.5, 3.5]
    assert source.settings["step"] == "month"
    assert source.settings["values"] == ["the value"]


def test_a_parquet_file_is_read_too(tmp_path: Path) -> None:
    time = np.datetime64("2020-01-01T00:00", "ms") + np.arange(8) * np.timedelta64(10, "m")
    pq.write_table(pa.table({"t": time, "v": pa.array(range(8))}), tmp_path / "s.parquet")
    source = ingest(tmp_path / "s.parquet")
    assert source.settings["step"] == "10 minutes"
    assert len(whole(source)) == 4


@pytest.mark.parametrize(
    ("times", "step"),
    [
        (pd.date_range("2019-01-31", periods=9, freq="ME"), "month"),
        (pd.date_range("2019-01-01", periods=9, freq="QS"), "quarter"),
        (pd.date_range("1950-01-01", periods=9, freq="YS"), "year"),
        (pd.date_range("2019-01-01", periods=9, freq="2MS"), "2 months"),
        (pd.date_range("2019-01-07", periods=9, freq="W-MON"), "week"),
        (pd.date_range("2019-01-07", periods=9, freq="28D"), "4 weeks"),
        (pd.date_range("2019-01-07 07:00", periods=9, freq="h"), "hour"),
        (pd.date_range("2019-01-07 07:00", periods=9, freq="15s"), "15 seconds"),
    ],
)
def test_the_step_is_found_in_the_times(tmp_path: Path, times: pd.DatetimeIndex, step: str) -> None:
    source = ingest(csv(tmp_path, *(f"{time},{at}" for at, time in enumerate(times))))
    assert source.settings["step"] == step
    assert len(whole(source)) == 5
    assert not source.skipped


def test_rows_are_taken_as_they_follow_each_other_where_that_is_asked(tmp_path: Path) -> None:
    lines = [
        f"{day},{at}" for at, day in enumerate(["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07", "2020-01-19"])
    ]
    source = ingest(csv(tmp_path, *lines), step="row")
    assert whole(source)["label"].to_pylist() == [[3, 4]]
    assert source.settings["step"] is None


def test_the_last_window_of_each_group_is_what_a_forecast_follows(tmp_path: Path) -> None:
    lines = [f"2020-01-{day:02},a,{day}" for day in (1, 2, 3, 5)]  # a gap at the fourth
    lines += [f"2020-01-{day:02},b,{day + 10}" for day in (1, 2, 3)] + ["2020-01-04,b,", "2020-01-05,b,NA"]
    file = csv(tmp_path, *lines, header="t,g,v")
    asked = series.Params(values=["v"], group=True, history=3, horizon=2, season=1, step="day")
    names, found = latest(file, asked, "t", "g", csv_reader.Reading(), None)
    assert names == ["a after 2020-01-05", "b after 2020-01-03"]
    assert found.schema == series.columns(asked)
    assert found["history"].to_pylist() == [[3, None, 5], [11, 12, 13]]
    for changed, group, message in (
        ({"history": 4}, "g", r"b has 3 steps; the model needs 4"),
        ({}, None, "several series: give their column with --group"),
        ({"group": False}, "g", "a single series: leave out --group"),
    ):
        with pytest.raises(SlipwayError, match=message):
            latest(file, asked.model_copy(update=changed), "t", group, csv_reader.Reading(), None)


def test_a_forecast_of_a_model_that_was_registered_with_its_network_among_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all were before the network had a section of its own."""
    from components.tracking import connection

    section = {"values": ["v"], "group": False, "history": 3, "horizon": 2, "every": 1, "season": 1, "step": "day"}
    old = section | {"model": "linear", "filters": 32, "kernel": 3, "patch": 16, "width": 64, "heads": 4, "blocks": 2}
    monkeypatch.setattr(connection, "about", lambda _: {"recipe": "series", "params": old})
    file = csv(tmp_path, *days(1, 2, 3, 4))
    names, found = predict._latest("models:/sales/1", file, {}, time="t", group=None, form=None)
    assert names == ["after 2020-01-04"]
    assert found["history"].to_pylist() == [[2, 3, 4]]


GOOD = days(1, 2, 3, 4, 5, 6)
WRONG: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "a text for a value": (
        [*GOOD[:3], "2020-01-04,high"],
        {},
        r"line 5: v is 'high', which is not a finite number; use --missing 'hi",
    ),
    "an odd number": ([*GOOD[:3], "2020-01-04,?0.2"], {}, r"line 5: v is '\?0\.2', which is not a finite number"),
    "infinity": ([*GOOD[:3], "2020-01-04,inf"], {}, "line 5: v is 'inf'"),
    "overflow": ([*GOOD[:3], "2020-01-04,1e999"], {}, "line 5: v is '1e999'"),
    "two of a time": ([*GOOD, "2020-01-02,7"], {}, r"line 8 \(2020-01-02\): line 3 has the same time"),
    "a text for a time": ([GOOD[0], "soon,2", *GOOD[2:]], {}, "line 3: t is 'soon', which is not a time"),
    "a date that is none": ([GOOD[0], "2020-02-30,2", *GOOD[2:]], {}, "line 3: t is '2020-02-30', which is not a time"),
    "no time at all": (["soon,1", "later,2"], {}, "no row has a time in column t; its first value is 'soon'"),
    "an empty file": ([], {}, "no row has a time"),
    "one time": (GOOD[:1], {}, "only one time"),
    "another delimiter": (
        [line.replace(",", ";") for line in GOOD],
        {},
        r"no column 't' \(there are: t,v\) \(there is only one column: give the column delimiter with --delimiter",
    ),
    "a line too many columns": ([*GOOD[:2], "2020-01-03,3,3", *GOOD[3:]], {}, "line 4 does not have the columns"),
    "an irregular step": ([*GOOD, "2020-01-07T01:30,7"], {}, "line 8 .*not a whole number of steps"),
    "a century too far": ([*GOOD, "2999-01-07,7"], {}, "steps .day. after 2020-01-01.*is that time correct"),
    "too short": (GOOD[:4], {}, r"no complete window of 3 \+ 2 steps.*4 steps"),
    "no column": (GOOD, {"time": "when"}, r"no column 'when' \(there are: t, v\)"),
    "a column twice": (GOOD, {"group": "v"}, "column v is named twice"),
    "no such step": (GOOD, {"step": "fortnight"}, "--step: step is 'fortnight'"),
    "a season too long": (GOOD, {"season": 9}, "--season 9 is longer than the history of 3"),
    "a history of none": (GOOD, {"history": 0}, "--history is 0"),
    "windows of every none": (GOOD, {"every": 0}, "--every is 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_wrong_is_told_where(tmp_path: Path, name: str) -> None:
    lines, options, expected = WRONG[name]
    with pytest.raises(SlipwayError, match=expected):
        ingest(csv(tmp_path, *lines), **options)


def test_a_wrong_delimiter_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match="there is only one column: give the column delimiter with --delimiter"):
        ingest(csv(tmp_path, *(line.replace(",", "#") for line in GOOD), header="t#v"))
    for name in ("none.csv", "none.parquet"):
        with pytest.raises(SlipwayError, match="no such file"):
            ingest(tmp_path / name)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(SlipwayError, match="cannot be read"):
        ingest(tmp_path / "bad.parquet")


def test_other_delimiters_decimal_commas_and_encodings_are_read(tmp_path: Path) -> None:
    lines = [f"{day:02}.01.2020;{day},5;Köln" for day in range(1, 6)]
    file = tmp_path / "s.csv"
    file.write_text("\n".join(["t;v;g", *lines]), encoding="latin-1")
    guessed = ingest(file, form="%d.%m.%Y", encoding="latin-1", group="g")
    assert guessed.settings["reading"] == {"numbers": {"v": "1234,5"}}
    with pytest.raises(SlipwayError, match=r"v is '1,5', which is not a finite number; use --missing"):
        ingest(file, form="%d.%m.%Y", encoding="latin-1", decimal=".")
    found = whole(ingest(file, form="%d.%m.%Y", encoding="latin-1", decimal=",", group="g"))
    assert found["history"].to_pylist() == [[1.5, 2.5, 3.5]] and found["group"].to_pylist() == ["Köln"]
    with pytest.raises(SlipwayError, match=r"line 2, byte 17 \(f6\) is not utf-8; give the encoding"):
        ingest(file, form="%d.%m.%Y")


def test_an_odd_value_can_be_called_missing_and_other_dates_be_read(tmp_path: Path) -> None:
    lines = ["01.02.2020,1", "02.02.2020,?0.2", "03.02.2020,3", "04.02.2020,4", "05.02.2020,5"]
    source = ingest(csv(tmp_path, *lines), missing=["?0.2"], form="%d.%m.%Y")
    assert whole(source)["history"].to_pylist() == [[1, None, 3]]
    assert source.skipped == {"an empty value (a gap in the windows)": 1}
    named = [f"{month} 2020,{at}" for at, month in enumerate(["Jan", "Feb", "Mar", "Apr", "May"])]
    assert ingest(csv(tmp_path, *named), form="%b %Y").settings["step"] == "month"


def test_a_note_of_several_lines_and_a_wrong_byte_far_down_are_read_by_their_line(tmp_path: Path) -> None:
    path = csv(tmp_path, *(f'{line},"a\nnote"' for line in days(*range(60))), header="t,v,note")
    assert len(whole(ingest(path))) == 56
    path.write_bytes(path.read_bytes() + b"2020-03-01,1,K\xf6ln\n")
    with pytest.raises(SlipwayError, match=r"line 122, byte 15 \(f6\) is not utf-8; give the encoding"):
        ingest(path)


def test_an_empty_group_is_told(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match="line 3: g is empty"):
        ingest(csv(tmp_path, "2020-01-01,a,1", "2020-01-02,,2", header="t,g,v"), group="g")


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=2, max_size=40), st.integers(2, 5), st.integers(1, 4)
)
def test_every_window_is_what_the_file_says(
    tmp_path_factory: pytest.TempPathFactory, values: list[float | None], history: int, horizon: int
) -> None:
    path = csv(tmp_path_factory.mktemp("s"), *days(*("" if value is None else repr(value) for value in values)))
    expected = [
        (values[at - history : at], values[at : at + horizon])
        for at in range(history, len(values) - horizon + 1)
        if None not in values[at : at + horizon] and values[at - 1] is not None
    ]
    try:
        found = whole(ingest(path, history=history, horizon=horizon))
    except SlipwayError as error:
        assert "no complete window" in str(error)
        assert not expected
    else:
        labels = [row if isinstance(row, list) else [row] for row in found["label"].to_pylist()]
        assert list(zip(found["history"].to_pylist(), labels, strict=True)) == expected


def test_the_command_has_its_arguments() -> None:
    from argparse import ArgumentParser

    parser = ArgumentParser()
    commands()["series"].arguments(parser)
    given = ["f.csv", "--time", "t", "--value", "a", "--value", "b", "--history", "24", "--horizon", "3"]
    found = vars(parser.parse_args(given))
    assert found["value"] == ["a", "b"]
    assert found["file"] == Path("f.csv")
    assert "%d.%m.%Y" in parser.format_help()


@needs_data
@pytest.mark.parametrize(
    ("name", "columns", "sizes", "rows", "step"),
    [
        ("daily-min-temperatures", ("Date", "Temp"), (365, 7), 3265, "day"),  # two leap years lack their last day
        ("monthly-sunspots", ("Month", "Sunspots"), (264, 12), 2545, "month"),
        ("airline-passengers", ("Month", "Passengers"), (24, 12), 109, "month"),
    ],
)
def test_real_series_are_read(name: str, columns: Any, sizes: Any, rows: int, step: str) -> None:
    source = ingest(DATASETS / f"{name}.csv", columns[1], time=columns[0], history=sizes[0], horizon=sizes[1])
    assert len(whole(source)) == rows
    assert source.settings["step"] == step
