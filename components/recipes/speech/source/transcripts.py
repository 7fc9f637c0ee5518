"""Transcripts as files have them: beside each recording, a line each, in a table, or word by word (CTM)."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

from components import SlipwayError, listed
from components.data import csv_reader, csv_start, dataset
from components.files import printable
from components.recipes.audio.source import SUFFIXES
from components.recipes.source import SPLIT_FOLDERS

NAMED = 3  # files or recordings that a message names
BESIDE, LINES, TABLE, CTM = "text files beside recordings", "lines", "a table", "CTM"
OF_RECORDING = (".txt", ".lab")  # suffixes of a text file beside a recording
TABLES = (".tsv", ".csv")
# What the columns may be called, in letters, digits and _; the first that is there, and of texts is not empty, is read.
FILES = (
    *("path", "file", "filename", "file_name", "file_path", "filepath", "audio", "audio_file", "audio_path"),
    *("audio_filepath", "wav", "wav_file", "wav_filename", "wav_path", "utterance_id", "utt_id", "id"),
)
TEXTS = (
    *("normalized_text", "normalized_transcription", "normalized_transcript", "normalized", "sentence", "text"),
    *("transcript", "transcription", "label"),
)
LJSPEECH = ("id", "text", "normalized_text")  # columns of its metadata.csv, which has no header
EXPECTED = (
    "x.txt or x.lab beside x.wav; LibriSpeech's *.trans.txt or Kaldi's file text, a name and the words in each line; "
    "a .tsv or .csv with columns such as path and sentence, or like LJSpeech's metadata.csv; or a .ctm"
)


@dataclass(frozen=True)
class Transcript:
    """What is said in a recording, and where that stands."""

    name: str  # of the recording, as the file has it: its path, or the end of that, with or without its suffix
    text: str  # NFC, no white space at its ends
    file: Path
    line: int
    split: str | None = None  # that the row or the file is of
    fields: dict[str, str] = field(default_factory=dict)  # of the row, empty ones too


class Recordings:
    """The recordings of a folder, to be found by what transcripts call them.

    Names are compared in one Unicode form (NFC), for a Mac writes an umlaut as two characters.
    """

    def __init__(self, folder: Path, paths: Iterable[Path], texts: Path | None = None) -> None:
        self.folder, self.texts = folder, texts or folder
        self.parts: dict[Path, tuple[str, ...]] = {}
        self._stems: dict[str, list[Path]] = {}
        self._above: set[Path] = set()  # all folders that recordings lie in
        for path in paths:
            self.parts[path] = parts = _parts(path.relative_to(folder).as_posix())
            self._stems.setdefault(parts[-1], []).append(path)
            if path.parent not in self._above:
                self._above.update(path.parents)

    def shown(self, path: Path) -> str:
        """Return what a file is called in a message: its path in the folder."""
        return printable(path.relative_to(self.folder) if path.is_relative_to(self.folder) else path)

    def named(self, name: str, by: Path, split: str | None = None) -> Path | None:
        r"""Find the recording of that name; None if there is none.

        The name is the end of its path, or its path the end of the name, with \ in place of / too, with its suffix,
        another one or none. Where recordings lie below the folder of the file `by`, it is one of these. Raises
        SlipwayError where that, and the `split` of the file, leaves several.
        """
        asked = _parts(name)
        found = [path for path in self._stems.get(asked[-1], ()) if _ends(asked, self.parts[path])] if asked else []
        if by.parent in self._above:
            found = [path for path in found if path.is_relative_to(by.parent)]
        better: tuple[Callable[[Path], bool], ...] = (
            lambda path: bool(split) and in_folders(path.relative_to(self.folder)) == split,
            lambda path: path.parent == by.parent,
            lambda path: path.suffix == PurePosixPath(name).suffix,
        )
        for fits in better if len(found) > 1 else ():
            found = [*filter(fits, found)] or found
        return self._one(found, name, by)

    def beside(self, file: Path) -> Path | None:
        """Find the recording that a text file is called like, but for the suffix; None if there is none.

        It lies in the same folder, or in one that has another name in one place, as txt/p225 and wav/p225 have, but of
        the same split; of a file that lies elsewhere its path is that of a recording, or the end of it. Raises
        SlipwayError where there are several.
        """
        if not file.is_relative_to(self.folder):
            return self.named(file.relative_to(self.texts).with_suffix("").as_posix(), file)
        own = _parts(file.relative_to(self.folder).with_suffix("").as_posix())
        of_name = self._stems.get(own[-1], ())
        apart = {path: _apart(own, self.parts[path]) for path in of_name}
        return self._one([p for p in of_name if not apart[p]] or [p for p in of_name if apart[p] == 1], file.name, file)

    def _one(self, found: list[Path], name: str, by: Path) -> Path | None:
        if len(found) > 1:
            raise SlipwayError(
                f"{by}: {printable(name)} may be {listed(map(self.shown, found), NAMED)}; give them other names, or "
                "name the folder, too"
            )
        return found[0] if found else None


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a recording's path, its suffix left out, as they are compared."""
    parts = [part for part in _form(name).replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if parts and (suffix := PurePosixPath(parts[-1]).suffix).lower() in SUFFIXES:
        parts[-1] = parts[-1].removesuffix(suffix)
    return tuple(parts)


def _form(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _ends(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    length = min(len(one), len(other))
    return one[-length:] == other[-length:]


def _apart(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Count the folders that have other names; 2 where one lies deeper or they are of two splits."""
    if len(one) != len(other):
        return 2
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
    return 2 if any(split_of(a) and split_of(b) for a, b in pairs) else len(pairs)


def split_of(name: str) -> str | None:
    """Return the split that a folder or a file is named after, as train, dev-clean and train_960 are."""
    return SPLIT_FOLDERS.get(re.split("[-_]", name.lower())[0])


def in_folders(path: PurePath) -> str | None:
    """Return the split that the nearest folder of a path is named after."""
    return next((split for name in reversed(path.parent.parts) if (split := split_of(name))), None)


def chosen(recordings: Recordings, every: Collection[Path], texts: Path | None) -> tuple[str, list[Path]]:
    """Return the format of the transcripts, and the files that are read for them; `every` file of the folder.

    Raises SlipwayError where there are none, or some in several formats.
    """
    place = texts or recordings.folder
    if place.is_file():
        return _kind(place), [place]
    if not place.is_dir():
        raise SlipwayError(f"--texts {place}: no such file or folder")
    every = every if texts is None else files_in(place)
    found = {kind: files for kind, is_one in FORMATS.items() if (files := [f for f in every if is_one(f, recordings)])}
    if not found:
        found = {TABLE: files} if (files := [file for file in every if _is_table(file, partly=True)]) else {}
    if not found:
        raise SlipwayError(f"{place}: no transcripts found; expected {EXPECTED}; --texts says where they are")
    if len(found) > 1:
        names = {kind: [recordings.shown(file) for file in files] for kind, files in found.items()}
        said = " and of ".join(f"{kind} ({listed(each, NAMED)})" for kind, each in names.items())
        raise SlipwayError(f"transcripts of {said}; choose with --texts, such as --texts {[*names.values()][-1][0]}")
    kind, files = next(iter(found.items()))
    return kind, _of_splits(files, recordings) if kind == TABLE else files


def files_in(folder: Path) -> list[Path]:
    """List the files below a folder, in order, but for what systems leave there."""
    every = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in every if not dataset.is_junk(path.relative_to(folder))]


def _kind(file: Path) -> str:
    """Return the format of a file that --texts names."""
    suffix = file.suffix.lower()
    kind = TABLE if suffix in TABLES else CTM if suffix == ".ctm" else LINES if suffix in (*OF_RECORDING, "") else ""
    if not kind:
        raise SlipwayError(f"--texts {file}: expected {EXPECTED}; or a folder of these")
    return kind


def _of_splits(files: list[Path], recordings: Recordings) -> list[Path]:
    """Return those of several tables that are named after a split; SlipwayError for several in a folder if none is."""
    named = [file for file in files if split_of(file.stem)]
    if named and (rest := [recordings.shown(file) for file in files if file not in named]):
        print(f"not read, beside {recordings.shown(named[0])}: {listed(rest, NAMED)}; --texts chooses another table")
    for folder, count in Counter(file.parent for file in files if not named).items():
        if count > 1:
            there = listed((recordings.shown(file) for file in files if file.parent == folder), NAMED)
            raise SlipwayError(
                f"several tables of transcripts: {there}; choose one with --texts, such as --texts {files[0]}"
            )
    return named or files


def _is_beside(file: Path, recordings: Recordings) -> bool:
    return file.suffix.lower() in OF_RECORDING and recordings.beside(file) is not None


def _is_lines(file: Path, recordings: Recordings) -> bool:  # noqa: ARG001
    return file.name.lower().endswith(".trans.txt") or file.name == "text"


def _is_table(file: Path, recordings: Recordings | None = None, *, partly: bool = False) -> bool:  # noqa: ARG001
    if file.suffix.lower() not in TABLES:
        return False
    mark, names = _header(file)
    has = [bool({*map(_column, names)} & {*known}) for known in (FILES, TEXTS)]
    return all(has) or (partly and any(has)) or _has_no_header(file, mark, names)


FORMATS: dict[str, Callable[[Path, Recordings], bool]] = {
    BESIDE: _is_beside,
    LINES: _is_lines,
    TABLE: _is_table,
    CTM: lambda file, _: file.suffix.lower() == ".ctm",
}


def columns(kind: str, files: Iterable[Path], encoding: str) -> list[str]:
    """Return the names of the columns of tables; of another format none."""
    return [*dict.fromkeys(name for file in files for name in _table(file, encoding)[1])] if kind == TABLE else []


def read(
    kind: str, file: Path, recordings: Recordings, encoding: str, fields: Collection[str]
) -> Iterator[tuple[Transcript, Path | None]]:
    """Yield the transcripts of a file, each with the path of its recording; None if there is none.

    A table has some `fields` besides. Raises SlipwayError, naming the line, for what cannot be read.
    """
    if kind == BESIDE:
        text = " ".join(line for _, line in _lines(file, encoding))
        yield Transcript(file.stem, _form(text), file, 1), recordings.beside(file)
        return
    below = file.relative_to(recordings.folder) if file.is_relative_to(recordings.folder) else Path(file.name)
    split = split_of(file.stem) or in_folders(below)
    of_kind = {LINES: _of_lines, CTM: _of_ctm}.get(kind)
    for each in of_kind(file, encoding, split) if of_kind else _of_table(file, encoding, split, fields):
        yield each, recordings.named(each.name, file, each.split)


def _lines(file: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with something in them, without white space at their ends, by their numbers."""
    try:
        with file.open(encoding=csv_reader.without_mark(encoding)) as text:
            for number, line in enumerate(text, 1):
                if line := line.strip():
                    yield number, line
    except (UnicodeError, OSError) as error:
        raise csv_start.unreadable(file, csv_reader.Reading(encoding=encoding), error) from None


def _of_lines(file: Path, encoding: str, split: str | None) -> Iterator[Transcript]:
    for number, line in _lines(file, encoding):
        name, *text = line.split(maxsplit=1)
        yield Transcript(name, _form("".join(text)), file, number, split)


def _of_ctm(file: Path, encoding: str, split: str | None) -> Iterator[Transcript]:
    """Join the words of each recording in the order of their starts (NIST's SCTK, doc/infmts.htm)."""
    words: dict[str, list[tuple[float, int, str]]] = {}
    channels: dict[str, str] = {}
    for number, line in _lines(file, encoding):
        if line.startswith(";;"):
            continue
        where, values = f"{file}, line {number}", line.split()
        if len(values) not in (5, 6):
            raise SlipwayError(
                f"{where}: has {len(values)} values; expected file, channel, start, duration, word and maybe confidence"
            )
        name, channel, start, duration, word = values[:5]
        try:
            times = float(start), float(duration)
        except ValueError:
            times = math.nan, math.nan
        if not all(map(math.isfinite, times)):
            raise SlipwayError(
                f"{where}: start {printable(start)[:40]!r} and duration {printable(duration)[:40]!r} are not seconds; "
                "alternatives (* and <ALT>) are not read: choose one of them"
            )
        if channels.setdefault(name, channel) != channel:
            raise SlipwayError(
                f"{where}: {printable(name)} has words of channel {channels[name]} and of {channel}; a transcript is "
                "of one: keep one of them, or write each channel into a recording of its own"
            )
        words.setdefault(name, []).append((times[0], number, word))
    for name, found in words.items():
        text = " ".join(word for *_, word in sorted(found))
        yield Transcript(name, _form(text), file, found[0][1], split)


def _column(name: str) -> str:
    """Return the name of a column as it is compared."""
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")


def _header(file: Path, encoding: str = "utf-8") -> tuple[str, list[str]]:
    """Return what stands between the columns of a table, and the cells of its first line, by a first look."""
    with file.open(encoding=csv_reader.without_mark(encoding), errors="replace") as content:
        line = content.readline(2**16)
    cells = {mark: [cell.strip().strip('"') for cell in line.split(mark)] for mark in csv_start.DELIMITERS}
    known = {mark: len({*map(_column, names)} & {*FILES, *TEXTS}) for mark, names in cells.items()}
    usual = "\t" if file.suffix.lower() == ".tsv" else "|" if "|" in line else ","
    mark = max(cells, key=lambda each: (known[each], each == usual))
    return mark, cells[mark]


def _has_no_header(file: Path, mark: str, names: list[str]) -> bool:
    """Tell whether a table is like LJSpeech's."""
    found = {*map(_column, names)}
    return file.suffix.lower() == ".csv" and mark == "|" and 1 < len(names) <= 3 and not found & {*FILES, *TEXTS}


def _table(file: Path, encoding: str) -> tuple[Iterator[tuple[int, list[str]]], list[str]]:
    """Return the rows of a table, which may have no header, and the names of its columns."""
    mark, names = _header(file, encoding)
    quotes = mark in ",;"  # Common Voice and LJSpeech have none
    given = LJSPEECH[: len(names)] if _has_no_header(file, mark, names) else ()
    how = csv_reader.Reading(delimiter=mark, encoding=encoding, skip=0)
    rows = csv_reader.rows(file, how, quotes=quotes)
    if given:
        return rows, list(given)
    names = next(rows, (0, list[str]()))[1]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise SlipwayError(f"{file}: two columns are called {twice[0]!r}; rename one")
    return rows, names


def _of_table(file: Path, encoding: str, split: str | None, fields: Collection[str]) -> Iterator[Transcript]:
    rows, names = _table(file, encoding)
    known = {_column(name): at for at, name in reversed([*enumerate(names)])}
    of_file = next((known[name] for name in FILES if name in known), None)
    of_text, of_split = [known[name] for name in TEXTS if name in known], known.get("split")
    if of_file is None or not of_text:
        what, expected = ("file names", FILES) if of_file is None else ("transcripts", TEXTS)
        raise SlipwayError(
            f"{file}: no column of {what} (there are: {listed(map(printable, names)) or 'none'}); call it "
            f"{', '.join(expected[:-1])} or {expected[-1]}"
        )
    for line, row in rows:
        of_row = row[of_split].strip() if of_split is not None else ""
        if of_row and not split_of(of_row):
            raise SlipwayError(f"{file}, line {line}: split {of_row!r} is none of {', '.join(SPLIT_FOLDERS)}")
        more = {name: row[at].strip() for at, name in enumerate(names) if name in fields}
        text = next((said for at in of_text if (said := row[at].strip())), "")
        yield Transcript(row[of_file].strip(), _form(text), file, line, split_of(of_row) or split, more)
