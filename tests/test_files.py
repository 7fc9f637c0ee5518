"""Files written whole or not at all, whenever the process that writes them is killed."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from components import files, temporary

KILLED = 137


def written(path: Path, folder: bool, content: str) -> None:
    with files.replacing(path) as aside:
        if folder:
            (aside / "part").mkdir(parents=True)
            (aside / "part" / "a").write_text(content)
            (aside / "b").write_text(content)
        else:
            aside.write_text(content)


def content(path: Path) -> list[str]:
    if path.is_dir():
        return [file.read_text() for file in (path / "part" / "a", path / "b")]
    return [path.read_text()] * 2


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do some work in a child that is killed at the given line of ours; return whether it came so far."""
    pid = os.fork()
    if pid == 0:
        left = step

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if Path(frame.f_code.co_filename).name not in ("files.py", "temporary.py"):
                return None
            if event == "line":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize(("exchange", "folder"), [(False, False), (False, True), (True, True)])  # a file is renamed
def test_killed_at_any_line_the_old_or_the_new_is_found_whole_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchanged", lambda new, old: False)
    monkeypatch.setattr(files, "sync", lambda path: None)  # it has many lines, and puts nothing in another's place
    step, found = 0, set()
    while True:
        place = tmp_path / str(step)
        written(place / "out", folder, "old")
        came_so_far = killed_at(step, lambda place=place: written(place / "out", folder, "new"))  # type: ignore[misc]
        if exchange or not folder:
            assert (place / "out").exists(), step
        files.sweep(place)
        assert content(place / "out") in (["old"] * 2, ["new"] * 2), step
        found.add(content(place / "out")[0])
        assert [path.name for path in place.iterdir()] == ["out"], step
        step += 1
        if not came_so_far:
            break
    assert found == {"old", "new"}
    assert step > 20


def test_the_next_writer_does_the_same_as_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_exchanged", lambda new, old: False)
    monkeypatch.setattr(files, "sync", lambda path: None)
    written(tmp_path / "out", True, "old")
    written(tmp_path / "other", True, "other")
    left = 0
    for step in range(0, 200, 3):
        if not killed_at(step, lambda: written(tmp_path / "out", True, "new")):
            break
        left = max(left, len(list(tmp_path.iterdir())))
    assert left > 2
    written(tmp_path / "out", True, "newest")
    assert content(tmp_path / "out") == ["newest"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "out") as aside:
        aside.write_text("half")
        files.sweep(tmp_path)
        with files.replacing(tmp_path / "out") as other:
            other.write_text("another")
        assert aside.read_text() == "half"


def test_folders_are_exchanged_here() -> None:
    """Where this fails the two renames are what happens; Linux since 3.15 and macOS since 10.12 can do better."""
    with tempfile.TemporaryDirectory() as name:
        for word in ("a", "b"):
            Path(name, word).mkdir()
            Path(name, word, word).touch()
        assert files._exchanged(Path(name, "a"), Path(name, "b"))
        assert Path(name, "a", "b").exists() and Path(name, "b", "a").exists()


def test_all_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda place: synced.append(os.fstat(place).st_ino))
    written(tmp_path / "out", True, "new")
    files.write_json(tmp_path / "a.json", {})
    every = [tmp_path, *tmp_path.rglob("*")]
    assert {path.name: path.stat().st_ino in synced for path in every} == {path.name: True for path in every}


def test_a_process_is_known_by_more_than_its_id() -> None:
    sleeps = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pid, start, place = temporary.owner().split("-")
    own = f"{sleeps.pid}-{temporary._started(sleeps.pid)}-{place}"
    assert not temporary.is_dead(temporary.owner()) and not temporary.is_dead(own)
    assert temporary.is_dead(f"{pid}-{int(start) - 1}-{place}")  # the id was used before
    sleeps.kill()
    while sleeps.poll() is None:
        time.sleep(0.01)
    assert temporary.is_dead(own)
    other = f"{sleeps.pid}-1-{'0' * 4 if place != '0000' else '1111'}"  # another machine, or a container
    assert not temporary.is_dead(other, time.time() - 3600)
    assert temporary.is_dead(other, time.time() - 100_000)
    assert not temporary.is_dead(other)
    assert not temporary.is_dead("nonsense")


def test_temporary_folders_of_the_dead_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, signal; from components import temporary\nwith temporary.folder() as f: {}"
    die = code.format("(f / 'a').touch(); os.kill(os.getpid(), signal.SIGKILL)")
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", die], env=environment, check=False)
    (left,) = tmp_path.iterdir()
    assert left.stat().st_mode & 0o777 == 0o700
    (tmp_path / "slipway-mine").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary.folder() as mine:
        assert mine.is_dir() and not left.exists()
        subprocess.run([sys.executable, "-c", code.format("pass")], env=environment, check=True)
        assert mine.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["slipway-mine"]
