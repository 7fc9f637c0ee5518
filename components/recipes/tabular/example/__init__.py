"""Rows of numbers, categories, booleans and dates, with gaps anywhere: a class, a number, or several numbers."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from components import SlipwayError
from components.recipes import Arrays, Input, Names, ReadAs, State
from components.recipes.tabular.example import dates, scaling
from components.targets import Target, regression, single_label

requirements = ()
FACTS = ("missing", "finite", "dates_valid", "longest")
UNSEEN_CODE, MISSING_CODE, FIRST_KNOWN_CODE = 0, 1, 2  # of a category; the known values follow from the last on
MAX_CATEGORIES = 100_000  # different ones of a category; more are an id or a text
TRAILING_ZEROS = r"[+-]?\d+\.0*"  # of a whole number
UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))  # soft hyphen, zero-width blanks, byte-order mark
MAX_CATEGORY_CHARACTERS = 1000  # characters; a longer text is no category and counts as unseen

Size = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """All of the section but what is predicted: what the recipe multimodal has of it, too."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    numeric: list[str] = []
    categorical: list[str] = []
    boolean: list[str] = []
    dates: list[str] = []
    fill: Literal["mean", "median"] = "median"  # in place of a missing number
    scale: scaling.Kind = "standardise"
    clip: Annotated[float, Field(gt=0)] | None = None  # bounds of a scaled number, either side of 0
    rare: Size = 2  # a category's value of fewer training examples counts as unseen
    reading: ReadAs = ReadAs()  # of files of text, as an ingest found them
    bins: Size = 32  # that a number is cut into, at most, for a network that embeds numbers piece by piece

    @model_validator(mode="after")
    def _columns(self) -> "Settings":
        names = columns(self).names
        if not names:
            raise ValueError("no columns: list some under numeric, categorical, boolean or dates")
        if twice := sorted(name for name, count in Counter(names).items() if count > 1):
            raise ValueError(f"named twice: {', '.join(twice)}")
        if taken := sorted(set(FACTS) & set(names)):
            raise ValueError(f"a column cannot be named {taken[0]}: a fact has that name; rename it")
        return self


