"""Series: an example is one forecast origin, its history and the values that follow it; split by time."""

from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from components import SlipwayError
from components.data import times
from components.recipes import Arrays, Input, Names, ReadAs, State
from components.recipes.series.example import calendar, histories
from components.targets import Target, regression

requirements = ()
MIN_APART, MAX_APART = 10, 10_000  # distances between origins that tell of their usual one, and that suffice
LEAST_APART = 0.85  # share of what the settings say: February is short
Count = Annotated[int, Field(ge=1)]


class Params(BaseModel):
    """The section `series` of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    values: Annotated[Names, Field(min_length=1)] = ["value"]  # what is measured and predicted
    group: bool = False  # several series, told apart by the column `group`
    history: Annotated[int, Field(ge=2, le=10_000)] = 48  # steps that are known, the origin's included
    horizon: Annotated[int, Field(ge=1, le=10_000)] = 12  # steps that are predicted
    every: Count = 1  # steps from one origin to the next, as at the ingest
    season: Count = 12  # steps of a period: what the seasonal naive forecast repeats; 1 repeats the last value
    step: str | None = "month"  # between two times, such as day or 10 minutes; null: no calendar for the model
    time_zone: str | None = None  # of the clock that the calendar goes by; `time` is then in UTC, else as the file says
    reading: ReadAs = ReadAs()  # of files of text, as an ingest found them
    format: str | None = None  # of the times in the files, as --format; null: ISO 8601

    @model_validator(mode="after")
    def _sizes(self) -> "Params":
        if self.season > self.history:
            raise ValueError(f"season is {self.season}, longer than the history of {self.history} steps")
        if self.step is not None:
            calendar.parsed(self.step)
        if self.time_zone is not None:
            try:
                times.zone(self.time_zone)
            except SlipwayError as error:
                raise ValueError(f"time_zone: {error}") from None
        return self


def columns(params: Params) -> pa.Schema:
    """The last known time, the group where there are several, and the values up to that time, the oldest first."""
    group = [("group", pa.string())] if params.group else []
    lists = [(name, pa.list_(pa.float64())) for name in histories.names(params)]
    return pa.schema([("time", pa.timestamp("us")), *group, *lists])


def target(params: Params) -> Target:
    """The values of the next steps: h1, h2, ...; of several, those of the first column come first."""
    several = len(params.values) > 1
    fronts = [f"{name}_h" if several else "h" for name in params.values]
    return regression.Target(tuple(f"{front}{step}" for front in fronts for step in range(1, params.horizon + 1)))


def ordered(params: Params) -> tuple[str, int]:
    """Split by time; leave out the origins before each cut whose labels would reach past the first one behind it.

    Of origins `every` steps apart, the one k before a cut reaches over it where horizon > k * every.
    """
    return "time", (params.horizon - 1) // params.every


def facts(table: pa.Table, params: Params) -> pa.Table:
    """Year and month of the time, by the series' clock; steps, gaps and range of the history; gaps of the label.

    NaN is a gap. `finite` is false where a value is infinite or over 1e15. Of several columns: the fewest steps,
    the most gaps, the whole range; `constant` where all of them are.
    """
    each = [histories.described(table[name]) for name in histories.names(params)]
    lowest = np.fmin.reduce([one["minimum"] for one in each])
    highest = np.fmax.reduce([one["maximum"] for one in each])
    clock = pa.array(calendar.local(table["time"], params))
    found = {
        "year": pc.year(clock),
        "month": pc.month(clock),
        "steps": pa.array(np.minimum.reduce([one["steps"] for one in each])),
        "missing": pa.array(np.maximum.reduce([one["missing"] for one in each])),
        "minimum": pa.array(lowest, from_pandas=True),
        "maximum": pa.array(highest, from_pandas=True),
        "finite": histories.finite(lowest, highest),
        "constant": pa.array(np.logical_and.reduce([one["minimum"] == one["maximum"] for one in each])),
    }
    if "label" in table.column_names:
        label = histories.described(table["label"])
        found["label_missing"] = pa.array(label["missing"])
        found["label_finite"] = histories.finite(label["minimum"], label["maximum"])
    return pa.table(found)


def fit(tables: Iterable[pa.Table], params: Params) -> State:
    """The names of the groups, and `mase_scale`: of each group, or one where there are none; a number per column.

    It is the mean absolute error of the seasonal naive forecast within the training split (Hyndman and Koehler 2006,
    doi:10.1016/j.ijforecast.2006.03.001), over each time step once: the first value of every label against the one
    a season before it, and such pairs within the earliest history. Where that is 0, as in a series that repeats itself
    exactly, it is 1: MASE is then MAE. Raises SlipwayError where origins are nearer than `step` and `every` say.
    """
    apart: list[np.ndarray] = []
    sums: dict[str, np.ndarray] = {}  # group -> sum of the differences, and their number, of each column
    earliest: dict[str, tuple[Any, np.ndarray]] = {}  # group -> its first origin, and its history's sums
    for whole in tables:
        table = whole.filter(_readable(whole, params))  # what is not is encode's to refuse, by its row
        known, labels = histories.read(table, params), histories.labels(table, params)
        ahead = np.abs(labels[:, :, 0] - known[:, params.history - params.season])
        names = _groups(table, params)
        times = table["time"].to_numpy()
        apart += [_apart(times, names)] if sum(map(len, apart)) < MAX_APART else []
        for name in np.unique(names):
            rows = np.flatnonzero(names == name)
            sums[name] = sums.get(name, 0) + _sum(ahead[rows])
            first = rows[np.argmin(times[rows])]
            if name not in earliest or times[first] < earliest[name][0]:
                within = np.abs(known[first, params.season :] - known[first, : -params.season])
                earliest[name] = times[first], _sum(within)
    _must_be_as_ingested(np.concatenate([np.empty(0), *apart]), params)
    for name, (_, within) in earliest.items():
        sums[name] = sums[name] + within
    scales = {str(name): _scale(*sums[name]) for name in sorted(sums)}
    if params.group:
        return {"mase_scale": scales, "groups": list(scales)}
    return {"mase_scale": scales.get("", [1.0] * len(params.values))}


def _apart(times: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return the seconds from each origin to the next one of its group."""
    order = np.lexsort((times, names))
    found = np.diff(times[order]) / np.timedelta64(1, "s")
    positive: np.ndarray = found[(names[order][1:] == names[order][:-1]) & (found > 0)]
    return positive


