"""What a flow starts ends with it, also where the flow is killed and cannot say so."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.machinery.process import Children, guarded
from tests.flowing import ROOT, gone

STARTS = """
import subprocess, sys
from flows.machinery.process import guarded
child = subprocess.Popen(guarded(*sys.argv[1:]), start_new_session=True)
print(child.pid, flush=True)
sys.exit(child.wait())
"""
WORKS = """
import os, subprocess, sys
from pathlib import Path
print(sys.argv[1:], __name__, flush=True)
if "{dies}" == "":
    child = subprocess.Popen(["sleep", "600"])
    Path("pids").write_text(f"{{os.getpid()}} {{child.pid}}")
    child.wait()
else:
    sys.exit(7)
"""


def started(folder: Path, *words: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", STARTS, *words], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("module", [False, True])
def test_a_program_runs_as_python_would_run_it(tmp_path: Path, module: bool) -> None:
    (tmp_path / "components").mkdir()
    for name in ("components/__init__.py", "components/__main__.py", "work.py"):
        (tmp_path / name).write_text("" if "init" in name else WORKS.format(dies="at once"))
    process = started(tmp_path, *(["-m", "components"] if module else ["work.py"]), "stage", "--out", "x")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 7
    assert out.splitlines()[-1] == "['stage', '--out', 'x'] __main__"


def test_killed_the_parent_takes_all_with_it(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(WORKS.format(dies=""))
    process = started(tmp_path, "work.py")
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.7)  # the guard has looked by then, and found its parent alive
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert not any(gone(pid, 0) for pid in pids)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert all(gone(pid, 10) for pid in pids)


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_scheduled_run_ends_with_the_schedule(tmp_path: Path, seconds: int) -> None:
    """Prefect's runner starts it, and is killed: at once, before the run could look who its parent is, or later."""
    ends = "import time; from flows.machinery import runs; runs.end_with_parent(); time.sleep(600)"
    starts = (
        "import os, subprocess, sys; os.environ['SLIPWAY_STARTER'] = str(os.getpid()); "
        "c = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); print(c.pid, flush=True); c.wait()"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", starts, ends], env=environment, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stdout
    pid = int(process.stdout.readline())
    time.sleep(seconds)
    assert not gone(pid, 0)
    process.kill()
    process.wait()  # not for its output, which the run holds open
    assert gone(pid, 60)


TELLS = """
import os, sys, early
own = os.environ["SLIPWAY_STARTER"] == str(os.getpid())
print(sys.argv[1:], early.SEEN, os.environ["TOLD"], sys.stdin.read() == "" and own, flush=True)
"""


def test_a_prepared_process_runs_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has imported by then, and has the environment of that moment."""
    (tmp_path / "components").mkdir()
    for name, text in {"__init__": "", "__main__": TELLS, "other": "def load(): open('loaded', 'x')"}.items():
        (tmp_path / f"components/{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TOLD", "before")
    monkeypatch.setenv("SLIPWAY_STARTER", "1")
    (tmp_path / "early.py").write_text("SEEN = 'early'")
    modules = "early,components.other:load,missing"
    with Children() as children:
        children.prepare(modules)
        children.prepare(modules)  # one is enough
        while not (tmp_path / "loaded").exists():
            time.sleep(0.02)
        (tmp_path / "early.py").write_text("SEEN = 'late'")
        monkeypatch.setenv("TOLD", "now")
        for seen, told in (("early", "now"), ("late", "given")):  # the second has to be started
            said: list[str] = []
            running = children.start(guarded("-m", "components", "stage"), {"TOLD": told}, modules)
            assert children.follow(running, said.append) == 0
            assert said == [f"['stage'] {seen} {told} True"]


@pytest.mark.parametrize("killed", [False, True])
def test_what_was_prepared_in_vain_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool) -> None:
    (tmp_path / "work.py").write_text("print('works', flush=True)")
    monkeypatch.chdir(tmp_path)
    with Children() as children:
        children.prepare("json")
        children.prepare("")  # nothing to import: any command would find it
        (process,) = children._prepared.values()
        if killed:
            process.kill()
            process.wait()
            said: list[str] = []
            assert children.follow(children.start(guarded("work.py"), modules="json"), said.append) == 0
            assert said == ["works"]
    assert gone(process.pid, 10)
