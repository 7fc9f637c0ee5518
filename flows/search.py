"""Which registered versions were made with a file or a row, as somebody may ask whose data it is.

A version's data is a list of files and their digests, in DVC's cache or its remotes. In each, rows are looked for; the
rule of the version's split says on which side a row was, and its quarantine whether it was set aside.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components import SlipwayError
from components.data import dataset, splits
from components.files import read_json
from components.reports import lineage
from components.tracking import origin, record, shown
from components.tracking.origin import Origin
from flows.machinery import origin as sources
from flows.machinery.origin import Objects, Source

QUARANTINE = "build/validation/quarantine.parquet"
MAX_TOLD = 2_000_000  # rows of data whose ids are read in passing: about a second
SHORTEST_DIGEST = 6  # digits of a digest that may stand for it


@dataclass(frozen=True)
class Wanted:
    """What is looked for: a file by name or digest, an example by its id, or rows by the values of columns."""

    file: str = ""
    example: str = ""
    values: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What it is, in words."""
        if self.file:
            return f"the file {self.file}"
        return f"the example {self.example}" if self.example else f"rows with {self._values}"

    @property
    def _values(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.values.items())


@dataclass
class Found:
    """What a version has of it: files by name, rows by the side they are on; and what could not be looked at."""

    made: Origin
    files: dict[str, str] = field(default_factory=dict)
    sides: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)


def run(name: str, file: str | None, example: str | None, row: list[str] | None) -> int:
    """Print the versions that hold what is looked for; return 1 where one could not be looked at, else 0."""
    if "@" in name or "/" in name:
        raise SlipwayError(f"{name}: all versions of a model are searched; name the registered model alone, or none")
    wanted = Wanted(file or "", example or "", _values(row or []))
    versions = origin.every(name)
    champions = {model: _champions(model, versions) for model in {made.name for made in versions}}
    with sources.opened() as store:
        found = [search(made, wanted, store) for made in versions]
        problems = store.problems
    for line in told(wanted, found, champions):
        print(line)
    for problem in problems:
        print(problem)
    return int(any(each.unknown for each in found))


def _values(row: list[str]) -> dict[str, str]:
    found = {}
    for pair in row:
        column, sign, value = pair.partition("=")
        if not sign or not column:
            raise SlipwayError(f"--row {pair}: expected COLUMN=VALUE, such as --row name=Smith --row born=1970")
        found[column] = value
    return found


def _champions(model: str, versions: list[Origin]) -> dict[str, str]:
    """Return which versions are or were the champion, by the record of moves, or else by their decision."""
    moved = {
        str(entry.get("version"))
        for entry in origin.moves(model)
        if entry.get("state") == "done" and entry.get("kind") in record.MOVES
    }
    alias, found = origin.champion(model), {}
    for made in versions:
        if made.name == model and (made.version in moved or made.decided[0] == shown.PROMOTED):
            found[made.version] = "was"
        if made.name == model and alias in made.aliases:
            found[made.version] = "is"
    return found


def search(made: Origin, wanted: Wanted, store: Objects) -> Found:
    """Look for something in a version's data."""
    found, digest = Found(made), made.tag("data")
    listed = store.listing(digest) if digest else None
    if listed is None:
        gone = f"its list of files ({digest}) is neither in DVC's cache nor in its remotes"
        found.unknown.append(gone if digest else "its data was never versioned")
        return found
    tables = {name: md5 for name, md5 in listed.items() if not name.endswith(dataset.SOURCE)}
    if wanted.file:
        found.files |= {name: md5 for name, md5 in tables.items() if _is(wanted.file, name, md5)}
        for taken in listed.keys() - tables.keys():  # .NAME.source.json beside NAME.parquet
            if _took(taken, listed[taken], wanted.file, store, found):
                name = f"{taken.removeprefix('.').removesuffix(dataset.SOURCE)}.parquet"
                found.files[name] = tables.get(name, "")
        return found
    hits = {}
    for name, md5 in tables.items():
        path = store.path(md5)
        if path is None:
            found.unknown.append(f"{name} ({md5}) is neither in DVC's cache nor in its remotes")
        elif len(rows := _rows(path, wanted)):
            found.files[name], hits[name] = md5, (path, rows)
    if hits:
        aside, problem = _set_aside(made, store)
        for name, (path, rows) in hits.items():
            found.sides.update(_sides(made, path, rows, aside.get(name, set())))
        if problem:
            found.sides[problem] += 0
    return found


