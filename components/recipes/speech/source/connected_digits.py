"""Connected digits: strings of digits that one speaker says, made of the Free Spoken Digit Dataset's recordings."""

import io
import json
import math
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components import SlipwayError, listed
from components.recipes.audio import source as audio
from components.recipes.source import NAMES, Command, Source
from components.streams import stream

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Held out are a voice that a model of single digits finds easy and one that it finds hard (docs/recipes/audio.md): the
# figures of the test split are not too good to be true. The accent of jackson is theo's, too, who is in training.
HELD_OUT = {"validation": "lucas", "test": "jackson"}
STRINGS = {"train": 3000, "validation": 300, "test": 400}  # those of training by all of its speakers together
LONGEST = 7  # digits of a string
RATE = 8000  # Hz
MOST = 5 * RATE  # samples of a string
PAUSE = (RATE // 20, 3 * RATE // 10)  # samples, from and to, before, between and behind digits
FADE = RATE // 200  # samples in which a recording and a pause go over into each other
EDGE = RATE // 100  # samples at the ends of a recording, of which the quieter one is taken for a pause
LEVEL = 0.05  # of full scale, root mean square: -26 dB, the usual level of speech in tests (ITU-T P.56)
BATCH_STRINGS = 500  # in memory at a time
SEED = 1


@dataclass(frozen=True)
class _Recording:
    name: str
    digit: int
    samples: np.ndarray  # float64, 1 is full scale, at LEVEL

    @property
    def edge(self) -> np.ndarray:
        """Its quieter end, around 0."""
        ends = [part - part.mean() for part in (self.samples[:EDGE], self.samples[-EDGE:])]
        return min(ends, key=lambda end: float(end.std()))


@dataclass(frozen=True)
class _String:
    split: str
    number: int  # among those of the speaker
    speaker: str
    digits: list[_Recording]
    pauses: list[int]  # samples; one more than digits


def connected_digits(path: Path) -> Source:
    """Join 1 to LONGEST recordings of one speaker to a string; its label is what is said, such as "three seven one".

    Each speaker is in one split. The recordings of a speaker are dealt like cards, and dealt again when all are used:
    each is used about equally often. All are brought to one loudness, for they differ by nearly 40 dB. The noise in
    pauses has the level and the spectrum of quiet ends of the speaker's recordings. The same recordings give the same
    bytes.
    Such strings are what TIDIGITS has (Leonard 1984, doi:10.1109/ICASSP.1984.1172716), which is not free.
    Raises SlipwayError for what cannot be read, and for recordings other than those of the dataset.
    """
    known = audio.audio(path, "{label}_{speaker}_{index}", None, ["speaker", "index"])
    recordings = _recordings(known, path)
    strings = _strings(recordings)
    longest = max(_length(string.digits, string.pauses) for string in strings)
    settings = {
        "symbols": "".join(sorted({*" ".join(WORDS)})),
        "group": ["speaker"],
        "sample_rate": RATE,
        "seconds": math.ceil(10 * longest / RATE) / 10,
        "bands": 40,
        "scale": "recording",  # each by itself: the microphones differ
    }
    return Source("connected-digits", "speech", settings, _tables(strings, recordings), known.skipped)


def _recordings(known: Source, path: Path) -> dict[str, list[_Recording]]:
    """Return the recordings of each speaker by digit and index, in whichever order they come."""
    found: dict[str, dict[tuple[str, str], _Recording]] = defaultdict(dict)
    for table in known.tables:
        for row in table.drop_columns("split").to_pylist():
            found[row["speaker"]][row["label"], row["index"]] = _recording(row, path)
    if lacking := sorted({*HELD_OUT.values()} - {*found}):
        raise SlipwayError(f"{path}: no recording of {listed(lacking)}; give all six speakers of the dataset")
    if len(found) == len(HELD_OUT):
        raise SlipwayError(f"{path}: no speaker is left to train with; give all six speakers of the dataset")
    return {speaker: [rows[key] for key in sorted(rows)] for speaker, rows in sorted(found.items())}


def _recording(row: dict[str, Any], path: Path) -> _Recording:
    import soundfile

    name = f"{row['label']}_{row['speaker']}_{row['index']}"
    if row["label"] not in map(str, range(len(WORDS))):
        raise SlipwayError(f"{path}: {name}: {row['label']!r} is no digit; expected names such as 7_jackson_32.wav")
    try:
        samples, rate = soundfile.read(io.BytesIO(row["audio"]), always_2d=True)
    except soundfile.LibsndfileError as error:  # its str() names an address in memory
        raise SlipwayError(
            f"{path}: {name} cannot be decoded ({error.error_string}); get the recordings again"
        ) from None
    if rate != RATE:
        raise SlipwayError(f"{path}: {name} has {rate:,} samples per second; the dataset's recordings have {RATE:,}")
    if not 2 * EDGE <= len(samples) <= MOST - 2 * PAUSE[1]:
        raise SlipwayError(f"{path}: {name} lasts {len(samples) / rate:.2f} s, which is no digit; leave it out")
    mono = samples.mean(axis=1)
    mono -= mono.mean()
    if not mono.any():
        raise SlipwayError(f"{path}: {name} is silent; get the recordings again, or leave it out")
    return _Recording(name, int(row["label"]), mono * min(LEVEL / mono.std(), 1 / np.abs(mono).max()))


def _strings(recordings: dict[str, list[_Recording]]) -> list[_String]:
    """Choose what is said in all strings: split by split, the speakers in turn."""
    split_of = {speaker: split for split, speaker in HELD_OUT.items()}
    train = [speaker for speaker in recordings if speaker not in split_of]
    found = []
    for speaker, all_of_them in recordings.items():
        split = split_of.get(speaker, "train")
        random = stream(SEED, f"strings of digits by {speaker}")
        dealt: list[int] = []
        first, step = (train.index(speaker), len(train)) if split == "train" else (0, 1)
        for number in range(first, STRINGS[split], step):
            count = int(random.integers(1, LONGEST, endpoint=True))
            pauses = random.integers(*PAUSE, count + 1, endpoint=True).tolist()
            while len(dealt) < count:
                dealt += random.permutation(len(all_of_them)).tolist()
            digits = [all_of_them[at] for at in dealt[:count]]
            while _length(digits, pauses) > MOST:  # the next string begins with the digits that are left
                digits, pauses = digits[:-1], pauses[:-1]
            dealt = dealt[len(digits) :]
            found.append(_String(split, number, speaker, digits, pauses))
    return sorted(found, key=lambda string: (list(STRINGS).index(string.split), string.number))


def _length(digits: list[_Recording], pauses: list[int]) -> int:
    """Return how many samples a string has."""
    return sum(len(digit.samples) for digit in digits) + sum(pauses) - 2 * len(digits) * FADE


def _tables(strings: list[_String], recordings: dict[str, list[_Recording]]) -> Iterator[pa.Table]:
    edges = {}
    for speaker, all_of_them in recordings.items():
        ordered = sorted((recording.edge for recording in all_of_them), key=lambda edge: float(edge.std()))
        # neither those cut off in the middle of a word nor those of digital silence
        edges[speaker] = ordered[len(ordered) // 4 : len(ordered) - len(ordered) // 4]
    for at in range(0, len(strings), BATCH_STRINGS):
        some = strings[at : at + BATCH_STRINGS]
        said = [" ".join(WORDS[digit.digit] for digit in string.digits) for string in some]
        columns = {
            "audio": pa.array([_wav(_sound(string, edges[string.speaker])) for string in some], pa.binary()),
            "speaker": pa.array([string.speaker for string in some], pa.string()),
            "label": pa.array(said, pa.string()),
            "split": pa.array([string.split for string in some], pa.string()),
        }
        names = [" ".join(digit.name for digit in string.digits) for string in some]
        yield pa.table(columns, metadata={NAMES: json.dumps(names)})


def _sound(string: _String, edges: list[np.ndarray]) -> np.ndarray:
    """Return the samples of a string, float64: pauses and recordings in turn, each faded into the next."""
    random = stream(SEED, f"pauses of {string.speaker}", string.number)
    edge = edges[int(random.integers(len(edges)))]
    fade = np.arange(1, FADE + 1) / (FADE + 1)
    found = np.zeros(_length(string.digits, string.pauses))
    at = 0
    for number, pause in enumerate(string.pauses):
        # white noise through a filter whose impulse response is the edge
        noise = np.convolve(random.standard_normal(pause + EDGE - 1), edge, "valid") / math.sqrt(EDGE)
        for piece in [noise, *(digit.samples.copy() for digit in string.digits[number : number + 1])]:
            piece[:FADE] *= fade
            piece[-FADE:] *= fade[::-1]
            found[at : at + len(piece)] += piece
            at += len(piece) - FADE
    return found


def _wav(samples: np.ndarray) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.round(samples * (2**15 - 1)).astype(np.int16), RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _arguments(parser: ArgumentParser) -> None:
    text = "recordings of the Free Spoken Digit Dataset: a folder, or the archive of its repository"
    parser.add_argument("path", type=Path, metavar="RECORDINGS", help=text)


SOURCES = {
    "connected-digits": Command(
        "strings of spoken digits by speakers of their own, made of the Free Spoken Digit Dataset",
        connected_digits,
        _arguments,
    )
}
