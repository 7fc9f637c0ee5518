"""Examples end to end, as a stranger runs them: a clone, one command, a model in the clone's registry."""

import functools
import http.server
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.e2e.conftest import Clone, working_in

pytestmark = pytest.mark.e2e
DATASETS = Path(os.environ.get("SLIPWAY_DATASETS", ROOT.parent / "shared" / "datasets"))
EXAMPLE = ("python", "-m", "flows", "example")


def state(project: Clone) -> str:
    """What git and DVC say of the checkout's own files."""
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=project.path, check=True, capture_output=True, text=True
    )
    return status.stdout + "".join(
        (project.path / name).read_text() for name in ("params.yaml", "dvc.lock", "data.dvc")
    )


@pytest.fixture(scope="module")
def ran(clone: Callable[[str], Clone]) -> tuple[Clone, str]:
    """A clone in which an example was killed in its training and run again, and what the second run said."""
    fresh = clone("examples")
    before = state(fresh)
    process = fresh.start(*EXAMPLE, "breast-cancer")
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 3/" in line:
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait()
    for pid in working_in(fresh.path / ".workspaces" / "breast-cancer"):
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    said = fresh.run(*EXAMPLE, "breast-cancer")
    assert state(fresh) == before
    return fresh, said


def test_a_killed_example_goes_on_and_ends_in_the_registry_of_the_checkout(ran: tuple[Clone, str]) -> None:
    project, said = ran
    assert "resuming after epoch" in said
    assert project.versions() == {"breast-cancer 1": {"champion", "challenger", "reference"}}
    assert not (project.path / "build").exists()
    version = project.client().get_model_version_by_alias("breast-cancer", "champion")
    assert version.source.startswith(("models:/", "file:", str(project.path / "mlartifacts")))
    assert any((project.path / "mlartifacts").rglob("*.onnx"))
    assert not list((project.path / ".workspaces").glob("*/ml*"))
    listed = project.run("dvc", "exp", "list", "--name-only").split()
    assert version.tags["slipway.dvc_experiment"] in listed  # the workspace is a worktree of this checkout


def test_the_registered_model_answers_raw_rows(ran: tuple[Clone, str], tmp_path: Path) -> None:
    from sklearn.datasets import load_breast_cancer

    project, _ = ran
    raw = load_breast_cancer(as_frame=True)
    raw.data.columns = [name.replace(" ", "_") for name in raw.data.columns]
    raw.data.iloc[[0, 1, 19, 20]].to_csv(tmp_path / "masses.csv", index=False)
    model = "models:/breast-cancer@champion"
    said = project.run("python", "-m", "components", "predict", model, str(tmp_path / "masses.csv"))
    assert [line.split()[1] for line in said.splitlines()[-4:]] == ["malignant", "malignant", "benign", "benign"]


def test_a_second_run_does_nothing(ran: tuple[Clone, str], prefect_server: str) -> None:
    project, _ = ran
    before = project.versions()
    said = project.run(*EXAMPLE, "breast-cancer", PREFECT_API_URL=prefect_server)
    assert "nothing changed" in said
    assert "ingest" not in said
    assert project.versions() == before


def test_new_settings_of_an_example_run_what_they_change(ran: tuple[Clone, str], prefect_server: str) -> None:
    project, _ = ran
    path = project.path / "examples" / "breast-cancer" / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("accuracy: 0.92", "accuracy: 0.93"))
    said = project.run(*EXAMPLE, "breast-cancer", PREFECT_API_URL=prefect_server)
    path.write_text(text)
    assert "train       unchanged" in said
    assert ">= 0.93: passed" in said


def test_a_change_of_the_code_reaches_the_workspace(ran: tuple[Clone, str], prefect_server: str) -> None:
    project, _ = ran
    (project.path / "components" / "new.py").write_text("# not committed\n")
    (project.path / "docs" / "recipes.md").unlink()
    project.run(*EXAMPLE, "breast-cancer", PREFECT_API_URL=prefect_server)
    place = project.path / ".workspaces" / "breast-cancer"
    assert (place / "components" / "new.py").exists()
    assert not (place / "docs" / "recipes.md").exists()
    (project.path / "components" / "new.py").unlink()
    subprocess.run(["git", "checkout", "--quiet", "docs/recipes.md"], cwd=project.path, check=True)
    project.run(*EXAMPLE, "breast-cancer", PREFECT_API_URL=prefect_server)
    assert not (place / "components" / "new.py").exists()
    assert (place / "docs" / "recipes.md").exists()


def test_an_unknown_example_is_answered_with_the_list(ran: tuple[Clone, str]) -> None:
    project, _ = ran
    said = project.run(*EXAMPLE, "brest-cancer", fails=True)
    assert "did you mean breast-cancer?" in said
    assert "\n  income " in said
    assert "  income " in project.run(*EXAMPLE)


@pytest.fixture
def served() -> Iterator[str]:
    """Serve the real data sets on loopback."""
    if not (DATASETS / "student").is_dir():
        pytest.skip(f"no real data in {DATASETS}")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(DATASETS))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_two_examples_with_files_run_at_the_same_time(clone: Callable[[str], Clone], served: str) -> None:
    project = clone("two")
    path = project.path / "examples" / "student-grades" / "example.yaml"
    content = YAML(typ="safe").load(path)
    content["files"]["student-mat.csv"]["address"] = f"{served}/student/student-mat.csv"
    YAML().dump(content, path)
    one = project.start(*EXAMPLE, "student-grades")
    two = project.start(*EXAMPLE, "credit-risk", "--from", str(DATASETS / "german-credit"))
    said = [process.communicate(timeout=600)[0] for process in (one, two)]
    assert one.returncode == two.returncode == 0, "\n".join(said)
    assert {"student-grades 1", "credit-risk 1"} == set(project.versions())
    assert project.versions()["student-grades 1"] == {"challenger"}  # no model of these data beats the mean
    model = "models:/student-grades@challenger"
    said.append(project.run("python", "-m", "components", "predict", model, str(DATASETS / "student/student-mat.csv")))
    assert "error" not in said[-1]
