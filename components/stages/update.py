"""Bring what is new where the section `source` of params.yaml says, as one more file of the dataset and a new version.

The rows, and what they were taken from (components/sources/taken.py), get into the dataset in one step: whenever this
is killed, the next update begins from the old version or from the new one.
"""

import argparse
import contextlib
import io
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from components import SlipwayError, files, listed, temporary
from components import params as params_module
from components.data import spelling, versions
from components.data.copies import Known
from components.params import Dvc, Files, Params, Sql, changes, new_dataset
from components.recipes import split_by as splitting
from components.recipes.source import KEY, ORIGIN, Source, commands, slug
from components.sources import files as listing
from components.sources import sql, taken
from components.sources.taken import File, Taken
from components.stages import ingest
from components.tracking import connection

MAX_TOLD = 10  # files that are named one by one
# Ingest command -> the option that its file or folder is; and whether it reads a file, or a folder as a whole.
PATHS = {"table": "file", "series": "file", "text": "path", "images": "folder", "audio": "path"}
# Options that have no place in source.ingest, and what they are where they are not given.
REFUSED = {
    "replace": False,
    "data": Path("data"),
    "params": Path("params.yaml"),
    "keep_params": False,
    "test": None,
    "labels": None,
}
KINDS = {"late": "late", "corrected": "corrections"}
READ_ERRORS = (SlipwayError, pa.ArrowException, UnicodeError, ValueError)


@dataclass
class Words:
    """What source.ingest says: a command of `slipway ingest` and its options."""

    command: str
    options: dict[str, Any]
    name: str | None
    copies: Literal["keep", "drop"] | None
    per_file: bool  # reads one file at a time; else a folder


@dataclass
class Staged:
    """A file or folder of the source that was read whole, its examples on disk."""

    name: str
    source: Source
    rows: Path
    schema: pa.Schema


@dataclass
class Came:
    """What an update finds."""

    files: dict[str, File] = field(default_factory=dict)  # that were looked at
    aside: dict[str, str] = field(default_factory=dict)  # file -> what is wrong with it
    changed: list[str] = field(default_factory=list)  # files that were taken before, as they were then
    same: int = 0  # files whose content was taken before, under this name or another one
    left: dict[str, str] = field(default_factory=dict)  # files for the next time -> why
    there: set[str] = field(default_factory=set)  # all files of the source
    counts: Counter[str] = field(default_factory=Counter)  # rows: new, known, corrected, late
    origins: dict[str, Counter[str]] = field(default_factory=dict)  # the same by file, or part of a query: new, known

    def add(self, known: Known) -> None:
        """Count what became of rows."""
        new = known.counts["new"]
        own = {"new": new, "known": known.counts.total() - new, "corrected": known.corrected, "late": known.late}
        self.counts.update(own)
        for name, counts in known.origins.items():
            self.origins.setdefault(name, Counter()).update(counts)

    def said(self) -> str:
        """Tell of the new rows that are late or corrections."""
        parts = [f"{self.counts[name]:,} of them {word}" for name, word in KINDS.items() if self.counts[name]]
        return f"; {', '.join(parts)}" if parts else ""


