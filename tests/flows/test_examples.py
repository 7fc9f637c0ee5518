"""The examples: that each is whole, that its expectations catch its traps, and where its files come from."""

import contextlib
import datetime as dt
import functools
import gzip
import hashlib
import http.server
import io
import os
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image
from ruamel.yaml import YAML

from components import SlipwayError, params, recipes
from components.__main__ import parser
from components.data import download
from components.files import read_json
from components.recipes.source import Command, commands
from components.stages import validate
from components.tracking import connection
from flows import example
from tests.conftest import ROOT, write_dataset

DATASETS = Path(os.environ.get("SLIPWAY_DATASETS", ROOT.parent / "shared" / "datasets"))
NAMES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/example.yaml"))


PROMISED = {
    *("mnist", "mnist-cnn", "breast-cancer", "movie-reviews", "hotel-reviews", "income", "credit-risk"),
    *("machine-failure", "student-grades", "temperatures", "sunspots", "spoken-digits", "digits-seen-and-heard"),
    *("blood-cells", "connected-digits"),
}


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


# Each example is whole.


def test_all_promised_examples_are_there() -> None:
    assert set(NAMES) >= PROMISED


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_whole(name: str) -> None:
    folder = ROOT / "examples" / name
    found = example.load(name)
    settings = params.load(folder / "params.yaml")
    assert settings.name == name
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert f"make example NAME={name}" in page
    for heading in ("Data", "Traps", "Result"):
        assert f"## {heading}" in page, heading
    assert found.goals
    for file in found.files:
        assert file in page or file.endswith("-ubyte.gz"), f"{file} is not on the page"
    used = {word.split("{files}/", 1)[1] for word in found.ingest if "{files}/" in word}
    assert used <= set(found.files)
    recipe = yaml(folder / "params.yaml")
    for stage in yaml(ROOT / "dvc.yaml")["stages"].values():
        for key in (entry for entry in stage.get("params", []) if isinstance(entry, str)):
            value = recipe
            for part in key.replace("${recipe}", settings.recipe).split("."):
                assert part in value, f"dvc.yaml reads {key}"
                value = value[part]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_ingested_by_words_that_ingest_knows(name: str) -> None:
    words = [word.replace("{files}", "there") for word in example.load(name).ingest]
    options = vars(parser().parse_args(["ingest", *words]))
    command: Command = commands()[options["source"]]
    assert callable(command.read)


# Its traps are caught: rows that its own expectations allow, some of them spoiled.


def fabricated(name: str, rows: int = 400) -> tuple[params.Params, pa.Table]:
    """Make a dataset that an example's expectations allow, of what they say of each column."""
    folder = ROOT / "examples" / name
    settings = params.load(folder / "params.yaml")
    recipe = recipes.load(settings.recipe)
    random = np.random.default_rng(4)
    columns: dict[str, Any] = MAKERS[settings.recipe](settings, random, rows) if settings.recipe in MAKERS else {}
    ranges, sets, above = {}, {}, []
    for entry in yaml(folder / "expectations.yaml")["examples"]:
        kwargs = entry["kwargs"]
        if entry["type"] == "expect_column_values_to_be_between":
            ranges[kwargs["column"]] = (kwargs.get("min_value", 0), kwargs.get("max_value", 0))
        elif entry["type"] == "expect_column_values_to_be_in_set":
            sets[kwargs["column"]] = kwargs["value_set"]
        elif entry["type"] == "expect_column_pair_values_a_to_be_greater_than_b":
            above.append((kwargs["column_A"], kwargs["column_B"]))
    for field in recipe.columns(settings.task):
        if field.name in columns:
            continue
        if field.name in ranges:
            columns[field.name] = random.uniform(*ranges[field.name], rows)
        elif field.name in sets:
            columns[field.name] = random.choice(sets[field.name], rows)
        else:
            pytest.fail(f"{name}: no expectation says what {field.name} is like")
    for high, low in above:
        columns[high], columns[low] = np.sort([columns[low], columns[high]], axis=0)[::-1]
    if "label" not in columns:
        target = recipe.target(settings.task)
        number = target.kind == "regression"
        columns["label"] = random.uniform(*ranges["label"], rows) if number else random.choice(target.names, rows)
    schema = recipes.schema(recipe, settings.task)
    table = pa.table({field.name: pa.array(columns[field.name]).cast(field.type) for field in schema})
    split = random.choice(["train", "test"], rows)
    return settings, table.append_column("split", pa.array(split, pa.string()))


