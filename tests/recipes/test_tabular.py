"""The recipe `tabular`: columns, gaps, dates, the three models, and hostile rows."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import SlipwayError, recipes
from components.recipes.tabular import example as tabular
from components.recipes.tabular import networks
from components.recipes.tabular.example import dates

CLASSES = ["no", "yes"]
DATE = dates.DATE
FAR = [-70_000_000_000_000_000, 9_000_000_000_000_000_000]  # in the years -248 and 287,000
MODELS = [
    *(("linear", "none"), ("mlp", "none"), ("mlp", "piecewise"), ("mlp", "periodic")),
    *(("transformer", "none"), ("transformer", "piecewise"), ("transformer", "periodic")),
]


def fitted(params: tabular.Params, *tables: pa.Table) -> recipes.State:
    """Fit, as the state comes back from the manifest."""
    state: recipes.State = json.loads(json.dumps(tabular.fit(tables, params), allow_nan=False))
    return state


def one(name: str, value: Any, kind: pa.DataType) -> pa.Table:
    return pa.table({name: pa.array([value], kind)})


def test_a_row_is_encoded_by_hand() -> None:
    params = tabular.Params(numeric=["x", "y"], categorical=["colour"], boolean=["ok"], labels=CLASSES, fill="mean")
    train = pa.table(
        {
            "x": [8.0, 12.0, 8.0, 12.0],
            "y": [1.0, None, 3.0, float("nan")],
            "colour": ["red", "blue", "red", "blue"],
            "ok": [True, None, False, True],
        }
    )
    state = fitted(params, train)
    table = pa.table({"x": [14.0, None], "y": [3.0, None], "colour": ["red", "pink"], "ok": [True, None]})
    found = tabular.encode(table, params, state)
    assert found["numeric"].tolist() == [[2.0, 1.0], [0.0, 0.0]]
    assert tabular.inputs(params, state)["categorical"].names == ("colour", "ok", "y missing")
    assert found["categorical"].tolist() == [[3, 3, 2], [0, 1, 3]]
    gap = tabular.encode(table.set_column(2, "colour", pa.array([None, "blue"])), params, state)
    assert gap["categorical"][:, 0].tolist() == [1, 2]


def test_a_rare_category_is_as_one_unseen() -> None:
    table = pa.table({"c": ["a"] * 5 + ["b"] * 3 + ["c"]})
    for rare, known in ((1, ["a", "b", "c"]), (2, ["a", "b"]), (4, ["a"])):
        params = tabular.Params(categorical=["c"], labels=CLASSES, rare=rare)
        assert fitted(params, table.slice(0, 4), table.slice(4))["values"] == {"c": known}


@given(st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59)))
def test_a_date_is_what_pythons_calendar_says(moment: datetime.datetime) -> None:
    parts = dates.parts(pa.chunked_array([pa.array([moment, None], DATE)]))
    assert all(np.isnan(values[1]) for values in parts.values())
    found = {name: values[0] for name, values in parts.items()}
    whole = (moment.date() - datetime.date(1970, 1, 1)).days
    assert np.floor(found["days"]) == whole
    assert (found["year"], found["month"], found["day"]) == (moment.year, moment.month, moment.day)
    assert found["weekday"] == moment.weekday()
    angle = 2 * np.pi * moment.timetuple().tm_yday / 365.2425
    assert found["year sin"] == pytest.approx(np.sin(angle))
    seconds = (moment - datetime.datetime.combine(moment.date(), datetime.time())).total_seconds()
    assert found["time cos"] == pytest.approx(np.cos(2 * np.pi * seconds / 86400), abs=1e-4)


def test_the_time_of_day_is_a_number_only_where_training_has_one() -> None:
    params = tabular.Params(dates=["when"], labels=CLASSES)
    days = pa.table({"when": pa.array([datetime.datetime(2020, 1, 1), datetime.datetime(2021, 6, 5)], DATE)})
    hours = pa.table({"when": pa.array([datetime.datetime(2020, 1, 1, 6), None], DATE)})
    names = [tabular.inputs(params, fitted(params, table))["numeric"].names for table in (days, hours)]
    assert names[0] == tuple(f"when {part}" for part in dates.DATE_PARTS[:-2])
    assert names[1] == tuple(f"when {part}" for part in dates.DATE_PARTS)
    state = fitted(params, days)
    scaled = tabular.encode(days, params, state)["numeric"]
    assert scaled[:, 0].tolist() == [-1.0, 1.0]
    late = pa.table({"when": pa.array([datetime.datetime(2020, 1, 1, 23, 59)], DATE)})
    assert tabular.encode(late, params, state)["numeric"].shape == (1, 7)


def test_facts_of_a_row() -> None:
    params = tabular.Params(numeric=["x"], categorical=["colour"], boolean=["ok"], dates=["when"], labels=CLASSES)
    table = pa.table(
        {
            "x": [1.0, None, float("inf"), float("nan")],
            "colour": ["red", None, "blue", "x" * 2000],
            "ok": [True, None, False, None],
            "when": pa.array([0, None, *FAR], DATE),
        }
    )
    found = tabular.facts(table, params)
    assert found.column_names == ["x", "colour", "ok", "when", "missing", "finite", "dates_valid", "longest"]
    assert found["missing"].to_pylist() == [0, 4, 0, 1]
    assert found["finite"].to_pylist() == [True, True, False, False]
    assert found["dates_valid"].to_pylist() == [True, True, False, False]
    assert found["longest"].to_pylist() == [3, 0, 4, 2000]
    assert found["when"].to_pylist() == [datetime.datetime(1970, 1, 1), None, None, None]


HOSTILE: dict[str, tuple[pa.Table, str | None]] = {
    "infinite": (one("x", float("inf"), pa.float64()), "x is too large: inf"),
    "overflow": (one("x", float("1e999"), pa.float64()), "x is too large: inf"),
    "too large": (one("x", -1.7e308, pa.float64()), "x is too large: -1.7e[+]308"),
    "not a number": (one("x", float("nan"), pa.float64()), None),
    "missing number": (one("x", None, pa.float64()), None),
    "unseen": (one("c", "never seen", pa.string()), None),
    "empty text": (one("c", "", pa.string()), None),
    "a megabyte of text": (one("c", "x" * 1_000_000, pa.string()), None),
    "a NUL in the text": (one("c", "a\0b", pa.string()), None),
    "missing text": (one("c", None, pa.string()), None),
    "missing boolean": (one("b", None, pa.bool_()), None),
    "missing date": (one("d", None, DATE), None),
    "before the year 1": (one("d", FAR[0], DATE), "d is a date out of range"),
    "the year 287,000": (one("d", FAR[1], DATE), "d is a date out of range"),
    "the last day": (one("d", datetime.datetime(9999, 12, 31), DATE), None),
}


@pytest.mark.parametrize("scale", ["standardise", "min_max", "robust", "quantile", "none"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_row_is_encoded_or_an_error_never_a_crash(name: str, scale: Any) -> None:
    params = tabular.Params(numeric=["x"], categorical=["c"], boolean=["b"], dates=["d"], labels=CLASSES, scale=scale)
    good = pa.table(
        {"x": [1.0, 2.0], "c": ["a", "a"], "b": [True, False], "d": pa.array([0, dates.DAY_MICROSECONDS], DATE)},
        schema=tabular.columns(params),
    )
    table, error = HOSTILE[name]
    column = table.column_names[0]
    row = good.slice(0, 1).set_column(good.column_names.index(column), column, table[column])
    state = fitted(params, good)
    assert len(tabular.facts(row, params)) == 1
    if error:
        with pytest.raises(ValueError, match=error):
            tabular.encode(row, params, state)
    else:
        found = tabular.encode(row, params, state)
        assert np.isfinite(found["numeric"]).all()
        known = [*good["c"].to_pylist(), None]
        assert row["c"][0].as_py() in known or found["categorical"][0, 0] == tabular.UNSEEN_CODE
    again = fitted(params, good, row, row)  # in the training data it breaks nothing, and is not learned by heart
    assert len(json.dumps(again)) < 100_000
    assert tabular.encode(good, params, again)["numeric"].shape == (2, 8)


def test_a_constant_column_and_an_empty_one_do_no_harm() -> None:
    params = tabular.Params(numeric=["x", "y"], categorical=["c"], boolean=["b"], dates=["d"], labels=CLASSES)
    table = pa.table({"x": [3.0, 3.0], "y": [None, None], "c": [None, None], "b": [None, None], "d": [None, None]})
    table = table.cast(tabular.columns(params))
    found = tabular.encode(table, params, fitted(params, table))
    assert found["numeric"].tolist() == [[0.0] * 9] * 2
    assert found["categorical"].tolist() == [[1, 1, 3, 3]] * 2


def test_a_column_of_ids_is_refused_as_a_category(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "MAX_CATEGORIES", 10)
    params = tabular.Params(categorical=["c"], labels=CLASSES)
    with pytest.raises(SlipwayError, match="column c has more than 10 different values"):
        tabular.fit([pa.table({"c": [str(number) for number in range(11)]})], params)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"labels": CLASSES}, "no columns"),
        ({"numeric": ["x"], "dates": ["x"], "labels": CLASSES}, "named twice: x"),
        ({"numeric": ["dates_valid"], "labels": CLASSES}, "a fact has that name"),
        ({"numeric": ["x"]}, "either labels .* or targets"),
        ({"numeric": ["x"], "labels": CLASSES, "targets": ["y"]}, "either labels .* or targets"),
        ({"numeric": ["x"], "labels": ["a"]}, "only one class"),
        ({"numeric": ["x"], "labels": ["a", "a"]}, r"labels\n.*named twice: a"),
        ({"numeric": ["x"], "targets": ["a", "a"]}, r"targets\n.*named twice: a"),
    ],
)
def test_settings_that_cannot_be_are_refused(section: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        tabular.Params.model_validate(section)


def test_a_width_that_the_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="10 cannot be divided among 4 heads"):
        networks.Network(width=10, heads=4)


def prepared(kind: str, rows: int = 200) -> tuple[tabular.Params, recipes.State, pa.Table, np.ndarray]:
    """The sample, for a class, one number or two of them."""
    section, table = tabular.sample(rows, 3)
    y = np.array([CLASSES.index(label) for label in table["label"].to_pylist()])
    if kind != "label":
        del section["labels"]
        section["targets"] = ["a", "b"][: 1 if kind == "value" else 2]
        y = np.stack([10 + 4 * y, table["x"].to_numpy()], axis=1)[:, : len(section["targets"])]
    params = tabular.Params.model_validate(section)
    state = fitted(params, table)
    if kind != "label":
        state["target"] = {"mean": y.mean(axis=0).tolist(), "deviation": y.std(axis=0).tolist()}
    return params, state, table, y


@pytest.mark.parametrize(
    ("kind", "model", "embedding"),
    [
        ("value", "mlp", "none"),
        ("values", "transformer", "none"),
        *(pytest.param("label", *m, marks=pytest.mark.e2e) for m in MODELS),
    ],
)
def test_every_model_starts_from_what_is_common_and_names_its_layers(kind: str, model: str, embedding: str) -> None:
    import keras

    params, state, table, y = prepared(kind)
    chosen = {"model": model, "numeric_embedding": embedding, "width": 8, "heads": 2, "batch_norm": True}
    network = networks.Network.model_validate(networks.sample | chosen)
    keras.utils.set_random_seed(1)
    built = networks.build(network, params, state, 0.1)
    arrays = tabular.encode(table, params, state)
    assert {value.name for value in built.inputs} == set(arrays) == set(tabular.inputs(params, state))
    for name, made in tabular.inputs(params, state).items():
        assert len(made.names) == arrays[name].shape[1]
    out = np.asarray(built(arrays))
    expected = 2 if kind != "value" else 1
    assert out.shape == (200, expected)
    assert built.layers[-1].name == ("probabilities" if kind == "label" else "values")
    if kind != "label":  # at first it answers about the mean, in the numbers' own units
        assert (np.abs(out.mean(axis=0) - y.mean(axis=0)) < 3 * y.std(axis=0)).all()
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    again = networks.build(network, params, state, 0.1)
    assert [layer.name for layer in again.layers] == [layer.name for layer in built.layers]
    assert not [layer.name for layer in built.layers if layer.name[-1].isdigit() and "_" not in layer.name]


@pytest.mark.e2e
@pytest.mark.parametrize("model", ["linear", "mlp", "transformer"])
def test_numbers_are_learned(model: str) -> None:
    import keras

    params, state, table, y = prepared("values", 400)
    network = networks.Network.model_validate(networks.sample | {"model": model, "width": 16, "heads": 2, "blocks": 1})
    keras.utils.set_random_seed(1)
    built = networks.build(network, params, state, 0.0)
    built.compile(keras.optimizers.Adam(0.01), "mse")
    arrays = tabular.encode(table, params, state)
    built.fit(arrays, y, batch_size=50, epochs=15, verbose=0)
    error = ((np.asarray(built(arrays)) - y) ** 2).mean(axis=0)
    assert (error < 0.5 * y.var(axis=0)).all()


SLOW = [pytest.param(*each, marks=pytest.mark.e2e) for each in MODELS if each != ("mlp", "piecewise")]


@pytest.mark.parametrize(("model", "embedding"), [("mlp", "piecewise"), *SLOW])
def test_the_exported_model_is_the_trained_one(model: str, embedding: str, tmp_path: Path) -> None:
    import keras
    import onnxruntime

    params, state, table, _ = prepared("label")
    chosen = {"model": model, "numeric_embedding": embedding, "width": 8, "heads": 2, "blocks": 1}
    network = networks.Network.model_validate(networks.sample | chosen)
    built = networks.build(network, params, state, 0.1)
    random = np.random.default_rng(1)
    built.set_weights([random.normal(0, 0.3, weights.shape) for weights in built.get_weights()])
    arrays = tabular.encode(table, params, state)
    expected = np.asarray(built(arrays))
    built.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert np.abs(session.run(None, arrays)[0] - expected).max() < 1e-5
    built.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert np.allclose(np.asarray(loaded(arrays)), expected, atol=1e-6)


def test_piecewise_bins_are_those_of_the_paper() -> None:
    """Equation 1 of Gorishniy et al. (2022), bounded at both ends, by hand; the number itself goes on."""
    import keras

    params = tabular.Params(numeric=["x", "k"], labels=CLASSES, bins=2, scale="none")
    state = fitted(params, pa.table({"x": [0.0, 1.0, 2.0, 6.0, 10.0], "k": [5.0] * 5}))
    assert state["edges"] == [[0.0, 2.0, 10.0], []]
    given = keras.Input((2,), name="numeric")
    model = keras.Model(given, networks._channels(given, networks.Network(), params, state))
    found = np.asarray(model(np.array([[-3, 5], [1, 5], [4, 6], [99, 5]], np.float32)))
    assert found[:, 0].tolist() == [[-3, 0, 0], [1, 0.5, 0], [4, 1, 0.25], [99, 1, 1]]
    assert found[:, 1].tolist() == [[5, 0, 0], [5, 0, 0], [6, 0, 0], [5, 0, 0]]


def test_the_linear_model_is_linear() -> None:
    params, state, table, _ = prepared("value")
    model = networks.build(networks.Network(model="linear"), params, state, 0.0)
    arrays = tabular.encode(table, params, state)
    doubled = arrays | {"numeric": 2 * arrays["numeric"]}
    nothing = arrays | {"numeric": 0 * arrays["numeric"]}
    out = [np.asarray(model(each)) for each in (nothing, arrays, doubled)]
    assert np.allclose(out[2] - out[1], out[1] - out[0], atol=1e-4)


@pytest.mark.e2e
def test_rows_that_cannot_be_learned_from_are_set_aside(tmp_path: Path) -> None:
    """Dates that Python has no object for too; what is left becomes arrays."""
    from components import params as params_module
    from components.stages import preprocess
    from tests.stages.test_validate import Case

    case = Case(tmp_path, "tabular", max_bad_fraction=0.1)
    whole = case.tables["a.parquet"].drop_columns(["id"])
    times = whole["since"].cast(pa.int64()).to_pylist()
    times[3:5] = FAR
    colours = whole["colour"].to_pylist()
    colours[7:9] = ["x" * 5000, "a\0b"]
    numbers = whole["x"].to_pylist()
    numbers[9:12] = [float("inf"), float("nan"), -1e31]
    spoilt = {"since": pa.array(times).cast(DATE), "colour": pa.array(colours), "x": pa.array(numbers)}
    for name, column in spoilt.items():
        whole = whole.set_column(whole.column_names.index(name), name, column)
    case.tables["a.parquet"] = case.whole(whole)
    case.run()
    aside = pq.read_table(case.out / "quarantine.parquet", columns=["row", "reasons"]).to_pylist()
    assert [(row["row"], row["reasons"]) for row in aside] == [
        *((row, "a date is out of range") for row in (3, 4)),
        (7, "a category of too many characters"),
        *((row, "a number is not finite") for row in (9, 10, 11)),
    ]
    settings = params_module.load(tmp_path / "params.yaml")
    preprocess.run(settings, case.data, case.out / "quarantine.parquet", tmp_path / "arrays")
    encoded = np.load(tmp_path / "arrays" / "train" / "numeric.npy")
    assert np.abs(encoded).max() < 10


def test_categories_that_are_one_in_two_spellings_share_a_code() -> None:
    settings = tabular.Params(categorical=["c"], labels=["no", "yes"], rare=1)

    def table(*values: str | None) -> pa.Table:
        return pa.table({"c": pa.array(values, pa.string())})

    state = tabular.fit(
        [table("caf\u00e9", "cafe\u0301", "New York", "New\u00a0York", "7", "7.0", "8", "1.10")], settings
    )
    assert state["values"]["c"] == ["1.10", "7", "8", "New York", "caf\u00e9"]
    given = table("cafe\u0301", "caf\u00e9", "New\u2009York ", "7.0", "7.", "8.00", "9.0", None, "1.1", "new york")
    codes = tabular.encode(given, settings, state)["categorical"][:, 0].tolist()
    assert codes == [6, 6, 5, 3, 3, 4, 0, 1, 0, 0]
    state = tabular.fit([table("7.0", "8.0", "1.0")], settings)  # one spelling alone stays, and the other is it, too
    assert tabular.encode(table("7.0", "7"), settings, state)["categorical"][:, 0].tolist() == [3, 3]
