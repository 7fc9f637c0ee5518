"""A registered version for notebooks and scripts: predict, evaluate and explain."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from slipway import project

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa

    Examples: TypeAlias = pandas.DataFrame | pa.Table | Path | str

MIN_OTHERS = 20  # examples of a frame that stand in for each other where it is explained


@dataclass(frozen=True)
class Model:
    """A registered version; it stays that one when an alias moves."""

    name: str
    version: str
    aliases: tuple[str, ...]  # when it was loaded
    metrics: dict[str, float] = field(repr=False)  # of its test split, by name
    params: dict[str, Any] = field(repr=False)  # settings of its training, such as train.epochs
    trust: bool = field(default=False, repr=False)
    _root: Path = field(default=Path(), repr=False, compare=False)  # of the project

    @property
    def uri(self) -> str:
        """The address that MLflow knows it by."""
        return f"models:/{self.name}/{self.version}"

    def predict(self, examples: "Examples") -> "pandas.DataFrame":
        """Predict examples; see slipway.predict."""
        return answers(self.uri, examples, self._root, trust=self.trust)

    def evaluate(self, examples: "pandas.DataFrame | pa.Table", label: str = "label") -> "pandas.DataFrame":
        """Measure the version on examples with their labels, as the stage `evaluate` measures the test split.

        `label` is the column with the labels; where several numbers are predicted, a list each, or a column for each
        under its own name. Rows without a label are left out, and counted in a note. Returns a row per metric: value,
        low and high, the ends of its interval (of the confidence in `attrs`, 0.95 by default), with the bootstrap, the
        costs and the decision thresholds of the version. Of a dataset (slipway.data) that it was trained on,
        `test_split` are the examples that say something.
        Raises SlipwayError for labels that the version does not know and examples that it cannot predict, by row.
        """
        import pandas

        from components import SlipwayError
        from components.stages import predict as stage
        from components.tracking import examined

        index, table = _table(examples, path=False)
        names = list(range(len(table))) if index is None else index.tolist()
        with self._here():
            every, table = examined.apart(self.uri, table, label)
            rows = [row for row, each in enumerate(every) if not examined.is_missing(each)]
            notes = []
            if every and not rows:
                raise SlipwayError(f"there is nothing to measure: none of the {len(every):,} examples has a label")
            if lacking := len(every) - len(rows):
                notes.append(f"{lacking:,} of {len(every):,} examples have no label, and are left out")
                table, names = table.take(rows), [names[row] for row in rows]
                index = None if index is None else index.take(rows)
            labels = [every[row] for row in rows]
            given = stage.prepared(self.uri, table)
            notes += self._seen(_with_ids(index, table), given.examples)
            found = examined.evaluated(self.uri, given.examples, labels, names, trust=self.trust)
            stage.tell([*given.told, *found.notes, *notes])
        frame = pandas.DataFrame.from_dict(found.metrics, orient="index", columns=["value", "low", "high"])
        frame.attrs |= {"model": self.uri, "rows": found.rows, "confidence": found.confidence}
        return frame.rename_axis("metric")

    def test_split(self, data: "pandas.DataFrame") -> "pandas.DataFrame":
        """Return the rows of a dataset, as slipway.data returns it, that are test examples by the version's split.

        Without those that its validation set aside, which nothing was measured on. Raises SlipwayError where the split
        cannot be told.
        """
        from components import SlipwayError
        from components.stages import predict as stage
        from components.tracking import examined
        from flows import search

        index, table = _table(data, path=False)
        table = _with_ids(index, table)
        with self._here():
            found = examined.in_test(self.uri, table)
            if found is None:
                raise SlipwayError(f"{self.name} version {self.version}: how its examples were split was not kept")
            keys = [key for key, tested in zip(table["id"].to_pylist(), found, strict=True) if tested]
            aside = search.set_aside(self.uri, keys)
            if aside is None:
                stage.tell(
                    [f"which rows {self.name} version {self.version} set aside is not kept: they are among these"]
                )
        return data[found] if aside is None else data[found][~aside]

    def _seen(self, table: "pa.Table", examples: "pa.Table") -> list[str]:
        """Say how many rows the version may have been trained on: those of a dataset, or `examples` that are in its."""
        from components import SlipwayError
        from components.tracking import examined
        from flows import search

        title = f"{self.name} version {self.version}"
        if "id" not in table.column_names:  # not of a dataset of ours
            keys = examined.keys(self.uri, examples)
            seen = None if keys is None else search.trained_on(self.uri, keys)
            count = 0 if seen is None else int(seen.sum())
            return [
                f"{count:,} of {len(examples):,} examples are in the data of {title} and not of its test split: it may "
                f"have been trained on them, and seem better than it is; `test_split(slipway.data({self.name!r}))` "
                "returns those that no training saw"
            ] * bool(count)
        try:
            found = examined.in_test(self.uri, table)
        except SlipwayError as error:
            return [f"whether {title} was trained on these examples cannot be told: {error}"]
        known = 0 if found is None else int((~found).sum())
        return [
            f"{known:,} of {len(table):,} examples are not of the test split of {title}, which may have been trained "
            "on them: `test_split` returns the others"
        ] * bool(known)

    def explain(
        self, examples: "Examples", background: "pandas.DataFrame | pa.Table | None" = None
    ) -> "pandas.DataFrame":
        """Say what of each example led to its prediction: by how much that falls without a part of it.

        Returns a row per example and part, with the examples' index: `answer`, `part`, `drop` (of the probability of
        the label that was predicted, or of the number), the parts of a table's row by size. A part is a column, whose
        value is replaced by those of other examples: of `background`, else of the frame itself where it is large, else
        of the project's dataset; a token of a text, by `position`; a patch of an image or spectrogram, by `top`,
        `left`, `height` and `width`. Raises SlipwayError for examples that cannot be predicted.
        """
        import pandas

        from components.stages import predict as stage
        from components.tracking import examined

        index, given = _table(examples)
        with self._here():
            taken = stage.prepared(self.uri, given)
            names: list[Any] = taken.names or [*range(len(taken.examples))]
            if index is not None:
                names = index.tolist()

            def others() -> "pa.Table":
                if background is not None:
                    return stage.prepared(self.uri, _table(background, path=False)[1]).examples
                return taken.examples if len(taken.examples) >= MIN_OTHERS else self._dataset()

            found = examined.explained(self.uri, taken.examples, others, names, trust=self.trust)
            stage.tell(taken.told)
        frame = pandas.DataFrame(found)
        rows: list[int] = frame.pop("row").tolist() if len(frame) else []
        own = pandas.Index(names, name="example") if index is None else index
        return frame.set_index(own.take(rows))

    def _dataset(self) -> "pa.Table":
        """Return the project's dataset for this version, as far as it is here."""
        import slipway
        from components import SlipwayError
        from components.stages import predict as stage

        why = f"give `background`: at least {MIN_OTHERS} examples, whose values stand in for those of a column"
        try:
            frame = slipway.data(self.name)
        except SlipwayError as error:
            raise SlipwayError(
                f"{why} (there is no dataset of {self.name} here: {str(error).splitlines()[0]})"
            ) from None
        return stage.prepared(self.uri, _table(frame, path=False)[1]).examples

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        """Work in the project's root, where params.yaml is, and MLflow's file."""
        project.use(self._root)
        with contextlib.chdir(self._root):
            yield


