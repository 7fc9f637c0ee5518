"""A registered version on examples that somebody has: how good it is on them, and why it answers what it does.

It predicts in a process of its own, with the code that was shipped with it. To explain, inputs are changed between
the recipe's encode and the ONNX model: by this checkout's code, if that gives what the version's own does.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from components import SlipwayError, listed, nearest, params, recipes, targets, temporary
from components.data import dataset, spelling, splits
from components.evaluation import bootstrap, explain, metrics, tested
from components.evaluation.examples import Examples
from components.files import read_json
from components.params import Evaluate, Params
from components.recipes import Arrays
from components.reports import results
from components.serving import loose, onnx_model
from components.streams import stream
from components.targets import Target
from components.tracking import connection, isolated, origin, runs, trusted
from components.tracking.rivals import TOLERANCE

BACKGROUND = 50  # other examples whose values a column gets
MAX_NAMED = 3  # rows that an error names


@dataclass(frozen=True)
class Measured:
    """How good a version is on examples: of each metric value, low and high."""

    rows: int
    confidence: float
    metrics: dict[str, tuple[float, float, float]]
    notes: list[str]


@dataclass(frozen=True)
class _Asked:
    """A version that lies in a folder, and the examples that it is asked about."""

    title: str
    place: Path  # of MLflow's model
    folder: Path  # of model.onnx and model.json
    content: dict[str, Any]  # of model.json
    target: Target
    given: Path

    @cached_property
    def answers(self) -> pa.Table:
        """What it predicts."""
        return isolated.predict(str(self.place), self.given, called=self.title)

    @property
    def outputs(self) -> np.ndarray:
        """What the model gave, as it gave it to the evaluation."""
        return self.target.outputs(self.answers)


def must_be_trusted(version: str, *, trust: bool) -> None:
    """Raise SlipwayError for a version that is not as Slipway registered it, unless `trust`."""
    with temporary.folder() as folder:
        trusted.fetch(version, folder / "model", trust=trust)


def facts(made: origin.Origin) -> tuple[dict[str, float], dict[str, Any]]:
    """Return a version's metrics of the test split, and the settings of its training; empty where its run is gone."""
    settings, _ = _settings(made)
    return results.of_test(made.run_metrics), {} if settings is None else runs.parameters(settings)


def apart(version: str, table: pa.Table, label: str) -> tuple[list[Any], pa.Table]:
    """Return the labels of a table, a value per row, and the table without them.

    They are the column `label` or, where a version predicts numbers, a column for each by its name.
    """
    if label in table.column_names:
        return table[label].to_pylist(), table.drop_columns([label])
    about = connection.about(version)
    several: tuple[str, ...] = ()
    with suppress(SlipwayError, ValueError, KeyError):  # of another version of Slipway, or none of its models
        recipe = recipes.load(about["recipe"])
        target = recipe.target(recipe.Params.model_validate(about["params"]))
        several = () if target.classes else target.names
    if several and set(several) <= {*table.column_names}:
        columns = [table[name].to_pylist() for name in several]
        return [list(row) if len(several) > 1 else row[0] for row in zip(*columns, strict=True)], table.drop_columns(
            list(several)
        )
    own = f" (or one for each of {listed(several)})" if several else ""
    raise SlipwayError(
        f"there is no column {label!r} with the labels{own}; the table has: {listed(table.column_names)}. "
        "label='COLUMN' says which it is"
    )


def is_missing(label: Any) -> bool:
    """Tell whether there is no label; of several numbers, whether one of them is missing."""
    if isinstance(label, list | tuple | np.ndarray):
        return any(map(is_missing, label))
    return label is None or (isinstance(label, float) and np.isnan(label))


def in_test(version: str, table: pa.Table) -> np.ndarray | None:
    """Tell which rows of a dataset are test examples by the rule of a version's split, `(n,)` bool; None if unknown.

    Raises SlipwayError where the table has no `id`, or lacks a column that the rule looks at.
    """
    made = origin.find(version)
    rule: splits.Rule | None = json.loads(made.tag("split") or "null")
    if rule is None:
        return None
    keys = table["id"].to_pylist() if "id" in table.column_names else []
    if any(re.fullmatch(dataset.ID, str(key)) is None for key in keys):
        raise SlipwayError("the column id has not the ids of a dataset: expected one as slipway.data() returns it")
    if "split" not in table.column_names:
        table = table.append_column("split", pa.nulls(len(table), pa.string()))
    if lacking := [name for name in ("id", *splits.needs(rule)) if name not in table.column_names]:
        raise SlipwayError(
            f"there is no column {listed(lacking)}, by which {made.name} version {made.version} was split: expected a "
            "dataset as slipway.data() returns it"
        )
    return splits.in_test(rule, table)


