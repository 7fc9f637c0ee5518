"""Strings of digits made of single recordings: what is said in them, by whom, and which recordings are refused."""

import io
import json
import tarfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from components import SlipwayError
from components.recipes.source import NAMES
from components.recipes.speech.source import connected_digits as made
from tests.flows.test_examples import recording

SPEAKERS = ("ann", "bob", "jackson", "lucas")
QUIET = 0.001


def tone(digit: int, random: np.random.Generator, seconds: float, loud: float) -> np.ndarray:
    """A tone by which the digit can be told, with little noise around it."""
    time = np.arange(round(seconds * made.RATE)) / made.RATE
    sound = loud * np.sin(2 * np.pi * (500 + 300 * digit) * time)
    sound[: 2 * made.EDGE] = sound[-2 * made.EDGE :] = 0
    return sound + random.normal(0, QUIET, len(sound))


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(f"recordings/{name}.wav")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    random = np.random.default_rng(1)
    return {
        f"{digit}_{speaker}_{index}": recording(
            tone(digit, random, random.uniform(0.2, 1.2), random.uniform(0.01, 0.9))
        )
        for speaker in SPEAKERS
        for digit in range(10)
        for index in range(2)
    }


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "STRINGS", {"train": 40, "validation": 20, "test": 20})


def read(path: Path) -> tuple[dict[str, Any], pa.Table, list[list[str]]]:
    """Settings, examples, and the recordings that each is made of."""
    source = made.connected_digits(path)
    tables = list(source.tables)
    names = [name.split() for table in tables for name in json.loads(table.schema.metadata[NAMES])]
    return source.settings, pa.concat_tables(tables), names


def heard(samples: np.ndarray) -> list[int]:
    """Tell the digits by the tones: where it is loud for a while, and which frequency it is."""
    frames = samples[: len(samples) // 80 * 80].reshape(-1, 80)
    loud = np.concatenate([[False], frames.std(axis=1) > made.LEVEL / 4, [False]])
    starts, ends = np.flatnonzero(loud[1:] & ~loud[:-1]), np.flatnonzero(loud[:-1] & ~loud[1:])
    found = []
    for start, end in zip(starts, ends, strict=True):
        spectrum = np.abs(np.fft.rfft(frames[start:end].ravel(), 8000))
        found.append(round((int(spectrum.argmax()) - 500) / 300))
    return found


def test_labels_say_what_is_heard_and_no_string_is_longer_than_told(tmp_path: Path, files: dict[str, bytes]) -> None:
    settings, table, names = read(archive(tmp_path / "a.tar.gz", files))
    longest = 0.0
    for row, parts in zip(table.to_pylist(), names, strict=True):
        samples, rate = soundfile.read(io.BytesIO(row["audio"]))
        longest = max(longest, len(samples) / rate)
        said = [made.WORDS.index(word) for word in row["label"].split(" ")]
        assert heard(samples) == said == [int(part[0]) for part in parts]
        assert {part.split("_")[1] for part in parts} == {row["speaker"]}
        lengths = [soundfile.info(io.BytesIO(files[part])).frames for part in parts]
        pauses = len(samples) - sum(lengths) + 2 * len(parts) * made.FADE
        assert made.PAUSE[0] * (len(parts) + 1) <= pauses <= made.PAUSE[1] * (len(parts) + 1)
        pause = samples[made.FADE : made.PAUSE[0] - made.FADE]
        assert 0 < pause.std() < made.LEVEL / 2
        assert soundfile.info(io.BytesIO(row["audio"])).subtype == "PCM_16" and rate == settings["sample_rate"]
    assert settings["seconds"] - 0.1 < longest <= settings["seconds"] <= made.MOST / made.RATE
    assert {len(parts) for parts in names} >= {1, 3, 5}
    assert settings["symbols"] == "".join(sorted({*"zeroonetwothreefourfivesixseveneightnine "}))


def test_no_recording_is_in_two_splits_and_each_is_used_about_equally_often(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    _, table, names = read(archive(tmp_path / "a.tar.gz", files))
    assert Counter(table["split"].to_pylist()) == made.STRINGS
    splits, used = defaultdict(set), Counter(dict.fromkeys(files, 0))
    for split, parts in zip(table["split"].to_pylist(), names, strict=True):
        used.update(parts)
        for part in parts:
            splits[part.split("_")[1]].add(split)
    assert splits == {"ann": {"train"}, "bob": {"train"}, "lucas": {"validation"}, "jackson": {"test"}}
    for speaker in SPEAKERS:
        times = [count for name, count in used.items() if name.split("_")[1] == speaker]
        assert max(times) - min(times) <= 1
    assert len({*table["audio"].to_pylist()}) == len(table)


def test_the_same_recordings_give_the_same_bytes_in_whichever_order_they_come(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    first = read(archive(tmp_path / "a.tar.gz", files))
    again = read(archive(tmp_path / "b.tar.gz", dict(reversed(files.items()))))
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.wav").write_bytes(content)
    assert again[0] == first[0] and again[1].equals(first[1]) and again[2] == first[2]
    assert read(folder)[1].equals(first[1])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("seven_ann_1", recording(np.full(2000, 0.1)), "seven_ann_1: 'seven' is no digit"),
        ("7_ann_9", b"RIFF", "7_ann_9 cannot be decoded"),
        ("7_ann_9", recording(np.sin(np.arange(4000.0)), 16_000), "7_ann_9 has 16,000 samples per second"),
        ("7_ann_9", recording(np.full(2000, 0.1)), "7_ann_9 is silent"),
        ("7_ann_9", recording(np.sin(np.arange(36_000.0))), "7_ann_9 lasts 4.50 s"),
        ("7_ann_9", recording(np.sin(np.arange(50.0))), "7_ann_9 lasts 0.01 s"),
    ],
)
def test_recordings_that_are_not_of_the_dataset_are_refused(
    tmp_path: Path, files: dict[str, bytes], name: str, content: bytes, message: str
) -> None:
    with pytest.raises(SlipwayError, match=message):
        made.connected_digits(archive(tmp_path / "a.tar.gz", files | {name: content}))


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        ((), "no usable recording; skipped 2: name does not match the pattern"),
        (("ann", "lucas"), "no recording of jackson; give all six speakers"),
        (("lucas", "jackson"), "no speaker is left to train with"),
    ],
)
def test_an_archive_without_the_names_or_the_speakers_is_refused(
    tmp_path: Path, files: dict[str, bytes], speakers: tuple[str, ...], message: str
) -> None:
    some = {name: content for name, content in files.items() if name.split("_")[1] in speakers}
    nameless = {f"sound{number}": content for number, content in enumerate(list(files.values())[:2])}
    with pytest.raises(SlipwayError, match=message):
        made.connected_digits(archive(tmp_path / "a.tar.gz", some or nameless))
