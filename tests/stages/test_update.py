"""New data by itself: files that come into a folder or a bucket, rows of a query, another DVC repository."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from dvc_data.hashfile import state
from PIL import Image
from ruamel.yaml import YAML

from components import SlipwayError, params
from components.__main__ import main
from components.data import dataset, folder, versions
from components.sources import files as listing
from components.stages import update
from tests import fabricate, repositories
from tests.flowing import GIT, command

PARAMS = "name: sales\nrecipe: images\nimages:\n  height: 8\n  width: 8\n"
INBOX = {"kind": "files", "path": "inbox", "ingest": "table --label y", "settle": 0}
Said = pytest.CaptureFixture[str]


def source(**settings: Any) -> None:
    """Write the section `source` of params.yaml."""
    content = YAML().load(Path("params.yaml"))
    content["source"] = settings
    YAML().dump(content, Path("params.yaml"))


def arrive(name: str, *rows: str, header: str = "x,c,y", folder: str = "inbox") -> Path:
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def some(start: int, count: int = 6) -> list[str]:
    return [f"{n}.5,{'red' if n % 3 else 'blue'},{'yes' if n % 2 else 'no'}" for n in range(start, start + count)]


def rows(data: str = "data") -> int:
    return sum(pq.read_metadata(path).num_rows for path in Path(data).glob("*.parquet"))


def version() -> str:
    return versions.recorded(Path("data"))


@pytest.fixture
def inbox(repo: Path, capsys: Said) -> Path:
    """A dataset of one file of a folder: six rows."""
    source(**INBOX)
    arrive("a.csv", *some(0))
    update.run()
    capsys.readouterr()
    return repo / "inbox"


@pytest.mark.usefixtures("repo")
def test_the_first_update_makes_the_dataset_of_all_files(capsys: Said) -> None:
    source(**INBOX)
    arrive("a.csv", *some(0))
    arrive("2026/b.csv", *some(6))
    assert main(["update"]) == 0
    said = capsys.readouterr().out
    assert "update: 12 new rows from 2 files\n" in said
    assert "data.dvc; to keep it: git add data.dvc params.yaml" in said
    assert rows() == 12
    assert params.load().task.categorical == ["c"]
    assert versions.current(Path("data"))
    assert sorted(path.name for path in Path("data").iterdir()) == [
        ".sales-2.source.json",
        ".sales.source.json",
        "sales-2.parquet",
        "sales.parquet",
    ]


@pytest.mark.usefixtures("inbox")
def test_what_is_new_becomes_one_more_file_and_a_new_version(capsys: Said) -> None:
    before, kept = version(), Path("data/sales.parquet").read_bytes()
    arrive("b.csv", *some(6))
    arrive("c.csv", *some(12, 3), *some(6, 1))
    assert update.run() == 9
    assert "update: 9 new rows from 2 files (1 more were known)" in capsys.readouterr().out
    assert version() != before
    assert Path("data/sales.parquet").read_bytes() == kept
    assert rows() == 15
    assert pq.read_schema("data/sales-2.parquet").metadata is None


@pytest.mark.usefixtures("inbox")
def test_the_same_twice_changes_nothing_and_is_not_read_again(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    before = version()
    os.utime("inbox/a.csv", (1, 1))  # touched
    Path("inbox/copy.csv").write_bytes(Path("inbox/a.csv").read_bytes())
    assert main(["update"]) == 0
    assert "update: nothing new in 2 files that came or changed\n" in capsys.readouterr().out

    def unread(*_: Any) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(listing, "fetched", unread)
    assert main(["update"]) == 0
    assert capsys.readouterr().out == "update: nothing new\n"
    assert version() == before
    assert len(list(Path("data").iterdir())) == 2


@pytest.mark.usefixtures("inbox")
def test_a_dry_run_says_what_would_be_read_and_changes_nothing(capsys: Said) -> None:
    before = version()
    arrive("b.csv", *some(6))
    assert main(["update", "--dry-run"]) == 0
    assert capsys.readouterr().out == "update: would read 1 file, 0.0 MB: b.csv\n"
    assert (version(), rows()) == (before, 6)


@pytest.mark.usefixtures("inbox")
def test_a_file_that_is_being_written_is_left_for_the_next_time(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    source(**INBOX | {"settle": 60})
    arrive("b.csv", *some(6))
    arrive("c.csv.part", *some(12))
    arrive(".hidden.csv", "no")
    old = arrive("d.csv", *some(20))
    os.utime(old, (1e9, 1e9))
    assert update.run() == 6
    said = capsys.readouterr().out
    assert re.search(r"left for the next time: b.csv: written \d+ seconds ago \(source.settle\)", said)
    assert "left for the next time: c.csv.part: its name says that it is not complete" in said
    assert ".hidden" not in said
    os.utime("inbox/b.csv", (1e9, 1e9))
    listed = listing.listing

    def grows(*arguments: Any) -> Any:
        found = listed(*arguments)
        with Path("inbox/b.csv").open("a") as file:
            file.write("9,red,yes\n")
        return found

    monkeypatch.setattr(listing, "listing", grows)
    assert update.run() == 0
    assert "left for the next time: b.csv: it changed, or went, while it was read" in capsys.readouterr().out


@pytest.mark.usefixtures("inbox")
def test_a_bad_file_is_set_aside_and_the_others_are_taken(capsys: Said) -> None:
    arrive("b.csv", *some(6))
    arrive("bad.csv", "1,yes", header="x,y")
    arrive("cut.csv", "1,red,yes", "1,red")
    assert main(["update"]) == 0
    said = capsys.readouterr().out
    assert "update: 6 new rows from 1 file" in said
    assert "warning: set aside: bad.csv: bad: column c is missing, but the dataset has it" in said
    assert "warning: set aside: cut.csv: cut.csv: cannot be read" in said
    assert str(Path("inbox").resolve().parent) not in said
    assert "slipway-" not in said
    assert main(["update"]) == 0
    said = capsys.readouterr().out
    assert "update: nothing new\nset aside before: bad.csv: bad: column c is missing" in said
    assert said.endswith("set aside before: `slipway update --retry` reads them once more\n")
    assert main(["update", "--retry"]) == 0
    assert "warning: set aside: bad.csv" in capsys.readouterr().out
    Path("inbox/cut.csv").unlink()
    assert main(["update"]) == 0
    said = capsys.readouterr().out
    assert "set aside before: bad.csv" in said and "cut.csv" not in said  # somebody saw to it
    arrive("bad.csv", *some(30, 2))
    arrive("e.csv", "1,yes", header="x,y")  # bad, and nothing else new
    assert update.run() == 2
    assert "update: changed" not in capsys.readouterr().out


@pytest.mark.usefixtures("inbox")
def test_only_bad_files_leave_the_data_as_it_is_and_are_remembered(capsys: Said) -> None:
    before = version()
    arrive("bad.csv", "1,yes", header="x,y")
    assert update.run() == 0
    assert "warning: set aside: bad.csv" in capsys.readouterr().out
    assert version() == before
    assert update.run() == 0
    assert "warning" not in capsys.readouterr().out
    source(**INBOX | {"ingest": "table --label y --drop c"})  # read otherwise: it is tried again
    assert update.run() == 0
    assert "warning: set aside: bad.csv" in capsys.readouterr().out


@pytest.mark.usefixtures("inbox")
def test_a_changed_file_adds_the_rows_that_are_new_and_tells_of_those_that_stay(capsys: Said) -> None:
    replaces = "update: a dataset only grows: `slipway update --replace` takes out what was there before\n"
    arrive("a.csv", *some(0, 6), "98,red,no")  # it grew
    assert update.run() == 1
    said = capsys.readouterr().out
    assert "update: changed since it was taken: a.csv: 1 new rows, 6 as before\n" in said and replaces not in said
    arrive("a.csv", *some(0, 5), "99,red,no", "100,red,yes")  # corrected in place
    os.utime("inbox/a.csv", (1, 1))
    assert update.run() == 2
    told = "update: changed since it was taken: a.csv: 2 new rows, 5 as before; 2 rows as they were before stay in the "
    assert f"{told}dataset\n{replaces}" in capsys.readouterr().out
    Path("inbox/a.csv").rename("inbox/b.csv")  # of the same content: its rows are known still
    update.run()
    arrive("b.csv", *some(0, 4))
    assert update.run() == 0
    assert "b.csv: 0 new rows, 4 as before; 3 rows as they were before stay in the dataset\n" in capsys.readouterr().out
    local = Path(".dvc/tmp/slipway-source.json")
    local.write_text(re.sub(r'"rows": \d+', '"rows": null', local.read_text()))  # of an earlier version of Slipway
    arrive("b.csv", *some(0, 3))
    update.run()
    assert "3 as before; rows that it has no more stay in the dataset\n" in capsys.readouterr().out


@pytest.mark.usefixtures("inbox")
def test_labels_that_look_like_those_there_are_set_aside_and_new_ones_are_taken(capsys: Said) -> None:
    arrive("b.csv", "50,red,Yes", "51,red,NO", "52,blue,yes")
    arrive("c.csv", *some(6), "60,red, no ")  # blanks are joined
    assert main(["update"]) == 0
    said = capsys.readouterr().out
    assert "update: 7 new rows from 1 file\n" in said
    why = "labels that look like those of the dataset would be classes of their own: 'NO' beside 'no', 'Yes' beside "
    assert f"warning: set aside: b.csv: {why}'yes'; correct the file" in said
    assert "add them to tabular.labels in params.yaml, then `slipway update --retry`\n" in said
    assert "new label" not in said and params.load().task.labels == ["no", "yes"]
    arrive("d.csv", "70,red,maybe")
    assert update.run() == 1
    assert "warning: d.csv: new label maybe" in capsys.readouterr().out
    content = YAML().load(Path("params.yaml"))
    content["tabular"]["labels"] += ["Yes", "NO"]
    YAML().dump(content, Path("params.yaml"))
    assert update.run(retry=True) == 3
    assert params.load().task.labels == ["no", "yes", "maybe", "Yes", "NO"]
    assert rows() == 17


def test_a_folder_whose_name_looks_like_a_class_is_set_aside(repo: Path, capsys: Said) -> None:
    source(**INBOX | {"ingest": "images"})

    def picture(path: str, number: int) -> None:
        place = repo / "inbox" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(place)

    for number, label in enumerate(["cat", "cat", "dog", "dog"]):
        picture(f"{label}/{number}.png", 10 * number)
    update.run()
    picture("Cat/5.png", 50)
    picture("dog/6.png", 60)
    assert update.run() == 1
    said = capsys.readouterr().out
    assert "warning: set aside: Cat/5.png: labels that look like those of the dataset" in said
    assert params.load().task.labels == ["cat", "dog"]
    picture("dog/6.png", 70)
    assert update.run() == 1
    assert (
        "changed since it was taken: dog/6.png; as it was before, it stays in the dataset\n" in capsys.readouterr().out
    )


@pytest.mark.usefixtures("inbox")
def test_replacing_changes_no_setting_that_a_person_may_have_chosen(capsys: Said) -> None:
    tuned: dict[str, Any] = {
        "name": "Tuned_by_hand",
        "train": {"dropout": 0.15, "epochs": 7},
        "network": {"model": "mlp", "hidden": [8]},
        "register": {"minimum": {"accuracy": 0.6}, "maximum": {"size_mb": 5}},
        "validate": {"max_bad_fraction": 0.2},
    }
    content = YAML().load(Path("params.yaml"))
    YAML().dump(content | tuned, Path("params.yaml"))
    late = arrive("b.csv", "50,red,maybe")
    update.run()
    late.unlink()
    arrive("c.csv", *some(6))
    capsys.readouterr()
    assert update.run(replace=True) == 12
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("params.yaml: ")]
    assert said == ["params.yaml: tabular.labels: ['no', 'yes', 'maybe'] -> ['no', 'yes']"]
    content = YAML(typ="safe").load(Path("params.yaml"))
    assert {name: content[name] for name in tuned} == tuned
    arrive("a.csv", *[row.replace("yes", "ja").replace("no", "nein") for row in some(0)])
    Path("inbox/c.csv").unlink()
    assert update.run(replace=True) == 6  # other labels, and the same model
    content = YAML(typ="safe").load(Path("params.yaml"))
    assert {name: content[name] for name in tuned} == tuned
    source(**INBOX | {"ingest": "table --label x"})  # another problem: as for a new dataset
    assert update.run(replace=True) == 6
    assert params.load().train.dropout == 0.1


@pytest.mark.usefixtures("repo")
def test_settings_are_drafted_from_the_rows_of_all_files(capsys: Said) -> None:
    source(**INBOX)
    arrive("a.csv", *some(0, 600))
    arrive("b.csv", *some(600, 4399))
    arrive("c.csv", "1,red,yes", *[f"{n}.25,red," for n in range(1000)])  # a sixth without a label
    arrive("d.csv", "1", header="z")
    update.run()
    said = capsys.readouterr().out
    assert "1,000 of 6,000 rows (16.7%) have no label" in said
    text = Path("params.yaml").read_text()
    assert re.search(r"batch_size: 128 +# 30 batches in an epoch of about 3,840 training examples\n", text), text
    assert "train.batch_size: 32 -> 128  # 30 batches" in said
    assert params.load().validate_.max_bad_fraction == 0.2


def test_with_a_key_corrected_rows_are_told_and_repeated_content_counts(repo: Path, capsys: Said) -> None:
    source(**INBOX | {"ingest": "table --label y --key order"})
    arrive("a.csv", "1,5,a,yes", "2,6,b,no", "3,5,a,yes", header="order,x,c,y")
    update.run()
    assert rows() == 3
    arrive("b.csv", "4,5,a,yes", "2,7,b,no", "1,5,a,yes", header="order,x,c,y")
    assert update.run() == 2
    assert "update: 2 new rows from 1 file (1 more were known); 1 of them corrections\n" in capsys.readouterr().out
    assert "order" not in str(params.load().task)
    arrive("c.csv", "2,7,b,no", "2,6,b,no", header="order,x,c,y")  # both are there
    assert update.run() == 0


def test_late_rows_are_told_where_time_splits(repo: Path, capsys: Said) -> None:
    source(**INBOX | {"ingest": "table --label y --split-by time=day"})
    arrive("a.csv", "1,2026-01-01,a", "2,2026-01-04,b", "2,2026-01-05,b", header="x,day,y")
    update.run()
    arrive("b.csv", "3,2026-01-03,a", "4,2026-01-09,b", header="x,day,y")
    assert update.run() == 2
    assert "update: 2 new rows from 1 file; 1 of them late\n" in capsys.readouterr().out


@pytest.mark.usefixtures("inbox")
def test_going_back_to_an_older_version_goes_back_with_what_was_taken(capsys: Said) -> None:
    old = Path("data.dvc").read_text()
    arrive("b.csv", *some(6))
    update.run()
    Path("data.dvc").write_text(old)
    command(Path(), sys.executable, "-m", "dvc", "checkout", "-q", "--force", "data.dvc")
    assert rows() == 6
    assert update.run() == 6
    assert rows() == 12


@pytest.mark.usefixtures("inbox")
def test_a_dataset_that_was_not_pulled_is_pulled_first(tmp_path: Path) -> None:
    shutil.rmtree("data")
    arrive("b.csv", *some(6))
    assert update.run() == 6
    assert rows() == 12


@pytest.mark.usefixtures("inbox")
def test_a_full_disk_is_said_and_the_update_after_it_brings_all(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "State", repositories.State)  # open, its databases still had room
    before = version()
    arrive("b.csv", *some(6, 200))
    for size in (0, 1000, 4000):  # DVC's notes, the copy of the file, its rows
        with fabricate.no_room(size):
            assert main(["update"]) == 1
        said = capsys.readouterr().err
        sqlite = "error: SQLite: disk I/O error; free some space and run it again\n"
        assert said == sqlite or "File too large; raise the limit on the size of a file (`ulimit -f`) and" in said
        assert "None" not in said
        assert (version(), rows()) == (before, 6)
    assert main(["update"]) == 0
    assert rows() == 206
    assert versions.current(Path("data"))
    assert list(Path().glob(".*.tmp")) == []


@pytest.mark.e2e
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.usefixtures("inbox")
def test_killed_half_way_the_next_update_completes_it(moment: str, capsys: Said) -> None:
    before = version()
    arrive("b.csv", *some(6))
    arrive("c.csv", *some(12))
    code = (
        "import os, signal\nfrom components import files\nfrom components.stages import update\n"
        f"real = files._exchanged\ndef kill(*names):\n    {'real(*names)' if moment == 'after' else ''}\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\nfiles._exchanged = kill\nupdate.run()\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(root)}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert version() == before
    assert rows() == (6 if moment == "before" else 18)
    update.run()
    assert "update: nothing new" in capsys.readouterr().out or moment == "before"
    assert rows() == 18
    assert versions.current(Path("data"))
    assert sorted(path.name for path in Path().glob(".*.tmp")) == []


def test_new_pictures_of_a_bucket_come_with_their_classes(repo: Path, capsys: Said) -> None:
    import fsspec

    Path("params.yaml").write_text("name: pets\nrecipe: images\nimages:\n")
    bucket = fsspec.filesystem("memory")
    random = np.random.default_rng(1)

    def put(label: str, number: int) -> None:
        with bucket.open(f"/pets/{label}/{number}.png", "wb") as file:
            Image.fromarray(random.integers(0, 255, (8, 8)).astype(np.uint8)).save(file, "PNG")

    source(kind="files", path="memory://pets", ingest="images", settle=0)
    try:
        for number in range(3):
            put("cat", number)
            put("dog", number)
        assert update.run() == 6
        put("cat", 7)
        put("cow", 8)
        capsys.readouterr()
        assert update.run() == 2
        said = capsys.readouterr().out
        assert "update: 2 new rows from 2 files" in said
        assert ": new label cow: the model is to predict it from now on. If it is a mistake, correct or remove" in said
        assert "then `slipway update --replace`" in said
        assert params.load().task.labels == ["cat", "dog", "cow"]
        assert update.run() == 0
    finally:
        bucket.rm("/pets", recursive=True)


def test_bad_texts_of_a_folder_are_found_one_by_one(repo: Path, capsys: Said) -> None:
    Path("params.yaml").write_text("name: mails\nrecipe: text\ntext:\n")
    source(kind="files", path="inbox", ingest="text", settle=0)
    for label in ("ham", "spam"):
        Path("inbox", label).mkdir(parents=True)
        for number in range(3):
            Path("inbox", label, f"{number}.txt").write_text(f"{label} {number}")
    assert update.run() == 6
    Path("inbox/ham/7.txt").write_text("new")
    Path("inbox/ham/8.txt").write_bytes(b"\xff\xfe\xfd")
    capsys.readouterr()
    assert update.run() == 1
    assert "warning: set aside: ham/8.txt: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"path": "s3://bucket/x"}, "the driver for s3:// is not installed: install dvc-s3"),
        ({"path": "nowhere"}, "source.path: nowhere: no such folder"),
        ({"path": "odd://x"}, "source.path: odd://x"),
        ({"ingest": "tabel --label y"}, "source.ingest: tabel: expected one of"),
        ({"ingest": "table"}, "source.ingest: table: the following arguments are required: --label"),
        ({"ingest": "table --label y --replace"}, "--replace has no place there"),
        ({"ingest": "table --label nope"}, "is source.ingest right?\na.csv: no column 'nope'"),
        ({"path": None}, "source.path: expected text"),
        ({"patth": "x"}, "source.patth: unknown key"),
        ({"kind": "ftp"}, "source: no source 'ftp'; there are: files, sql, dvc"),
    ],
)
def test_what_is_wrong_with_a_source_is_said(repo: Path, settings: dict[str, Any], expected: str, capsys: Said) -> None:
    source(**INBOX | settings)
    arrive("a.csv", *some(0))
    assert main(["update"]) == 1
    said = capsys.readouterr().err
    assert any(part in said for part in expected.split("|")), said
    assert not Path("data").exists()


@pytest.mark.usefixtures("repo")
def test_without_a_source_an_update_says_how_to_write_one(capsys: Said) -> None:
    assert main(["update"]) == 1
    assert "params.yaml: no section `source`, which says where new data comes from" in capsys.readouterr().err


def shop(*rows: tuple[Any, ...], path: str = "shop.db") -> None:
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, changed TEXT, x REAL, c TEXT, y TEXT)")
        base.executemany("INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?)", rows)
    base.close()


def order(number: int, day: int, x: float | None = None) -> tuple[Any, ...]:
    return number, f"2026-01-{day:02} 10:00:00", number / 2 if x is None else x, "ab"[number % 2], "pq"[number % 3 == 0]


SHOP = {
    "kind": "sql",
    "database": "sqlite:///shop.db",
    "query": "SELECT * FROM orders WHERE y <> ':none'",
    "watermark": "changed",
    "ingest": "table --label y --key id",
}


def test_a_query_brings_the_rows_above_its_watermark(repo: Path, capsys: Said) -> None:
    source(**SHOP | {"ingest": "table --label y --drop id", "chunk_rows": 2})
    shop(*(order(number, number) for number in range(1, 8)))
    assert main(["update", "--dry-run"]) == 0
    assert "update: would read 7 rows\n" in capsys.readouterr().out
    assert update.run() == 7
    assert "update: 7 new rows (7 read); changed is 2026-01-07 10:00:00 now" in capsys.readouterr().out
    task = params.load().task
    assert (task.numeric, task.categorical, task.dates) == (["x"], ["c"], [])
    assert update.run() == 0
    assert "update: nothing new (1 rows read again, all of them known)" in capsys.readouterr().out
    shop(order(8, 8), order(9, 9), (10, None, 1.0, "a", "p"))
    assert update.run() == 2
    said = capsys.readouterr().out
    assert "warning: 1 rows have no changed, so they never come" in said
    assert "update: 2 new rows (3 read); changed is 2026-01-09 10:00:00 now" in said
    assert json.loads(Path("data/.sales-2.source.json").read_text())["watermark"] == "2026-01-09 10:00:00"


def test_late_and_corrected_rows_of_a_query_are_told(repo: Path, capsys: Said) -> None:
    source(**SHOP | {"lookback": "3 days"})
    shop(*(order(number, number) for number in range(1, 8)))
    update.run()
    shop(order(20, 5), order(21, 2), order(6, 8, x=77.0), order(22, 9))  # 21 is older than the lookback
    capsys.readouterr()
    assert update.run() == 3
    said = capsys.readouterr().out
    assert "update: 3 new rows (6 read); 1 of them late, 1 of them corrections; changed is 2026-01-09" in said
    assert update.run() == 0


def test_an_update_that_fails_leaves_the_watermark(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source(**SHOP)
    shop(*(order(number, number) for number in range(1, 8)))
    update.run()
    shop(order(8, 8))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(dataset, "write", full)
        with pytest.raises(OSError, match="No space"):
            update.run()
    assert update.run() == 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"database": "$NO_SHOP"}, "the environment variable NO_SHOP is not set"),
        ({"database": "postgresql://me:secret@host/x"}, "put it into an environment variable"),
        ({"database": "sqlite:///other.db"}, "other.db: no such file"),
        ({"database": "mysql://me@host/x"}, "the driver for mysql is not installed: install pymysql"),
        ({"database": "nosql://host/x"}, "the driver for nosql is not installed"),
        ({"query": "SELECT * FROM nowhere"}, "no such table: nowhere"),
        ({"watermark": "nope"}, "no such column: nope|the query has no column nope"),
        ({"lookback": "soon"}, "source.lookback: expected a number, or a number and a unit"),
        ({"ingest": "images"}, "source.ingest: images does not read tables"),
    ],
)
def test_what_is_wrong_with_a_query_is_said(repo: Path, settings: dict[str, Any], expected: str, capsys: Said) -> None:
    shop(*(order(number, number) for number in range(1, 8)))
    source(**SHOP | settings)
    if "mysql" in str(settings) and find_spec("pymysql"):
        pytest.skip("a driver for MySQL is installed")
    assert main(["update"]) == 1
    said = capsys.readouterr().err
    assert any(part in said for part in expected.split("|")), said
    assert "secret" not in said
    assert not Path("data").exists()


@pytest.mark.e2e
def test_rows_come_from_a_real_postgresql(
    repo: Path, postgres: str, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    """Times with a zone, numerics, JSON, bytes; a role that may not read; a server that is gone."""
    import psycopg

    monkeypatch.setenv("SHOP", postgres)
    source(
        kind="sql",
        database="$SHOP",
        query="SELECT id, changed, price, kind, info, y FROM orders WHERE price::text <> ':x' ;",
        watermark="changed",
        lookback="1 hour",
        ingest="table --label y --key id --drop info",
        chunk_rows=3,
    )
    with psycopg.connect(postgres, autocommit=True) as base:
        base.execute(
            "CREATE TABLE orders (id serial, changed timestamptz DEFAULT now(), price numeric(9, 2), kind text, "
            "info jsonb, y boolean)"
        )
        base.execute(
            "INSERT INTO orders (price, kind, info, y) SELECT n / 3.0, CASE WHEN n % 5 = 0 THEN NULL ELSE 'k' || n % 3 "
            "END, '{\"a\": 1}', n % 2 = 0 FROM generate_series(1, 10) n"
        )
        assert update.run() == 10
        assert params.load().task.numeric == ["price"]
        base.execute("INSERT INTO orders (price, kind, y) VALUES (1, 'k1', true)")
        base.execute("INSERT INTO orders (changed, price, kind, y) VALUES (now() - interval '5 min', 2, 'k1', true)")
        base.execute("UPDATE orders SET price = 1000, changed = now() WHERE id = 3")
        capsys.readouterr()
        assert update.run() == 3
        assert "1 of them late, 1 of them corrections" in capsys.readouterr().out
        assert update.run() == 0
    monkeypatch.setenv("SHOP", "postgresql://me:hidden@127.0.0.1:9/shop")
    assert main(["update"]) == 1
    said = capsys.readouterr().err
    assert "hidden" not in said
    assert "127.0.0.1" in said


@pytest.mark.e2e
def test_a_postgresql_that_is_killed_while_rows_come_leaves_the_old_version(
    repo: Path, postgres_server: Any, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    import psycopg

    monkeypatch.setenv("SHOP", uri := str(postgres_server.get_uri()))
    query = "SELECT id, x, y FROM orders WHERE pg_sleep(CASE WHEN id > 10 THEN 0.05 ELSE 0 END) IS NOT NULL"
    source(kind="sql", database="$SHOP", query=query, watermark="id", ingest="table --label y --key id", chunk_rows=3)
    with psycopg.connect(uri, autocommit=True) as base:
        base.execute(
            "CREATE TABLE orders AS SELECT n AS id, n / 3.0 AS x, n % 2 = 0 AS y FROM generate_series(1, 10) n"
        )
    assert update.run() == 10
    before = {path: path.read_bytes() for path in (Path("data.dvc"), *sorted(Path("data").iterdir()))}
    with psycopg.connect(uri, autocommit=True) as base:
        base.execute("INSERT INTO orders SELECT n, n / 3.0, n % 2 = 0 FROM generate_series(11, 200) n")
    capsys.readouterr()
    killing = threading.Timer(2, lambda: fabricate.kill_postgres(postgres_server))  # of 10 seconds
    killing.start()
    try:
        assert main(["update"]) == 1
    finally:
        killing.join()
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and "Traceback" not in said.out + said.err
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(Path("data").iterdir()) == sorted(before.keys() - {Path("data.dvc")})
    postgres_server.ensure_postgres_running()
    assert update.run() == 190


@pytest.mark.skipif(not find_spec("duckdb_engine"), reason="duckdb-engine is not installed")
def test_rows_come_from_duckdb(repo: Path) -> None:
    import duckdb  # type: ignore[import-not-found]

    with duckdb.connect("shop.duckdb") as base:
        base.execute("CREATE TABLE orders AS SELECT range AS id, range / 2 AS x, range % 2 = 0 AS y FROM range(10)")
    source(kind="sql", database="duckdb:///shop.duckdb", query="FROM orders", watermark="id", ingest="table --label y")
    assert update.run() == 10
    assert update.run() == 0


def test_another_dvc_repository_is_followed_from_revision_to_revision(
    repo: Path, tmp_path_factory: pytest.TempPathFactory, capsys: Said
) -> None:
    from dvc.repo import Repo

    other = tmp_path_factory.mktemp("other")
    command(other, "git", "init", "-q")
    with Repo.init(str(other)) as theirs:
        arrive("a.csv", *some(0), folder=str(other / "orders"))
        theirs.add(str(other / "orders"))
        command(other, "git", "add", "-A")
        command(other, "git", "commit", "-qm", "one", env=GIT)
        source(kind="dvc", repo=str(other), path="orders", ingest="table --label y")
        assert update.run() == 6
        arrive("b.csv", *some(6), folder=str(other / "orders"))
        theirs.add(str(other / "orders"))
    assert update.run() == 0  # not committed there
    command(other, "git", "commit", "-qam", "two", env=GIT)
    capsys.readouterr()
    assert update.run() == 6
    assert "update: 6 new rows from 1 file\n" in capsys.readouterr().out
    commit = command(other, "git", "rev-parse", "HEAD")
    assert json.loads(Path("data/.sales-2.source.json").read_text())["revision"] == commit
    assert update.run() == 0
    source(kind="dvc", repo=str(other), path="orders", revision="nope", ingest="table --label y")
    assert main(["update"]) == 1
    assert "error: source.repo: " in capsys.readouterr().err
    source(kind="dvc", repo=str(other / "gone"), path="orders", ingest="table --label y")
    assert main(["update"]) == 1
    assert "error: source.repo: " in capsys.readouterr().err


def test_a_dataset_grows_in_one_step_and_keeps_what_comes_meanwhile(repo: Path) -> None:
    data = Path("data")
    data.mkdir()
    (data / "a.parquet").write_text("old")
    with folder.grown(data) as aside:
        (aside / "b.parquet").write_text("new")
        (data / "mine.txt").write_text("mine")
    assert {path.name: path.read_text() for path in data.iterdir()} == {
        "a.parquet": "old",
        "b.parquet": "new",
        "mine.txt": "mine",
    }
    node = data.stat().st_ino
    with folder.grown(data):
        pass
    assert data.stat().st_ino == node
    with pytest.raises(SlipwayError, match=r"b\.parquet already exists"), folder.grown(data) as aside:
        (aside / "b.parquet").write_text("newer")


def test_many_files_become_one(repo: Path) -> None:
    source(**INBOX)
    for number in range(20):
        arrive(f"{number:03}.csv", *some(number * 6))
    assert update.run() == 120
    assert len(list(Path("data").glob("*.parquet"))) == 2
    assert rows() == 120
