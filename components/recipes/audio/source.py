"""Recordings: class folders of WAV or FLAC files, or files whose names tell the label; from a folder or a tar."""

import io
import json
import math
import tarfile
import zlib
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from components import SlipwayError, listed
from components.data import dataset
from components.files import printable
from components.recipes import split_by as splitting
from components.recipes.source import BATCH_ROWS, NAMES, SPLIT_FOLDERS, Command, Source, slug, tell

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au", ".w64", ".rf64")
MAX_FILE_BYTES = 256 * 2**20  # bytes of a file
BATCH_BYTES = 64 * 2**20  # bytes in memory at a time, and a file more
MAX_SAMPLE_RATE = 16_000  # Hz: the highest sample rate that an ingest sets; speech has little above its half
MAX_SECONDS = 10.0  # the longest that an ingest sets
READ_ERRORS = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError)


@dataclass(frozen=True)
class Found:
    """A recording by its path, with what the path tells."""

    name: str
    label: str
    split: str | None
    fields: dict[str, str]  # of the pattern


def audio(path: Path, pattern: str | None, test: str | None, keep: list[str], split_by: str | None = None) -> Source:
    """Read recordings of a folder or a tar file, which is never unpacked to disk.

    The label is a folder's name, PATH/LABEL/x.wav or PATH/{train,validation,test}/LABEL/x.wav, or the field
    `label` of `pattern`, such as {label}_{speaker}_{index}, which a file's name (without its suffix) must match
    whole. `test`, such as speaker=theo or index=0,1,2, makes recordings of those values the test split, and all
    others the training split. `keep` names fields that become columns, `split_by` one to split by. Raises SlipwayError
    for a path, an option or an archive that cannot be used.
    """
    fields = Fields(pattern, test, keep)
    by = splitting.parse(split_by, fields.known, f"--pattern {pattern or ''}".strip(), taken=["audio"])
    alike: dict[str, Counter[str]] = {name: Counter() for name in fields.known if splitting.owns(name)}
    skipped: Counter[str] = Counter()
    labels: set[str] = set()
    values: set[str] = set()  # of the field that tells the test split
    rates: Counter[int] = Counter()
    lengths: list[float] = []
    splits: Counter[str | None] = Counter()
    unreadable: list[str] = []
    for name, content in _files(path, skipped):  # a first reading: the labels, and what the recordings are like
        found = fields.read(name, skipped)
        if found is not None:
            labels.add(found.label)
            splits[found.split] += 1
            values.update([found.fields[fields.test]] if fields.test else [])
            for field, counted in alike.items():
                counted[found.fields[field]] += 1
            if not describe(content, rates, lengths):
                unreadable.append(f"{found.name}: cannot be read as a recording; validate will set it aside")
    if not labels:
        reasons = "; ".join(f"skipped {count:,}: {reason}" for reason, count in skipped.items())
        raise SlipwayError(f"{path}: no usable recording; {reasons or 'it is empty'}")
    fields.must_divide(path, values)
    if splits[None] and len(splits) > 1:
        raise SlipwayError(
            f"{path}: only some recordings are in split folders (train, validation, test); put all there, or none"
        )
    if not rates:
        raise SlipwayError(f"{path}: none of the {splits.total():,} recordings can be read")
    tell(unreadable, "recordings that cannot be read")
    settings: dict[str, Any] = {"labels": sorted(labels), "group": keep, **settings_of(rates, lengths)}

    def again() -> Iterator[tuple[bytes, Found]]:
        counted: Counter[str] = Counter()  # before
        for name, content in _files(path, counted):
            if (found := fields.read(name, counted)) is not None:
                yield content, found

    stem = path.resolve().name if path.is_dir() else path.name.split(".")[0]
    source = Source(slug(stem), "audio", settings, tables(again(), keep, by, "--pattern"), skipped, split_by=by)
    if by is None and set(splits) == {None}:
        source.groups = [line for name, counted in alike.items() if (line := splitting.complaint(name, counted))]
    return source


def tables(
    recordings: Iterable[tuple[bytes, Found]], keep: list[str], by: splitting.SplitBy | None, where: object
) -> Iterator[pa.Table]:
    """Yield recordings in tables of at most BATCH_ROWS, and of BATCH_BYTES and a recording more.

    Their columns are audio, the fields `keep` and that of `by`, an empty one null, label and split. `where` the fields
    come from is said of what is no time.
    """
    batch: list[tuple[bytes, Found]] = []
    size = 0
    for content, found in recordings:
        batch.append((content, found))
        size += len(content)
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield _table(batch, keep, by, where)
            batch, size = [], 0
    if batch:
        yield _table(batch, keep, by, where)


