import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc_objects.fs import utils

from components import SlipwayError
from flows.machinery import aftermath, checkout, stages, step
from flows.machinery.process import Children
from flows.machinery.stages import Outcome
from tests.flowing import DONE, GIT, command, dvc, end, flows, gone, repository, status, until

Run = Callable[..., list[Outcome]]
# Writes when it began and when it ended, a second and a half later.
TIMED = "date +%s.%N > {0}; sleep 1.5; date +%s.%N >> {0}"
DIAMOND: dict[str, dict[str, Any]] = {
    "join": {"cmd": "cat left right > join", "deps": ["left", "right"], "outs": ["join"]},
    "left": {"cmd": TIMED.format("left"), "deps": ["top"], "outs": ["left"]},
    "right": {"cmd": TIMED.format("right"), "deps": ["top"], "outs": ["right"]},
    "top": {"cmd": "cat data/* > top", "deps": ["data"], "outs": ["top"]},
}

READS: dict[str, dict[str, Any]] = {"top": DIAMOND["top"]}


@pytest.fixture
def run(prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Bring a repository up to date in a flow run of this process."""
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    @flow
    def trial(force: bool = False) -> list[Outcome]:
        with checkout.opened() as work:
            return stages.run(work, force=force)

    def _run(path: Path, force: bool = False) -> list[Outcome]:
        monkeypatch.chdir(path)
        return trial(force=force)

    with temporary_settings({PREFECT_API_URL: prefect_server, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield _run


def states(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.name: outcome.state for outcome in outcomes}


def test_the_graph_is_dvcs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository(tmp_path, DIAMOND, data="1"))
    with checkout.opened() as work:
        found = {stage.addressing: set(upstream) for stage, upstream in stages.nodes(work.repo)}
    assert found == {
        "data.dvc": set(),
        "top": {"data.dvc"},
        "left": {"top"},
        "right": {"top"},
        "join": {"left", "right"},
    }
    order = list(found)
    assert all(order.index(above) < order.index(name) for name, upstream in found.items() for above in upstream)


def test_settings_that_are_not_yaml_are_told_as_a_mistake_with_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text("x: 1\n")
    monkeypatch.chdir(repository(tmp_path, READS, data="1"))
    Path("params.yaml").write_text("x: [1,\n")
    with checkout.opened() as work, pytest.raises(SlipwayError, match=r"'params.yaml'.*line 2"):
        stages.nodes(work.repo)


def test_the_graph_is_not_read_again_while_a_stage_writes_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository(tmp_path, DIAMOND, data="1"))
    dvc(tmp_path, "repro", "-q")
    with checkout.opened() as work:
        before = [stage.addressing for stage, _ in stages.nodes(work.repo)]
        Path("dvc.lock").write_text("")  # as DVC leaves it for a moment: it writes in place
        assert [stage.addressing for stage, _ in stages.nodes(work.repo)] == before


def test_a_file_that_dvc_was_writing_when_it_was_killed_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository(tmp_path, READS, data="1"))
    dvc(tmp_path, "repro", "-q")
    whole = {name: Path(name).read_text() for name in ("dvc.lock", "data.dvc")}
    with checkout.opened():
        pass
    Path("dvc.lock").write_text(whole["dvc.lock"][:40])
    Path("data.dvc").write_text("")
    with checkout.opened() as work:
        assert {name: Path(name).read_text() for name in whole} == whole
        assert all(stages.unchanged(work, stage) for stage, _ in stages.nodes(work.repo))
    assert capsys.readouterr().out.count("was cut short by a DVC that was killed") == 2


def test_what_a_killed_dvc_left_in_the_cache_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository(tmp_path, READS, data="1"))
    dvc(tmp_path, "add", "-q", "data")
    cache = Path(".dvc/cache/files/md5")
    kept = {path for path in cache.glob("*/*") if path.is_file()}
    left, young = (cache / "ff" / utils.tmp_fname() for _ in range(2))
    left.parent.mkdir(exist_ok=True)
    for path in (left, young):
        path.touch()
    os.utime(left, (0, time.time() - aftermath.ABANDONED_SECONDS - 9))
    with checkout.opened():
        assert {path for path in cache.glob("*/*") if path.is_file()} == {*kept, young}


@pytest.mark.parametrize("held", ["", '{"write": {"x', '{"write": {"pid": 1}}'])
def test_a_list_of_files_in_use_that_was_cut_short_is_begun_anew(
    held: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository(tmp_path, READS, data="1"))
    Path(".dvc/tmp").mkdir(exist_ok=True)
    Path(".dvc/tmp/rwlock").write_text(held)
    with checkout.opened():
        pass
    assert "cut short by a DVC that was killed" in capsys.readouterr().out
    dvc(tmp_path, "repro", "-q")


def test_what_holds_files_in_use_must_be_the_process_that_took_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository(tmp_path, READS, data="1"))
    Path(".dvc/tmp").mkdir(exist_ok=True)
    path = Path(".dvc/tmp/rwlock")
    held = {"pid": os.getpid(), "cmd": "dvc repro"}
    for age, kept in ((10**6, {}), (0, {str(tmp_path / "top"): held})):  # another process has the id since; it is this
        path.write_text(json.dumps({"write": {str(tmp_path / "top"): held}, "read": {str(tmp_path / "data"): [held]}}))
        os.utime(path, (time.time() - age,) * 2)
        with checkout.opened():
            assert json.loads(path.read_text())["write"] == kept


@pytest.mark.e2e
def test_ran_unchanged_restored(tmp_path: Path, run: Run) -> None:
    path = repository(tmp_path, DIAMOND, data="1")
    assert states(run(path)) == {
        "data.dvc": "unchanged", "top": "ran", "left": "ran", "right": "ran", "join": "ran"
    }  # fmt: skip
    (began, ended), (other_began, other_ended) = (
        map(float, (path / name).read_text().split()) for name in ("left", "right")
    )
    assert began < other_ended and other_began < ended, "left and right did not run side by side"
    assert set(states(run(path)).values()) == {"unchanged"}
    assert status(path) == {}

    (path / "dvc.lock").unlink()
    for name in ("top", "left", "right", "join"):
        (path / name).unlink()
    assert set(states(run(path)).values()) == {"unchanged", "restored"}
    assert states(run(path, force=True))["join"] == "ran"


@pytest.mark.e2e
def test_a_new_parameter_runs_only_what_reads_it(tmp_path: Path, run: Run) -> None:
    path = repository(
        tmp_path,
        {
            "a": {"cmd": "echo 1 > a", "outs": ["a"]},
            "b": {"cmd": "cat a params.yaml > b", "deps": ["a"], "params": ["x"], "outs": ["b"]},
        },
    )
    (path / "params.yaml").write_text("x: 1\n")
    run(path)
    (path / "params.yaml").write_text("x: 2\n")
    assert states(run(path)) == {"a": "unchanged", "b": "ran"}


@pytest.mark.e2e
def test_a_failing_stage_says_why_and_stops_what_depends_on_it(
    tmp_path: Path, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = "echo much; echo 'error: data/x.parquet: not a Parquet file' >&2; echo 'make it anew' >&2; exit 1"
    path = repository(
        tmp_path,
        {
            "bad": {"cmd": failing, "outs": ["bad"]},
            "after": {"cmd": "cp bad after", "deps": ["bad"], "outs": ["after"]},
            "later": {"cmd": "cp after later", "deps": ["after"], "outs": ["later"]},
            "aside": {"cmd": "echo 1 > aside", "outs": ["aside"]},
            "silent": {"cmd": "false", "outs": ["silent"]},
            "unkept": {"cmd": "true", "outs": ["unkept"]},
            "killed": {"cmd": "echo epoch 1; kill -9 $$", "outs": ["killed"]},
        },
    )
    outcomes = {outcome.name: outcome for outcome in run(path)}
    assert states(list(outcomes.values())) == {
        "bad": "failed", "after": "not run", "later": "not run", "aside": "ran",
        "silent": "failed", "unkept": "failed", "killed": "failed",
    }  # fmt: skip
    assert outcomes["bad"].error == "bad: error: data/x.parquet: not a Parquet file\nmake it anew"
    assert outcomes["killed"].error.startswith(
        "killed: error: it was killed by signal 9 (SIGKILL): by the system where "
    )
    assert outcomes["bad"].seconds > 0.3  # until it failed
    assert outcomes["after"].seconds == 0
    assert outcomes["silent"].error.startswith("silent: > false")
    assert "unkept" in outcomes["unkept"].error and "does not exist" in outcomes["unkept"].error
    assert "bad: much" in capfd.readouterr().out


@pytest.mark.e2e
def test_data_is_pulled_where_it_is_missing(tmp_path: Path, run: Run) -> None:
    path = repository(tmp_path / "repo", READS, data="1")
    command(path, "dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    command(path, "dvc", "push", "-q")
    shutil.rmtree(path / "data")
    shutil.rmtree(path / ".dvc/cache")
    assert states(run(path))["data.dvc"] == "pulled"
    assert (path / "top").read_text() == "1"
    shutil.rmtree(path / "data")
    shutil.rmtree(path / ".dvc/cache")
    command(path, "dvc", "remote", "add", "-q", "-d", "empty", str(tmp_path / "empty"))
    (error,) = [outcome.error for outcome in run(path) if outcome.error]
    assert error == (
        f"data.dvc: error: the data of data.dvc is not in the DVC remote empty ({tmp_path}/empty): `dvc push data.dvc` "
        "in a clone that has it brings it there; or it is in another remote: `dvc pull --remote store data.dvc`"
    )


@pytest.mark.e2e
def test_changed_data_is_versioned(tmp_path: Path, run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    path = repository(tmp_path, READS, data="1")
    run(path)
    before = (path / "data.dvc").read_text()
    (path / "data/b.txt").write_text("2")
    assert states(run(path))["data.dvc"] == "versioned"
    assert (path / "top").read_text() == "12"
    after = (path / "data.dvc").read_text()
    assert after != before
    (md5,) = (word for word in after.split() if word.endswith(".dir"))
    assert f"versioned as {md5}" in capfd.readouterr().out
    assert status(path) == {}


@pytest.mark.e2e
def test_lost_data_and_what_is_no_data_are_an_error_and_no_new_version(tmp_path: Path, run: Run) -> None:
    path = repository(tmp_path, READS, data="1")
    (path / "data/b.txt").write_text("2")
    run(path)
    before = (path / "data.dvc").read_text()
    (path / "data/b.txt").unlink()
    (path / "data/c.txt").write_text("3")
    first, *others = run(path)
    assert first.state == "failed" and "data/b.txt: missing" in first.error and "dvc checkout data.dvc" in first.error
    assert {outcome.state for outcome in others} == {"not run"}
    assert (path / "data.dvc").read_text() == before
    md5 = next(word for word in before.split() if word.endswith(".dir"))
    (path / "data.dvc").write_text(before.replace(md5[:32], "0" * 32))  # a colleague's: of its data nothing is here
    strange = run(path)[0]
    assert strange.state == "failed" and "is not in DVC's cache: `dvc pull data.dvc` brings it" in strange.error
    (path / "data.dvc").write_text(before)
    (path / "data" / "b.txt").write_text("2")
    (path / "data" / "c.parquet").touch()
    strange = run(path)[0]
    assert strange.state == "failed" and "data/a.txt: a dataset may contain only Parquet files" in strange.error
    assert (path / "data.dvc").read_text() == before


@pytest.mark.e2e
def test_lines_arrive_while_the_stage_runs(tmp_path: Path, prefect_server: str) -> None:
    waits = "echo first; for i in $(seq 600); do [ -e go ] && break; sleep 0.05; done; mv go a"
    path = repository(tmp_path, {"a": {"cmd": waits, "outs": ["a"]}})
    process = flows(path, "retrain", PREFECT_API_URL=prefect_server)
    until(process, "a: first")
    (path / "go").touch()
    out, _ = process.communicate()
    assert process.returncode in DONE, out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.e2e
def test_to_end_a_run_ends_all_it_started(
    tmp_path: Path, prefect_server: str, number: signal.Signals, code: int
) -> None:
    cmd = "bash -c 'echo $$ $PPID > pids; echo started; sleep 600; true'; true"
    path = repository(tmp_path, {"a": {"cmd": cmd, "outs": ["a"]}})
    process = flows(path, "retrain", PREFECT_API_URL=prefect_server)
    until(process, "a: started")
    out = end(process, number)
    assert process.returncode == code, out
    assert "Traceback" not in out
    assert f"{'interrupted' if code == 130 else 'ended by SIGTERM'}; finished stages are kept" in out
    assert all(gone(int(pid)) for pid in (path / "pids").read_text().split())
    (path / "dvc.yaml").write_text("stages: {a: {cmd: echo 1 > a, outs: [a]}}")
    said = command(path, "dvc", "repro", env=GIT)
    assert "Running stage 'a'" in said and "had been killed" not in said


@pytest.mark.e2e
def test_a_stage_that_ignores_signals_is_killed(tmp_path: Path, prefect_server: str) -> None:
    cmd = "trap '' INT TERM; echo $$ > pids; echo started; while true; do sleep 1; done"
    path = repository(tmp_path, {"a": {"cmd": cmd, "outs": ["a"]}})
    process = flows(path, "retrain", PREFECT_API_URL=prefect_server)
    until(process, "a: started")
    end(process, signal.SIGINT)
    assert process.returncode == 130
    assert gone(int((path / "pids").read_text()))
    assert "deleted" in str(status(path))


@pytest.mark.e2e
def test_a_stage_that_dvc_runs_by_hand_is_waited_for(tmp_path: Path, prefect_server: str) -> None:
    cmd = "echo by hand; while [ ! -e go ]; do sleep 0.05; done; echo 1 > a"
    path = repository(tmp_path, {"a": {"cmd": cmd, "outs": ["a"]}})
    hand = subprocess.Popen(["dvc", "repro"], cwd=path, stdout=subprocess.PIPE, text=True)
    until(hand, "by hand")
    process = flows(path, "retrain", PREFECT_API_URL=prefect_server)
    said = until(process, "a: waiting")
    assert f"PID {hand.pid}" in said and "dvc repro" in said
    (path / "go").touch()
    hand.communicate()
    out, _ = process.communicate()
    assert process.returncode in DONE, out
    assert "a " in out and "unchanged" in out


def test_the_environment_of_children_finds_this_python() -> None:
    from flows.machinery.process import environment

    assert environment()["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


@pytest.mark.e2e
def test_what_a_stage_leaves_running_holds_nothing_up(tmp_path: Path, run: Run) -> None:
    path = repository(tmp_path, {"a": {"cmd": "sleep 600 & echo $! > pid; echo 1 > a", "outs": ["a"]}})
    assert states(run(path)) == {"a": "ran"}
    assert gone(int((path / "pid").read_text()))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("-9", "signal 9 (SIGKILL): by the system"),
        ("137", "signal 9"),
        ("-11", "signal 11 (SIGSEGV)"),
        ("1", ""),
        ("143", ""),
    ],
)
def test_a_signal_that_ended_a_stage_is_named(code: str, said: str) -> None:
    found = step._killed(f"failed to run: x, exited with {code}")
    assert found.startswith(f"error: it was killed by {said}") if said else not found


def test_what_a_command_says_of_itself_is_not_said_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import prefect

    class Said:
        def follow(self, lines: list[str], line: Callable[[str], None]) -> int:
            for text in lines:
                line(text)
            return 1

    monkeypatch.setattr(prefect, "get_run_logger", lambda: logging.Logger("quiet"))
    with pytest.raises(stages.TaskError, match=r"^update: nothing new$"):
        stages.follow("update", ["update: nothing new"], Said())  # type: ignore[arg-type]
    assert capsys.readouterr().out == "update: nothing new\n"
    monkeypatch.setenv(stages.LOGGED, "1")  # as where a worker starts the run: its log has the line already
    with pytest.raises(stages.TaskError):
        stages.follow("update", ["update: nothing new"], Said())  # type: ignore[arg-type]
    assert capsys.readouterr().out == ""


def test_a_child_that_was_killed_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its last words may be the command that it began."""
    import prefect

    monkeypatch.setattr(prefect, "get_run_logger", lambda: logging.Logger("quiet"))
    with Children() as children:
        code = r"import os; print('> work: \x1b[2J\x00', flush=True); os.kill(os.getpid(), 9)"
        running = children.start([sys.executable, "-c", code])
        with pytest.raises(stages.TaskError, match=r"^validate: error: it was killed by signal 9 \(SIGKILL\): by"):
            stages.follow("validate", running, children)
    assert r"validate: > work: \x1b[2J\x00" + "\nvalidate: error: it was killed by signal 9" in capsys.readouterr().out


def test_a_file_that_cannot_be_imported_is_no_reason_to_read_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo import Repo

    from flows.machinery import experiment

    path = repository(tmp_path, {"a": {"cmd": "python -m components a", "deps": ["list.csv"], "outs": ["a"]}})
    (path / "notes.txt").write_text("untracked, and nothing that a stage needs")
    with Repo(str(path)) as repo, monkeypatch.context() as patch:
        patch.setattr(experiment, "_imports", None)
        assert experiment.unknown(repo) == []
        (path / "list.csv").write_text("read by a stage")
        assert experiment.unknown(repo) == ["list.csv"]
    (path / "components/own.py").write_text("import other")
    (path / "other.py").write_text("")
    with Repo(str(path)) as repo:
        assert experiment.unknown(repo) == ["components/own.py", "list.csv", "other.py"]
