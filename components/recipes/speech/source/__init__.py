"""Recordings and their transcripts: text files beside them, LibriSpeech's and Kaldi's lines, tables, or CTM."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from components import SlipwayError, listed
from components.data import archive, csv_options
from components.files import printable
from components.recipes import split_by as splitting
from components.recipes.audio import source as audio_source
from components.recipes.audio.source import Found
from components.recipes.source import Command, Source, official, slug, tell
from components.recipes.speech.example import Params
from components.recipes.speech.source import connected_digits, transcripts
from components.recipes.speech.source.transcripts import NAMED, Recordings, Transcript
from components.targets.transcript import plain

MOST_SECONDS = 30.0  # the longest utterance that an ingest makes room for
FEW = 5  # recordings that a symbol is in: fewer are told
SHOWN = 60  # characters of a transcript, and symbols, in a message


def speech(
    path: Path,
    texts: Path | None = None,
    encoding: str = "utf-8",
    case: Literal["lower", "keep"] | None = None,
    punctuation: Literal["drop", "keep"] | None = None,
    pattern: str | None = None,
    test: str | None = None,
    keep: list[str] | None = None,
    split_by: str | None = None,
    known: Params | None = None,
) -> Source:
    """Read the recordings of a folder or an archive, and their transcripts from `texts`, by default from what is there.

    Texts stay as they are given; `case` and `punctuation` say what of them is learned. `test`, `keep` and `split_by`
    name columns of a table, or fields of `pattern`, which the names of recordings must match. `known` is the section of
    the dataset that is added to. Raises SlipwayError for transcripts in none or in several formats, for an option that
    does not fit, and as the readers of the formats do.
    """
    csv_options.must_be_encoding(encoding)
    forms = _forms(case, punctuation, known)
    form = partial(plain, lower=forms["case"] == "lower", punctuation=forms["punctuation"] == "keep")
    if path.is_file() and path.suffix.lower() in (*audio_source.SUFFIXES, *transcripts.TABLES):
        raise SlipwayError(
            f"{path}: expected the folder of the recordings, or an archive of it; --texts names the file of transcripts"
        )
    skipped, keep = Counter[str](), keep or []
    name, opened = archive.stem(path), ExitStack()
    folder = opened.enter_context(archive.unpacked(path, skipped)).resolve()
    if texts is not None:
        texts = (folder / texts if not texts.exists() and (folder / texts).exists() else texts).resolve()
    every = transcripts.files_in(folder)
    sounds = [file for file in every if audio_source.is_sound(_below(file, folder))]
    if not sounds:
        raise SlipwayError(f"{path}: no recordings; expected files that end in {', '.join(audio_source.SUFFIXES)}")
    recordings = Recordings(folder, sounds, texts if texts and texts.is_dir() else None)
    kind, files = transcripts.chosen(recordings, every, texts)
    columns = transcripts.columns(kind, files, encoding)
    fields = audio_source.Fields(pattern, test, keep, columns)
    where = recordings.shown(files[0]) if columns else f"--pattern {pattern or ''}".strip()
    by = splitting.parse(split_by, fields.known, where, taken=["audio"])
    owners = [field for field in fields.known if by is None and splitting.owns(field)]
    needed = {*keep, *owners, *([by.column] if by else []), *([fields.test] if fields.test else [])}
    said = _read(kind, files, recordings, encoding, needed, skipped)
    read_as_text = {*files}
    sounds = [
        file
        for file in every
        if file not in read_as_text and audio_source.wanted(_below(file, folder), file.stat().st_size, skipped)
    ]
    found = _found(sounds, said, recordings, fields, needed, form, skipped)
    if not found:
        reasons = "; ".join(f"skipped {count:,}: {reason}" for reason, count in (+skipped).items())
        raise SlipwayError(f"{path}: no usable recording; {reasons}")
    fields.must_divide(path, {each.fields[fields.test] for each in found.values()} if fields.test else set())
    if not fields.test:
        names = [each.name for each in found.values()]
        splits = official([each.split for each in found.values()], names.__getitem__, "recordings", new=known is None)
        found = {file: replace(each, split=split) for (file, each), split in zip(found.items(), splits, strict=True)}
    symbols = Counter(symbol for each in found.values() for symbol in {*form(each.label)})
    own = known.symbols if known else "".join(sorted(symbols))
    settings = _heard(found, path, known) | forms | {"symbols": own, "group": keep}
    _tell(kind, [recordings.shown(file) for file in files], found, symbols, own)

    def recorded() -> Iterator[tuple[bytes, Found]]:
        with opened:
            yield from ((file.read_bytes(), each) for file, each in found.items())

    source = Source(slug(name), "speech", settings, audio_source.tables(recorded(), keep, by, where), +skipped)
    source.split_by = by
    if not any(each.split for each in found.values()):
        counted = {owner: Counter(text for each in found.values() if (text := each.fields[owner])) for owner in owners}
        source.groups = [line for owner, values in counted.items() if (line := splitting.complaint(owner, values))]
    return source


def _below(file: Path, folder: Path) -> PurePosixPath:
    return PurePosixPath(file.relative_to(folder).as_posix())


def _forms(case: str | None, punctuation: str | None, known: Params | None) -> dict[str, Any]:
    """Return what of the texts is learned: what the options say, else as in the dataset that is added to."""
    forms = {"case": case, "punctuation": punctuation}
    usual = {"case": "lower", "punctuation": "drop"}
    for option, value in forms.items():
        there = getattr(known, option) if known else usual[option]
        if known and value not in (None, there):
            raise SlipwayError(
                f"--{option} {value}: the dataset has {option}: {there} (speech in params.yaml): leave out --{option}, "
                "or start a new dataset with --replace"
            )
        forms[option] = value or there
    return forms


def _read(
    kind: str,
    files: list[Path],
    recordings: Recordings,
    encoding: str,
    fields: Collection[str],
    skipped: Counter[str],
) -> dict[Path, Transcript | None]:
    """Return the transcript of each recording that has one, with these `fields` of a table.

    Of a recording with two that differ it is None, for either may be wrong: these are told, and counted. So are
    transcripts without a recording. Raises SlipwayError where no transcript is of a recording.
    """
    found: dict[Path, Transcript] = {}
    differing: dict[Path, str] = {}
    lost: list[str] = []
    for file in files:
        for each, path in transcripts.read(kind, file, recordings, encoding, fields):
            if path is None:
                lost.append(each.name)
                continue
            before = found.setdefault(path, each)
            if (each.text, each.split) != (before.text, before.split):
                shown = " and ".join(
                    f"{text.text[:SHOWN]!r}{f' ({text.split})' if text.split else ''} in line {text.line} of "
                    f"{recordings.shown(text.file)}"
                    for text in (before, each)
                )
                differing[path] = f"{recordings.shown(path)}: left out, for it has {shown}; keep one of the two"
    where = listed(map(recordings.shown, files), NAMED)
    if not found and not lost:
        raise SlipwayError(f"{where}: no transcripts; expected {transcripts.EXPECTED}")
    if not found:
        names = listed(dict.fromkeys(printable(name) or "''" for name in lost), NAMED)
        raise SlipwayError(
            f"{where}: none of the {len(lost):,} transcripts is of a recording: they name {names}, but recordings are "
            f"called {listed(map(recordings.shown, recordings.parts), NAMED)}; a name is the path of a recording or "
            "the end of it, with or without .wav"
        )
    tell([*differing.values()], "recordings with two transcripts")
    skipped["recording with two transcripts, or in two splits"] += len(differing)
    if lost:
        skipped[f"transcript without a recording, such as {printable(lost[0])}"] += len(lost)
    return found | dict.fromkeys(differing)


def _found(
    sounds: list[Path],
    said: dict[Path, Transcript | None],
    recordings: Recordings,
    fields: audio_source.Fields,
    needed: Collection[str],
    form: Callable[[str], str],
    skipped: Counter[str],
) -> dict[Path, Found]:
    """Return the recordings with a transcript, those without counted, and the fields that are `needed`, "" for none."""
    found: dict[Path, Found] = {}
    lacking: list[Path] = []
    for path in sounds:
        each, below = said.get(path), _below(path, recordings.folder)
        told = fields.pattern.read(below) if fields.pattern else {}
        if path not in said:
            lacking.append(path)
        elif each is None:
            continue
        elif told is None:
            skipped["name does not match the pattern"] += 1
        elif not form(each.text):
            skipped["transcript of nothing but punctuation" if each.text else "empty transcript"] += 1
        else:
            values = dict.fromkeys(needed, "") | {
                name: text for name, text in (each.fields | told).items() if name in needed
            }
            split = fields.split(values) or each.split or transcripts.in_folders(below)
            found[path] = Found(recordings.shown(path), each.text, split, values)
    if lacking:
        skipped[f"recording without a transcript, such as {recordings.shown(lacking[0])}"] += len(lacking)
    return found


def _heard(found: dict[Path, Found], where: Path, known: Params | None) -> dict[str, Any]:
    """Return the rate and the length of the recordings; tell which cannot be read, and how many are too long."""
    rates, lengths = Counter[int](), list[float]()
    unreadable = [
        f"{each.name}: cannot be read as a recording; validate will set it aside"
        for file, each in found.items()
        if not audio_source.describe(file.read_bytes(), rates, lengths)
    ]
    if not rates:
        raise SlipwayError(f"{where}: none of the {len(found):,} recordings can be read")
    tell(unreadable, "recordings that cannot be read")
    settings = audio_source.settings_of(rates, lengths, 1.0, MOST_SECONDS)
    seconds = known.seconds if known else settings["seconds"]
    if long := sum(length > seconds for length in lengths):
        print(
            f"{long:,} of {len(lengths):,} recordings are longer than {seconds:g} s, the longest {max(lengths):.1f} s: "
            "validate sets them aside, for words would be cut off; cut them into shorter utterances, or raise "
            "speech.seconds"
        )
    return settings


def _tell(kind: str, names: list[str], found: dict[Path, Found], symbols: Counter[str], own: str) -> None:
    """Say what was read, which symbols it is written in, and which of them the dataset does not have."""
    where = listed(names) if len(names) <= NAMED else f"{len(names):,} files such as {names[0]}"
    words = sum(len(each.label.split()) for each in found.values())
    splits = Counter(each.split for each in found.values() if each.split)
    parts = f"; {listed(f'{name} {count:,}' for name, count in splits.items())}" if splits else ""
    print(f"{kind}, {where}: {len(found):,} recordings with a transcript, {words:,} words{parts}")
    rare = sorted((symbol for symbol in symbols if symbols[symbol] < FEW), key=lambda symbol: (symbols[symbol], symbol))
    line = f"{len(symbols):,} symbols: {listed(map(_symbol, sorted(symbols)), SHOWN)}"
    if rare:
        few = listed((f"{_symbol(symbol)} ({symbols[symbol]})" for symbol in rare), 10)
        line += f"; in fewer than {FEW} recordings: {few}"
    print(line)
    if new := sorted(symbols.keys() - {*own}):
        few = listed((f"{_symbol(symbol)} ({symbols[symbol]})" for symbol in new), 10)
        print(
            f"warning: symbols that speech.symbols in params.yaml does not have, and in how many recordings: {few}; "
            "validate sets these aside: spell them otherwise, or add the symbols there"
        )


def _symbol(symbol: str) -> str:
    return "the space" if symbol == " " else symbol if symbol.isprintable() else f"U+{ord(symbol):04X}"


def _arguments(parser: ArgumentParser) -> None:
    text = "folder of the recordings, in any folders below it, or a .zip or .tar.gz of it"
    parser.add_argument("path", type=Path, metavar="PATH", help=text)
    text = (
        "file or folder of the transcripts: .txt or .lab files called like the recordings, LibriSpeech's .trans.txt, "
    )
    text += "Kaldi's text, a .tsv or .csv, or a .ctm (default: found)"
    parser.add_argument("--texts", type=Path, metavar="PATH", help=text)
    parser.add_argument(
        "--encoding",
        default="utf-8",
        metavar="NAME",
        help="encoding of the transcripts, such as cp1252 (default: utf-8)",
    )
    text = "letters that are learned: lower, all in lower case, or keep, as they are written (default: lower)"
    parser.add_argument("--case", choices=["lower", "keep"], help=text)
    text = "drop all but apostrophes inside words, or keep it, to be learned like letters (default: drop)"
    parser.add_argument("--punctuation", choices=["drop", "keep"], help=text)
    splitting.pattern_argument(parser, "{speaker}-{chapter}-{index}")
    parser.add_argument(
        "--test",
        "--hold-out",
        dest="test",
        metavar="FIELD=VALUES",
        help="which recordings form the test split, such as speaker=theo,ann; all others are for training",
    )
    splitting.argument(parser, "FIELD")
    text = "keep a column of the table, or a field of the pattern, for slicing the evaluation; repeatable"
    parser.add_argument("--keep", action="append", default=[], metavar="FIELD", help=text)


SOURCES = {
    "speech": Command(
        "recordings and their transcripts: text files beside them, LibriSpeech's and Kaldi's lines, a table, or CTM",
        speech,
        _arguments,
        known="speech",
    ),
    **connected_digits.SOURCES,
}