def _table(batch: list[tuple[bytes, Found]], keep: list[str], by: splitting.SplitBy | None, where: object) -> pa.Table:
    columns: dict[str, Any] = {"audio": pa.array([content for content, _ in batch], pa.binary())}
    for name in keep:
        columns[name] = pa.array([found.fields[name] or None for _, found in batch], pa.string())
    if by is not None and by.column not in keep:
        columns[by.column] = by.read(pa.array([found.fields[by.column] for _, found in batch], pa.string()), where)
    columns["label"] = pa.array([found.label for _, found in batch], pa.string())
    columns["split"] = pa.array([found.split for _, found in batch], pa.string())
    return pa.table(columns, metadata={NAMES: json.dumps([found.name for _, found in batch])})


class Fields:
    """What a path tells of its recording, and which of it is the test split or kept; also of the `columns` of a table.

    Raises SlipwayError for a field that is in neither.
    """

    def __init__(self, pattern: str | None, test: str | None, keep: list[str], columns: Iterable[str] = ()) -> None:
        self.pattern = None if pattern is None else splitting.Pattern(pattern)
        own, beside = [] if self.pattern is None else sorted(self.pattern.fields), sorted(columns)
        self.known = known = list(dict.fromkeys((*own, *beside)))
        self.labelled = "label" in known
        self.keep = keep
        self.test, given = None, ""
        if test is not None:
            self.test, equals, given = test.partition("=")
            if not equals or not given:
                raise SlipwayError(f"--test {test}: expected FIELD=VALUE or FIELD=VALUE,VALUE,...")
        for option, name in (("--test", self.test), *(("--keep", name) for name in keep)):
            if name is not None and name not in known:
                places = [f"--pattern has {', '.join(own)}"] * bool(own) + [f"the table has {listed(beside)}"] * bool(
                    beside
                )
                raise SlipwayError(
                    f"{option}: no field {name!r}; {' and '.join(places) or '--pattern names no fields'}"
                )
        self.wanted = set(given.split(",")) if self.test else set()

    def read(self, name: PurePosixPath, skipped: Counter[str]) -> Found | None:
        """Label, split and fields of a recording; None, and counted, where its path does not tell them."""
        name = PurePosixPath(printable(name))
        folders = list(name.parts[:-1])
        split = SPLIT_FOLDERS.get(folders[0].lower()) if folders else None
        if split:
            folders = folders[1:]
        values: dict[str, str] = {}
        if self.pattern is not None:
            match = self.pattern.read(name)
            if match is None:
                skipped["name does not match the pattern"] += 1
                return None
            values = match
        if not self.labelled and not folders:
            skipped["not in a class folder"] += 1
            return None
        split = self.split(values) or split
        label = values["label"] if self.labelled else folders[0]
        return Found(name.as_posix(), label, split, values)

    def split(self, values: dict[str, str]) -> str | None:
        """Return the split that --test means for these fields; None where it was not given."""
        return None if self.test is None else "test" if values[self.test] in self.wanted else "train"

    def must_divide(self, path: Path, values: set[str]) -> None:
        """Raise SlipwayError where --test names what is none of the field's `values`, or all of them."""
        if unknown := sorted(self.wanted - values):
            raise SlipwayError(f"{path}: --test: no recording has {self.test}={unknown[0]}; {_some(values)}")
        if self.test and values <= self.wanted:
            raise SlipwayError(f"{path}: --test: all recordings would be in the test split; choose fewer values")


