"""What lies in a dataset's folder beside the dataset: nothing of the user's is removed, and junk changes nothing."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from components import SlipwayError
from components.__main__ import main
from components.data import dataset, versions
from components.stages import ingest
from tests.conftest import ROOT
from tests.flowing import initialised

JUNK = [
    ".DS_Store",
    "._people.parquet",
    "__MACOSX/._x",
    ".nfs0000001",
    ".ipynb_checkpoints/people-checkpoint.parquet",
    "Thumbs.db",
    "thumbs.db",
    "desktop.ini",
    "Desktop.ini",
    "~$people.xlsx",
    ".~lock.people.csv#",
    ".people.csv.swp",
    ".#people.csv",
    "people.csv~",
    "@eaDir/x",
    "$RECYCLE.BIN/x",
    "System Volume Information/x",
    "lost+found/x",
    ".Trash-1000/x",
    ".directory",
    ".fuse_hidden01",
    ".localized",
    "Icon\r",
    ".AppleDouble/people.parquet",
    ".com.apple.timemachine.donotpresent",
    ".goutputstream-ABC123",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "#recycle/people.parquet",
    ".dropbox.cache/x",
    ".stfolder/syncthing-folder.txt",
    ".syncthing.people.parquet.tmp",
    ".sync_0123.db",
    ".gitignore",
    ".gitkeep",
    ".idea/x.xml",
    ".vscode/settings.json",
    "__pycache__/x.pyc",
    "_SUCCESS",
    "_committed_4711",
    ".people.parquet.crc",
    "#people.csv#",
]
PEOPLE = "age,income\n30,low\n31,high\n33,low\n"
WORDS = ["ingest", "table", "people.csv", "--label", "income"]


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / ".dvcignore", tmp_path)
    initialised(tmp_path)
    Path("people.csv").write_text(PEOPLE)
    return tmp_path


def put(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_junk_neither_changes_the_version_nor_stops_anything_and_stays(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(Path("data"), JUNK)
    junk = files(Path("data"))
    assert main(WORDS) == 0  # a folder of junk is no dataset
    version = versions.recorded(Path("data"))
    assert version and set(files(Path("data"))) == {*JUNK, "people.parquet"}
    assert dataset.files(Path("data")) == [Path("data/people.parquet")]
    with Repo() as found:
        assert found.status() == {}
    assert main([*WORDS, "--replace"]) == 0
    assert main(["ingest", "table", "people.csv", "--label", "income", "--name", "more"]) == 0
    assert versions.recorded(Path("data")) == version
    assert {name: content for name, content in files(Path("data")).items() if name != "people.parquet"} == junk
    for path in Path("data").iterdir():
        if path.name != "people.parquet":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with Repo() as found:
        assert found.status() == {}


def test_an_ingest_ends_although_nobody_reads_on(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`slipway ingest ... | head -3` ended between the data and its version: the next ingest was refused."""
    ours, given = os.pipe()
    os.close(ours)
    with os.fdopen(given, "w", buffering=1) as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        assert main(WORDS) == 0
        with Repo() as found:
            assert found.status() == {} and versions.recorded(Path("data"))
        assert main([*WORDS, "--replace"]) == 0


MINE = ["notes.txt", "DS_Store", "a.parquet.bak", "nfs", "swp", "data.csv.swp", ".hidden"]
MINE += ["icons", "icon1", "_committed_to.parquet", "_successful", "#1", ".git", "keep"]


@pytest.mark.parametrize("name", MINE)
def test_what_may_be_the_users_is_no_junk(name: str) -> None:
    assert not dataset.is_junk(name)


def test_a_source_in_the_folder_of_the_dataset_is_refused(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("data", "elsewhere"):
        Path(folder).mkdir()
        shutil.copy("people.csv", Path(folder, "people.parquet"))
        words = ["ingest", "table", f"{folder}/people.parquet", "--label", "income", "--data", folder]
        assert main(words) == 1
        said = capsys.readouterr().err
        assert f"{folder}/people.parquet lies in {folder}/, which holds the dataset alone" in said
        assert main([*words, "--replace"]) == 1
        assert "does not keep (people.parquet)" in capsys.readouterr().err
        assert files(Path(folder)) == {"people.parquet": PEOPLE.encode()}


@pytest.mark.parametrize("name", ["notes.txt", "sub/thesis.txt", "sub/people.csv", "report.csv"])
def test_a_dataset_with_a_file_of_the_users_is_neither_added_to_nor_replaced(repo: Path, name: str) -> None:
    assert main(WORDS) == 0
    put(Path("data"), [name])
    before = files(repo)
    for replace in (False, True):
        with pytest.raises(SlipwayError, match=r"move this one elsewhere|does not keep"):  # before anything is read
            ingest.run("table", replace=replace, file=Path("nowhere.csv"), label=["income"])
    assert files(repo) == before


def test_a_file_in_place_of_the_folder_is_refused(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data").write_text("mine")
    assert main(WORDS) == 1
    assert "data is a file, but a folder must go there" in capsys.readouterr().err
    assert Path("data").read_text() == "mine"


@pytest.mark.parametrize("exchange", [True, False])
def test_a_file_that_comes_at_the_last_moment_stays(
    repo: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    from components import files as writing

    assert main(WORDS) == 0
    before = files(Path("data"))
    checked = versions.replaceable

    def then(data: Path) -> None:
        checked(data)
        Path("data/late.txt").write_text("mine")

    monkeypatch.setattr(versions, "replaceable", then)
    if not exchange:
        monkeypatch.setattr(writing, "_exchanged", lambda *_: False)
    Path("people.csv").write_text(PEOPLE + "40,high\n")
    with pytest.raises(SlipwayError, match=r"data: contains files that DVC does not keep \(late\.txt\)"):
        ingest.run("table", replace=True, file=Path("people.csv"), label=["income"])
    assert files(Path("data")) == before | {"late.txt": b"mine"}
    assert not list(repo.glob(".*.tmp"))


@pytest.mark.parametrize("links", [True, False])
def test_a_file_of_an_outputs_name_that_comes_meanwhile_stays(
    repo: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    assert main(WORDS) == 0
    before = files(Path("data"))
    written = dataset.write

    def meanwhile(*arguments: Any) -> Any:
        Path("data/more.parquet").write_text("mine")
        return written(*arguments)

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(dataset, "write", meanwhile)
    if not links:
        monkeypatch.setattr(os, "link", refused)
    Path("people.csv").write_text(PEOPLE + "40,high\n")
    with pytest.raises(SlipwayError, match=r"data/more\.parquet already exists"):
        ingest.run("table", name="more", file=Path("people.csv"), label=["income"])
    assert files(Path("data")) == before | {"more.parquet": b"mine"}


@pytest.mark.parametrize("stage", ["preprocess", "train", "baseline", "evaluate"])
def test_no_stage_removes_files_of_the_users(repo: Path, stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    put(Path("out"), ["sub/mine.txt", ".DS_Store"])
    words = [stage, "--out", "out"]
    from components.__main__ import STAGES

    for name in STAGES[stage][1]:
        words += [] if name == "out" else [f"--{name}", "nowhere"]
    assert main(words) == 1
    assert "out: contains files that DVC does not keep (sub/mine.txt)" in capsys.readouterr().err
    assert set(files(Path("out"))) == {"sub/mine.txt", ".DS_Store"}