def run(
    data: Path = Path("data"),
    params: Path = Path("params.yaml"),
    *,
    dry_run: bool = False,
    replace: bool = False,
    retry: bool = False,
    to_commit: str = "",
) -> int:
    """Bring what is new; return how many rows that is. `to_commit`: as an ingest has it.

    Raises SlipwayError where there is no `source`, where it cannot be reached, and for what `source.ingest` says that
    does not go with the dataset. A file that cannot be read is set aside, with a warning.
    """
    settings = params_module.load(params)
    if settings.source is None:
        raise SlipwayError(
            f"{params}: no section `source`, which says where new data comes from, such as:\n"
            "source: {kind: files, path: inbox, ingest: table --label y}"
        )
    origin = settings.source
    words = _words(origin.ingest, params)
    files.sweep(data.resolve().parent)  # what killed updates left
    if isinstance(origin, Sql) and not words.per_file:
        raise SlipwayError(f"{params}: source.ingest: {words.command} does not read tables: use table, series or text")
    if not replace:
        versions.fetched(data)
    if not (dry_run or replace or versions.current(data)):
        versions.whole(data)
        print(f"{data} is not as {data}.dvc lists it (an update or ingest that was killed, or a change by hand):")
        versions.record(data, to_commit)
    known = Taken() if replace else taken.read(data, origin, retry=retry)
    if not dry_run and connection.root() != Path.cwd():
        settings = _with_labels(settings, params, known.labels)
    with temporary.folder() as room:
        job = _Job(settings, words, data, params, room, known, replace, to_commit, bool(versions.recorded(data)))
        return _rows(job, origin, dry_run) if isinstance(origin, Sql) else _files(job, origin, dry_run)


def _with_labels(settings: Params, params: Path, labels: list[str]) -> Params:
    """Add to params.yaml the labels that earlier updates found: a workspace begins anew from that of a commit."""
    if not set(labels) - set(getattr(settings.task, "labels", labels)):
        return settings
    text, changed = changes.merged(params, {settings.recipe: {"labels": labels}}, grow=True)
    changes.put(params, text.encode())
    for line in changed:
        print(f"{params}: {line}")
    return params_module.load(params)


@dataclass
class _Job:
    settings: Params
    words: Words
    data: Path
    params: Path
    room: Path
    known: Taken
    replace: bool  # start a new dataset
    to_commit: str = ""
    existed: bool = False  # whether the model had a dataset before

    @property
    def name(self) -> str:
        return self.words.name or slug(self.settings.name)

    @property
    def new(self) -> bool:
        """Whether there is no dataset yet to add to."""
        return self.replace or not any(self.data.glob("*.parquet"))

    def read(self, path: Path, current: Params | None) -> Source:
        """Read a file or folder, as source.ingest says."""
        options = self.words.options | {PATHS[self.words.command]: path}
        return ingest.found(self.words.command, current, options, self.data)

    def take(
        self,
        read: Callable[[Params | None], Source],
        files: dict[str, File],
        revision: str = "",
        watermark: Any = None,
    ) -> Known:
        """Take rows into the dataset, and with them what they were taken from."""
        assert self.settings.source is not None  # noqa: S101 - run() says so
        origin, turn = self.settings.source, 0 if self.new else self.known.turn
        return ingest.take(
            read,
            self.data,
            self.params,
            self.name,
            replace=self.replace,
            copies=self.words.copies,
            to_commit=self.to_commit,
            state=lambda labels: taken.text(origin, Taken(files, watermark, revision, turn, labels)),
        )


def _words(text: str, params: Path) -> Words:
    """Parse source.ingest, as the command line would; SlipwayError for what has no place there."""
    try:
        command, *rest = shlex.split(text)
    except ValueError as error:
        raise SlipwayError(f"{params}: source.ingest: {text}: {error}") from None
    if command not in PATHS:
        known = ", ".join(name for name in commands() if name in PATHS)
        raise SlipwayError(f"{params}: source.ingest: {command}: expected one of {known}, and its options")
    parser, said = argparse.ArgumentParser(), io.StringIO()
    ingest.arguments(parser.add_subparsers(dest="stage"))
    try:
        with contextlib.redirect_stderr(said):
            options = vars(parser.parse_args(["ingest", command, "PATH", *rest]))
    except SystemExit:
        why = said.getvalue().rpartition("error: ")[2].strip()
        raise SlipwayError(f"{params}: source.ingest: {text}: {why}") from None
    for option, default in REFUSED.items():
        if options.pop(option, default) != default:
            raise SlipwayError(
                f"{params}: source.ingest: --{option.replace('_', '-')} has no place there: leave it out"
            )
    name, copies = options["name"], options["copies"]
    for option in ("stage", "source", "name", "copies", PATHS[command]):
        del options[option]
    per_file = command in ("table", "series") or (command == "text" and options["text"] is not None)
    return Words(command, options, slug(name) if name else None, copies, per_file)