class Answers(BaseModel):
    """What is predicted: of a table, and of several modalities."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    labels: Names = []  # a class each; or, instead,
    targets: Names = []  # what the numbers to predict are called

    @model_validator(mode="after")
    def _answers(self) -> "Answers":
        if bool(self.labels) == bool(self.targets):
            raise ValueError("give either labels (the classes) or targets (the numbers to predict)")
        if len(self.labels) == 1:
            raise ValueError("labels: only one class; a classifier needs at least two")
        return self


class Params(Answers, Settings):
    """The section `tabular` of params.yaml."""


def columns(params: Settings) -> pa.Schema:
    """Numbers as float64, categories as strings, booleans, dates as timestamp[us]; each may be missing."""
    return pa.schema(
        [
            *((name, pa.float64()) for name in params.numeric),
            *((name, pa.string()) for name in params.categorical),
            *((name, pa.bool_()) for name in params.boolean),
            *((name, dates.DATE) for name in params.dates),
        ]
    )


def target(params: Answers) -> Target:
    """One of the labels, or a number for each of the targets."""
    if params.targets:
        return regression.Target(tuple(params.targets))
    return single_label.Target(tuple(params.labels))


def facts(table: pa.Table, params: Settings) -> pa.Table:
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
        finite &= pc.less_equal(pc.abs(table[name]), scaling.MAX_NUMBER).fill_null(fill_value=True).to_numpy()
    for name in params.dates:
        good = dates.in_range(table[name])
        valid &= good.fill_null(fill_value=True).to_numpy()
        found[name] = pc.if_else(good, table[name], pa.scalar(None, dates.DATE))
    for name in params.categorical:
        longest = np.maximum(longest, pc.utf8_length(table[name]).fill_null(0).to_numpy())
    return pa.table(found | dict(zip(FACTS, map(pa.array, (missing, finite, valid, longest)), strict=True)))


def fit(tables: Iterable[pa.Table], params: Settings) -> State:
    """Fill, scale, gaps, known values and bins of the columns.

    One pass; memory holds at most scaling.COLUMN_SAMPLE values of each number (for medians and quantiles, see
    scaling.Summary) and MAX_CATEGORIES different ones of each category. Raises SlipwayError for a category that
    has more.
    """
    names = number_names(params)
    summary = scaling.Summary(len(names))
    counts: dict[str, Counter[str]] = {name: Counter() for name in params.categorical}
    gaps: Counter[str] = Counter()
    for table in tables:
        summary.add(_numbers(table, params))
        for name, counter in counts.items():
            for item in pc.value_counts(_plain(table[name]).drop_null()).to_pylist():
                if len(item["values"]) <= MAX_CATEGORY_CHARACTERS:
                    counter[item["values"]] += item["counts"]
            if len(counter) > MAX_CATEGORIES:
                raise SlipwayError(
                    f"tabular: column {name} has more than {MAX_CATEGORIES:,} different values, like an id or a "
                    "text; remove it from tabular.categorical in params.yaml"
                )
        gaps.update({name: table[name].null_count for name in (*params.numeric, *params.dates)})
    for counter in counts.values():  # 7.0 is 7
        for value in [value for value in counter if re.fullmatch(TRAILING_ZEROS, value)]:
            if (whole := value.partition(".")[0]) in counter:
                counter[whole] += counter.pop(value)
    ends = dict(zip(names, zip(summary.low, summary.high, strict=True), strict=True))
    timeless = [name for name in params.dates if ends[f"{name} time cos"] in ((1, 1), (np.inf, -np.inf))]
    few = set(number_names(params, timeless))
    kept = [at for at, name in enumerate(names) if name in few]
    middle = summary.mean if params.fill == "mean" else summary.quantiles([0.5])[0]
    fitted = scaling.scaler(summary, params.scale)
    return {
        "timeless": timeless,  # dates of which no training example has a time of day
        "gaps": [name for name in (*params.numeric, *params.dates) if gaps[name]],
        "fill": [float(middle[at]) for at in kept],
        "scale": {key: value if key == "normal" else [value[at] for at in kept] for key, value in fitted.items()},
        "values": {
            name: sorted(value for value, count in counter.items() if count >= params.rare)
            for name, counter in counts.items()
        },
        "edges": [_edges(summary.sample(at), params.bins) for at in kept],  # whatever the network is
    }


def _edges(sample: np.ndarray, bins: int) -> list[float]:
    """Return the edges of at most `bins` bins of as many different training values each; none for a constant column.

    Different ones: where most of a column is 0, quantiles of all values would make one bin of the rest.
    """
    edges = np.unique(np.quantile(np.unique(sample), np.linspace(0, 1, bins + 1))) if len(sample) else np.empty(0)
    return edges.tolist() if len(edges) > 1 else []


def number_names(params: Settings, timeless: Iterable[str] = ()) -> list[str]:
    """Return the names of the numbers and of those made of dates, in their order."""
    made = [f"{name} {part}" for name in params.dates for part in dates.DATE_PARTS[: -2 if name in timeless else None]]
    return [*params.numeric, *made]


def _numbers(table: pa.Table, params: Settings, timeless: Iterable[str] = ()) -> np.ndarray:
    """Return `(n, numbers)` float64 of what `names` names; missing is NaN."""
    arrays = [table[name].fill_null(float("nan")).to_numpy() for name in params.numeric]
    for name in params.dates:
        arrays += list(dates.parts(table[name]).values())[: -2 if name in timeless else None]
    return np.stack(arrays, axis=1) if arrays else np.empty((len(table), 0))


def encode(table: pa.Table, params: Settings, state: State) -> Arrays:
    """Scaled `numeric` float32, gaps filled, and `categorical` int32.

    A code is 0 for a value unseen in training, 1 for a missing one, 2 and up for the known ones (of a boolean:
    false, true; of the columns `... missing`: not so, so). Raises ValueError for a number that is infinite or
    beyond 1e30, and for a date out of range.
    """
    arrays: Arrays = {}
    for name in params.dates:
        if not pc.all(dates.in_range(table[name]), min_count=0).as_py():
            raise ValueError(f"{name} is a date out of range: expected a year from 1 to 9999")
    if names := number_names(params, state["timeless"]):
        numbers = _numbers(table, params, state["timeless"])
        filled = np.where(np.isnan(numbers), np.array(state["fill"]), numbers)
        with np.errstate(over="ignore"):
            scaled = scaling.scale(filled, state["scale"], params.clip).astype(np.float32)
        if (wrong := ~np.isfinite(scaled) | (np.abs(filled) > scaling.MAX_NUMBER)).any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(f"{names[column]} is too large: {filled[row, column]:g}")
        arrays["numeric"] = scaled
    codes = [_category(table[name], pa.array(state["values"][name], pa.string())) for name in params.categorical]
    codes += [_known(table[name], pa.array([False, True])) for name in params.boolean]
    codes += [
        FIRST_KNOWN_CODE + table[name].is_null(nan_is_null=True).to_numpy().astype(np.int32) for name in state["gaps"]
    ]
    if codes:
        arrays["categorical"] = np.stack(codes, axis=1).astype(np.int32)
    return arrays


def _plain(values: Any) -> Any:
    """Return categories as components/data/spelling.py spells them; here, for it is shipped with a model.

    One Unicode form, without characters that are not seen, and with plain single blanks.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    codes = values.dictionary_encode()
    forms = (unicodedata.normalize("NFC", text).translate(UNSEEN) for text in codes.dictionary.to_pylist())
    return pa.array([" ".join(form.split()) for form in forms], pa.string()).take(codes.indices)


