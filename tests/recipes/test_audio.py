"""Recordings: what is read, what is refused, what the models are; and the folders and archives they come from."""

import io
import os
import struct
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from components import SlipwayError, params
from components.recipes.audio import example as audio
from components.recipes.audio import networks, source
from components.recipes.audio.example import spectrogram
from components.recipes.source import Source
from components.stages import ingest
from tests.conftest import ROOT

DATASETS = Path(os.environ.get("SLIPWAY_DATASETS", ROOT.parent / "shared" / "datasets"))
DIGITS = DATASETS / "spoken-digits" / "recordings.tar.gz"
TIME = np.arange(8000) / 8000
TONE = 0.5 * np.sin(2 * np.pi * 440 * TIME)
SETTINGS = audio.Params(sample_rate=8000, seconds=1.0, bands=40)


def sound(samples: np.ndarray, rate: int = 8000, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def changed(data: bytes, at: int, layout: str, value: int) -> bytes:
    size = struct.calcsize(layout)
    return data[:at] + struct.pack(layout, value) + data[at + size :]


def table(*data: bytes | None) -> pa.Table:
    return pa.table({"audio": pa.array(data, pa.binary())})


def decibels(data: bytes, settings: audio.Params = SETTINGS) -> np.ndarray:
    return spectrogram.decibels(data, settings)


WAV, FLAC = sound(TONE), sound(TONE, kind="FLAC")
REFUSED = {
    "missing": None,
    "empty": b"",
    "text": b"this is no recording at all",
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(500),
    "half a header": WAV[:20],
    "a header without samples": WAV[:44],
    "zero frames": sound(TONE[:0]),
    "WAV cut off": WAV[:9001],
    "FLAC cut off": FLAC[:-900],
    "FLAC with a flipped byte": FLAC[: len(FLAC) // 2] + b"\xff\x00" + FLAC[len(FLAC) // 2 + 2 :],
    "an hour by its header": changed(changed(WAV, 40, "<I", 57_600_000), 4, "<I", 57_600_036),
    "two minutes": sound(np.zeros(120 * 8000)),
    "a rate of two billion": changed(WAV, 24, "<I", 2**31 - 1),
    "a rate of 5": sound(TONE[:100], 5),
    "a rate of nothing": changed(WAV, 24, "<I", 0),
    "not a number": sound(np.append(TONE, np.nan), subtype="FLOAT"),
    "infinity": sound(np.append(TONE, -np.inf), subtype="FLOAT"),
    "1e30": sound(1e30 * TONE, subtype="FLOAT"),
    "random MP3": b"\xff\xfb\x90\x00" + bytes(range(256)) * 20,
    "an ID3 tag alone": b"ID3" + bytes(500),
}
ACCEPTED = {
    "8 bits": sound(TONE, subtype="PCM_U8"),
    "24 bits": sound(TONE, subtype="PCM_24"),
    "32 bits": sound(TONE, subtype="PCM_32"),
    "float": sound(TONE, subtype="FLOAT"),
    "double": sound(TONE, subtype="DOUBLE"),
    "FLAC": FLAC,
    "stereo": sound(np.stack([TONE, TONE], axis=1)),
    "8 channels": sound(np.tile(TONE[:, None], 8)),
    "a constant added": sound(TONE + 0.4),
    "16 kHz": sound(0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000), 16000),
    "192 kHz": sound(0.5 * np.sin(2 * np.pi * 440 * np.arange(192_000) / 192_000), 192_000),
    "44,101 Hz": sound(0.5 * np.sin(2 * np.pi * 440 * np.arange(44_101) / 44_101), 44_101),
    "a stream whose size was not known": changed(changed(WAV, 40, "<I", 2**32 - 1), 4, "<I", 2**32 - 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_recording_is_a_fact_or_an_error_never_a_crash(name: str) -> None:
    data = REFUSED[name]
    assert audio.facts(table(data), SETTINGS)["decodable"].to_pylist() == [False]
    with pytest.raises(ValueError, match="the recording") as caught:
        audio.encode(table(WAV, data), SETTINGS, audio.fit([table(WAV)], SETTINGS))
    assert "0x" not in str(caught.value)


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_have_facts(noise: bytes, at: int) -> None:
    assert len(audio.facts(table(noise, WAV[:at] + noise, FLAC[:at] + noise), SETTINGS)) == 3


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_same_tone_is_heard_in_every_kind_of_file(name: str) -> None:
    data = ACCEPTED[name]
    assert audio.facts(table(data), SETTINGS)["decodable"].to_pylist() == [True]
    expected, found = decibels(WAV)[5:-5], decibels(data)[5:-5]
    loud = expected > expected.max() - 30
    assert np.abs(found - expected)[loud].max() < 0.1


@pytest.mark.parametrize(("kind", "subtype"), [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")])
def test_what_else_libsndfile_reads_is_read(kind: str, subtype: str) -> None:
    data = sound(TONE, kind=kind, subtype=subtype)
    assert audio.facts(table(data), SETTINGS).to_pylist()[0]["format"] == kind
    assert decibels(data).mean(axis=0).argmax() == decibels(WAV).mean(axis=0).argmax()


def test_one_sample_and_silence_are_encoded_to_finite_numbers() -> None:
    state = audio.fit([table(WAV)], SETTINGS)
    for scale in ("bands", "recording"):
        settings = SETTINGS.model_copy(update={"scale": scale})
        found = audio.encode(table(sound(TONE[:1]), sound(np.zeros(8000)), sound(np.full(10, 0.5))), settings, state)
        assert np.isfinite(found["spectrogram"]).all()
        assert (found["spectrogram"] == found["spectrogram"][:, :1, :1]).all() or scale == "bands"


def test_facts_of_recordings() -> None:
    stereo = np.stack([TONE, TONE], axis=1)
    loud = sound(np.clip(4 * TONE, -1, 1), subtype="FLOAT")
    found = audio.facts(table(sound(stereo, kind="FLAC"), loud, sound(np.full(4000, 0.25))), SETTINGS).to_pylist()
    assert found[0] | {"peak": 0.5, "level": -9.03} == {
        "seconds": 1.0,
        "sample_rate": 8000,
        "channels": 2,
        "format": "FLAC",
        "subtype": "PCM_16",
        "peak": 0.5,
        "level": -9.03,
        "clipped": 0.0,
        "silent": False,
        "decodable": True,
    }
    assert found[0]["peak"] == pytest.approx(0.5, abs=1e-3)
    assert found[0]["level"] == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01)
    assert found[1]["clipped"] == pytest.approx(1 - 2 * np.arcsin(0.495) / np.pi, abs=0.01)
    assert (found[2]["silent"], found[2]["level"], found[2]["peak"]) == (True, -120.0, 0.25)
    header = audio.facts(table(REFUSED["two minutes"]), SETTINGS).to_pylist()[0]
    assert (header["seconds"], header["peak"], header["silent"]) == (120.0, None, None)


def test_the_bands_are_htk_mels() -> None:
    settings = audio.Params(sample_rate=16_000, bands=40, fmin=0.0)
    _, filters = spectrogram._filters(16_000, 400, 40, 0.0, 8000.0)
    step = 2595 * np.log10(1 + 8000 / 700) / 41
    for band in (3, 20, 39):
        middle = 700 * (10 ** ((band + 1) * step / 2595) - 1)
        assert abs(filters[:, band].argmax() * 8000 / (len(filters) - 1) - middle) <= 8000 / (len(filters) - 1)
        data = sound(0.5 * np.sin(2 * np.pi * middle * np.arange(16_000) / 16_000), 16_000)
        assert decibels(data, settings)[50].argmax() == band
    inner = filters[40:-40]  # between the middles of the first and the last band the triangles add up to 1
    assert np.abs(inner.sum(axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize(("rate", "window", "bands"), [(8000, 80, 128), (1000, 25, 40), (192_000, 4800, 256)])
def test_no_band_is_without_a_bin(rate: int, window: int, bands: int) -> None:
    _, filters = spectrogram._filters(rate, window, bands, 20.0, rate / 2)
    assert filters.max(axis=0).min() > 0


def test_ten_times_louder_is_20_db_more_and_the_quiet_is_cut_at_80() -> None:
    quiet, loud = sound(0.05 * TONE, subtype="FLOAT"), sound(0.5 * TONE, subtype="FLOAT")
    assert np.abs(decibels(loud) - decibels(quiet) - 20)[:, :30].max() < 0.01
    assert np.ptp(decibels(loud)) == pytest.approx(80, abs=1e-3)
    itself = SETTINGS.model_copy(update={"scale": "recording"})
    found = audio.encode(table(quiet, loud), itself, {})["spectrogram"]
    assert np.abs(found[0] - found[1]).max() < 1e-3
    assert abs(found[0].mean()) < 1e-5
    assert found[0].std() == pytest.approx(1, abs=1e-3)


def test_a_long_recording_is_cut_around_its_middle_and_a_short_one_padded_around() -> None:
    settings = audio.Params(sample_rate=8000, seconds=0.5, bands=40)
    silence = np.zeros(4000)
    assert np.array_equal(decibels(sound(np.concatenate([silence, TONE[:4000], silence])), settings), decibels(
        sound(TONE[:4000]), settings
    ))  # fmt: skip
    found = decibels(sound(TONE[:800]), settings).max(axis=1)
    loud = np.flatnonzero(found > found.max() - 20)
    assert abs(loud[0] - (settings.frames - 1 - loud[-1])) <= 1
    assert 8 <= len(loud) <= 14


def test_statistics_are_those_of_all_frames_however_the_tables_are_cut() -> None:
    section, sample = audio.sample(30, 2)
    settings = audio.Params.model_validate(section)
    whole = audio.fit([sample], settings)
    parts = audio.fit([sample.slice(0, 7), sample.slice(7, 0), sample.slice(7)], settings)
    frames = np.concatenate([decibels(data, settings) for data in sample["audio"].to_pylist()]).astype(np.float64)
    for state in (whole, parts):
        assert np.allclose(state["mean"], frames.mean(axis=0), rtol=1e-10)
        assert np.allclose(state["deviation"], frames.std(axis=0), rtol=1e-8)
    found = audio.encode(sample, settings, whole)["spectrogram"]
    assert found.dtype == np.float32
    assert np.abs(found.mean(axis=(0, 1))).max() < 1e-4
    assert np.abs(found.std(axis=(0, 1)) - 1).max() < 1e-4


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"labels": ["a", "b", "a"]}, "named twice: a"),
        ({"fmin": 5000.0, "fmax": 4000.0}, "fmin < fmax"),
        ({"sample_rate": 8000, "fmax": 5000.0}, "fmin < fmax"),
        ({"seconds": 0.02}, "shorter than window_ms"),
        ({"hop_ms": 0.01}, "at least one sample"),
        ({"group": ["peak"]}, "cannot be named peak"),
        ({"group": ["speaker", "speaker"]}, "cannot be named speaker"),
    ],
)
def test_settings_that_cannot_be_are_refused(section: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        audio.Params.model_validate(section)


@pytest.mark.e2e
@pytest.mark.parametrize("model", ["cnn", "conformer"])
def test_both_models_are_exported_faithfully_and_drop_out_as_they_are_told(tmp_path: Path, model: str) -> None:
    import keras
    import onnxruntime

    from components.training import export

    settings = SETTINGS.model_copy(update={"seconds": 0.5})
    network = networks.Network.model_validate({"model": model, "model_size": "tiny"})
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    built = networks.build(network, settings, {}, 0.5)
    random = np.random.default_rng(1)
    x = random.normal(size=(40, settings.frames, 40)).astype(np.float32)
    for variable in built.variables:  # so that biases and the batches' statistics are not 0 and 1
        if variable.path.split("/")[-1] in ("bias", "beta", "gamma", "moving_mean", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    names = [layer.name for layer in built.layers]
    assert len(set(names)) == len(names)
    rates = {layer.rate for layer in built.layers if "Dropout" in type(layer).__name__}
    assert rates == ({0.5, 0.25} if model == "cnn" else {0.5})
    quiet = networks.build(network, settings, {}, 0.0)
    assert not [layer for layer in quiet.layers if "Dropout" in type(layer).__name__]
    expected = np.asarray(built({"spectrogram": x}))
    assert np.ptp(expected, axis=0).max() > 0.01
    export._export(built, tmp_path / "model.onnx", "probabilities")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (exported,) = session.run(["probabilities"], {"spectrogram": x})
    assert np.abs(exported - expected).max() < 1e-5
    built.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(np.asarray(again({"spectrogram": x})), expected)


# --- folders and archives


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from tests import repositories

    monkeypatch.chdir(tmp_path)
    repositories.blank(tmp_path)
    return tmp_path


def recording(seed: int, seconds: float = 0.5, rate: int = 8000) -> bytes:
    return sound(np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)), rate)


def packed(
    path: Path, members: dict[str, bytes], mode: str = "w:gz", extra: Callable[..., object] | None = None
) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if extra is not None:
            extra(archive)
    return path


def unpacked(folder: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def rows(found: Source) -> list[dict[str, object]]:
    return pa.concat_tables(list(found.tables)).to_pylist()


SPOKEN = {f"{d}_{who}_{n}.wav": recording(d * 100 + at * 10 + n) for d in (0, 1) for at, who in enumerate(("ann", "bob")) for n in range(3)}  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz with a folder"])
def test_names_tell_label_split_and_speaker(repo: Path, kind: str) -> None:
    members = SPOKEN | {"README.md": b"not a sound", "x.wav": recording(999), "._0_ann_9.wav": b"a Mac's"}
    if kind == "folder":
        path = unpacked(repo / "Spoken digits", members)
    elif kind == "tar":
        path = packed(repo / "Spoken digits.tar", members, "w")
    else:
        path = packed(repo / "Spoken digits.tar.gz", {f"./recordings/{n}": c for n, c in members.items()})
    ingest.run("audio", path=path, pattern="{label}_{speaker}_{index}", test="index=0,2", keep=["speaker"])
    found = pq.read_table("data/spoken-digits.parquet").to_pylist()
    assert sorted((r["label"], r["speaker"], r["split"]) for r in found) == sorted(
        (name[0], name[2:5], "train" if name[6] == "1" else "test") for name in SPOKEN
    )
    assert {r["audio"] for r in found} == set(SPOKEN.values())
    settings = params.load()
    assert (settings.recipe, settings.task.labels, settings.task.group) == ("audio", ["0", "1"], ["speaker"])
    assert (settings.task.sample_rate, settings.task.seconds) == (8000, 0.5)


def test_a_speaker_is_held_out(repo: Path) -> None:
    path = packed(repo / "digits.tar.gz", SPOKEN)
    found = rows(source.audio(path, "{label}_{speaker}_{index}", "speaker=bob", []))
    assert sum(r["split"] == "test" for r in found) == 6
    bobs = {content for name, content in SPOKEN.items() if "bob" in name}
    assert {r["audio"] for r in found if r["split"] == "test"} == bobs
    assert "speaker" not in found[0]


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_class_folders_with_and_without_a_split(repo: Path, archived: bool, split: bool) -> None:
    members = {f"{label}/{n}.flac": sound(TONE * (n + 1) / 9, kind="FLAC") for label in ("yes", "no") for n in range(4)}
    members |= {f"no/deep/er/{n}.wav": recording(n) for n in range(2)}
    if split:
        members = {
            f"{'Val' if '1' in name else 'test' if '2' in name else 'train'}/{name}": c for name, c in members.items()
        }
    path = packed(repo / "words.tgz", members) if archived else unpacked(repo / "words", members)
    read = source.audio(path, None, None, [])
    found = rows(read)
    assert read.settings["labels"] == ["no", "yes"]
    assert sorted(str(r["label"]) for r in found) == ["no"] * 6 + ["yes"] * 4
    splits = sorted(str(r["split"]) for r in found)
    assert splits == (["test"] * 2 + ["train"] * 5 + ["validation"] * 3 if split else ["None"] * 10)
    assert read.settings["seconds"] == 1.0


def test_recordings_that_cannot_be_read_are_named(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = {f"{label}/{n}.wav": recording(n) for label in ("yes", "no") for n in range(2)}
    members |= {"no/empty.wav": b"", "yes/silent.wav": sound(TONE[:0]), "no/cut.wav": recording(1)[:20]}
    source.audio(unpacked(repo / "words", members), None, None, [])
    said = capsys.readouterr().out
    named = {line.partition(":")[0] for line in said.splitlines() if "cannot be read as a recording" in line}
    assert named == {"no/empty.wav", "yes/silent.wav", "no/cut.wav"}


def test_a_pattern_may_leave_the_label_to_the_folder(repo: Path) -> None:
    members = {
        f"{label}/{who}_nohash_{n}.wav": recording(n) for label in ("up_stairs", "down") for who in "ab" for n in (0, 1)
    }
    found = rows(source.audio(unpacked(repo / "commands", members), "{speaker}_nohash_{n}", "speaker=a", ["speaker"]))
    assert {(r["label"], r["speaker"], r["split"]) for r in found} == {
        ("up_stairs", "a", "test"), ("up_stairs", "b", "train"), ("down", "a", "test"), ("down", "b", "train")
    }  # fmt: skip


def test_an_archive_that_means_harm_writes_nothing_and_its_rest_is_read(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_FILE_BYTES", 50_000)
    members = {"yes/1.wav": recording(1), "no/1.wav": recording(2), "../../evil/2.wav": recording(3)}
    members |= {"/tmp/evil/3.wav": recording(4), "no/huge.wav": bytes(60_000)}  # noqa: S108 - a hostile name

    def links(archive: tarfile.TarFile) -> None:
        for kind, name in (
            (tarfile.SYMTYPE, "no/4.wav"),
            (tarfile.LNKTYPE, "no/5.wav"),
            (tarfile.FIFOTYPE, "no/6.wav"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)

    path = packed(repo / "evil.tar.gz", members, extra=links)
    before = sorted(repo.rglob("*"))
    read = source.audio(path, None, None, [])
    assert sorted(str(r["label"]) for r in rows(read)) == ["no", "yes"]
    assert dict(read.skipped) == {
        "a path that points outside the archive": 2,
        "a link or a device in the archive": 3,
        "larger than 0 MB": 1,
    }
    assert sorted(repo.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("{label}_{speaker}_{index}", "speaker=eve", []), r"no recording has speaker=eve; there are: ann, bob"),
        (("{label}_{speaker}_{index}", "speaker", []), r"--test speaker: expected FIELD=VALUE"),
        (("{label}_{speaker}_{index}", "who=ann", []), r"--test: no field 'who'; --pattern has index, label, speaker"),
        ((None, "who=ann", []), r"--test: no field 'who'; --pattern names no fields"),
        (("{label}_{speaker}_{index}", None, ["who"]), r"--keep: no field 'who'"),
        (("{label}_{speaker}_{index}", "speaker=ann,bob", []), r"all recordings would be in the test split"),
        (("{label}{speaker}", None, []), r"text between them"),
        (("{label}_{label}", None, []), r"different names"),
        (("label", None, []), r"expected fields"),
        (("{label}", None, []), None),
        (("{label}-{index}", None, []), r"skipped 12: name does not match the pattern"),
        ((None, None, []), r"skipped 12: not in a class folder"),
    ],
)
def test_options_that_cannot_be_say_why(
    repo: Path, arguments: tuple[str, str, list[str]], expected: str | None
) -> None:
    path = unpacked(repo / "digits", SPOKEN)
    if expected is None:
        assert len(source.audio(path, *arguments).settings["labels"]) == 12
        return
    with pytest.raises(SlipwayError, match=expected):
        source.audio(path, *arguments)


def test_paths_that_cannot_be_used_say_why(repo: Path) -> None:
    with pytest.raises(SlipwayError, match="no such file or folder"):
        source.audio(repo / "nowhere", None, None, [])
    whole = packed(repo / "digits.tar.gz", SPOKEN).read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2], whole[:5000] + bytes(500) + whole[5500:]):
        (repo / "broken.tar.gz").write_bytes(content)
        with pytest.raises(SlipwayError, match="not a complete tar file"):
            rows(source.audio(repo / "broken.tar.gz", "{label}_{speaker}_{index}", None, []))
    with pytest.raises(SlipwayError, match="none of the 2 recordings can be read"):
        source.audio(unpacked(repo / "bad", {"a/1.wav": b"no", "b/1.wav": b"no"}), None, None, [])
    with pytest.raises(SlipwayError, match="only some recordings are in split folders"):
        source.audio(unpacked(repo / "mixed", {"train/a/1.wav": WAV, "b/1.wav": WAV}), None, None, [])
    (repo / "none").mkdir()
    with pytest.raises(SlipwayError, match="it is empty"):
        source.audio(repo / "none", None, None, [])


FIELD = st.text(st.characters(exclude_characters="_/", exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text not in (".", "..") and not text.startswith(".")
)


@given(FIELD, FIELD, FIELD.filter(lambda text: "." not in text))
def test_a_name_made_of_fields_is_read_back(label: str, speaker: str, index: str) -> None:
    fields = source.Fields("{label}_{speaker}_{index}", None, ["speaker", "index"])
    name = PurePosixPath(f"{label}_{speaker}_{index}.wav")
    found = fields.read(name, Counter())
    assert found == source.Found(name.as_posix(), label, None, {"label": label, "speaker": speaker, "index": index})


@pytest.mark.skipif(not DIGITS.exists(), reason="the spoken digits are not on this machine")
@pytest.mark.e2e
def test_the_spoken_digits_are_read_whole_with_their_official_test_split(repo: Path) -> None:
    ingest.run("audio", path=DIGITS, name="spoken-digits", pattern="{label}_{speaker}_{index}", test="index=0,1,2,3,4", keep=[])  # fmt: skip  # noqa: E501
    found = pq.read_table("data/spoken-digits.parquet", columns=["label", "split"])
    assert len(found) == 3000
    assert found["split"].to_pylist().count("test") == 300
    settings = params.load().task
    assert (settings.sample_rate, settings.labels) == (8000, list("0123456789"))
    assert 0.7 <= settings.seconds <= 0.9
