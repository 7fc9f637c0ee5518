"""Rows of numbers, categories, booleans and dates, with gaps anywhere: a class, a number, or several numbers."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from components import SlipwayError, scaling
from components.recipes import Arrays, Input, Names, State, Target, head

if TYPE_CHECKING:
    import keras

requirements = ()
DATE = pa.timestamp("us")
FACTS = ("missing", "finite", "dates_valid", "longest")
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999, in microseconds since 1970
DAY = 86_400_000_000  # microseconds
YEAR = 365.2425  # days, of the Gregorian calendar
DATE_PARTS = ("days", "year", "month", "day", "weekday", "year sin", "year cos", "time sin", "time cos")
UNSEEN, MISSING, KNOWN = 0, 1, 2  # codes of a category; the known values follow from KNOWN on
MOST_VALUES = 100_000  # different ones of a category; more are an id or a text
LONGEST_VALUE = 1000  # characters; a longer text is no category and counts as unseen

Size = Annotated[int, Field(ge=1)]


class Params(BaseModel):
    """The section `tabular` of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    numeric: list[str] = []
    categorical: list[str] = []
    boolean: list[str] = []
    dates: list[str] = []
    labels: Names = []  # a class each; or, instead,
    targets: Names = []  # what the numbers to predict are called
    fill: Literal["mean", "median"] = "median"  # in place of a missing number
    scale: scaling.Kind = "standardise"
    clip: Annotated[float, Field(gt=0)] | None = None  # bounds of a scaled number, either side of 0
    rare: Size = 2  # a category's value of fewer training examples counts as unseen
    model: Literal["linear", "mlp", "transformer"] = "mlp"
    numeric_embedding: Literal["none", "piecewise", "periodic"] = "piecewise"  # of mlp and transformer
    bins: Size = 32  # of piecewise, at most
    frequencies: Size = 16  # of periodic
    sigma: Annotated[float, Field(gt=0)] = 0.1  # of periodic: the frequencies' initial deviation
    embedding: Size = 8  # width of a category's vector in the mlp, and of a periodic number's
    hidden: list[Size] = [256, 128]  # units of the mlp's hidden layers
    batch_norm: bool = False  # in the mlp
    width: Size = 64  # of the transformer: of a column's vector,
    blocks: Size = 2  # its blocks,
    heads: Size = 4  # and the heads of each

    @model_validator(mode="after")
    def _columns(self) -> "Params":
        names = columns(self).names
        if not names:
            raise ValueError("no columns: name some under numeric, categorical, boolean or dates")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"named twice: {', '.join(twice)}")
        if taken := sorted(set(FACTS) & set(names)):
            raise ValueError(f"a column may not be called {taken[0]}: a fact has that name")
        return self

    @model_validator(mode="after")
    def _answers(self) -> "Params":
        if bool(self.labels) == bool(self.targets):
            raise ValueError("name either labels (the classes) or targets (the numbers to predict)")
        if len(self.labels) == 1:
            raise ValueError("labels: one class only; a model tells two apart at least")
        return self

    @model_validator(mode="after")
    def _heads(self) -> "Params":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} cannot be shared by {self.heads} heads: make it a multiple")
        return self


def columns(params: Params) -> pa.Schema:
    """Numbers as float64, categories as strings, booleans, dates as timestamp[us]; each may be missing."""
    return pa.schema(
        [
            *((name, pa.float64()) for name in params.numeric),
            *((name, pa.string()) for name in params.categorical),
            *((name, pa.bool_()) for name in params.boolean),
            *((name, DATE) for name in params.dates),
        ]
    )


def target(params: Params) -> Target:
    """One of the labels, or a number for each of the targets."""
    if params.targets:
        return Target("values", tuple(params.targets))
    return Target("label", tuple(params.labels))


def facts(table: pa.Table, params: Params) -> pa.Table:
    """The columns themselves and four more.

    missing: the row's gaps, int64. finite: no number is infinite, beyond 1e30 or, other than a gap, not a number.
    dates_valid: every date is of the years 1 to 9999; one that is not is shown as missing, for neither Python
    nor most tools can print it. longest: characters of the longest category, int64.
    """
    missing = np.zeros(len(table), np.int64)
    finite, valid = np.ones(len(table), bool), np.ones(len(table), bool)
    longest = np.zeros(len(table), np.int64)
    found = {}
    for name in columns(params).names:
        found[name] = table[name]
        missing += table[name].is_null().to_numpy()
    for name in params.numeric:
        finite &= pc.less_equal(pc.abs(table[name]), scaling.LIMIT).fill_null(fill_value=True).to_numpy()
    for name in params.dates:
        good = _in_range(table[name])
        valid &= good.fill_null(fill_value=True).to_numpy()
        found[name] = pc.if_else(good, table[name], pa.scalar(None, DATE))
    for name in params.categorical:
        longest = np.maximum(longest, pc.utf8_length(table[name]).fill_null(0).to_numpy())
    return pa.table(found | dict(zip(FACTS, map(pa.array, (missing, finite, valid, longest)), strict=True)))