def pictures(settings: params.Params, random: np.random.Generator, rows: int) -> dict[str, Any]:
    return {"image": [picture(random.integers(0, 256, (28, 28)).astype(np.uint8)) for _ in range(rows)]}


def picture(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def sentences(settings: params.Params, random: np.random.Generator, rows: int) -> dict[str, Any]:
    words = (
        ["房间", "很好", "早餐", "不错", "服务"]
        if settings.name == "hotel-reviews"
        else ["a", "dull", "film", "of", "wit"]
    )
    return {"text": [" ".join(random.choice(words, 12)) + f" {row}" for row in range(rows)]}


def windows(settings: params.Params, random: np.random.Generator, rows: int) -> dict[str, Any]:
    history, horizon = settings.task.history, settings.task.horizon
    times = np.datetime64("1985-01-01") + np.arange(rows)
    values = random.uniform(5, 25, (rows, history + horizon))
    return {
        "time": times.astype("datetime64[us]"),
        "history": values[:, :history].tolist(),
        "label": values[:, history:].tolist(),
    }


def recordings(settings: params.Params, random: np.random.Generator, rows: int) -> dict[str, Any]:
    return {"audio": [recording(random.normal(0, 0.1, random.integers(2000, 8000))) for _ in range(rows)]}


def recording(samples: np.ndarray, rate: int = 8000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, "PCM_16", format="WAV")
    return buffer.getvalue()


def pairs(settings: params.Params, random: np.random.Generator, rows: int) -> dict[str, Any]:
    return {
        "image": [None if row % 5 == 0 else each for row, each in enumerate(pictures(settings, random, rows)["image"])],
        "recording": [
            None if row % 5 == 1 else each for row, each in enumerate(recordings(settings, random, rows)["audio"])
        ],
    }


def smears(settings: params.Params, random: np.random.Generator, rows: int) -> dict[str, Any]:
    pixels = np.full((480, 640, 3), 170, np.uint8)
    images = []
    for _ in range(rows):
        pixels[:60, :60] = random.integers(100, 240, (60, 60, 3))
        images.append(picture(pixels))
    return {"image": images, "label": [[box(name, at / 4, 0.1) for at, name in enumerate(settings.task.labels)]] * rows}


def box(label: str, left: float, top: float, side: float = 0.1) -> dict[str, Any]:
    return {"label": label, "left": left, "top": top, "right": left + side, "bottom": top + side}


def strings(settings: params.Params, random: np.random.Generator, rows: int) -> dict[str, Any]:
    words = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    said = [" ".join(random.choice(words, 1 + row % 7)) for row in range(rows)]
    sounds = [recording(random.normal(0, 0.1, 4500 * (1 + row % 7) + row)) for row in range(rows)]
    speakers = random.choice(["george", "lucas", "nicolas", "theo", "yweweler"], rows)
    return {"audio": sounds, "label": said, "speaker": speakers}


MAKERS: dict[str, Callable[[params.Params, np.random.Generator, int], dict[str, Any]]] = {
    "audio": recordings,
    "detection": smears,
    "speech": strings,
    "series": windows,
    "images": pictures,
    "text": sentences,
    "multimodal": pairs,
}


def held(name: str, settings: params.Params, table: pa.Table, folder: Path, bad: float = 0.5) -> dict[str, Any]:
    """Validate a table by an example's expectations; fewer rows than of the real data will do."""
    text = (ROOT / "examples" / name / "expectations.yaml").read_text(encoding="utf-8")
    text = re.sub(r"(column: rows, min_value: )\d+", r"\g<1>100", text)
    text = re.sub(r"(column: fraction, min_value: )[\d.]+, max_value: [\d.]+", r"\g<1>0.001", text)
    (folder / "expectations.yaml").write_text(text, encoding="utf-8")
    write_dataset(folder / "data" / "a.parquet", settings, table)
    settings = settings.model_copy(update={"validate_": params.Validate(max_bad_fraction=bad)})
    with contextlib.chdir(folder):  # where what the stage keeps of files goes
        validate.run(settings, folder / "data", folder / "expectations.yaml", folder / "out")
    found: dict[str, Any] = read_json(folder / "out" / "summary.json")
    return found


COPIED = "copy of an earlier example"  # as a value: the first rows once more
# What the spoiled rows have in which column, and the reason for which they are to be set aside.
TRAPS: dict[str, list[tuple[str, Any, str]]] = {
    "income": [
        ("label", ">50K.", "unknown label"),  # the dot of the test file
        ("workclass", "?", "workclass unknown"),  # a missing value
        ("sex", " Male", "sex unknown"),  # the space after the comma
        ("age", 3.0, "age out of range"),
        ("id", COPIED, COPIED),  # rows of both files
    ],
    "credit-risk": [
        ("label", "2", "unknown label"),
        ("purpose", "A4", "purpose unknown"),  # of no code in german.names
        ("amount", None, "a value is missing"),
    ],
    "machine-failure": [
        ("Air temperature [K]", 25.0, "air temperature out of range"),  # degrees Celsius
        ("Torque [Nm]", None, "a value is missing"),
    ],
    "student-grades": [
        ("label", 67.0, "not a grade of 0 to 20"),  # a percentage
        ("famrel", 9.0, "famrel is not 1 to 5"),  # no answer
        ("paid", "", "paid is neither yes nor no"),
    ],
    "digits-seen-and-heard": [
        ("split", None, "split is missing"),
        ("image", picture(np.zeros((29, 28), np.uint8)), "the image is not 28 pixels high"),
        ("recording", recording(np.zeros(8000)), "silence"),
        ("recording", b"RIFF", "a modality cannot be read"),
        ("label", "ten", "unknown label"),
    ],
    "breast-cancer": [
        ("mean_area", 8999.0, "mean area above the worst"),  # columns that have changed places
        ("mean_area", float("nan"), "a number is not finite"),
    ],
    "mnist": [
        ("split", None, "split is missing"),
        ("image", picture(np.zeros((29, 28), np.uint8)), "wrong height"),
        ("image", picture(np.zeros((28, 28, 3), np.uint8)), "not grey"),
    ],
    "movie-reviews": [
        ("text", "two sentences that ran together " * 20, "not a sentence"),
        ("text", "un film d\ufffdj\ufffd vu .", "wrongly decoded text"),
        ("text", "Capital letters are words of their own .", "capital letters"),
        ("label", "pos", "unknown label"),
        ("id", COPIED, COPIED),
    ],
    "hotel-reviews": [
        ("text", "", "the text is blank"),
        ("text", "\ufffd\ufffd很好", "wrongly decoded text"),
        ("label", "1", "unknown label"),
        ("id", COPIED, COPIED),
    ],
    "temperatures": [
        ("history", [10.0, -40.0, *[12.0] * 363], "colder than Melbourne gets"),
        ("history", [50.0, 70.0, *[60.0] * 363], "hotter than Melbourne gets"),  # Fahrenheit
        ("history", [10.0] * 365, "all values of the history are the same"),
        ("history", [10.0, None, None, None, *[12.0] * 361], "too many values are missing"),
        ("time", dt.datetime(2090, 1, 1), "time out of range"),
    ],
    "sunspots": [
        ("history", [100.0, 355.0, *[200.0] * 262], "more sunspots than were ever seen"),  # of version 2.0
        ("history", [10.0, -1.0, *[12.0] * 262], "fewer than no sunspots"),
        ("history", [10.0, None, *[12.0] * 262], "a value is missing"),
        ("time", dt.datetime(1600, 1, 1), "time out of range"),
    ],
    "spoken-digits": [
        ("split", None, "split is missing"),
        ("speaker", "somebody", "unknown speaker"),
        ("audio", recording(np.full(4000, 0.2)), "silence"),
        ("audio", recording(np.sin(np.arange(80_000))), "too short or too long"),
        ("audio", recording(np.sin(np.arange(9000)), 16_000), "not 8 kHz"),
        ("audio", recording(np.tile(np.sin(np.arange(4000))[:, None], 2)), "not mono"),
        ("id", COPIED, COPIED),
    ],
    "connected-digits": [
        ("split", None, "split is missing"),
        ("speaker", "somebody", "unknown speaker"),
        ("label", "double nine", "other words than digits"),
        ("label", " ".join(["one"] * 8), "more than seven digits"),
        ("audio", recording(np.full(4000, 0.2)), "silence"),
        ("audio", recording(np.sin(np.arange(48_000))), "too short or too long"),
        ("audio", recording(np.sin(np.arange(16_000)), 16_000), "not 8 kHz"),
        ("id", COPIED, COPIED),
    ],
    "blood-cells": [
        ("split", None, "split is missing"),
        ("image", picture(np.zeros((481, 640, 3), np.uint8)), "the image is not 480 pixels high"),
        ("label", [box("WBC", 0.1, 0.1, 0.0)], "box of no area"),
        ("label", [box("WBC", 0.95, 0.1)], "box outside of the image"),
        ("label", [box("wbc", 0.1, 0.1)], "box of an unknown class"),
        ("label", [box("RBC", 0.1, 0.1), box("RBC", 0.1, 0.1)], "the same box twice"),
        ("label", [box("WBC", 0.1, 0.1, 0.8)], "a box too large for a cell"),
        ("label", [], "no box or too many"),
    ],
    "mnist-cnn": [("image", b"\x89PNG", "undecodable image"), ("id", COPIED, COPIED)],
}


def spoiled(table: pa.Table, traps: list[tuple[str, Any, str]]) -> pa.Table:
    """Spoil three rows of a table for each trap, each row once."""
    for number, (column, value, _) in enumerate(traps, 1):
        if value == COPIED:
            table = pa.concat_tables([table, table.slice(0, 3)])
            continue
        at = table.column_names.index(column)
        values = table[column].to_pylist()
        values[3 * number : 3 * number + 3] = [value] * 3
        table = table.set_column(at, column, pa.array(values, table.schema.field(column).type))
    return table


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.e2e
def test_expectations_set_aside_what_falls_into_a_trap_and_nothing_else(name: str, tmp_path: Path) -> None:
    settings, table = fabricated(name)
    found = held(name, settings, spoiled(table, TRAPS[name]), tmp_path)
    assert found["set_aside"] == 3 * len(TRAPS[name])
    for *_, reason in TRAPS[name]:
        assert found["reasons"].get(reason, 0) >= 3, reason


@pytest.mark.e2e
def test_leaking_columns_that_were_left_in_stop_the_run(tmp_path: Path) -> None:
    settings, table = fabricated("machine-failure")
    task = settings.task.model_copy(update={"numeric": [*settings.task.numeric, "TWF"]})
    leaking = table.add_column(0, "TWF", pa.array((table["label"].to_numpy() == "fails").astype(float)))
    with pytest.raises(SlipwayError, match="TWF, HDF, PWF, OSF and RNF are kinds of the label"):
        held("machine-failure", settings.model_copy(update={"task": task}), leaking, tmp_path)


@pytest.mark.e2e
def test_too_many_spoiled_rows_stop_the_run(tmp_path: Path) -> None:
    settings, table = fabricated("income")
    dotted = [f"{label}." for label in table["label"].to_pylist()]
    at = table.column_names.index("label")
    with pytest.raises(SlipwayError, match="label values must belong to this set"):
        held("income", settings, table.set_column(at, "label", pa.array(dotted)), tmp_path, bad=0.01)


def test_a_file_read_in_the_wrong_encoding_stops_the_run(tmp_path: Path) -> None:
    settings, table = fabricated("hotel-reviews")
    wrong = [text.encode("gb18030").decode("latin-1") for text in table["text"].to_pylist()]  # no byte is wrong in it
    with pytest.raises(SlipwayError, match="script values must belong to this set: han"):
        held("hotel-reviews", settings, table.set_column(0, "text", pa.array(wrong)), tmp_path, bad=0.01)


def test_an_odd_line_of_a_series_is_named(tmp_path: Path) -> None:
    """Older copies of the temperatures hold `?0.2` for 0.2, and end in a footer."""
    days = [f"{np.datetime64('1981-01-01') + day},{10 + day % 7}.5" for day in range(400)]
    file = tmp_path / "daily-min-temperatures.csv"
    words = [word.replace("{files}", str(tmp_path)) for word in example.load("temperatures").ingest]
    options = vars(parser().parse_args(["ingest", *words]))
    for common in ("stage", "data", "params", "name", "replace", "keep_params"):
        del options[common]
    read = commands()[options.pop("source")].read
    file.write_text("\n".join(["Date,Temp", *days, "", "Daily minimum temperatures in Melbourne"]), encoding="utf-8")
    assert sum(len(part) for part in read(**options).tables) == 400 - 365 - 7 + 1
    days[9] = "1981-01-10,?0.2"
    file.write_text("\n".join(["Date,Temp", *days]), encoding="utf-8")
    with pytest.raises(SlipwayError, match=r"line 11: Temp is '\?0\.2'"):
        read(**options)


# Where the files come from.


class Server(http.server.BaseHTTPRequestHandler):
    """Answers by the first part of the path: good, short, missing."""

    content: bytes

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        if kind == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content[: 10 if kind == "short" else None])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], str]]:
    """Serve a content on loopback; its address."""
    servers = []

    def _serve(content: bytes) -> str:
        handler = type("Handler", (Server,), {"content": content})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=functools.partial(server.serve_forever, 0.01), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield _serve
    for server in servers:
        server.shutdown()
        server.server_close()


