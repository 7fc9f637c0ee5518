"""Tracking by a process of its own: a real one, with a real MLflow store."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components import SlipwayError, params, temporary
from components.files import model_digest, read_json
from components.tracking import apart, connection, runs
from tests import fabricate

pytestmark = pytest.mark.e2e  # each starts a process that imports MLflow

DEVICE = {"device": "cpu", "device_name": "test", "cores": 2}


@pytest.fixture(autouse=True)
def project(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path_factory.mktemp("apart")
    fabricate.project(root)
    fabricate.store(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    monkeypatch.chdir(root)
    monkeypatch.setattr(apart, "_loaded", lambda: False)
    return root


def manifest() -> dict[str, object]:
    found: dict[str, object] = read_json(Path("build/arrays/manifest.json"))
    return found


def test_a_training_and_its_evaluation_are_tracked_as_in_this_process(project: Path) -> None:
    settings, digest = params.load(), model_digest(Path("build/model"))
    with apart.opened() as tracking:
        with tracking.training(settings, "a" * 32, manifest(), DEVICE) as live:
            assert isinstance(live, apart.Apart)
            for step in (1, 2, 3):
                live.log({"step_loss": 1 / step}, step)
            live.figure("small.png", b"0" * 100_000)  # more than a pipe holds
            live.done(digest)
        tracking.evaluated(settings, digest, project / "build", {"latency_ms": 0.05})
    assert not multiprocessing.active_children()
    run = runs._find(settings.name, model=digest)
    assert run is not None
    assert run.info.status == "FINISHED"
    assert run.data.tags["slipway.process"] == temporary.owner()  # the training's, which may be killed
    assert run.data.metrics["train/steps/loss"] == pytest.approx(1 / 3)
    assert "slipway.evaluated" in run.data.tags
    (figure,) = [
        entry
        for entry in connection.client().list_artifacts(run.info.run_id, "figures")
        if entry.path.endswith("small.png")
    ]
    assert figure.file_size == 100_000


@pytest.mark.parametrize(("problem", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_a_training_that_ends_early_ends_its_run(problem: type[BaseException], status: str) -> None:
    with (
        pytest.raises(problem),
        apart.opened() as tracking,
        tracking.training(params.load(), "a" * 32, manifest(), DEVICE),
    ):
        raise problem
    run = runs._find(params.load().name, training="a" * 32)
    assert run is not None
    assert run.info.status == status


def test_ctrl_c_reaches_the_stage_alone() -> None:
    with apart.opened() as tracking, tracking.training(params.load(), "a" * 32, manifest(), DEVICE) as live:
        (process,) = multiprocessing.active_children()
        assert process.pid
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(process.pid, number)
        live.log({"step_loss": 1.0}, 1)
    run = runs._find(params.load().name, training="a" * 32)
    assert run is not None
    assert (run.info.status, run.data.metrics["train/steps/loss"]) == ("FINISHED", 1.0)


def test_an_mlflow_that_does_not_answer_is_an_error_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with (
        apart.opened() as tracking,
        pytest.raises(SlipwayError, match=r"MLflow at http://127.0.0.1:9 does not respond"),
        tracking.training(params.load(), "a" * 32, manifest(), DEVICE),
    ):
        pytest.fail("the training began")


def test_a_process_that_was_killed_does_not_affect_the_training(capfd: pytest.CaptureFixture[str]) -> None:
    with apart.opened() as tracking:
        with tracking.training(params.load(), "a" * 32, manifest(), DEVICE) as live:
            (process,) = multiprocessing.active_children()
            process.kill()
            process.join()
            for step in (1, 2, 3):
                live.log({"step_loss": 1.0}, step)
            live.done("f" * 64)
        tracking.evaluated(params.load(), "f" * 64, Path("build"), {})
    said = capfd.readouterr().err
    assert "the training is not affected, and `slipway run` will complete its MLflow run" in said
    assert "the process that talks to MLflow was killed" in said


def test_what_goes_wrong_there_is_raised_here(project: Path) -> None:
    settings, digest = params.load(), model_digest(Path("build/model"))
    with apart.opened() as tracking:
        with tracking.training(settings, "a" * 32, manifest(), DEVICE) as live:
            live.done(digest)
        with pytest.raises(FileNotFoundError) as caught:
            tracking.evaluated(settings, digest, project / "elsewhere", {})
        assert caught.value.filename.endswith("elsewhere/model/model.onnx")
        assert "in the process that talks to MLflow" in caught.value.__notes__[0]
        tracking.evaluated(settings, digest, project / "build", {})  # it goes on
    run = runs._find(settings.name, model=digest)
    assert run is not None
    assert "slipway.evaluated" in run.data.tags


def test_a_stage_that_is_killed_leaves_no_process(project: Path) -> None:
    code = (
        "import sys, time; from components.tracking import apart\n"
        "if __name__ == '__main__':\n"
        "    with apart.opened():\n"
        "        import multiprocessing; (child,) = multiprocessing.active_children()\n"
        "        print(child.pid, flush=True); time.sleep(60)\n"
    )
    (project / "stage.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(fabricate.ROOT)}
    stage = subprocess.Popen(
        [sys.executable, "stage.py"], stdout=subprocess.PIPE, text=True, env=environment, cwd=project
    )
    assert stage.stdout
    child = int(stage.stdout.readline())
    stage.kill()
    stage.wait()
    until = time.monotonic() + 60
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < until, "it still runs"
        time.sleep(0.2)


def test_figures_are_drawn_of_an_evaluation_that_is_still_being_written(project: Path) -> None:
    """They are those that are logged, and the same; where nothing could be drawn, they are drawn later."""
    settings, digest, build = params.load(), model_digest(Path("build/model")), project / "build"
    files: list[list[str]] = []
    for early in ("written", "missing"):
        aside = build / "evaluation-aside"
        with apart.opened(draws=True) as tracking:
            with tracking.training(settings, early[0] * 32, manifest(), DEVICE) as live:
                live.done(digest)
            (build / "evaluation").rename(aside)
            apart.draw(tracking, build, aside if early == "written" else build / "nothing")
            time.sleep(5)  # the whole of it lies there by then, or it has failed
            aside.rename(build / "evaluation")
            tracking.evaluated(settings, digest, build, {"latency_ms": 0.05})
        run = runs._find(settings.name, training=early[0] * 32)
        assert run is not None
        assert run.data.tags["slipway.evaluated"]
        files.append(sorted(entry.path for entry in connection.client().list_artifacts(run.info.run_id, "figures")))
        connection.client().set_tag(run.info.run_id, "slipway.model", "another")  # the next one is of this model
    assert "figures/confusion.png" in files[0]
    assert files[0] == files[1]
    assert not list(temporary.leftovers())