def _in_range(dates: Any) -> Any:
    """Return a boolean array: the date is one of the years 1 to 9999; null where it is missing."""
    count = dates.cast(pa.int64())
    return pc.and_(pc.greater_equal(count, FIRST), pc.less_equal(count, LAST))


def fit(tables: Iterable[pa.Table], params: Params) -> State:
    """Fill, scale, gaps and known values of the columns.

    One pass; memory holds at most scaling.SAMPLE values of each number (for medians and quantiles, see
    scaling.Summary) and MOST_VALUES different ones of each category. Raises SlipwayError for a category that
    has more.
    """
    names = _names(params)
    summary = scaling.Summary(len(names))
    counts: dict[str, Counter[str]] = {name: Counter() for name in params.categorical}
    gaps: Counter[str] = Counter()
    for table in tables:
        summary.add(_numbers(table, params))
        for name, counter in counts.items():
            for item in pc.value_counts(table[name].drop_null()).to_pylist():
                if len(item["values"]) <= LONGEST_VALUE:
                    counter[item["values"]] += item["counts"]
            if len(counter) > MOST_VALUES:
                raise SlipwayError(
                    f"tabular: column {name} has more than {MOST_VALUES:,} different values, as an id or a text has; "
                    "take it out of tabular.categorical in params.yaml"
                )
        gaps.update({name: table[name].null_count for name in (*params.numeric, *params.dates)})
    ends = dict(zip(names, zip(summary.low, summary.high, strict=True), strict=True))
    timeless = [name for name in params.dates if ends[f"{name} time cos"] in ((1, 1), (np.inf, -np.inf))]
    few = set(_names(params, timeless))
    kept = [at for at, name in enumerate(names) if name in few]
    middle = summary.mean if params.fill == "mean" else summary.quantiles([0.5])[0]
    fitted = scaling.scaler(summary, params.scale)
    state: State = {
        "timeless": timeless,  # dates of which no training example has a time of day
        "gaps": [name for name in (*params.numeric, *params.dates) if gaps[name]],
        "fill": [float(middle[at]) for at in kept],
        "scale": {key: value if key == "normal" else [value[at] for at in kept] for key, value in fitted.items()},
        "values": {
            name: sorted(value for value, count in counter.items() if count >= params.rare)
            for name, counter in counts.items()
        },
    }
    if params.numeric_embedding == "piecewise":
        state["edges"] = [_edges(summary.sample(at), params.bins) for at in kept]
    return state


def _edges(sample: np.ndarray, bins: int) -> list[float]:
    """Return the edges of at most `bins` bins of as many different training values each; none for a constant column.

    Different ones: where most of a column is 0, quantiles of all values would make one bin of the rest.
    """
    edges = np.unique(np.quantile(np.unique(sample), np.linspace(0, 1, bins + 1))) if len(sample) else np.empty(0)
    return edges.tolist() if len(edges) > 1 else []


def _names(params: Params, timeless: Iterable[str] = ()) -> list[str]:
    """Return the names of the numbers and of those made of dates, in their order."""
    made = [f"{name} {part}" for name in params.dates for part in DATE_PARTS[: -2 if name in timeless else None]]
    return [*params.numeric, *made]


def _numbers(table: pa.Table, params: Params, timeless: Iterable[str] = ()) -> np.ndarray:
    """Return `(n, numbers)` float64 of what `_names` names; missing is NaN."""
    arrays = [table[name].fill_null(float("nan")).to_numpy() for name in params.numeric]
    for name in params.dates:
        arrays += list(_parts(table[name]).values())[: -2 if name in timeless else None]
    return np.stack(arrays, axis=1) if arrays else np.empty((len(table), 0))