CONTENT = b"age,label\n" * 30_000


def test_a_file_is_downloaded_whole(serve: Callable[[bytes], str], tmp_path: Path) -> None:
    address = serve(CONTENT)
    path = tmp_path / "there" / "file.csv"
    download.fetch(f"{address}/good/file.csv", path, hashlib.sha256(CONTENT).hexdigest())
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("kind", "said"), [("short", "stopped after 10 of 300,000 bytes"), ("missing", "404"), ("good", "SHA-256")]
)
def test_a_download_that_fails_says_why_and_leaves_nothing(
    serve: Callable[[bytes], str], tmp_path: Path, kind: str, said: str
) -> None:
    with pytest.raises(SlipwayError, match=said):
        download.fetch(f"{serve(CONTENT)}/{kind}/file.csv", tmp_path / "file.csv", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_leaves_what_was_there(serve: Callable[[bytes], str], tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_bytes(b"of before")
    with pytest.raises(SlipwayError):
        download.fetch(f"{serve(CONTENT)}/short/file.csv", tmp_path / "file.csv", "0" * 64)
    assert (tmp_path / "file.csv").read_bytes() == b"of before"


def test_an_address_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match=r"127\.0\.0\.1:9/x\.csv: cannot be reached"):
        download.fetch("http://127.0.0.1:9/x.csv", tmp_path / "x.csv", "0" * 64)


def test_the_digest_of_a_gzip_file_is_that_of_its_content(tmp_path: Path) -> None:
    expected = hashlib.sha256(CONTENT).hexdigest()
    for level in (1, 9):  # the wrapping differs between mirrors
        (tmp_path / "a.gz").write_bytes(gzip.compress(CONTENT, level))
        assert download.digest(tmp_path / "a.gz") == expected
    (tmp_path / "a.gz").write_bytes(CONTENT)  # unpacked on the way
    assert download.digest(tmp_path / "a.gz") == expected
    (tmp_path / "a.gz").write_bytes(gzip.compress(CONTENT)[:-20])
    with pytest.raises(SlipwayError, match="damaged"):
        download.check(tmp_path / "a.gz", expected)


def test_the_digest_of_an_archive_is_that_of_its_members(tmp_path: Path) -> None:
    def pack(folder: str, *names: str) -> str:
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
            for name in names:
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size = len(name)
                archive.addfile(member, io.BytesIO(name.encode()))
        return download.digest(tmp_path / "a.tar.gz", "*.wav")

    lines = "".join(f"{hashlib.sha256(n.encode()).hexdigest()}  {n}\n" for n in ("a.wav", "b.wav"))
    expected = hashlib.sha256(lines.encode()).hexdigest()  # as `sha256sum *.wav | sha256sum` says
    assert pack("recordings", "b.wav", "a.wav") == expected
    assert pack("dataset-1.0/recordings", "a.wav", "README.md", "b.wav") == expected
    assert pack("recordings", "a.wav") != expected


def test_offline_an_example_says_which_files_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = example.File(address="http://127.0.0.1:9/some.csv", sha256="0" * 64)
    some = example.Example(title="t", ingest=["table"], files={"some.csv": nowhere})
    monkeypatch.setattr(example, "DOWNLOADS", tmp_path / "files")
    for folder in (None, tmp_path):
        with pytest.raises(SlipwayError) as raised:
            example.files("some", some, folder)
        assert "make example NAME=some FROM=" in str(raised.value)
        assert "some.csv  from http://127.0.0.1:9/some.csv" in str(raised.value)


def test_files_are_found_in_the_folder_or_in_one_below_and_checked(tmp_path: Path) -> None:
    file = example.File(address="http://127.0.0.1:9/a.csv", sha256=hashlib.sha256(b"a").hexdigest())
    some = example.Example(title="t", ingest=["table"], files={"a.csv": file})
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.csv").write_bytes(b"a")
    assert example.files("some", some, tmp_path) == tmp_path / "below"
    (tmp_path / "a.csv").write_bytes(b"another")
    with pytest.raises(SlipwayError, match="not the expected file"):
        example.files("some", some, tmp_path)


def test_files_in_several_folders_are_linked_into_one(tmp_path: Path) -> None:
    files = {
        f"{name}.csv": example.File(address="http://127.0.0.1:9/", sha256=hashlib.sha256(name.encode()).hexdigest())
        for name in ("a", "b")
    }
    some = example.Example(title="t", ingest=["table"], files=files)
    for name in ("a", "b"):
        (tmp_path / "from" / name).mkdir(parents=True)
        (tmp_path / "from" / name / f"{name}.csv").write_text(name)
    for _ in range(2):
        found = example.files("some", some, tmp_path / "from", tmp_path)
        assert {path.name: path.read_text() for path in found.iterdir()} == {"a.csv": "a", "b.csv": "b"}
    (tmp_path / "from/b/b.csv").unlink()
    with pytest.raises(SlipwayError, match=r"from: no file b\.csv"):
        example.files("some", some, tmp_path / "from", tmp_path)


@pytest.mark.parametrize("name", [name for name in NAMES if (ROOT / "examples" / name / "example.yaml").exists()])
def test_the_files_that_lie_here_are_those_of_the_example(name: str) -> None:
    if not DATASETS.is_dir():
        pytest.skip(f"no real data in {DATASETS}")
    example.files(name, example.load(name), DATASETS)


def test_an_unknown_example_names_the_nearest_and_lists_all() -> None:
    with pytest.raises(SlipwayError) as raised:
        example.load("incone")
    assert "did you mean income?" in str(raised.value)
    assert all(f"  {name} " in str(raised.value) for name in NAMES)
    with pytest.raises(SlipwayError, match=r"^no example 'zzz'\nexamples") as raised:
        example.load("zzz")
    assert all(str(raised.value).count(f"\n  {name} ") == 1 for name in NAMES)
    with pytest.raises(SlipwayError, match=r"did you mean machine-failure\?"):
        example.load("machine")  # cut short


def test_a_workspace_uses_the_store_of_its_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    place = tmp_path / ".workspaces" / "income"
    (place / ".dvc" / "tmp" / "exps" / "x").mkdir(parents=True)
    for folder in (tmp_path, place, place / ".dvc" / "tmp" / "exps" / "x"):
        monkeypatch.chdir(folder)
        assert connection.root() == tmp_path
    (tmp_path / ".dvc").rmdir()  # a folder that happens to be called so
    monkeypatch.chdir(place)
    assert connection.root() == place