def _files(job: _Job, origin: Files | Dvc, dry_run: bool) -> int:
    """Bring what is new of a folder, a bucket or another repository."""
    found = listing.listing(origin, job.known, connection.root())
    came = Came(left=found.left, there=found.there)
    if dry_run:
        names = [file.name for file in found.new]
        told = f"would read {_counted(len(names), 'file')}, {listing.size(found.new)}: {listed(names, MAX_TOLD)}"
        print(f"update: {told if names else 'nothing new'}")
        _tell_left(came)
        return 0
    here = job.room / "files"

    def content(name: str, digest: str) -> tuple[str, str]:
        """Of a table, its bytes are all; the name of an image or a recording may tell its label."""
        return "" if job.words.per_file else name, digest

    there = {content(name, file.sha256): file.rows for name, file in job.known.files.items() if file.outcome == "taken"}
    places: dict[str, Path] = {}
    for file in found.new:
        copied = listing.fetched(found, file, here)
        if copied is None:
            came.left[file.name] = "it changed, or went, while it was read"
            continue
        place, digest = copied
        before = job.known.files.get(file.name)
        came.files[file.name] = File(file.size, file.stamp, digest, "taken")
        if content(file.name, digest) in there:  # touched, renamed or copied
            came.files[file.name] = replace(came.files[file.name], rows=there[content(file.name, digest)])
            came.same += 1
            place.unlink()
            continue
        if before is not None and before.outcome == "taken":
            came.changed.append(file.name)
        there[content(file.name, digest)] = None
        places[file.name] = place
    made = None
    if places and job.new:
        made, places = _made(job, here, places, came, found.revision)
    if places:
        _added(job, here, places, came, found.revision)
        if made and not new_dataset.stays(made, job.settings, there=job.existed, updated=job.existed):
            ingest.redraft(made, job.data, job.params, job.to_commit)
    return _told(job, origin, came, found.revision)


def _made(job: _Job, here: Path, places: dict[str, Path], came: Came, revision: str) -> tuple[Source, dict[str, Path]]:
    """Make the dataset of the whole folder, or of the first file that makes one; return it and the files that remain.

    Raises SlipwayError where none does: then something is wrong with source.ingest, and no file is set aside.
    """
    errors = []
    for name, place in places.items() if job.words.per_file else [("", here)]:
        files = {name: came.files[name]} if name else came.files
        made: list[Source] = []
        try:
            known = job.take(partial(_whole, job, place, name, files, made), files, revision)
        except SlipwayError as error:
            errors.append(_plain(error, place, name or job.settings.name))
            continue
        came.add(known)
        came.files |= files
        job.replace, job.known = False, replace(job.known, turn=1)
        return made[0], {other: path for other, path in places.items() if name and other != name}
    some = "the files" if len(errors) == 1 else f"any of the {len(errors):,} files"
    raise SlipwayError(f"no dataset can be made of {some}; is source.ingest right?\n{errors[0]}")


def _added(job: _Job, here: Path, places: dict[str, Path], came: Came, revision: str) -> None:
    """Get the rows of files into the dataset: all of them in one step; those that cannot be read are set aside."""
    current, said = params_module.load(job.params), dict[str, None]()
    staged = list(_staged(job, current, here, places, came, said))
    for line in said:
        print(line)
    if staged:
        for each in staged if job.words.per_file else ():
            came.files[each.name] = replace(came.files[each.name], rows=_rows_of(each))
        files = job.known.pending | came.files
        came.add(job.take(lambda now: _joined(job, staged, now or current), files, revision))