def _parts(dates: Any) -> dict[str, np.ndarray]:
    """Make numbers of dates: `(n,)` float64 each, NaN where the date is missing or out of range.

    The day of the year and the time of day go round, so each is a sine and a cosine.
    """
    valid = pc.if_else(_in_range(dates), dates, pa.scalar(None, DATE))

    def plain(values: Any) -> np.ndarray:
        numbers: np.ndarray = values.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy()
        return numbers

    days = plain(valid.cast(pa.int64())) / DAY
    year = 2 * np.pi * plain(pc.day_of_year(valid)) / YEAR
    time = 2 * np.pi * (days - np.floor(days))
    values = (days, plain(pc.year(valid)), plain(pc.month(valid)), plain(pc.day(valid)), plain(pc.day_of_week(valid)))
    return dict(zip(DATE_PARTS, (*values, np.sin(year), np.cos(year), np.sin(time), np.cos(time)), strict=True))


def encode(table: pa.Table, params: Params, state: State) -> Arrays:
    """Scaled `numeric` float32, gaps filled, and `categorical` int32.

    A code is 0 for a value unseen in training, 1 for a missing one, 2 and up for the known ones (of a boolean:
    false, true; of the columns `... missing`: not so, so). Raises ValueError for a number that is infinite or
    beyond 1e30, and for a date out of range.
    """
    arrays: Arrays = {}
    for name in params.dates:
        if not pc.all(_in_range(table[name]), min_count=0).as_py():
            raise ValueError(f"{name} is a date out of range: expected the years 1 to 9999")
    if names := _names(params, state["timeless"]):
        numbers = _numbers(table, params, state["timeless"])
        filled = np.where(np.isnan(numbers), np.array(state["fill"]), numbers)
        with np.errstate(over="ignore"):
            scaled = scaling.scale(filled, state["scale"], params.clip).astype(np.float32)
        if (wrong := ~np.isfinite(scaled) | (np.abs(filled) > scaling.LIMIT)).any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(f"{names[column]} is too large: {filled[row, column]:g}")
        arrays["numeric"] = scaled
    codes = [_known(table[name], pa.array(state["values"][name], pa.string())) for name in params.categorical]
    codes += [_known(table[name], pa.array([False, True])) for name in params.boolean]
    codes += [KNOWN + table[name].is_null(nan_is_null=True).to_numpy().astype(np.int32) for name in state["gaps"]]
    if codes:
        arrays["categorical"] = np.stack(codes, axis=1).astype(np.int32)
    return arrays


def _known(values: Any, known: pa.Array) -> np.ndarray:
    found = pc.add(pc.index_in(values, value_set=known, skip_nulls=True), KNOWN).fill_null(UNSEEN)
    codes: np.ndarray = pc.if_else(values.is_null(), MISSING, found).to_numpy()
    return codes


def _categories(params: Params, state: State) -> dict[str, int]:
    """Return the columns of `categorical` and how many codes each has."""
    sizes = {name: KNOWN + len(state["values"][name]) for name in params.categorical}
    sizes |= dict.fromkeys(params.boolean, KNOWN + 2)
    return sizes | {f"{name} missing": KNOWN + 2 for name in state["gaps"]}


def inputs(params: Params, state: State) -> dict[str, Input]:
    """The numbers, and the codes of categories, booleans and gaps."""
    found = {}
    if names := _names(params, state["timeless"]):
        found["numeric"] = Input("numbers", tuple(names))
    if sizes := _categories(params, state):
        found["categorical"] = Input("codes", tuple(sizes))
    return found


def build(params: Params, state: State, dropout: float) -> "keras.Model":
    """A linear model, an MLP with embeddings, or an FT-Transformer."""
    import keras

    sizes = _categories(params, state)
    given: dict[str, Any] = {}
    if names := _names(params, state["timeless"]):
        given["numeric"] = keras.Input((len(names),), dtype="float32", name="numeric")
    if sizes:
        given["categorical"] = keras.Input((len(sizes),), dtype="int32", name="categorical")
    models = {"linear": _linear, "mlp": _mlp, "transformer": _transformer}
    x = models[params.model](given, params, state, dropout)
    return keras.Model(given, head(x, target(params), state), name="tabular")


def _linear(given: dict[str, Any], params: Params, state: State, dropout: float) -> Any:  # noqa: ARG001
    """The numbers, and for each category's value a number for each answer: logistic or linear regression."""
    import keras

    parts = [given["numeric"]] if "numeric" in given else []
    if "categorical" in given:
        vectors = _embedded(given["categorical"], params, state, len(target(params).names), "coefficients")
        parts.append(keras.ops.sum(vectors, axis=1))
    return _joined(parts)