def _must_be_as_ingested(apart: np.ndarray, params: Params) -> None:
    """Hold the distance between origins against `step` and `every`: nearer ones would be in test and training both."""
    if params.step is None or len(apart) < MIN_APART:
        return
    said, found = params.every * calendar.seconds(params.step), float(np.median(apart))
    if found < LEAST_APART * said:  # further apart they may be where steps have no value, or rows come in any order
        raise SlipwayError(
            f"series: the examples are {_long(found)} apart, but with `step: {params.step}` and `every: "
            f"{params.every}` they would be about {_long(said)}: these settings say how an ingest read the files; put "
            "them back in params.yaml, or ingest the files anew, with --replace"
        )


def _long(seconds: float) -> str:
    unit = next((name for name in ("day", "hour", "minute") if seconds >= calendar.UNIT_SECONDS[name]), "second")
    return f"{seconds / calendar.UNIT_SECONDS[unit]:.4g} {unit}s"


def _readable(table: pa.Table, params: Params) -> Any:
    """Say which rows have histories of the right length, and a time."""
    found = histories.whole(table["time"]).is_valid()
    for name in histories.names(params):
        same = pc.equal(pc.list_value_length(histories.whole(table[name])), params.history)
        found = pc.and_(found, same.fill_null(fill_value=False))
    return found


def _sum(differences: np.ndarray) -> np.ndarray:
    """Sum and number, `(2, columns)`, of differences `(n, columns)`; NaN does not count."""
    return np.stack([np.nansum(differences, axis=0), np.sum(~np.isnan(differences), axis=0)])