def load(model: str | None, place: Path, *, trust: bool) -> Model:
    """Find a version in the registry of the project in `place`; see slipway.load."""
    project.use(place)
    from components import surroundings
    from components.stages import predict as stage
    from components.tracking import examined, origin

    surroundings.pass_proxies_by()
    with contextlib.chdir(place):
        made = origin.find(stage.pinned(model))
        examined.must_be_trusted(made.uri, trust=trust)
        metrics, params = examined.facts(made)
    return Model(made.name, made.version, made.aliases, metrics, params, trust, place)


def answers(model: str | None, examples: "Examples", place: Path, *, trust: bool) -> "pandas.DataFrame":
    """Predict with a version of the project in `place`; see slipway.predict."""
    project.use(place)
    from components import surroundings
    from components.stages import predict as stage

    surroundings.pass_proxies_by()
    index, given = _table(examples)
    with contextlib.chdir(place):
        found: pandas.DataFrame = stage.answers(model, given, trust=trust).to_pandas()
    return found if index is None else found.set_index(index)


def _as_in_files(table: "pa.Table") -> "pa.Table":
    """Return pandas' text as it comes from a file: what is no number is then an error of its row."""
    import pyarrow as pa

    for at, column in enumerate(table.schema):
        if pa.types.is_large_string(column.type):
            with contextlib.suppress(pa.ArrowInvalid):  # more than 2 GB
                table = table.set_column(at, column.name, table[column.name].cast(pa.string()))
    return table


def _with_ids(index: "pandas.Index | None", table: "pa.Table") -> "pa.Table":
    """Put the ids of a dataset, the index of its DataFrame, back into the table."""
    import pyarrow as pa

    if index is None or index.name != "id" or "id" in table.column_names:
        return table
    return table.append_column("id", pa.array([str(key) for key in index], pa.string()))


def _table(examples: "Examples", *, path: bool = True) -> "tuple[pandas.Index | None, Any]":
    """Return the index of a DataFrame, and what the stage takes: a table, or an absolute path."""
    import pandas
    import pyarrow as pa

    from components import SlipwayError

    if path and isinstance(examples, str | Path):
        return None, Path(examples).absolute()
    if isinstance(examples, pandas.DataFrame):
        try:
            return examples.index, _as_in_files(pa.Table.from_pandas(examples, preserve_index=False))
        except pa.ArrowException as error:
            why = "; ".join(map(str, error.args))
            raise SlipwayError(f"a column of the DataFrame holds values of several types: {why}") from None
    if isinstance(examples, pa.Table):
        return None, examples
    more = ", or a path" if path else ""
    raise TypeError(f"expected a DataFrame or a table of pyarrow{more}, not {type(examples).__name__}")