def _mlp(given: dict[str, Any], params: Params, state: State, dropout: float) -> Any:
    """Hidden layers over the numbers and a vector for each category's value.

    Guo and Berkhahn (2016), "Entity Embeddings of Categorical Variables", https://arxiv.org/abs/1604.06737.
    """
    import keras

    parts = []
    if "numeric" in given:
        x = _channels(given["numeric"], params, state)
        if params.numeric_embedding == "periodic":
            x = _by_column(x, params.embedding, "periodic_embedding", activation="relu")
        parts.append(keras.layers.Flatten(name="numbers")(x))
    if "categorical" in given:
        vectors = _embedded(given["categorical"], params, state, params.embedding)
        parts.append(keras.layers.Flatten(name="categories")(vectors))
    x = _joined(parts)
    for number, units in enumerate(params.hidden, 1):
        x = keras.layers.Dense(units, use_bias=not params.batch_norm, name=f"hidden_{number}")(x)
        if params.batch_norm:
            x = keras.layers.BatchNormalization(name=f"batch_norm_{number}")(x)
        x = keras.layers.Activation("relu", name=f"relu_{number}")(x)
        x = keras.layers.Dropout(dropout, name=f"dropout_{number}")(x) if dropout else x
    return x


def _transformer(given: dict[str, Any], params: Params, state: State, dropout: float) -> Any:
    """FT-Transformer: a vector a column and one for the answer, attending to each other.

    Gorishniy, Rubachev, Khrulkov and Babenko (2021), "Revisiting Deep Learning Models for Tabular Data",
    https://arxiv.org/abs/2106.11959: pre-norm blocks (none before the first attention), ReGLU with 4/3 of the
    width, the answer of layer norm and ReLU of the vector in front.
    """
    import keras

    layers, ops = keras.layers, keras.ops
    some = next(iter(given.values()))
    first = layers.Embedding(1, params.width, name="answer_token")(ops.cast(ops.zeros_like(some[:, :1]), "int32"))
    tokens = [first]
    if "numeric" in given:
        tokens.append(_by_column(_channels(given["numeric"], params, state), params.width, "numeric_tokens"))
    if "categorical" in given:
        tokens.append(_embedded(given["categorical"], params, state, params.width))
    x = layers.Concatenate(axis=1, name="tokens")(tokens)
    inner = max(1, params.width * 4 // 3)
    for number in range(1, params.blocks + 1):
        y = layers.LayerNormalization(epsilon=1e-5, name=f"attention_norm_{number}")(x) if number > 1 else x
        attention = layers.MultiHeadAttention(
            params.heads, params.width // params.heads, dropout=dropout, name=f"attention_{number}"
        )
        x = layers.Add(name=f"attended_{number}")([x, attention(y, y)])
        y = layers.LayerNormalization(epsilon=1e-5, name=f"forward_norm_{number}")(x)
        gate = layers.Dense(inner, activation="relu", name=f"gate_{number}")(y)
        y = layers.Multiply(name=f"gated_{number}")([layers.Dense(inner, name=f"forward_{number}")(y), gate])
        y = layers.Dropout(dropout, name=f"dropout_{number}")(y) if dropout else y
        x = layers.Add(name=f"forwarded_{number}")([x, layers.Dense(params.width, name=f"back_{number}")(y)])
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x[:, 0])
    return layers.Activation("relu", name="answer")(x)


def _joined(parts: list[Any]) -> Any:
    import keras

    return keras.layers.Concatenate(name="features")(parts) if len(parts) > 1 else parts[0]


def _embedded(codes: Any, params: Params, state: State, width: int, name: str = "embedding") -> Any:
    """Give each code of each column a vector: `(n, columns)` to `(n, columns, width)`; one table for all columns."""
    import keras

    sizes = list(_categories(params, state).values())
    offsets = np.cumsum([0, *sizes[:-1]]).astype(np.int32)
    return keras.layers.Embedding(sum(sizes), width, name=name)(keras.ops.add(codes, offsets))


def _by_column(x: Any, width: int, name: str, activation: str | None = None) -> Any:
    """A dense layer for each column: `(n, columns, channels)` to `(n, columns, width)`."""
    import keras

    layer = keras.layers.EinsumDense(
        "nck,ckd->ncd", (x.shape[1], width), bias_axes="cd", activation=activation, name=name
    )
    return layer(x)


