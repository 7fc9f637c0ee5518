import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import preprocessing

from components.recipes.tabular.example import scaling
from components.recipes.tabular.example.scaling import Summary, scale, scaler

RANDOM = np.random.default_rng(5)
SKEWED = np.stack([RANDOM.normal(5, 2, 4000), RANDOM.exponential(100, 4000), RANDOM.integers(0, 4, 4000)], axis=1)


def summary(*tables: np.ndarray, size: int = 0, seed: int = 0) -> Summary:
    found = Summary(tables[0].shape[1], seed, size)
    for table in tables:
        found.add(table)
    return found


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("standardise", preprocessing.StandardScaler()),
        ("min_max", preprocessing.MinMaxScaler()),
        ("robust", preprocessing.RobustScaler()),
    ],
)
def test_a_scaler_is_that_of_scikit_learn(kind: scaling.Kind, theirs: preprocessing.StandardScaler) -> None:
    with_gaps = np.where(RANDOM.random(SKEWED.shape) < 0.1, np.nan, SKEWED)
    fitted = json.loads(json.dumps(scaler(summary(with_gaps), kind)))
    assert np.allclose(scale(with_gaps, fitted), theirs.fit_transform(with_gaps), equal_nan=True)


def test_quantiles_make_a_normal_distribution_of_any_and_keep_the_order() -> None:
    fitted = scaler(summary(SKEWED), "quantile")
    scaled = scale(SKEWED, fitted)
    theirs = preprocessing.QuantileTransformer(output_distribution="normal", random_state=0).fit_transform(SKEWED)
    inner = np.abs(theirs[:, :2]) < 2.5  # at the ends scikit-learn's go to 5.2
    assert np.abs(scaled[:, :2] - theirs[:, :2])[inner].max() < 0.1
    assert np.allclose(scaled[:, :2].std(axis=0), 1, atol=0.02)
    for column in range(3):
        assert (np.diff(scaled[np.argsort(SKEWED[:, column]), column]) >= 0).all()
    assert len(np.unique(scaled[:, 2])) == 4
    assert np.abs(scale(np.array([[1e9, -1e9, np.nan]]), fitted)[0, :2]).max() < 4
    assert np.isnan(scale(np.array([[1.0, 2.0, np.nan]]), fitted)[0, 2])


def test_nothing_is_scaled_by_none_and_clip_bounds() -> None:
    fitted = scaler(summary(SKEWED), "none")
    assert np.array_equal(scale(SKEWED, fitted), SKEWED)
    far = scale(np.array([[1e6, -1e6, np.nan]]), scaler(summary(SKEWED), "standardise"), clip=3.0)
    assert far[0, :2].tolist() == [3.0, -3.0]
    assert np.isnan(far[0, 2])


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(1, 50))
def test_pieces_are_the_whole_however_they_are_cut(cuts: list[int], size: int) -> None:
    table = np.where(np.random.default_rng(1).random((sum(cuts), 2)) < 0.2, np.nan, SKEWED[: sum(cuts), :2])
    whole = summary(table, size=size)
    pieces = summary(*np.split(table, np.cumsum(cuts)[:-1]), size=size)
    assert np.array_equal(whole.count, pieces.count)
    assert np.allclose(whole.mean, pieces.mean)
    assert np.allclose(whole.deviation, pieces.deviation)
    assert np.array_equal(whole.low, pieces.low)
    assert np.array_equal(whole.high, pieces.high)
    for column in range(2):
        sample = whole.sample(column)
        assert np.array_equal(sample, pieces.sample(column))
        assert len(sample) == min(size, whole.count[column])
        assert np.isin(sample, table[:, column]).all()


def test_the_sample_is_bounded_even_and_of_the_seed() -> None:
    rows = np.arange(50_000.0)[:, None]
    found = summary(*np.split(rows, 50), size=2000)
    assert found._held[0] == sum(len(keys) for keys, _ in found._parts[0]) <= 4000
    sample = found.sample(0)
    assert len(set(sample)) == 2000
    assert np.abs(np.quantile(sample, [0.1, 0.5, 0.9]) / 50_000 - [0.1, 0.5, 0.9]).max() < 0.03
    assert not np.array_equal(sample, summary(rows, size=2000, seed=1).sample(0))
    assert Summary(1).size == scaling.COLUMN_SAMPLE
    assert Summary(100_000).size * 100_000 <= scaling.TOTAL_SAMPLE


def test_constant_empty_and_extreme_columns_do_no_harm() -> None:
    table = np.array([[3.0, np.nan, 1e30, np.inf], [3.0, np.nan, -1e30, 1.0], [3.0, np.nan, 1e300, 3.0]])
    found = summary(table, table)
    assert found.count.tolist() == [6, 0, 4, 4]
    assert found.deviation[2] == pytest.approx(1e30)
    for kind in ("standardise", "min_max", "robust", "quantile", "none"):
        fitted = json.loads(json.dumps(scaler(found, kind), allow_nan=False))
        with np.errstate(over="raise", invalid="raise"):
            scaled = scale(np.array([[3.0, 7.0, 0.0, 2.0]]), fitted)
        assert np.isfinite(scaled).all()
        assert kind == "none" or abs(scaled[0, 0]) < 1e-9
    nothing = summary(np.empty((0, 2)))
    assert scaler(nothing, "min_max") == {"shift": [0.0, 0.0], "unit": [1.0, 1.0]}
    assert nothing.quantiles([0.5]).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("kind", ["standardise", "min_max", "robust"])
def test_what_rounding_leaves_of_a_constant_is_no_unit(kind: scaling.Kind) -> None:
    constant, nearly = np.full(1000, 0.1), np.where(np.arange(1000) % 2, 0.1, np.nextafter(0.1, 1))
    fitted = scaler(summary(*np.split(np.stack([constant, nearly], axis=1), 10)), kind)
    assert fitted["unit"] == [1.0, 1.0]
    assert fitted["shift"][0] == 0.1
    assert scale(np.array([[0.101, 0.101]]), fitted)[0] == pytest.approx([0.001, 0.001])


@given(st.lists(st.integers(0, 2**40), unique=True, max_size=50), st.integers(0, 2**31))
def test_hashes_are_each_their_own(positions: list[int], seed: int) -> None:
    found = scaling.hashes(np.array(positions, np.int64), seed)
    assert len(set(found.tolist())) == len(positions)