def _is(wanted: str, name: str, digest: str) -> bool:
    """Tell whether a file is meant: by its name, with or without its folder, or by its digest or how that begins."""
    begins = len(wanted) >= SHORTEST_DIGEST and all(digit in "0123456789abcdef" for digit in wanted)
    return wanted in (name, Path(name).name, digest) or (begins and digest.startswith(wanted))


def _took(name: str, md5: str, wanted: str, store: Objects, found: Found) -> bool:
    """Tell whether an update took a file from its source, by the record (components/sources/taken) beside its rows."""
    path = store.path(md5)
    if path is None:
        found.unknown.append(f"{name} ({md5}) is neither in DVC's cache nor in its remotes")
        return False
    files = read_json(path).get("files", {})
    return any(_is(wanted, each, file["sha256"]) for each, file in files.items() if file["outcome"] == "taken")


def _rows(path: Path, wanted: Wanted) -> np.ndarray:
    """Return the numbers of the rows that are wanted, ascending."""
    try:
        file = pq.ParquetFile(path)
        columns = ["id"] if wanted.example else list(wanted.values)
        if not set(columns) <= set(file.schema_arrow.names):
            return np.empty(0, np.int64)
        found, start = [], 0
        for part in file.iter_batches(columns=columns):
            hit = _hits(pa.Table.from_batches([part]), wanted)
            found.append(np.flatnonzero(hit) + start)
            start += len(part)
    except (OSError, pa.ArrowException) as error:
        raise SlipwayError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from None
    return np.concatenate([np.empty(0, np.int64), *found])


def _hits(table: pa.Table, wanted: Wanted) -> np.ndarray:
    if wanted.example:  # the copies of an example too
        key = pc.utf8_slice_codeunits(table["id"].cast(pa.string()), 0, dataset.KEY_DIGITS)
        hit = pc.equal(key, wanted.example[: dataset.KEY_DIGITS])
        return np.asarray(pc.fill_null(hit, False).to_numpy(zero_copy_only=False), bool)
    found = np.ones(len(table), bool)
    for name, value in wanted.values.items():
        found &= np.array([_same(held, value) for held in table[name].to_pylist()], bool)
    return found


def _same(held: Any, value: str) -> bool:
    """Tell whether a value of the data is what somebody typed: by its text, numbers by what they are worth."""
    if held is None:
        return value == ""
    if isinstance(held, bool):
        return value.lower() == str(held).lower()
    if isinstance(held, int | float):
        try:
            return float(value) == held
        except ValueError:
            return False
    text = str(held)
    return text == value or text.removesuffix(" 00:00:00") == value


def _set_aside(made: Origin, store: Objects) -> tuple[dict[str, set[int]], str]:
    """Return the rows that validation set aside, by file; and why that is not known, if it is not."""
    unknown = "rows that were set aside are not told from the others: its quarantine is no longer kept"
    try:
        path = store.path(sources.source(made).outs().get(QUARANTINE, ""))
    except SlipwayError:
        return {}, unknown
    if path is None:
        return {}, unknown
    return {name: set(rows) for name, rows in dataset.set_aside(path).items()}, ""


def _sides(made: Origin, path: Path, rows: np.ndarray, aside: set[int]) -> list[str]:
    """Return for each row where it went: train, validation, test, left out or set aside."""
    rule = json.loads(made.tag("split") or "null")
    names = dict.fromkeys(["id", "split", *(splits.needs(rule) if rule else [])])
    table = pq.read_table(path, columns=[name for name in names if name in pq.read_schema(path).names])
    table = table.take(pa.array(rows))
    if "split" not in table.column_names:
        table = table.append_column("split", pa.nulls(len(table), pa.string()))
    if not rule or not set(names) <= set(table.column_names):
        sides = ["on a side that is not known"] * len(rows)
    else:
        sides = [(*dataset.SPLITS, "left out")[side] for side in splits.assigned(rule, table)]
    return ["set aside" if int(row) in aside else side for row, side in zip(rows, sides, strict=True)]


