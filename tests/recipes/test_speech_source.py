"""How transcripts are read: beside recordings, in lines, in tables and in CTM, and what is wrong with them."""

import io
import json
import tarfile
import tempfile
import unicodedata
import zipfile
from argparse import ArgumentParser
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from components import SlipwayError
from components.recipes.audio import source as audio_source
from components.recipes.source import NAMES, Source
from components.recipes.speech.example import Params
from components.recipes.speech.source import SOURCES, speech
from components.recipes.speech.source.transcripts import BESIDE, CTM, LINES, TABLE

TEXTS = {"a-1": "Hello world!", "a-2": "How ARE you?", "b-1": "don't — stop"}


@cache
def sound(seed: int, seconds: float = 0.1, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * 8000))
    soundfile.write(buffer, samples, 8000, format=kind, subtype="PCM_16")
    return buffer.getvalue()


def recorded(folder: Path, names: Iterable[str], **more: Any) -> Path:
    for name in names:
        path = folder / (name if Path(name).suffix in audio_source.SUFFIXES else f"{name}.wav")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound(sum(map(ord, name)), **more))
    return folder


def written(folder: Path, kind: str, texts: dict[str, str], ending: str = "\n") -> Path:
    """Write texts in a format; return the file, or the folder of several."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == BESIDE:
        for name, text in texts.items():
            (folder / f"{name}.txt").parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
        return folder
    file = folder / {LINES: "x.trans.txt", "Kaldi": "text", CTM: "x.ctm", "CSV": "x.csv", "LJ": "metadata.csv"}.get(
        kind, "x.tsv"
    )
    rows = [f"{name} {text}" for name, text in texts.items()]
    if kind == TABLE:
        rows = ["client_id\tpath\tsentence", *(f"c{n}\t{name}.wav\t{texts[name]}" for n, name in enumerate(texts))]
    elif kind == "CSV":
        rows = ["File;Text", *(f'{name};"{text}"' for name, text in texts.items())]
    elif kind == "LJ":
        rows = [f"{name}|No. 1|{text}" for name, text in texts.items()]
    elif kind == CTM:
        words = {name: [*enumerate(text.split())] for name, text in texts.items()}
        rows = [";; a comment", *(f"{name} 1 {at}.5 0.25 {word} 0.9" for name in words for at, word in words[name])]
    file.write_text(ending.join(rows) + ending, encoding="utf-8", newline="")
    return file


def rows(source: Source) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for part in source.tables:
        names = json.loads(part.schema.metadata[NAMES])
        found |= dict(zip(names, part.to_pylist(), strict=True))
    return found


def texts(source: Source) -> dict[str, str]:
    return {Path(name).stem: row["label"] for name, row in rows(source).items()}


def splits(source: Source) -> dict[str, str | None]:
    return {Path(name).stem: row["split"] for name, row in rows(source).items()}


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(SlipwayError) as error:
        speech(path, **options)
    return str(error.value)


@pytest.mark.parametrize("kind", [BESIDE, LINES, "Kaldi", TABLE, "CSV", "LJ", CTM])
@pytest.mark.parametrize("place", ["folder", "tar", "zip", "--texts"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_format_is_read(tmp_path: Path, kind: str, place: str, ending: str) -> None:
    folder = recorded(tmp_path / "corpus", TEXTS)
    file = written(tmp_path / "texts" if place == "--texts" else folder, kind, TEXTS, ending)
    path = folder
    if place == "tar":
        path = tmp_path / "packed.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder, "corpus")
    elif place == "zip":
        path = tmp_path / "packed.zip"
        with zipfile.ZipFile(path, "w") as packed:
            for each in sorted(folder.iterdir(), reverse=True):
                packed.write(each, each.name)
    source = speech(path, texts=file if place == "--texts" else None)
    assert (source.recipe, source.name) == ("speech", "corpus" if path == folder else "packed")
    assert source.settings["symbols"] == "".join(sorted({*"hello world how are you don't stop"}))
    assert (source.settings["sample_rate"], source.settings["seconds"]) == (8000, 0.1)
    assert (source.settings["case"], source.settings["punctuation"]) == ("lower", "drop")
    found = rows(source)
    assert {Path(name).stem: (row["label"], row["audio"]) for name, row in found.items()} == {
        name: (text, (folder / f"{name}.wav").read_bytes()) for name, text in TEXTS.items()
    }
    assert not source.skipped


WORDS = st.text(st.characters(categories=["L", "N", "Mn", "P"], exclude_characters='|"\\;'), min_size=1, max_size=5)
SAID = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


@given(st.lists(SAID.filter(lambda text: any(char.isalpha() for char in text)), min_size=1, max_size=4))
def test_the_same_texts_in_all_formats_are_the_same(said: list[str]) -> None:
    given_texts = {f"u{n}": text for n, text in enumerate(said)}
    read = []
    with tempfile.TemporaryDirectory() as place:
        folder = recorded(Path(place) / "corpus", given_texts)
        for kind in (BESIDE, LINES, "Kaldi", TABLE, "LJ", CTM):
            source = speech(folder, texts=written(Path(place) / kind, kind, given_texts))
            read.append((source.settings, texts(source)))
    assert read == [read[0]] * 6
    assert read[0][1] == {name: unicodedata.normalize("NFC", text) for name, text in given_texts.items()}


@given(
    st.sampled_from(["text", "x.trans.txt", "x.ctm", "x.tsv", "x.csv", "u0.txt"]),
    st.binary(max_size=60)
    | st.text(max_size=40).map(str.encode)
    | st.lists(
        st.sampled_from(
            [
                "path\tsentence\n",
                "path,sentence\n",
                "\nu0,",
                "\nu0\t",
                "u0 1 0 1 ",
                "u0",
                "u0.wav",
                "1",
                "0.5",
                "\t",
                "|",
                ",",
                '"',
                "\r",
                "\n",
                " ",
                ";;",
                "é",
            ]
        )
    ).map(lambda parts: "".join(parts).encode()),
)
def test_whatever_stands_in_a_file_it_is_read_or_refused(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = recorded(Path(place), ["u0"])
        (folder / name).write_bytes(content)
        try:
            found = texts(speech(folder))
        except SlipwayError as error:
            assert str(error)
        else:
            assert set(found) == {"u0"}
            assert found["u0"].strip()


def test_librispeech_has_its_splits_in_folders(tmp_path: Path) -> None:
    for split, speaker in (("train-clean-100", "1"), ("dev-other", "2"), ("test-clean", "3")):
        folder = tmp_path / "LibriSpeech" / split / speaker / "7"
        names = [f"{speaker}-7-000{n}" for n in range(2)]
        recorded(folder, [f"{name}.flac" for name in names], kind="FLAC")
        (folder / f"{speaker}-7.trans.txt").write_text("".join(f"{name} IT IS {speaker}\n" for name in names))
    (tmp_path / "LibriSpeech" / "README.TXT").write_text("about")
    source = speech(tmp_path, pattern="{speaker}-{chapter}-{index}", keep=["speaker"], split_by="group=chapter")
    found = rows(source)
    assert {(row["speaker"], row["split"], row["chapter"], row["label"]) for row in found.values()} == {
        ("1", "train", "7", "IT IS 1"), ("2", "validation", "7", "IT IS 2"), ("3", "test", "7", "IT IS 3")
    }  # fmt: skip
    assert len(found) == 6
    assert source.settings["group"] == ["speaker"]
    assert dict(source.skipped) == {"not a sound file (.TXT)": 1}


def test_common_voice_has_its_splits_in_files(tmp_path: Path, capsys: Any) -> None:
    recorded(tmp_path / "clips", [f"cv_{n}.mp3" for n in range(5)])
    head = "client_id\tpath\tsentence\tgender"
    lines = [f'c{n % 2}\tcv_{n}.mp3\tSay "{n}" is it\t{"" if n else "f"}' for n in range(5)]
    for name, part in (("train", lines[:2]), ("dev", lines[2:3]), ("test", lines[3:4]), ("validated", lines)):
        (tmp_path / f"{name}.tsv").write_text("\n".join([head, *part]), encoding="utf-8-sig")
    (tmp_path / "clip_durations.tsv").write_text("clip\tduration[ms]\ncv_0.mp3\t100\n")
    source = speech(tmp_path, keep=["gender"])
    assert splits(source) == {"cv_0": "train", "cv_1": "train", "cv_2": "validation", "cv_3": "test"}
    assert "not read, beside dev.tsv: validated.tsv" in capsys.readouterr().out
    assert source.skipped["recording without a transcript, such as clips/cv_4.mp3"] == 1
    everything = speech(tmp_path, texts=Path("validated.tsv"), keep=["gender"], test="client_id=c1")
    found = rows(everything)
    assert found["clips/cv_3.mp3"] == {
        "audio": (tmp_path / "clips" / "cv_3.mp3").read_bytes(),
        "gender": None,
        "label": 'Say "3" is it',
        "split": "test",
    }
    assert [row["split"] for row in found.values()] == ["train", "test", "train", "test", "train"]
    assert found["clips/cv_0.mp3"]["gender"] == "f"
    (tmp_path / "other.tsv").write_text("\n".join([head, *lines]))
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.tsv").unlink()
    assert "several tables of transcripts: other.tsv, validated.tsv; choose one with --texts" in refused(tmp_path)


def test_a_table_may_name_split_and_folder(tmp_path: Path) -> None:
    recorded(tmp_path, ["a/1.wav", "b/1.wav", "b/2.wav"])
    lines = [
        "audio file,split,TRANSCRIPT",
        '"a/1.wav",train,"one, and"',
        "/data/corpus/b/1.wav,test,two",
        "../b/2,train,3",
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    found = {name: (row["label"], row["split"]) for name, row in rows(speech(tmp_path)).items()}
    assert found == {"a/1.wav": ("one, and", "train"), "b/1.wav": ("two", "test"), "b/2.wav": ("3", "train")}
    (tmp_path / "list.csv").write_text("path,split,text\na/1,tset,x\n")
    assert "list.csv, line 2: split 'tset' is none of train, validation, test" in refused(tmp_path)


def test_of_recordings_of_one_name_it_is_the_one_below_the_file_or_of_its_split(tmp_path: Path) -> None:
    recorded(tmp_path / "x", ["a/wavs/1", "b/wavs/1"])
    written(tmp_path / "x" / "a", "LJ", {"1": "of a"})
    written(tmp_path / "x" / "b", "LJ", {"1": "of b"})
    assert {name: row["label"] for name, row in rows(speech(tmp_path / "x")).items()} == {
        "a/wavs/1.wav": "of a", "b/wavs/1.wav": "of b"
    }  # fmt: skip
    recorded(tmp_path / "y", ["train/1", "test/1"])
    for name in ("train", "test"):
        written(tmp_path / "y", CTM, {"1": name}).rename(tmp_path / "y" / f"{name}.ctm")
    assert {name: row["label"] for name, row in rows(speech(tmp_path / "y")).items()} == {
        "test/1.wav": "test", "train/1.wav": "train"
    }  # fmt: skip
    written(tmp_path / "y", CTM, {"1": "which"})
    (tmp_path / "y" / "train.ctm").unlink()
    assert "x.ctm: 1 may be test/1.wav, train/1.wav; give them other names" in refused(tmp_path / "y")


def test_text_files_may_lie_in_folders_of_their_own(tmp_path: Path) -> None:
    recorded(tmp_path, ["wav/p1/p1_1", "wav/p2/p2_1", "wav/p3/p3_1"])
    written(tmp_path / "txt", BESIDE, {"p1/p1_1": "one\n two \n", "p2/p2_1": "three", "p9/p9_1": "nobody"})
    source = speech(tmp_path)
    assert texts(source) == {"p1_1": "one two", "p2_1": "three"}
    assert dict(source.skipped) == {
        "not a sound file (.txt)": 1,
        "recording without a transcript, such as wav/p3/p3_1.wav": 1,
    }
    assert texts(speech(tmp_path / "wav", texts=tmp_path / "txt")) == {"p1_1": "one two", "p2_1": "three"}
    elsewhere = written(tmp_path / "flat", BESIDE, {"p1_1": "uno"})
    assert texts(speech(tmp_path / "wav", texts=elsewhere)) == {"p1_1": "uno"}
    recorded(tmp_path / "s", ["train/1"])
    written(tmp_path / "s", BESIDE, {"test/1": "of another split"})
    assert "no transcripts found; expected x.txt or x.lab beside x.wav" in refused(tmp_path / "s")


def test_what_is_not_read_is_counted(tmp_path: Path, capsys: Any) -> None:
    recorded(tmp_path, ["a_1", "a_2", "a_3", "a_4", "a_5", "a_6", "odd", "a_7"])
    (tmp_path / "a_6.wav").write_bytes(b"")
    lines = [
        "a_1 one",
        "a_2",
        "a_3 ?!",
        "a_4 four",
        "a_4 FOUR",
        "gone 1",
        "gone-too 2",
        "odd x",
        "a_6 six",
        "a_1  one ",
    ]
    (tmp_path / "text").write_text("\n".join(lines))
    source = speech(tmp_path, pattern="{speaker}_{index}")
    assert texts(source) == {"a_1": "one", "a_6": "six"}
    assert dict(source.skipped) == {
        "empty transcript": 1,
        "transcript of nothing but punctuation": 1,
        "recording with two transcripts, or in two splits": 1,
        "transcript without a recording, such as gone": 2,
        "recording without a transcript, such as a_5.wav": 2,
        "name does not match the pattern": 1,
    }
    said = capsys.readouterr().out
    assert "a_4.wav: left out, for it has 'four' in line 4 of text and 'FOUR' in line 5 of text" in said
    assert "a_6.wav: cannot be read as a recording; validate will set it aside" in said
    (tmp_path / "text").write_text("a_6 six\n")
    assert "none of the 1 recordings can be read" in refused(tmp_path)
    (tmp_path / "text").write_text("a_2\n")
    assert "no usable recording; skipped 1: empty transcript; skipped 7: recording without" in refused(tmp_path)


def test_a_recording_in_two_splits_is_left_out(tmp_path: Path, capsys: Any) -> None:
    recorded(tmp_path, "abc")
    for split, names in (("train", "ac"), ("test", "bc")):
        (tmp_path / f"{split}.tsv").write_text("\n".join(["path\tsentence", *(f"{name}\tsame" for name in names)]))
    assert splits(speech(tmp_path)) == {"a": "train", "b": "test"}
    assert (
        "c.wav: left out, for it has 'same' (test) in line 3 of test.tsv and 'same' (train)" in capsys.readouterr().out
    )


def test_symbols_are_those_of_the_plain_texts(tmp_path: Path, capsys: Any) -> None:
    said = {f"u{n}": "ab ba" for n in range(5)} | {"é": "Cafe\u0301?\u00a0A"}
    written(recorded(tmp_path, said), LINES, said)
    source = speech(tmp_path)
    assert source.settings["symbols"] == " abcfé"
    assert (
        "6 symbols: the space, a, b, c, f, é; in fewer than 5 recordings: c (1), f (1), é (1)"
        in capsys.readouterr().out
    )
    assert rows(source)["é.wav"]["label"] == "Café?\u00a0A"
    kept = speech(tmp_path, case="keep", punctuation="keep").settings
    assert kept["symbols"] == " ?ACabfé"
    assert (kept["case"], kept["punctuation"]) == ("keep", "keep")
    known = Params(symbols="a", case="keep")
    capsys.readouterr()
    assert speech(tmp_path, known=known).settings["symbols"] == "a"  # what a model knows grows by hand alone
    told = "does not have, and in how many recordings: the space (6), A (1), C (1), b (5), f (1), é (1); validate"
    assert told in capsys.readouterr().out
    assert "--case lower: the dataset has case: keep" in refused(tmp_path, known=known, case="lower")


@pytest.mark.parametrize("known", [None, Params(symbols="a", seconds=2.0)])
def test_the_longest_utterance_fits_up_to_a_bound(tmp_path: Path, capsys: Any, known: Params | None) -> None:
    recorded(tmp_path, ["a", "b", "c"])
    (tmp_path / "c.wav").write_bytes(sound(1, 2.34))
    written(tmp_path, LINES, {"a": "x", "b": "y", "c": "z"})
    assert speech(tmp_path, known=known).settings["seconds"] == 2.4
    assert ("1 of 3 recordings are longer than 2 s, the longest 2.3 s" in capsys.readouterr().out) == bool(known)
    (tmp_path / "b.wav").write_bytes(sound(1, 31.0))
    assert speech(tmp_path).settings["seconds"] == 30.0
    said = capsys.readouterr().out
    assert "1 of 3 recordings are longer than 30 s, the longest 31.0 s: validate sets them aside, for words" in said


def test_a_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(tmp_path / "corpus", ["wav/p1/1"])
    written(tmp_path / "corpus" / "txt", BESIDE, {"p1/1": "one"})
    monkeypatch.chdir(tmp_path / "corpus")
    for at in (Path("txt"), tmp_path / "corpus" / "txt", Path("../corpus/txt")):
        source = speech(Path(), texts=at)
        assert (source.name, texts(source)) == ("corpus", {"1": "one"})


def test_ten_thousand_words_are_a_transcript(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(10_000)]
    recorded(tmp_path, ["a"])
    lines = [f"a A {n}.0 0.1 {word}" for n, word in enumerate(words)]
    (tmp_path / "a.ctm").write_text("\n".join(reversed(lines)))
    assert texts(speech(tmp_path)) == {"a": " ".join(words)}
    assert texts(speech(tmp_path, texts=written(tmp_path / "t", TABLE, {"a": " ".join(words)}))) == {
        "a": " ".join(words)
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a 1 0.5 0.1", "line 2: has 4 values; expected file, channel, start, duration, word"),
        ("a 1 x 0.1 word", "line 2: start 'x' and duration '0.1' are not seconds"),
        ("a 1 nan 0.1 word", "line 2: start 'nan'"),
        ("a 1 * * <ALT_BEGIN>", "alternatives (* and <ALT>) are not read"),
        ("a 2 0.5 0.1 word", "line 2: a has words of channel 1 and of 2; a transcript is of one"),
    ],
)
def test_a_ctm_that_cannot_be_read_is_refused(tmp_path: Path, line: str, message: str) -> None:
    recorded(tmp_path, ["a"])
    (tmp_path / "a.ctm").write_text(f"a 1 0.0 0.1 first\n{line}\n")
    assert message in refused(tmp_path)


def test_one_format_is_chosen(tmp_path: Path) -> None:
    recorded(tmp_path, TEXTS)
    assert "no transcripts found; expected x.txt" in refused(tmp_path)
    written(tmp_path, LINES, TEXTS)
    written(tmp_path, CTM, dict.fromkeys(TEXTS, "other"))
    assert (
        refused(tmp_path)
        == "transcripts of lines (x.trans.txt) and of CTM (x.ctm); choose with --texts, such as --texts x.ctm"
    )
    assert {*texts(speech(tmp_path, texts=Path("x.ctm"))).values()} == {"other"}
    assert texts(speech(tmp_path, texts=Path("x.trans.txt"))) == TEXTS
    assert "no such file or folder" in refused(tmp_path, texts=tmp_path / "none")
    (tmp_path / "x.json").write_text("{}")
    assert "x.json: expected x.txt or x.lab beside x.wav" in refused(tmp_path, texts=tmp_path / "x.json")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in refused(tmp_path / "none")
    assert f"{tmp_path}: no recordings; expected files that end in .wav, .flac" in refused(tmp_path)
    recorded(tmp_path, ["talk_1", "talk_2"])
    (tmp_path / "text").write_text("utt-1 hello\nutt-2 world\n")
    message = refused(tmp_path)
    assert (
        "text: none of the 2 transcripts is of a recording: they name utt-1, utt-2, but recordings are called "
        in message
    )
    assert "talk_1.wav, talk_2.wav" in message
    (tmp_path / "text").write_text("\n \n")
    assert "text: no transcripts; expected" in refused(tmp_path)
    (tmp_path / "text").write_bytes("talk_1 caf\xe9\n".encode("latin-1"))
    assert "text: line 1, byte 11 (e9) is not utf-8; give the encoding of the file" in refused(tmp_path)
    assert texts(speech(tmp_path, encoding="latin-1")) == {"talk_1": "café"}
    (tmp_path / "list.tsv").write_bytes("path\tsentence\ntalk_2\té".encode("utf-16"))
    assert texts(speech(tmp_path, texts=tmp_path / "list.tsv", encoding="utf-16")) == {"talk_2": "é"}
    assert "list.tsv: cannot be read as UTF-8, it looks like UTF-16" in refused(tmp_path, texts=tmp_path / "list.tsv")
    assert "--encoding klingon: unknown encoding" in refused(tmp_path, encoding="klingon")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,sentence\nx,y\n", "no column of file names (there are: name, sentence); call it path, file,"),
        ("path,words\nx,y\n", "no column of transcripts (there are: path, words); call it normalized_text,"),
        ("path,path,text\nx,x,y\n", "two columns are called 'path'"),
        ("path,text\nx,y,z\n", "line 2 has 3 values, the header 2"),
        ("x|y|z|1\n", "no transcripts found"),
        ("", "no transcripts found"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, content: str, message: str) -> None:
    recorded(tmp_path, ["x"])
    (tmp_path / "list.csv").write_text(content)
    assert message in refused(tmp_path)


def test_tabs_and_marks_are_no_part_of_a_name(tmp_path: Path) -> None:
    recorded(tmp_path, ["x"])
    (tmp_path / "text").write_bytes("\ufeffx\tone\ttwo \r\n".encode())
    assert texts(speech(tmp_path)) == {"x": "one\ttwo"}
    file = tmp_path / "list.tsv"
    file.write_text("path\tsentence\nx\tone\ttwo\n")
    assert "list.tsv: line 2 has 3 values, the header 2" in refused(tmp_path, texts=file)


def test_an_official_split_is_used_where_it_divides(tmp_path: Path, capsys: Any) -> None:
    recorded(tmp_path, ["train/a", "dev/b", "c"])
    written(tmp_path, LINES, {"a": "x", "b": "y", "c": "z"})
    assert splits(speech(tmp_path)) == {"a": None, "b": None, "c": None}
    assert (
        "official split train, validation: not used, for 1 of 3 recordings are in none, such as c.wav"
        in capsys.readouterr().out
    )
    (tmp_path / "c.wav").unlink()
    assert splits(speech(tmp_path)) == {"a": "train", "b": "test"}
    assert splits(speech(tmp_path, known=Params(symbols="x"))) == {"a": "train", "b": "test"}
    (tmp_path / "train" / "a.wav").unlink()
    assert splits(speech(tmp_path)) == {"b": None}
    assert splits(speech(tmp_path, known=Params(symbols="x"))) == {"b": "validation"}


def test_options_must_fit_what_is_there(tmp_path: Path) -> None:
    recorded(tmp_path, ["ann_1", "bob_1"])
    written(tmp_path, TABLE, {"ann_1": "x", "bob_1": "y"})
    assert "--keep: no field 'age'; the table has client_id, path, sentence" in refused(tmp_path, keep=["age"])
    both = refused(tmp_path, keep=["age"], pattern="{who}_{n}")
    assert "no field 'age'; --pattern has n, who and the table has client_id, path, sentence" in both
    assert "--test: no recording has client_id=c7; there are: c0, c1" in refused(tmp_path, test="client_id=c7")
    assert "all recordings would be in the test split" in refused(tmp_path, test="client_id=c0,c1")
    assert "x.tsv has no 'age' (there are: client_id" in refused(tmp_path, split_by="group=age")
    assert "audio is the example itself" in refused(tmp_path, split_by="group=audio")
    found = rows(speech(tmp_path, pattern="{who}_{n}", keep=["who"], split_by="group=client_id", test="who=bob"))
    assert [(row["who"], row["client_id"], row["split"]) for row in found.values()] == [
        ("ann", "c0", "train"), ("bob", "c1", "test")
    ]  # fmt: skip


def test_a_column_that_looks_like_a_speaker_is_told(tmp_path: Path) -> None:
    names = [f"u{n}" for n in range(24)]
    lines = [f"{name}\tx\ts{n % 12}" for n, name in enumerate(names)]
    (recorded(tmp_path, names) / "l.tsv").write_text("\n".join(["path\ttext\tspeaker", *lines]))
    assert speech(tmp_path).groups[0].startswith("speaker: looks like a group (12 different values in 24 rows)")
    assert speech(tmp_path, split_by="group=speaker").groups == []


def test_tables_are_cut_by_rows_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(recorded(tmp_path, TEXTS), LINES, TEXTS)
    monkeypatch.setattr(audio_source, "BATCH_ROWS", 2)
    assert [len(part) for part in speech(tmp_path).tables] == [2, 1]
    monkeypatch.setattr(audio_source, "BATCH_BYTES", 1)
    parts = list(speech(tmp_path).tables)
    assert [len(part) for part in parts] == [1, 1, 1]
    assert parts[0].schema.equals(
        pa.schema([("audio", pa.binary()), ("label", pa.string()), ("split", pa.string())]), check_metadata=False
    )


def test_an_archive_that_means_harm_is_read_but_for_that(tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in {
            "a.wav": sound(1), "a.lab": b"x", "../../b.wav": sound(2), "/b.lab": b"y", "c.wav": sound(3)
        }.items():  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    source = speech(path)
    assert texts(source) == {"a": "x"}
    assert dict(source.skipped) == {
        "a path that points outside the archive": 2,
        "recording without a transcript, such as c.wav": 1,
    }


def test_the_command_gives_what_the_function_takes(tmp_path: Path) -> None:
    command, parser = SOURCES["speech"], ArgumentParser()
    command.arguments(parser)
    written(recorded(tmp_path, TEXTS), LINES, TEXTS)
    given_options = vars(parser.parse_args([str(tmp_path), "--case", "keep", "--keep", "s", "--pattern", "{s}-{n}"]))
    assert command.read(**given_options).settings["group"] == ["s"]


def test_a_row_without_a_normalized_text_has_its_other_text(tmp_path: Path) -> None:
    recorded(tmp_path / "wavs", ["a", "b"])
    (tmp_path / "metadata.csv").write_text("a|Dr. Who|doctor who\nb|just this|\n")
    assert texts(speech(tmp_path)) == {"a": "doctor who", "b": "just this"}


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    recorded(tmp_path, ["a"])
    (tmp_path / "table.csv").write_text("path,text\na.wav,x\n")
    for name in ("a.wav", "table.csv"):
        assert f"{name}: expected the folder of the recordings" in refused(tmp_path / name)


def test_the_split_that_is_found_is_told(tmp_path: Path, capsys: Any) -> None:
    recorded(tmp_path, ["train/a", "train/b", "validation/c", "test/d"])
    for name in ("train/a", "train/b", "validation/c", "test/d"):
        (tmp_path / f"{name}.txt").write_text("said")
    speech(tmp_path)
    assert "4 recordings with a transcript, 4 words; test 1, train 2, validation 1" in capsys.readouterr().out