def _whole(
    job: _Job, place: Path, name: str, files: dict[str, File], made: list[Source], current: Params | None
) -> Source:
    """Read a file or folder that becomes a dataset without being staged; its examples are `name`'s.

    Once they are read, its rows are in `files`. The source is appended to `made`.
    """
    source = job.read(place, current)
    tables = source.tables

    def counted() -> Iterator[pa.Table]:
        rows = 0
        for part in tables:
            rows += len(part)
            yield part.replace_schema_metadata({ORIGIN: name.encode()})
        if name in files:
            files[name] = replace(files[name], rows=rows)

    source.tables = counted()
    made.append(source)
    return source


def _staged(
    job: _Job, current: Params, here: Path, places: dict[str, Path], came: Came, said: dict[str, None]
) -> Iterator[Staged]:
    """Read files whole, before the dataset is touched; set those aside that cannot be read, or do not fit."""
    if job.words.per_file:
        for number, (name, place) in enumerate(places.items()):
            try:
                yield _read(job, current, place, name, job.room / f"{number}.rows", said)
            except READ_ERRORS as error:
                _set_aside(came, name, _plain(error, place, name))
            place.unlink(missing_ok=True)
        return
    try:
        yield _read(job, current, here, "", job.room / "all.rows", said)
        return
    except READ_ERRORS as error:
        whole = _plain(error, here, job.settings.name)
    alone = job.room / "alone"
    good = job.room / "good"
    for name, place in places.items():  # one by one, to find those that cannot be read
        (alone / name).parent.mkdir(parents=True, exist_ok=True)
        place.rename(alone / name)
        try:
            _read(job, current, alone, "", job.room / "one.rows", {})
        except READ_ERRORS as error:
            _set_aside(came, name, _plain(error, alone, job.settings.name))
            (alone / name).unlink()
        else:
            (good / name).parent.mkdir(parents=True, exist_ok=True)
            (alone / name).rename(good / name)
    if not any(path.is_file() for path in good.rglob("*")):
        return
    if not came.aside:
        raise SlipwayError(f"source: {whole}")
    yield _read(job, current, good, "", job.room / "all.rows", said)


def _plain(error: Exception, place: Path, name: str) -> str:
    return str(error).replace(str(place), name)


def _set_aside(came: Came, name: str, why: str) -> None:
    came.aside[name] = why
    came.files[name] = replace(came.files[name], outcome="aside", why=why)