def _category(values: Any, known: pa.Array) -> np.ndarray:
    """Return the codes of categories; where neither is known by itself, 7 is 7.0, as other programs write it."""
    values = _plain(values)
    codes = _known(values, known)
    if (codes == UNSEEN_CODE).any():
        codes = np.where(codes == UNSEEN_CODE, _known(_whole(values), _whole(known)), codes)
    return codes


def _whole(values: Any) -> Any:
    whole = pc.match_substring_regex(values, f"^{TRAILING_ZEROS}$")
    return pc.if_else(whole, pc.replace_substring_regex(values, r"\..*", ""), values)


def _known(values: Any, known: pa.Array) -> np.ndarray:
    found = pc.add(pc.index_in(values, value_set=known, skip_nulls=True), FIRST_KNOWN_CODE).fill_null(UNSEEN_CODE)
    codes: np.ndarray = pc.if_else(values.is_null(), MISSING_CODE, found).to_numpy()
    return codes


def categories_of(params: Settings, state: State) -> dict[str, int]:
    """Return the columns of `categorical` and how many codes each has."""
    sizes = {name: FIRST_KNOWN_CODE + len(state["values"][name]) for name in params.categorical}
    sizes |= dict.fromkeys(params.boolean, FIRST_KNOWN_CODE + 2)
    return sizes | {f"{name} missing": FIRST_KNOWN_CODE + 2 for name in state["gaps"]}


def inputs(params: Settings, state: State) -> dict[str, Input]:
    """The numbers, and the codes of categories, booleans and gaps."""
    found = {}
    if names := number_names(params, state["timeless"]):
        found["numeric"] = Input("numbers", tuple(names))
    if sizes := categories_of(params, state):
        found["categorical"] = Input("codes", tuple(sizes))
    return found


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
        "since": pa.array(days * dates.DAY_MICROSECONDS, mask=random.random(rows) < 0.1).cast(dates.DATE),
        "label": answer,
    }
    section = {"numeric": ["x", "y"], "categorical": ["colour"], "boolean": ["member"], "dates": ["since"]}
    return section | {"labels": ["no", "yes"]}, pa.table(table)