def _scale(total: np.ndarray, count: np.ndarray) -> list[float]:
    means = (total / np.maximum(count, 1)).tolist()
    return [mean if 0 < mean < histories.MAX_VALUE else 1.0 for mean in means]


def _groups(table: pa.Table, params: Params) -> np.ndarray:
    """Group of each row `(n,)`; empty text where there is none."""
    if not params.group:
        return np.full(len(table), "")
    return np.array(table["group"].fill_null("").to_pylist(), dtype=np.str_)


def encode(table: pa.Table, params: Params, state: State) -> Arrays:
    """`history` `(n, history, columns)` float32, `calendar` `(n, 2 * cycles)` float32, `group` `(n, 1)` int32.

    A gap is filled on the straight line between its neighbours, one at an end with the nearest value. The calendar
    is sine and cosine of the time in the year, the week and the day, as far as `step` is shorter. A group that the
    training did not see is 0. A network may leave out some of it: the seasonal naive one reads the history alone.

    Raises ValueError for a history of another length, without a value, or with one that is not finite or over 1e15.
    """
    values = histories.filled(table, params)
    arrays: Arrays = {"history": values.astype(np.float32)}
    if calendar.cycles(params):
        arrays["calendar"] = calendar.encoded(table, params)
    if params.group:
        codes = pc.index_in(histories.whole(table["group"]), value_set=pa.array(state["groups"], pa.string()))
        arrays["group"] = codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)[:, None] + 1
    return arrays


def inputs(params: Params, state: State) -> dict[str, Input]:  # noqa: ARG001
    """The history, and where there are some the calendar and the group."""
    found = {"history": Input("history", tuple(params.values))}
    if cycles := calendar.cycles(params):
        names = tuple(f"{cycle}_{part}" for cycle in cycles for part in ("sine", "cosine"))
        found["calendar"] = Input("numbers", names)
    if params.group:
        found["group"] = Input("codes", ("group",))
    return found


def season_of(params: Params) -> list[int]:
    """Which steps of a history the seasonal naive forecast repeats, one a step of the horizon."""
    return [params.history - params.season + step % params.season for step in range(params.horizon)]


def baseline(arrays: Arrays, params: Params, state: State) -> np.ndarray:  # noqa: ARG001
    """Seasonal naive: the values of one season ago.

    Hyndman and Athanasopoulos 2021, section 5.2. Returns `(n, names)` float32.
    """
    found = arrays["history"][:, season_of(params)]
    return np.asarray(found).transpose(0, 2, 1).reshape(len(found), -1)


def sample(rows: int, seed: int) -> tuple[dict[str, Any], pa.Table]:
    """Two noisy monthly series of a yearly season on two levels, windows of 24 months, a gap here and there."""
    random = np.random.default_rng(seed)
    section = {"group": True, "history": 24, "horizon": 3, "season": 12, "step": "month"}
    origins = -(-rows // 2)
    month = np.arange(origins + 26)
    found: dict[str, list[Any]] = {"time": [], "group": [], "history": [], "label": []}
    series = {
        name: level + 5 * np.sin(month * np.pi / 6) + random.normal(0, 0.5, len(month))
        for name, level in (("north", 10), ("south", 30))
    }
    times = np.datetime64("1990-01") + month
    for at in range(24, 24 + origins):
        for name, values in series.items():
            gap = random.integers(0, 60)  # one in some, but for the last step
            history = [None if step == gap < 23 else value for step, value in enumerate(values[at - 24 : at].tolist())]
            found["time"].append(times[at - 1].astype("datetime64[us]").item())
            found["group"].append(name)
            found["history"].append(history)
            found["label"].append(values[at : at + 3].tolist())
    schema = columns(Params.model_validate(section)).append(pa.field("label", pa.list_(pa.float64())))
    return section, pa.table({field.name: pa.array(found[field.name][:rows], field.type) for field in schema})