def _files(path: Path, skipped: Counter[str]) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Paths and contents of all recordings: of a folder in order of their names, of a tar in its own order."""
    if path.is_dir():
        yield from _folder(path, skipped)
    elif path.is_file():
        yield from _tar(path, skipped)
    else:
        raise SlipwayError(f"{path}: no such file or folder")


def _folder(path: Path, skipped: Counter[str]) -> Iterator[tuple[PurePosixPath, bytes]]:
    for file in sorted(path.rglob("*")):
        name = PurePosixPath(file.relative_to(path).as_posix())
        if file.is_file() and not dataset.is_junk(name) and wanted(name, file.stat().st_size, skipped):
            yield name, file.read_bytes()


def _tar(path: Path, skipped: Counter[str]) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Read a tar as a stream; a folder that all of it lies in is left out of the paths.

    Nothing is written to disk and no link is followed, so that a name such as ../../x can do no harm; it is
    skipped all the same.
    """
    try:
        with tarfile.open(path) as archive:
            names = [member.name for member in archive if member.isfile() and not dataset.is_junk(member.name)]
            _must_have_ended(archive)
            tops = {PurePosixPath(name).parts[:1] for name in names if len(PurePosixPath(name).parts) > 1}
            flat = any(len(PurePosixPath(name).parts) == 1 and is_sound(PurePosixPath(name)) for name in names)
            above = 0 if flat or len(tops) != 1 or _is_split(tops) else 1
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if member.isdir() or dataset.is_junk(name):
                    continue
                if not member.isfile():
                    skipped["a link or a device in the archive"] += 1
                elif name.is_absolute() or ".." in name.parts:
                    skipped["a path that points outside the archive"] += 1
                elif wanted(name, member.size, skipped):
                    file = archive.extractfile(member)
                    yield PurePosixPath(*name.parts[above:]), file.read() if file else b""
    except READ_ERRORS as error:
        raise SlipwayError(f"{path}: not a complete tar file ({error}); download it again, or give a folder") from None


def _must_have_ended(archive: tarfile.TarFile) -> None:
    """Raise ReadError where tarfile stopped at something else than the end, and where the compressed rest is bad."""
    stream: Any = archive.fileobj
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError("damaged in the middle")
    while stream.read(2**20):
        pass


def _is_split(tops: Iterable[tuple[str, ...]]) -> bool:
    return all(top[0].lower() in SPLIT_FOLDERS for top in tops)


def is_sound(name: PurePosixPath) -> bool:
    """Tell whether a path is called like a recording, and not hidden."""
    return name.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in name.parts)


def wanted(name: PurePosixPath, size: int, skipped: Counter[str]) -> bool:
    """Tell whether a file is a recording of less than MAX_FILE_BYTES; count it where it is not."""
    if not is_sound(name):
        skipped[f"not a sound file ({name.suffix or name.name})"] += 1
        return False
    if size > MAX_FILE_BYTES:
        skipped[f"larger than {MAX_FILE_BYTES // 2**20} MB"] += 1
        return False
    return True


def describe(content: bytes, rates: Counter[int], lengths: list[float]) -> bool:
    """Note the rate and length of a recording; return whether it can be read and holds a sound."""
    import soundfile

    try:
        info = soundfile.info(io.BytesIO(content))
    except Exception:  # noqa: BLE001 - validate sets such a file aside, with a reason
        return False
    rates[int(info.samplerate)] += 1
    lengths.append(info.frames / info.samplerate)
    return bool(info.frames)


def settings_of(
    rates: Counter[int], lengths: list[float], share: float = 0.98, most: float = MAX_SECONDS
) -> dict[str, Any]:
    """Choose the rate and the length of the model's recordings, by those that `describe` noted.

    The seconds, to a tenth, are enough for this `share` of them, but not more than `most`.
    """
    rate = max(1_000, min(rates.most_common(1)[0][0], MAX_SAMPLE_RATE))
    enough = sorted(lengths)[math.ceil(share * len(lengths)) - 1]
    return {"sample_rate": rate, "seconds": min(max(math.ceil(10 * enough) / 10, 0.1), most)}


def _some(values: set[str]) -> str:
    shown = sorted(values)[:10]
    return f"there are: {', '.join(shown)}{', ...' if len(values) > len(shown) else ''}"


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="folder, or .tar, .tar.gz, .tar.bz2 or .tar.xz file")
    splitting.pattern_argument(parser, "{label}_{speaker}_{index}")
    parser.add_argument(
        "--test",
        "--hold-out",
        dest="test",
        metavar="FIELD=VALUES",
        help="which recordings form the test split, such as index=0,1,2 or speaker=theo; all others are for training",
    )
    text = "keep a field of the pattern as a column, for slicing the evaluation; repeatable"
    splitting.argument(parser, "FIELD")
    parser.add_argument("--keep", action="append", default=[], metavar="FIELD", help=text)


SOURCES = {
    "audio": Command(
        "recordings in a folder or a tar file: PATH/LABEL/*.wav, or names that --pattern describes", audio, _arguments
    )
}