def _read(job: _Job, current: Params, place: Path, name: str, rows: Path, said: dict[str, None]) -> Staged:
    """Read a file or folder whole, its examples to a Parquet file; what that prints is told once."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(sys.stderr):
        source = job.read(place, current)
        if source.recipe != current.recipe:
            raise SlipwayError(f"source.ingest: the dataset is of the recipe {current.recipe}, this of {source.recipe}")
        columns = ingest.fits(source, current, job.data)
        if not isinstance(job.settings.source, Sql):
            _must_not_look_alike(job, source, current)
        source.schema = columns
        writer: pq.ParquetWriter | None = None
        own = [*splitting.apart(source.split_by, columns.names), *([KEY] if source.key else [])]
        for part in source.tables:
            ingest.must_have(part, source, columns)
            split = part["split"] if "split" in part.column_names else pa.nulls(len(part), pa.string())
            table = part.select([*columns.names, *own]).append_column("split", split)
            table.validate(full=True)
            writer = writer or pq.ParquetWriter(rows, table.schema)
            writer.write_table(table.cast(writer.schema))
        if writer is None:
            raise SlipwayError(f"{name or place}: there are no rows")
        writer.close()
    for line in printed.getvalue().splitlines():
        said.setdefault(line.replace(str(place), name or job.settings.name))
    return Staged(name, source, rows, writer.schema)


def _must_not_look_alike(job: _Job, source: Source, current: Params) -> None:
    """Raise SlipwayError for a label that is one of the dataset but for letter case, or letters that look the same.

    It would be a class of its own, by mistake as a rule, and nobody watches an update. Blanks and the like are joined
    (`spelling.joined`), and numbers may be codes: 01 beside 1.
    """
    known = getattr(current.task, "labels", [])
    found = source.settings.get("labels", [])
    joins = spelling.joined(found, known)
    looks = {label: spelling.looks(label) for label in known}
    there = {look: label for label, look in looks.items() if not isinstance(look, Decimal)}
    new = [label for label in dict.fromkeys(joins.get(label, label) for label in found) if label not in known]
    if pairs := [(label, own) for label in new if (own := there.get(str(spelling.looks(label))))]:
        shown = listed([f"{spelling.shown(label)} beside {spelling.shown(own)}" for label, own in pairs], MAX_TOLD)
        raise SlipwayError(
            f"labels that look like those of the dataset would be classes of their own: {shown}; correct the file; if "
            f"they are other classes, add them to {current.recipe}.labels in params.yaml, then "
            f"`{_command(job.settings)} --retry`"
        )


def _joined(job: _Job, staged: list[Staged], current: Params) -> Source:
    """Make one source of what was read; SlipwayError where the dataset has become another one meanwhile."""
    first = staged[0].source
    columns = ingest.fits(first, current, job.data)
    settings = dict(first.settings)
    skipped: Counter[str] = Counter()
    for each in staged:
        skipped.update(each.source.skipped)
        _tell_labels(job, each, getattr(current.task, "labels", []))
        if "labels" in settings:
            settings["labels"] = list(dict.fromkeys((*settings["labels"], *each.source.settings["labels"])))
    own = [*splitting.apart(first.split_by, columns.names), *([KEY] if first.key else [])]
    has_split = any(pq.read_table(each.rows, columns=["split"])["split"].null_count < _rows_of(each) for each in staged)

    def tables() -> Iterator[pa.Table]:
        for each in staged:
            with pq.ParquetFile(each.rows) as file:
                for batch in file.iter_batches(4096):
                    part = pa.table(batch).select([*columns.names, *own, *(["split"] if has_split else [])])
                    schema = part.schema
                    for name in own:
                        at = schema.get_field_index(name)
                        schema = schema.set(at, staged[0].schema.field(name))
                    yield part.cast(schema).replace_schema_metadata({ORIGIN: each.name.encode()})

    return replace(first, name=job.name, settings=settings, skipped=skipped, tables=tables())


def _tell_labels(job: _Job, staged: Staged, known: list[str]) -> None:
    """Warn of labels that the model did not have: one row with a misspelt one would be a class of its own."""
    if new := [label for label in staged.source.settings.get("labels", ()) if label not in known]:
        print(
            f"warning: {staged.name or job.name}: new label {listed(new, MAX_TOLD)}: the model is to predict it from "
            f"now on. If it is a mistake, correct or remove the file, then `{_command(job.settings)} --replace`",
            flush=True,
        )


def _command(settings: Params) -> str:
    """Return the command by which a person updates this model: that of models/ by its name."""
    own = (connection.root() / "models" / settings.name).is_dir()
    return f"slipway update {settings.name}" if own else "slipway update"


def _rows_of(staged: Staged) -> int:
    return int(pq.read_metadata(staged.rows).num_rows)


def _rows(job: _Job, origin: Sql, dry_run: bool) -> int:
    """Bring the rows of a query whose watermark has risen."""
    last = job.known.watermark if not job.new else None
    if dry_run:
        count = sql.waiting(origin, last, connection.root())
        print(f"update: would read {count:,} rows{'' if last is None else f' above {origin.watermark} {last}'}")
        return 0
    found = sql.fetch(origin, last, job.room, job.name, connection.root())
    if found.unmarked:
        print(
            f"warning: {found.unmarked:,} rows have no {origin.watermark}, so they never come: give them one",
            flush=True,
        )
    places = {name: path for name, path in (("late", found.late), ("new", found.new)) if path is not None}
    if not places:
        print("update: nothing new")
        return 0
    job.words = _without_watermark(job.words, origin)
    came = Came()
    if job.new:
        (place,) = places.values()
        came.add(job.take(partial(_whole, job, place, "new", {}, []), {}, "", found.watermark))
    else:
        current, said = params_module.load(job.params), dict[str, None]()
        staged = [_read(job, current, path, name, job.room / f"{name}.rows", said) for name, path in places.items()]
        for line in said:
            print(line)
        came.add(job.take(lambda now: _joined(job, staged, now or current), {}, "", found.watermark))
    if not (new := came.counts["new"]):
        print(f"update: nothing new ({found.rows:,} rows read again, all of them known)")
        return 0
    came.counts["late"] = came.origins.get("late", Counter())["new"]  # at or below the watermark reached before
    print(f"update: {new:,} new rows ({found.rows:,} read){came.said()}; {origin.watermark} is {found.watermark} now")
    return new


def _without_watermark(words: Words, origin: Sql) -> Words:
    """Leave the watermark's column out of the features, unless source.ingest names it."""
    if words.command != "table":
        return words
    options = words.options
    named = [*options["label"], *options["drop"], *options["category"], *options["keep"], options.get("key")]
    named += [item.partition("=")[0] for item in options["date"]]
    named += [(options.get("split_by") or "").partition("=")[2].partition("=")[0]]
    if origin.watermark in named:
        return words
    return replace(words, options=options | {"drop": [*options["drop"], origin.watermark]})