def keys(version: str, examples: pa.Table) -> list[str] | None:
    """Return for each example the digest of its content by which a dataset knows it; None where this cannot be told.

    That is so of examples without a column of the dataset, and of another version of Slipway.
    """
    about = connection.about(version)
    try:
        recipe = recipes.load(about["recipe"])
        task = recipe.Params.model_validate(about["params"])
        columns, examples = recipe.columns(task), _called(recipes.asked(recipe, task), examples)
        if not {*columns.names} <= {*examples.column_names}:
            return None
        return dataset.ids(_typed(columns, examples), columns)
    except (SlipwayError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException):
        return None


def evaluated(version: str, examples: pa.Table, labels: list[Any], names: Sequence[Any], *, trust: bool) -> Measured:
    """Measure models:/NAME/VERSION on examples with labels `(n,)`, as the stage `evaluate` measures the test split.

    `names` are what errors call the rows. Seed, resamples, confidence and costs are those that the version was made
    with. Raises SlipwayError for labels that the version does not know, for examples that it cannot predict, and where
    it is not as it was registered (unless `trust`).
    """
    with _asked(version, examples, trust=trust) as asked:
        actual = asked.target.encode(_known(asked, labels, names))
        _must_be_answered(asked, names)
        made = origin.find(version)
        settings, notes = _settings(made)
        own = Evaluate() if settings is None else settings.evaluate
        state = asked.content.get("state") or {}
        deviation = (state.get("target") or {}).get("deviation")  # of numbers; none in versions of Slipway 0.1
        groups = examples["group"].to_pylist() if "group" in examples.column_names else [None] * len(examples)
        measured = Examples(
            actual=actual,
            outputs=asked.outputs,
            target=asked.target,
            decision=asked.content.get("decision"),
            costs=None if settings is None else settings.cost_matrix(),
            scale=tested.scale(state, len(asked.target.names), groups),
            deviation=None if deviation is None else np.array(deviation),
            bins=own.calibration_bins,
            blocks=_blocks(made, examples, notes),
        )
    seed = 1 if settings is None else settings.seed
    found, _ = metrics.measure(measured)
    samples, _ = bootstrap.resampled(measured, seed, own.resamples)
    estimates = bootstrap.estimates(measured, found, samples, seed, own.confidence)
    shown = dict.fromkeys([*metrics.of(asked.target).SHOWN, *estimates])
    return Measured(len(actual), own.confidence, {name: estimates[name] for name in shown if name in estimates}, notes)


def explained(
    version: str, examples: pa.Table, others: Callable[[], pa.Table], names: Sequence[Any], *, trust: bool
) -> list[dict[str, Any]]:
    """Say of each example, and each of its parts, by how much what was answered falls without it.

    A row per example and part: `row`, `answer`, `part` and `drop`. A part is a column, whose value is replaced by
    those of `others` (BACKGROUND of them; asked for only where there are columns); a token of a text, with its
    `position`; a patch of an image or a spectrogram, with `top`, `left`, `height` and `width` in the model's input.
    Raises SlipwayError as `evaluated` does, and where this checkout encodes examples otherwise than the version.
    """
    with _asked(version, examples, trust=trust) as asked:
        _must_be_answered(asked, names)
        loaded, arrays = _encoded(asked, examples)
        empty = asked.target.encode([])
        blank = np.zeros((len(examples), *empty.shape[1:]), empty.dtype)  # what is explained is the answer, not a label
        measured = Examples(blank, asked.outputs, asked.target, asked.content.get("decision"))
        ask, inputs = partial(onnx_model.outputs, loaded), onnx_model.inputs(loaded)
        drawn = None
        if explain.named(inputs):
            whole = others()
            if not len(whole):
                raise SlipwayError("the background has no rows: there are no values to put in place of a column's")
            some = np.sort(stream(1, "background").permutation(len(whole))[:BACKGROUND])
            drawn = _encoded_alone(asked, loaded, whole.take(pa.array(some)))
        found = []
        answers = asked.answers[asked.target.answer].to_pylist()
        for row in tqdm(range(len(examples)), desc="explain", unit=" examples", leave=False, disable=None):
            one = {key: np.asarray(array[row]) for key, array in arrays.items()}
            parts: list[dict[str, Any]] = []
            if drawn is not None:
                drops = explain.columns(ask, one, inputs, drawn, measured, row)
                parts = [{"part": name, "drop": drop} for name, drop in drops.items()]
                parts.sort(key=lambda part: -abs(part["drop"]))
            for key, entry in explain.shown(inputs).items():
                parts += _parts(key, explain.hidden(ask, one, key, entry, loaded.recipe, loaded.state, measured, row))
            found += [{"row": row, "answer": answers[row], **part} for part in parts]
        return found


