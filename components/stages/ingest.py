"""Make a dataset, or add to it: read a source, write Parquet, version it with DVC.

Of identical examples, copies are kept where the source says so; the settings that describe the data go into
params.yaml, expectations drafted from a new dataset into the model's file of expectations.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError
from ruamel.yaml import YAML
from tqdm import tqdm

from components import SlipwayError, recipes, surroundings
from components import params as params_module
from components.data import copies as copies_module
from components.data import dataset, folder, versions
from components.data.copies import Known
from components.params import changes, new_dataset
from components.params.reading import check
from components.recipes import spelled
from components.recipes import split_by as splitting
from components.recipes.source import BESIDE, KEY, NAMES, ORIGIN, Source, commands, slug, tell
from components.reports import results
from components.tracking import namesake
from components.validation import contract
from components.validation.contract import Change


def arguments(stages: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `ingest SOURCE ...` to the command line."""
    text = "make a dataset from a source, or add to the existing one; version it with DVC"
    ingest = stages.add_parser("ingest", help=text, description=text)
    common = _Parser(add_help=False)
    common.add_argument(
        "--data", type=Path, default=Path("data"), metavar="FOLDER", help="folder of the dataset (default: data)"
    )
    common.add_argument(
        "--params", type=Path, default=Path("params.yaml"), metavar="FILE", help="settings (default: params.yaml)"
    )
    common.add_argument("--name", help="name for the file, the experiment and the model (default: the source's name)")
    common.add_argument(
        "--replace", action="store_true", help="start a new dataset instead of adding to the existing one"
    )
    text = "do not change params.yaml and the expectations"
    common.add_argument("--keep-params", action="store_true", help=text)
    sources(ingest, common)