def _channels(numbers: Any, params: Params, state: State) -> Any:
    """Numbers `(n, columns)` to `(n, columns, channels)`: each itself, and its embedding.

    Gorishniy, Rubachev and Babenko (2022), "On Embeddings for Numerical Features in Tabular Deep Learning",
    https://arxiv.org/abs/2203.05556: piecewise linear (equation 1; here bounded to 0 .. 1 at both ends too, the
    number itself goes on) over bins of the training data's quantiles, or periodic (equation 2).
    """
    import keras

    ops = keras.ops
    x = keras.layers.Reshape((-1, 1), name="numbers_apart")(numbers)
    if params.numeric_embedding == "none":
        return x
    if params.numeric_embedding == "periodic":
        layer = keras.layers.EinsumDense(
            "nck,ckd->ncd",
            (x.shape[1], params.frequencies),
            kernel_initializer=keras.initializers.RandomNormal(stddev=2 * np.pi * params.sigma),
            name="frequencies",
        )
        waves = layer(x)
        return keras.layers.Concatenate(name="channels")([x, ops.sin(waves), ops.cos(waves)])
    edges = state["edges"]
    bins = max(1, *(len(listed) - 1 for listed in edges))
    start, slope = np.zeros((2, len(edges), bins), np.float32)  # a bin that a column does not have stays 0
    for column, listed in enumerate(edges):
        if listed:
            one = {key: value if key == "normal" else [value[column]] for key, value in state["scale"].items()}
            scaled = scaling.scale(np.array(listed)[:, None], one, params.clip)[:, 0]
            wide = np.diff(scaled)
            start[column, : len(wide)] = scaled[:-1]
            slope[column, : len(wide)] = np.where(wide > 0, 1 / np.where(wide > 0, wide, 1), 0)
    pieces = ops.clip(ops.multiply(ops.subtract(x, start), slope), 0.0, 1.0)
    return keras.layers.Concatenate(name="channels")([x, pieces])


def classical(params: Params) -> Any:
    """Gradient boosting by histograms on the DataFrame of `columns`, gaps as they are; deterministic.

    Ke et al. (2017), LightGBM, as scikit-learn has it: categories are split as such, their 250 commonest values. A
    number or date that is missing in all the training is 0 throughout: there is nothing to cut into bins.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

    names = [*params.categorical, *params.boolean]
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan, max_categories=250
    )
    plain = make_pipeline(FunctionTransformer(_objects), codes)
    apart = make_column_transformer(
        (plain, names),
        ("passthrough", partial(_chosen, names=params.numeric, empty=False)),
        (FunctionTransformer(_frame_parts), partial(_chosen, names=params.dates, empty=False)),
        (FunctionTransformer(_zeros), partial(_chosen, names=[*params.numeric, *params.dates], empty=True)),
    )
    coded = list(range(len(names)))
    settings: dict[str, Any] = {"categorical_features": coded, "early_stopping": False, "random_state": 0}
    if not params.targets:
        return make_pipeline(apart, HistGradientBoostingClassifier(**settings))
    model = HistGradientBoostingRegressor(**settings)
    return make_pipeline(apart, MultiOutputRegressor(model) if len(params.targets) > 1 else model)


def _objects(frame: Any) -> Any:
    """Categories and booleans of a DataFrame as text, None where missing."""
    return frame.astype("object").where(frame.notna(), None).map(lambda value: value if value is None else str(value))


def _chosen(frame: Any, names: list[str], *, empty: bool) -> list[str]:
    """Those of the columns that have no value in the frame (empty), or those that have one."""
    return [name for name in names if frame[name].isna().all() == empty]


def _zeros(frame: Any) -> np.ndarray:
    return np.zeros(frame.shape)


def _frame_parts(frame: Any) -> np.ndarray:
    """Dates of a DataFrame as numbers, as in `encode`: `(n, dates * parts)` float64."""
    parts = [list(_parts(pa.chunked_array([pa.array(frame[name], DATE)])).values()) for name in frame.columns]
    return np.stack([values for listed in parts for values in listed], axis=1) if parts else np.empty((len(frame), 0))


def sample(rows: int, seed: int) -> tuple[dict[str, Any], pa.Table]:
    """Two numbers, one with gaps, a category, a boolean and a date with gaps; the first three decide the label."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=rows), random.normal(10, 5, rows)
    colour = random.choice(["red", "green", "blue"], rows)
    answer = np.where(x + (y - 10) / 5 + 2.0 * (colour == "red") > 0.7, "yes", "no")
    days = 20_000 + random.integers(0, 1000, rows)
    table = {
        "x": x,
        "y": pa.array(y, mask=random.random(rows) < 0.05),
        "colour": colour,
        "member": pa.array(random.random(rows) < 0.5, mask=random.random(rows) < 0.1),
        "since": pa.array(days * DAY, mask=random.random(rows) < 0.1).cast(DATE),
        "label": answer,
    }
    section = {"numeric": ["x", "y"], "categorical": ["colour"], "boolean": ["member"], "dates": ["since"]}
    return section | {"labels": ["no", "yes"], "hidden": [16]}, pa.table(table)
