"""Files by their content, whatever they are called: compressed, typed, with lines before the header, or refused."""

import bz2
import gzip
import io
import json
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components import SlipwayError
from components.data import csv_reader, csv_start, file_kinds
from components.data.csv_reader import Reading
from components.recipes.images.source import SOURCES as IMAGES
from components.recipes.series.source import series
from components.recipes.tabular.source import tabular
from components.recipes.text.source import text
from components.stages import predict

ROWS = [{"x": number + 0.5, "t": f"word {number}", "y": "ab"[number % 2]} for number in range(6)]
TEXT = "x,t,y\n" + "".join(f"{row['x']},{row['t']},{row['y']}\n" for row in ROWS)


def zipped(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/", 1) if name.startswith("MAC") else name, data)
    return content.getvalue()


def parquet() -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), content)
    return content.getvalue()


def feather() -> bytes:
    content = io.BytesIO()
    pa.feather.write_feather(pa.Table.from_pylist(ROWS), content)
    return content.getvalue()


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
READ: dict[str, Callable[[], bytes]] = {
    "a.csv": TEXT.encode,
    "A.CSV": TEXT.encode,
    "a.csv.gz": lambda: gzip.compress(TEXT.encode()),
    "a.gz": lambda: gzip.compress(TEXT.encode()),
    "b.csv": lambda: gzip.compress(TEXT.encode()),
    "a.csv.bz2": lambda: bz2.compress(TEXT.encode()),
    "a.csv.xz": lambda: lzma.compress(TEXT.encode()),
    "a.zip": lambda: zipped(**{"some.csv": TEXT.encode(), "__MACOSX/._some.csv": b"?", ".DS_Store": b"?"}),
    "A.CSV.ZIP": lambda: zipped(**{"folder/some.csv": TEXT.encode()}),
    "a.PARQUET": parquet,
    "c.csv": parquet,
    "a.parquet": TEXT.encode,
    "a.parquet.gz": lambda: gzip.compress(parquet()),
    "a.feather": feather,
    "a.jsonl": lambda: LINES,
    "a.jsonl.gz": lambda: gzip.compress(LINES),
    "b.txt": lambda: LINES,
    "a.json": lambda: json.dumps(ROWS).encode(),
    "bom.csv.gz": lambda: gzip.compress(b"\xef\xbb\xbf" + TEXT.encode()),
}


@pytest.mark.parametrize("prefix", [b"", b"caf\xe9-"], ids=["", "not UTF-8"])
@pytest.mark.parametrize("name", READ)
def test_tables_and_texts_are_read_whatever_the_file_is(tmp_path: Path, name: str, prefix: bytes) -> None:
    path = tmp_path / os.fsdecode(prefix + name.encode())
    path.write_bytes(READ[name]())
    found = pa.concat_tables(tabular(path, ["y"]).tables)
    assert found["x"].to_pylist() == [row["x"] for row in ROWS]
    assert found["label"].to_pylist() == [row["y"] for row in ROWS]
    words = pa.concat_tables(text(path, "t", "y").tables)
    assert words["text"].to_pylist() == [row["t"] for row in ROWS]
    assert "." not in tabular(path, ["y"]).name and not tabular(path, ["y"]).name.endswith(("csv", "gz", "zip"))


@pytest.mark.parametrize("name", ["a.csv.gz", "a.PARQUET", "a.jsonl", "a.zip"])
def test_series_are_read_whatever_the_file_is(tmp_path: Path, name: str) -> None:
    rows = [{"t": f"2020-01-{day:02}", "v": float(day)} for day in range(1, 10)]
    plain = "t,v\n" + "".join(f"{row['t']},{row['v']}\n" for row in rows)
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), content)
    path = tmp_path / name
    path.write_bytes(
        {
            "a.csv.gz": gzip.compress(plain.encode()),
            "a.PARQUET": content.getvalue(),
            "a.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
            "a.zip": zipped(**{"some.csv": plain.encode()}),
        }[name]
    )
    given: dict[str, Any] = dict.fromkeys(("group", "season", "step", "form"))
    source = series(path, time="t", value=["v"], history=3, horizon=2, every=1, **given)
    assert sum(len(part) for part in source.tables) == 5