def sources(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Add `SOURCE ...` to a command line: a sub-parser for each, with the arguments of `common` too."""
    text = (
        "what to do with identical examples: keep each, or drop all but one of each label (default: keep the rows of "
    )
    text += "tables and of files of texts; drop copies of images, recordings, windows and text files)"
    common.add_argument("--copies", choices=["keep", "drop"], help=text)
    listed: argparse._SubParsersAction[Any] = parser.add_subparsers(
        dest="source", metavar="SOURCE", required=True, parser_class=_Parser
    )

    for name, command in commands().items():
        command.arguments(listed.add_parser(name, help=command.text, description=command.text, parents=[common]))


class _Once(argparse.Action):
    """Take an option's value; an option that is given twice is an error, where argparse would take the last one."""

    _seen: argparse.Namespace | None = None

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse calls it
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        """Set the value."""
        if option and self._seen is namespace:
            before = getattr(namespace, self.dest)
            raise argparse.ArgumentError(self, f"is given twice ({before} and {values}); give it once")
        self._seen = namespace
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    """A parser whose options, but for those that are repeatable, are given once."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for name in (None, "store"):
            self.register("action", name, _Once)


def run(
    source: str,
    data: Path = Path("data"),
    params: Path = Path("params.yaml"),
    name: str | None = None,
    *,
    replace: bool = False,
    keep_params: bool = False,
    copies: Literal["keep", "drop"] | None = None,
    to_commit: str = "",
    **options: Any,
) -> None:
    """Ingest a source into the folder `data`; all of it or nothing. `copies`: as the source has it.

    `to_commit` is what the user is told to commit; data.dvc and params.yaml where it is empty.
    Raises SlipwayError for a source that cannot be read, a dataset of another kind, a file of that name
    with other content, a dataset to be replaced that DVC does not keep, and settings that do not fit the new one.
    """
    take(
        lambda current: found(source, current, options, data),
        data,
        params,
        name,
        replace=replace,
        keep_params=keep_params,
        copies=copies,
        to_commit=to_commit,
        files=options.values(),
    )


def take(
    read: Callable[[params_module.Params | None], Source],
    data: Path,
    params: Path,
    name: str | None = None,
    *,
    replace: bool = False,
    keep_params: bool = False,
    copies: Literal["keep", "drop"] | None = None,
    to_commit: str = "",
    files: Iterable[object] = (),
    state: Callable[[list[str]], str] | None = None,
) -> Known:
    """Take what is new of a source into the folder `data`, as `run` does; return what became of its examples.

    `read` gets the settings of the dataset that is added to, None for a new one. `files` are what it reads. `state`
    tells, given the labels, what was taken (components/sources); that gets into the dataset together with the rows, if
    any are new.
    """
    current = params_module.load(params) if params.exists() else None  # a mistake there stops us before anything
    versions.versionable(data)
    with folder.alone(data):
        old = not replace and _may_grow(data, whole=state is None)
        if not old:
            versions.replaceable(data)
        folder.must_lie_outside(data, files)
        found = read(current if old else None)
        given = name is not None
        name = _named(name, found, data, old=old, whole=state is None)
        own = getattr(current.task, "labels", []) if current and current.recipe == found.recipe else []
        spell = spelled.labels(found, own, old=old)
        columns = fits(found, current, data) if old and current is not None else _columns(found, None)
        found.schema, found.values = (columns, partial(_parts, data, columns)) if old else (None, None)
        kept = splitting.apart(found.split_by, columns.names)
        before, stays, updated = ("", True, True) if old else _replaced(data, found, current, state is not None)
        model = current.name if current and (keep_params or (updated and stays)) else name
        there = None if old else namesake.must_differ(model, found)
        settings, inherited, why = _settings(found, None if old else model, columns, current, stays, updated)
        settle = partial(changes.merged, params, {} if keep_params else settings, grow=old, why=why)
        settle()  # what does not fit stops us before the data is read
        known, newest = _known(data if old else None, found, columns, keep=(copies or found.copies) == "keep")
        tables = _new(found, columns, known, kept, spell, newest)
        if there is not None and not given and not keep_params:
            tables = namesake.akin(tables, there, columns)
        if found.split_by is not None:
            tables = _by_group_or_time(tables, found.split_by, found.name, data if old else None)
        with ExitStack() as undo:
            enter = folder.replaced if not old else folder.added if state is None else folder.grown
            with enter(data) as aside:
                pieces = dataset.write(_learnable(tables, known, name, old=old), aside, name)
                if pieces and state is not None:
                    told = state(settings.get(found.recipe, {}).get("labels", []))
                    (aside / f".{name}{dataset.SOURCE}").write_text(told, encoding="utf-8")
                more = [] if old else _train(settings, why, found, current, stays, updated, pieces)
                text, changed = settle() if pieces or state is None else ("", [])
                drafted = None if old or keep_params or state is not None else _drafted(aside, params, text)
                # these first: killed before the data is renamed, DVC still keeps all of data/
                texts = {params: text} if changed else {}
                _put(texts | ({drafted.path: drafted.after} if drafted else {}), undo)
            undo.pop_all()
    settings_of = Path(to_commit, params.name) if to_commit else params
    _print(copies_module.told(known, found.skipped))
    _print(f"wrote {surroundings.shown(data / piece.name)}" for piece in pieces)
    _print(f"{settings_of}: {line}" for line in (*changed, *(() if keep_params else inherited)))
    _print(contract.told(drafted, to_commit))
    if not old:
        _tell_new(
            found, known, [*([] if keep_params else more), *(_stays(settings_of, current) if state is None else ())]
        )
    versions.record(data, to_commit, [drafted.path] if drafted is not None and drafted.written else ())
    versions.tell_replaced(data, before, to_commit)
    return known


def _learnable(tables: Iterator[pa.Table], known: Known, name: str, *, old: bool) -> Iterator[pa.Table]:
    """Pass tables on; SlipwayError behind the last where a new dataset would hold the same example again and again."""
    yield from tables
    if not old and known.all_alike:
        raise SlipwayError(
            f"{name}: all examples have the same content, or none: there is nothing to learn from; are the columns, "
            "the separator and the decimal point of the file what they should be?"
        )


def _put(texts: dict[Path, str], undo: ExitStack) -> None:
    """Write files, each whole; `undo` then gives them back what they had."""
    for path, text in texts.items():
        old = path.read_bytes() if path.exists() else None
        changes.put(path, text.encode())
        undo.callback(changes.put, path, old)


def _drafted(data: Path, params: Path, text: str) -> Change | None:
    """Draft expectations from a new dataset, whose params.yaml is `text`; None where there is no file.

    One that is not valid stays as it is, which the stage validate will tell.
    """
    settings = check(YAML(typ="safe").load(text), params)
    path = contract.place(params, settings.recipe)
    if not path.is_file():
        return None
    try:
        return contract.drafted(path, contract.known(data, settings.recipe, settings.task))
    except SlipwayError as error:
        print(f"no expectations were drafted: {error}")
        return None


def _may_grow(data: Path, *, whole: bool) -> bool:
    """Tell whether there is a dataset to add to; SlipwayError where something else lies there, or a file is gone."""
    if all(dataset.is_junk(path.name) for path in data.glob("*.parquet")):
        if whole:
            versions.must_be_here(data)
        return False
    dataset.files(data)
    if whole:
        versions.whole(data)
    return True


def _named(name: str | None, source: Source, data: Path, *, old: bool, whole: bool) -> str:
    """Return the name of a new file and of a new dataset: as the user says, but for files that come by themselves."""
    found = slug(name) if name else source.name
    return folder.free(data, found) if old and not (name and whole) else found


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _tell_new(source: Source, known: Known, more: Iterable[str]) -> None:
    _print(copies_module.few(known.counts["new"]))
    tell(copies_module.rare(known), "rare labels")
    _print([*source.groups, *more])


def _stays(params: Path, current: params_module.Params | None) -> list[str]:
    """Tell where new data would come from, for a dataset that does not come from there."""
    if current is None or current.source is None:
        return []
    told = "`source` stays as it is: the next run brings what is new there; if this dataset comes from elsewhere, "
    return [f"{params}: {told}change or remove it"]


def fits(found: Source, current: params_module.Params, data: Path) -> pa.Schema:
    """Return the columns of the dataset; SlipwayError for a source whose examples it cannot take."""
    columns = _columns(found, current)
    _same_clock(current.task, found.settings)
    splitting.must_agree(found.split_by, columns.names, current.split.by, dataset.files(data)[0])
    return columns


def _replaced(
    data: Path, source: Source, current: params_module.Params | None, by_update: bool
) -> tuple[str, bool, bool]:
    """Return the version that a new dataset replaces, and `stays` and `updated` as new_dataset.stays has them."""
    before = versions.recorded(data)
    updated = by_update and bool(before)
    return before, new_dataset.stays(source, current, there=bool(before), updated=updated), updated


def _settings(
    source: Source,
    name: str | None,
    columns: pa.Schema,
    current: params_module.Params | None,
    stays: bool,
    updated: bool,
) -> tuple[dict[str, Any], list[str], dict[str, str]]:
    """Return what params.yaml has to say of a source, what to tell of settings that a new dataset takes over, and why.

    `name` is that of a new dataset; None where there is one. Why settings of `train` are what they are is said of each.
    `stays` and `updated` are those of new_dataset.stays.
    """
    own: dict[str, Any] = {"recipe": source.recipe, source.recipe: source.settings}
    why: dict[str, str] = {}
    if name is None:
        return own, [], why
    more = [
        new_dataset.network(source, current, stays=stays),
        new_dataset.split(source, columns.names, current),
        new_dataset.others(source, current, results.measures_cost, stays=stays),
    ]
    inherited = new_dataset.inherited(current, source, name) if current is not None and not stays else []
    _train(own, why, source, current, stays, updated)
    return {"name": name, **own, **more[0], **more[1], **more[2]}, inherited, why


def _train(
    settings: dict[str, Any],
    why: dict[str, str],
    source: Source,
    current: params_module.Params | None,
    stays: bool,
    updated: bool,
    pieces: Iterable[Path] = (),
) -> list[str]:
    """Add the sections `train` and `validate` of a new dataset to its settings, and why each of train's is what it is.

    Before it is read, the files in `pieces` are unknown: `train` is of the same keys then. `stays` and `updated` are
    those of new_dataset.stays. Returns what is to be told.
    """
    if stays and updated:
        return []
    rows, unlabelled, labels = 0, 0, Counter[str]()
    for piece in pieces:
        for batch in pq.ParquetFile(piece).iter_batches(columns=["label"]):
            column = batch.column(0)
            rows, unlabelled = rows + len(column), unlabelled + column.null_count
            if pa.types.is_string(column.type):
                labels.update(column.drop_null().to_pylist())
    told: list[str] = []
    if not stays:
        chosen, reasons = new_dataset.training(source, current, rows, labels)
        settings |= {"train": chosen} if chosen else {}
        why |= reasons
    elif pieces and current is not None and not new_dataset.same(source, current):
        told = new_dataset.kept(source, current, rows, labels)
    allowed, lines = new_dataset.validate(current, rows, unlabelled, stays=stays)
    settings |= allowed
    return told + lines


def redraft(source: Source, data: Path, params: Path, to_commit: str = "") -> None:
    """Choose `train` and `validate` anew, by all rows that a new dataset has once further files were added; tell it.

    `source` is what it was made of: a dataset whose settings were drafted from that alone.
    """
    settings: dict[str, Any] = {}
    why: dict[str, str] = {}
    current = params_module.load(params)
    told = _train(settings, why, source, current, stays=False, updated=True, pieces=dataset.files(data))
    text, changed = changes.merged(params, settings, grow=False, why=why)
    changes.put(params, text.encode())
    _print(f"{Path(to_commit, params.name) if to_commit else params}: {line}" for line in changed)
    _print(told)


def _columns(source: Source, current: params_module.Params | None) -> pa.Schema:
    """Return the columns of the dataset: those that it has, or those of the source for a new one."""
    recipe = recipes.load(source.recipe)
    if current is not None:
        if current.recipe != source.recipe:
            raise SlipwayError(
                f"the dataset in data/ belongs to the recipe {current.recipe}, this source to {source.recipe}: {BESIDE}"
            )
        return recipes.schema(recipe, current.task)
    try:
        return recipes.schema(recipe, recipe.Params.model_validate(source.settings))
    except ValidationError as error:
        if len(labels := source.settings.get("labels", ())) == 1:  # which a detector may have
            raise SlipwayError(f"{source.name}: only one class ({labels[0]}); a dataset needs at least two") from None
        detail = error.errors()[0]
        key = ".".join(map(str, (source.recipe, *detail["loc"])))
        raise SlipwayError(f"{source.name}: {key}: {detail['msg']}") from None


def _known(data: Path | None, source: Source, columns: pa.Schema, *, keep: bool) -> tuple[Known, Any]:
    """Take in id, label, split, group and key of the examples that the dataset has, if there is one.

    Returns them, and the newest time where examples are split by one.
    """
    known, newest = Known(keep=keep, fresh=data is None), None
    kept, key = splitting.apart(source.split_by, columns.names), [KEY] if source.key else []
    time = source.split_by.column if source.split_by and source.split_by.by == "time" else None
    if data and key and any(KEY not in pq.read_schema(path).names for path in dataset.files(data)):
        raise SlipwayError(
            f"--key {source.key}: the dataset was made without, and does not keep that column; leave it out, or start "
            "a new dataset with --replace"
        )
    names = dict.fromkeys(("id", "label", "split", *kept, *key, *([time] if time else [])))
    for chunk in dataset.chunks(data, columns) if data else []:
        part = dataset.read(chunk, columns, only=names)
        splits, groups = part["split"].to_pylist(), _groups(part, kept)
        labels, rows = map(str, part["label"].to_pylist()), part[KEY].to_pylist() if key else repeat(None)
        known.have(part["id"].to_pylist(), labels, splits, groups, rows)
        if time and (last := pc.max(part[time])).is_valid and (newest is None or last.as_py() > newest):
            newest = last.as_py()
    return known, newest


def _parts(data: Path, columns: pa.Schema, name: str) -> Iterator[pa.Array]:
    """Yield the different values of a column of the dataset, chunk by chunk."""
    for chunk in dataset.chunks(data, columns):
        yield dataset.read(chunk, columns, only=[name])[name].unique()


def _groups(part: pa.Table, kept: list[str]) -> list[str | None]:
    return part[kept[0]].cast(pa.string()).to_pylist() if kept else [None] * len(part)


def _new(
    source: Source,
    columns: pa.Schema,
    known: Known,
    kept: list[str],
    spell: Callable[[str], str],
    newest: Any = None,
) -> Iterator[pa.Table]:
    """Give examples their id and labels their spelling; leave out those that the dataset has already.

    `newest` is the newest time of the dataset, where it is split by one. Raises SlipwayError for a source that lacks a
    column of the dataset, and for a key that does not tell its rows apart.
    """
    key = [KEY] if source.key else []
    splits_told: set[str] = set()
    with tqdm(desc=f"ingest {source.name}", unit=" examples", disable=None) as progress:
        for part in source.tables:
            must_have(part, source, columns)
            part = spelled.with_splits(spelled.with_labels(part, spell), source, splits_told)  # noqa: PLW2901
            try:
                keys = dataset.ids(part, columns)
            except UnicodeDecodeError as error:  # Parquet does not check its text
                bad = error.object[max(0, error.start - 10) : error.end + 10]
                raise SlipwayError(f"{source.name}: text that is not UTF-8 ({bad!r}); write the file again") from None
            splits = part["split"].to_pylist() if "split" in part.column_names else [None] * len(part)
            labels = map(str, part["label"].to_pylist())
            rows = part[KEY].to_pylist() if key else repeat(None)
            known.keyless += part[KEY].null_count if key else 0
            about = part.schema.metadata or {}
            origin = about.get(ORIGIN, b"").decode()
            called = json.loads(about[NAMES]) if NAMES in about else repeat(None)
            ids = pa.array(known.ids(keys, labels, splits, _groups(part, kept), rows, origin, called), pa.string())
            found = part.select([*columns.names, *(["split"] if "split" in part.column_names else []), *kept, *key])
            found = found.add_column(0, "id", ids).filter(ids.is_valid()).replace_schema_metadata(None)
            if source.settings.get("labels") and pa.types.is_string(found.schema.field("label").type):
                known.labels.update(found["label"].drop_null().to_pylist())
            if newest is not None and source.split_by is not None:
                time = source.split_by.column
                known.late += sum(value is not None and value < newest for value in found[time].to_pylist())
            yield found
            progress.update(len(part))
    copies_module.check_keys(known, source.key)


def must_have(part: pa.Table, source: Source, columns: pa.Schema) -> None:
    """Raise SlipwayError for examples that lack a column of the dataset, or whose labels are of another kind."""
    has = {*part.column_names}  # Arrow makes the list anew each time it is asked for
    if lacking := [column for column in columns.names if column not in has]:
        raise SlipwayError(
            f"{source.name}: column {lacking[0]} is missing, but the dataset has it; add it; if this is "
            f"another dataset, {BESIDE}"
        )
    own, wanted = part.schema.field("label").type, columns.field("label").type
    if pa.types.is_list(own) != pa.types.is_list(wanted):
        raise SlipwayError(
            f"{source.name}: its label is {own}, but the dataset's is {wanted}; "
            "change it, or start a new dataset with --replace"
        )


def found(name: str, current: params_module.Params | None, options: dict[str, Any], data: Path) -> Source:
    """Read a source; `current` is of the dataset in `data` that is added to: files are read as its own were."""
    command = commands()[name]
    if current is not None and command.known == current.recipe:
        options = options | {"known": current.task}
        if command.groups:
            options["there"] = _values(data, command.groups)
    return command.read(**options)


def _by_group_or_time(
    tables: Iterable[pa.Table], own: splitting.SplitBy, name: str, data: Path | None
) -> Iterator[pa.Table]:
    """Watch over what a source is split by; `data` has the dataset that is added to, if there is one."""
    if own.by == "group":
        tables = splitting.watched(tables, own, name, _values(data, own.column) if data else ())
    return iter(tables) if data else splitting.divisible(tables, own, name)


def _values(data: Path, column: str) -> list[str]:
    """Return the different texts in a column of a dataset, sorted; none where it does not have the column."""
    files = [path for path in dataset.files(data) if column in pq.read_schema(path).names]
    parts = [pq.read_table(path, columns=[column])[column].unique().cast(pa.string()) for path in files]
    return sorted({text for part in parts for text in part.to_pylist() if text is not None})


def _same_clock(task: Any, settings: dict[str, Any]) -> None:
    """Refuse windows of another length than the dataset's, and times with a zone where it has none, or the reverse."""
    for name in ("history", "horizon"):
        if name in settings and (wanted := getattr(task, name, None)) != settings[name]:
            raise SlipwayError(
                f"--{name} is {settings[name]} here, but the windows of the dataset have {wanted}: "
                f"give --{name} {wanted}, or start a new dataset with --replace"
            )
    old, new = getattr(task, "time_zone", None), settings.get("time_zone")
    if old is not None and new is None:
        raise SlipwayError(
            f"the times name no zone, but those of the dataset are of {old} (time_zone): give the --time-zone"
        )
    if old is None and new is not None:
        raise SlipwayError(
            f"the times are of the zone {new}, but those of the dataset name none (time_zone): write them as the "
            "dataset's, or start a new one with --replace; if its times are UTC, write time_zone: UTC in params.yaml"
        )