def _told(job: _Job, origin: Files | Dvc, came: Came, revision: str) -> int:
    """Tell what came, and keep what is known of files that brought nothing."""
    new, read = came.counts["new"], len(came.files) - len(came.aside) - came.same
    if came.files and (came.same or not new):
        taken.keep(job.data, origin, Taken(job.known.pending | came.files, revision=revision, turn=job.known.turn))
    if new:
        known = f" ({came.counts['known']:,} more were known)" if came.counts["known"] else ""
        print(f"update: {new:,} new rows from {_counted(read, 'file')}{known}{came.said()}")
    elif read or came.same:
        print(f"update: nothing new in {_counted(read + came.same, 'file')} that came or changed")
    else:
        print("update: nothing new")
    changed, stay = [], False
    for name in came.changed:
        if name in came.aside:
            continue
        how, stays = _changed(job, came, name)
        changed.append(f"update: changed since it was taken: {name}{how}")
        stay = stay or stays
    if more := _tell(changed):
        print(f"update: ... and {more:,} more changed files")
    if stay:
        print(f"update: a dataset only grows: `{_command(job.settings)} --replace` takes out what was there before")
    if more := _tell([f"warning: set aside: {name}: {why}" for name, why in came.aside.items()]):
        print(f"warning: set aside: ... and {more:,} more files")
    before = job.known.files
    aside = [name for name, file in before.items() if file.outcome == "aside" and name not in came.files]
    former = [name for name in aside if name in came.there]
    more = _tell([f"set aside before: {name}: {before[name].why}" for name in former])
    if former:
        rest = f"... and {more:,} more; " if more else ""
        print(f"set aside before: {rest}`{_command(job.settings)} --retry` reads them once more")
    _tell_left(came)
    return new


def _changed(job: _Job, came: Came, name: str) -> tuple[str, bool]:
    """Tell how a file changed; return that, and whether some of what it was stays in the dataset beside it."""
    if not job.words.per_file:
        return "; as it was before, it stays in the dataset", True
    counts, before = came.origins.get(name, Counter()), job.known.files[name].rows
    told = f": {counts['new']:,} new rows, {counts['known']:,} as before"
    if before is None:
        return f"{told}; rows that it has no more stay in the dataset", True
    gone = before - counts["known"]
    return (f"{told}; {gone:,} rows as they were before stay in the dataset", True) if gone > 0 else (told, False)


def _tell_left(came: Came) -> None:
    if more := _tell([f"left for the next time: {name}: {why}" for name, why in came.left.items()]):
        print(f"left for the next time: {more:,} more files")


def _tell(lines: list[str]) -> int:
    """Print the first lines; return how many more there are."""
    for line in lines[:MAX_TOLD]:
        print(line, flush=True)
    return max(0, len(lines) - MAX_TOLD)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