@contextmanager
def _asked(version: str, examples: pa.Table, *, trust: bool) -> Iterator[_Asked]:
    """Fetch a version, which is there as long as the context."""
    with temporary.folder() as folder:
        place = trusted.fetch(version, folder / "model", trust=trust)
        data = place / connection.about(version)["data"]
        try:
            content = read_json(data / "model.json")
            target = targets.of(content["target"])
        except (OSError, ValueError, KeyError, TypeError):
            raise SlipwayError(f"{version}: was not registered by Slipway: it can predict, and no more") from None
        given = folder / "examples.parquet"
        pq.write_table(examples, given)
        title = version.removeprefix("models:/").replace("/", " version ")
        yield _Asked(title, place, data, content, target, given)


def _must_be_answered(asked: _Asked, names: Sequence[Any]) -> None:
    if not len(names):
        raise SlipwayError("there is no example: the table has no rows")
    failed: dict[str, list[str]] = {}
    for name, error in zip(names, asked.answers["error"].to_pylist(), strict=True):
        if error:
            failed.setdefault(error, []).append(str(name))
    if failed:
        count = sum(map(len, failed.values()))
        rows = (f"row {listed(each, MAX_NAMED)}: {error}" for error, each in failed.items())
        raise SlipwayError(
            f"{asked.title} cannot predict {count:,} of {len(names):,} examples, which `predict` names in its column "
            f"error: {listed(rows, MAX_NAMED)}"
        )


def _known(asked: _Asked, labels: list[Any], names: Sequence[Any]) -> list[Any]:
    """Return labels as the target has them; classes in the spelling that an ingest gives them."""
    target = asked.target
    if target.named:
        labels = [[_text(each) for each in label] if _listed(label) else _text(label) for label in labels]
        texts = {text for label in labels for text in (label if _listed(label) else [label]) if isinstance(text, str)}
        spelled = spelling.joined(sorted(texts), target.names)
        truths = {name.casefold(): name for name in target.names}  # of a boolean a DataFrame makes True
        spelled |= {text: truths[text.casefold()] for text in texts & {"True", "False"} if text.casefold() in truths}
        labels = [
            [spelled.get(e, e) for e in label] if _listed(label) else spelled.get(label, label) for label in labels
        ]
    fits = [label is None or _listed(label) == pa.types.is_list(target.type) for label in labels]
    try:
        invalid = target.invalid(labels)
    except TypeError:  # text instead of numbers, a list instead of a class: which of them?
        invalid = [_is_invalid(target, label) for label in labels]
    wrong = [row for row, (bad, fit) in enumerate(zip(invalid, fits, strict=True)) if bad or not fit]
    if not wrong:
        return labels
    found: dict[str, list[str]] = {}
    for row in wrong:
        why = _complaint(target, labels[row]).replace("{section}", str(asked.content.get("recipe")))
        found.setdefault(why, []).append(str(names[row]))
    told = [f"row {listed(rows, MAX_NAMED)}: {complaint}" for complaint, rows in found.items()]
    raise SlipwayError(f"{len(wrong):,} of {len(labels):,} labels are none of {asked.title}: {listed(told, MAX_NAMED)}")


def _text(label: Any) -> Any:
    """Spell a class as an ingest does: it is text, whatever a DataFrame made of it."""
    if is_missing(label):
        return None
    return label if isinstance(label, str) else str(label)


def _listed(label: Any) -> bool:
    return isinstance(label, list | tuple | np.ndarray)


def _is_invalid(target: Target, label: Any) -> bool:
    try:
        return target.invalid([label])[0]
    except TypeError:
        return True


def _complaint(target: Target, label: Any) -> str:
    if is_missing(label):
        return "is missing"
    if target.maps:
        return target.complaint(label) if _listed(label) else "is not a list of boxes"
    if not target.named:
        return f"{label!r} {target.complaint(label)}"
    if _listed(label) != pa.types.is_list(target.type):
        return "one class is expected, not a list" if _listed(label) else f"{label!r} is not a list of classes"
    strange = next((each for each in (label if _listed(label) else [label]) if each not in target.names), None)
    if strange is None:
        return f"{label!r} names a class twice"
    return f"{strange!r} is no class; {nearest(str(strange), target.names)}"