REFUSED = {
    "a.xlsx": (
        zipped(**{"[Content_Types].xml": b"<", "xl/workbook.xml": b"<"}),
        "is an Excel or .* workbook: save the",
    ),
    "a.csv": (zipped(**{"[Content_Types].xml": b"<"}), "is an Excel or .* workbook: save the sheet as CSV"),
    "a.ods": (zipped(mimetype=b"application/vnd.oasis"), "is an Excel or LibreOffice workbook"),
    "a.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "is an Excel workbook .*: save the sheet as CSV"),
    "two.zip": (zipped(**{"a.csv": b"x", "b.csv": b"y"}), r"found 2 \('a.csv', 'b.csv'\): unpack the one"),
    "none.zip": (zipped(), "cannot be unpacked|found 0|not a table|no column"),
    "half.csv.gz": (gzip.compress(TEXT.encode() * 99)[:100], "half.csv.gz: cannot be unpacked"),
    "a.tar.gz": (gzip.compress(bytes(257) + b"ustar" + bytes(300)), "is a tar archive"),
    "a.pdf": (b"%PDF-1.7", "is a PDF document"),
    "a.html": (b"<!DOCTYPE html><table>", "is a web page"),
    "a.sqlite": (b"SQLite format 3\0", "is an SQLite database"),
    "old.feather": (b"FEA1", "is a Feather file of the old version 1"),
    "a.zst": (b"\x28\xb5\x2f\xfd", "is compressed with Zstandard"),
    "bad.parquet": (b"PAR1 and no more", "bad.parquet: cannot be read"),
    "bad.jsonl": (b"{", "bad.jsonl: line 1, column 2: is not JSON"),
    "bad.json": (b"[1, 2]", "bad.json: record 1: expected an object such as"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_says_what_it_is_and_what_to_do(tmp_path: Path, name: str) -> None:
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SlipwayError, match=message) as caught:
        tabular(tmp_path / name, ["y"])
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("before", "mark", "told"),
    [
        ("sep=;\n", ";", None),
        ('"sep=;"\r\n', ";", None),
        ("\ufeffsep=;\n", ";", None),
        ("Report of 2024\n", ",", "left out 1 line before the header: 'Report of 2024'"),
        ("Report of 2024\n\n", ",", "left out 2 lines before the header: 'Report of 2024'"),
        ("Report of 2024,,\nby me,,\n,,\n", ",", "left out 3 lines before the header"),
        ("# made by a tool\n# v1, of today, here\n", ",", "left out 2 lines before the header: '# made by a tool'"),
        ("\n\n", ",", None),
    ],
)
def test_lines_before_the_header_are_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, mark: str, told: str | None
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(before + TEXT.replace(",", mark), encoding="utf-8", newline="")
    source = tabular(path, ["y"])
    assert pa.concat_tables(source.tables)["x"].to_pylist() == [row["x"] for row in ROWS]
    said = capsys.readouterr().out
    assert ("before the header" in said) == (told is not None)
    assert told is None or told in said
    (_, head), (line, first), *_ = csv_reader.rows(path, Reading())
    assert (head, first[1]) == (["x", "t", "y"], "word 0")
    assert line == before.count("\n") + 2


def test_a_header_that_looks_like_a_comment_or_a_title_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for content, expected in {
        "#x,t,y\n1,a,b\n2,c,d\n": ["#x", "t", "y"],
        "x,,\n1,2,3\n4,5,6\n": ["1", "2", "3"],  # one name of three columns is a title: told
        "x,y\n1,a\n": ["x", "y"],
        "x\n1\n2\n": ["x"],
        "x,y,\n1,2,\n": ["x", "y", "Unnamed: 2"],
        "a b\nx,y\n1,2\n": ["x", "y"],
    }.items():
        path.write_text(content)
        assert list(csv_start.names(path, Reading())) == expected
    path.write_text("Title\nx,y\n1,2\n3,4\n")
    assert list(csv_start.names(path, Reading(skip=0, delimiter=","))) == ["Title"]
    assert list(csv_start.names(path, Reading(skip=2))) == ["1", "2"]


def test_class_folders_whose_names_are_not_utf_8_are_written_out(tmp_path: Path) -> None:
    for name in (b"caf\xe9", b"tea"):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        (folder / "a.txt").write_text("words")
        (folder / os.fsdecode(b"\xff.txt")).write_text("more words")
        Image.new("L", (2, 2)).save(folder / "a.png")
    source = text(tmp_path)
    assert source.settings["labels"] == [r"caf\xe9", "tea"]
    assert sorted(pa.concat_tables(source.tables)["label"].to_pylist()) == [r"caf\xe9"] * 2 + ["tea"] * 2
    pictures = IMAGES["images"].read(folder=tmp_path)
    assert pictures.settings["labels"] == [r"caf\xe9", "tea"]
    assert pa.concat_tables(pictures.tables)["label"].to_pylist() == [r"caf\xe9", "tea"]


def test_what_is_unpacked_is_read_anew_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"x,y\n1,a\n"))
    assert csv_reader.whole(path, Reading()).num_rows == 1
    path.write_bytes(gzip.compress(b"x,y\n1,a\n22,b\n"))
    assert csv_reader.whole(path, Reading()).num_rows == 2
    assert file_kinds.content(path) == file_kinds.content(path)


@pytest.mark.parametrize("name", ["t.parquet", "t.feather"])
def test_two_columns_of_one_name_are_refused_by_all_that_read_the_file(tmp_path: Path, name: str) -> None:
    table = pa.table([["a", "b"], [1.0, 2.0], [3.0, 4.0], ["2024", "2025"]], ["y", "x", "x", "t"])
    file = tmp_path / name
    pq.write_table(table, file) if name == "t.parquet" else pa.feather.write_feather(table, file)
    message = r"t\.\w+: two columns are named 'x'; rename one of them"
    given: dict[str, Any] = dict.fromkeys(("group", "season", "step", "form"))
    with pytest.raises(SlipwayError, match=message):
        tabular(file, ["y"])
    with pytest.raises(SlipwayError, match=message):
        text(file, "t", "y")
    with pytest.raises(SlipwayError, match=message):
        series(file, time="t", value=["x"], history=1, horizon=1, every=1, **given)
    with pytest.raises(SlipwayError, match=message):
        predict._read(file, {"recipe": "tabular", "params": {}, "inputs": {"x": "double"}})