def set_aside(version: str, keys: list[str]) -> np.ndarray | None:
    """Tell which test examples of a dataset the version's validation set aside, by their ids: `(n,)` bool.

    Of copies, which share an id, as many remain as the version was tested on. None where this is no longer kept.
    """
    made = origin.find(version)
    try:
        with sources.opened() as store:
            outs = _outs(made)
            quarantine, predictions = store.path(outs.get(QUARANTINE, "")), _predictions(store, outs)
    except SlipwayError:
        return None
    if quarantine is None or predictions is None:
        return None
    aside = {*_ids(quarantine).to_pylist()}
    left = Counter(_ids(predictions).to_pylist())
    found = np.zeros(len(keys), bool)
    for at, key in enumerate(keys):
        if key in aside:
            found[at] = left[key] < 1
            left[key] -= 1
    return found


def trained_on(version: str, keys: list[str]) -> np.ndarray | None:
    """Tell which examples are in a version's data and not of its test split, by their digests: `(n,)` bool.

    Without asking a remote, and of at most MAX_TOLD rows of data; None where it cannot be told so.
    """
    made = origin.find(version)
    try:
        with sources.opened(pull=False) as store:
            predictions = _predictions(store, _outs(made))
            listed = store.listing(made.tag("data")) or {}
            files = [store.path(md5) for name, md5 in listed.items() if not name.endswith(dataset.SOURCE)]
    except (SlipwayError, OSError):
        return None
    there = [path for path in files if path is not None]
    if predictions is None or len(there) < len(files) or not files:
        return None
    if sum(pq.read_metadata(path).num_rows for path in there) > MAX_TOLD:
        return None
    asked = pa.array(keys, pa.string())
    begun = (pc.utf8_slice_codeunits(_ids(path), 0, dataset.KEY_DIGITS) for path in (predictions, *there))
    test, *parts = (np.asarray(pc.is_in(asked, value_set=each.combine_chunks())) for each in begun)
    found: np.ndarray = np.any(parts, axis=0) & ~test
    return found


def _outs(made: Origin) -> dict[str, str]:
    """Return the digests of what a version's stages made, by its commit or its run; git's remotes are not asked."""
    try:
        return sources.source(made, fetch=False).outs()
    except SlipwayError:  # as in a clone that lacks the commit
        lock = origin.kept(made, "project/dvc.lock") if made.run_id else None
        return Source("", "", "", {"dvc.lock": lock or b""}).outs()


def _predictions(store: Objects, outs: dict[str, str]) -> Path | None:
    listed = store.listing(outs.get("build/evaluation", "")) or {}
    return store.path(listed.get("predictions.parquet", ""))


def _ids(path: Path) -> pa.ChunkedArray:
    return pq.read_table(path, columns=["id"])["id"].cast(pa.string())


def told(wanted: Wanted, found: list[Found], champions: dict[str, dict[str, str]]) -> list[str]:
    """Say which versions hold what was looked for, and of which nobody can tell."""
    hits = [each for each in found if each.files]
    unknown = [each for each in found if each.unknown]
    count = f"{len(hits)} of {len(found)} registered versions" if found else "no version is registered, so none"
    verb = "hold" if len(hits) != 1 else "holds"
    lines = [f"{count} {verb} {wanted.words}"]
    if wanted.file and not hits and found:
        lines.append(
            "files are known by their names and digests in data/, and those that an update brought also by theirs in "
            "the source; the rows of others: --row COLUMN=VALUE, --id"
        )
    if hits:
        head = ["version", "aliases", "champion", "rows" if not wanted.file else "", "files"]
        rows = [
            [
                _named(each.made),
                ", ".join(each.made.aliases) or "none",
                champions.get(each.made.name, {}).get(each.made.version, "never"),
                _sides_told(each),
                ", ".join(f"{name} ({md5[:12]})" for name, md5 in each.files.items()),
            ]
            for each in hits
        ]
        lines += ["", *lineage.aligned([head, *rows])]
        notes = {note for each in hits for note, rows in each.sides.items() if not rows}
        lines += sorted(notes)
    if unknown:
        lines += ["", "not complete: these versions could not be looked at, or not whole"]
        lines += [f"  {_named(each.made)}: {reason}" for each in unknown for reason in each.unknown]
    return lines


def _named(made: Origin) -> str:
    return f"{made.name} {made.version}"


def _sides_told(found: Found) -> str:
    return ", ".join(f"{rows:,} {side}" for side, rows in sorted(found.sides.items()) if rows)