def _settings(made: origin.Origin) -> tuple[Params | None, list[str]]:
    """Return the params.yaml that a version was made with, and what is to be told: that it is not known any more."""
    from ruamel.yaml import YAML

    kept = origin.kept(made, "project/params.yaml") if made.run_id else None
    if kept is None:
        return None, ["its run keeps no params.yaml: measured with default settings, without costs of mistakes"]
    try:
        return params.check(YAML(typ="safe").load(kept), Path("params.yaml")), []
    except SlipwayError as error:
        why = str(error).splitlines()[0]
        return None, [f"its settings are of another Slipway ({why}): measured with default ones, without costs"]


def _blocks(made: origin.Origin, examples: pa.Table, notes: list[str]) -> np.ndarray | None:
    """Return what a bootstrap draws as one, by the rule of the version's split; see splits.blocks."""
    rule: splits.Rule = json.loads(made.tag("split") or "null") or {"by": "id", "official": []}
    column = rule.get("column")
    if rule["by"] == "group" and column not in examples.column_names:
        notes.append(
            f"the examples have no column {column}, by which the version was split: intervals take each example for "
            "independent of the others, and may be too narrow"
        )
        return None
    if rule["by"] == "time" and column not in examples.column_names:
        return None
    if rule["by"] == "id":
        if (ids := keys(made.uri, examples)) is None:
            return None
        examples = pa.table({"id": pa.array(ids, pa.string())})
    return splits.blocks(rule, [examples], np.arange(len(examples)))


def _encoded(asked: _Asked, examples: pa.Table) -> tuple[onnx_model.Model, Arrays]:
    """Encode examples with this checkout's code; SlipwayError where the version would do it otherwise."""
    other = (
        f"{asked.title} reads examples otherwise than the code of this checkout: explain it in a checkout of its commit"
    )
    try:
        loaded = onnx_model.load(asked.folder)
        arrays = _encoded_alone(asked, loaded, examples)
    except SlipwayError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise SlipwayError(f"{other} ({type(error).__name__}: {error})") from None
    ours = asked.target.outputs(asked.target.answers(onnx_model.outputs(loaded, arrays), loaded.decision))
    theirs = asked.outputs
    scale = 1.0 if asked.target.output == "probabilities" else np.maximum(np.abs(theirs).max(axis=0, initial=0), 1)
    if not (np.abs(ours - theirs) / scale).max(initial=0) <= TOLERANCE:
        raise SlipwayError(other)
    return loaded, arrays


def _encoded_alone(asked: _Asked, loaded: onnx_model.Model, examples: pa.Table) -> Arrays:
    needed = recipes.asked(loaded.recipe, loaded.params)
    examples = _called(needed, examples)
    missing = [name for name in needed.names if name not in examples.column_names]
    if missing:
        raise SlipwayError(f"{asked.title} needs the column {', '.join(missing)}, which the other examples lack")
    table = _typed(loaded.recipe.columns(loaded.params), examples.select(needed.names))
    return loaded.recipe.encode(table, loaded.params, loaded.state)


def _called(needed: pa.Schema, examples: pa.Table) -> pa.Table:
    """Name a column that stands alone as the model does."""
    taking = [field for field in needed if pa.types.is_binary(field.type)] or list(needed)
    alone = examples.num_columns == 1 and len(taking) == 1
    return examples.rename_columns([taking[0].name]) if alone else examples


def _typed(columns: pa.Schema, examples: pa.Table) -> pa.Table:
    """Return examples with the columns and types that a dataset of theirs has; what they lack is missing."""
    known = pa.schema([field for field in columns if field.name in examples.column_names])
    typed, _ = loose.taken(examples.select(known.names).to_pandas(), known)
    values = {name: typed[name] if name in typed else examples[name] for name in known.names}
    table = pa.table({name: values.get(name, pa.nulls(len(examples))) for name in columns.names})
    return table.cast(columns).combine_chunks()


def _parts(key: str, hidden: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a text, an image or a spectrogram, a dict each."""
    if "tokens" in hidden:
        pairs = zip(hidden["tokens"], hidden["drop"], strict=True)
        return [{"part": token, "drop": drop, "position": at} for at, (token, drop) in enumerate(pairs)]
    height, width = hidden["patch"]
    return [
        {"part": key, "drop": drop, "top": top, "left": left, "height": height, "width": width}
        for top, line in zip(hidden["tops"], hidden["drop"], strict=True)
        for left, drop in zip(hidden["lefts"], line, strict=True)
    ]
