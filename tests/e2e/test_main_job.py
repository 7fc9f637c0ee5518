"""The main job, as a stranger meets it: a clone, one command, and what can be asked of the result."""

import io
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.files import read_json, sha256
from tests.e2e.conftest import Clone, working_in

pytestmark = pytest.mark.e2e
RETRAIN = ("slipway", "run")
# Of a company: every address by a proxy, here one that nobody serves, no exceptions; and a machine without a language.
COMPANY = {f"{kind}_PROXY": "http://127.0.0.1:9" for kind in ("HTTP", "HTTPS", "ALL")}
COMPANY |= {name.lower(): value for name, value in COMPANY.items()} | {"LC_ALL": "POSIX"}


@pytest.fixture(scope="module")
def ran(clone: Callable[[str], Clone]) -> tuple[Clone, str]:
    """A clone in which the main job ran once, behind a proxy, and what it said."""
    fresh = clone("project")
    return fresh, fresh.run("env", *(f"{name}={value}" for name, value in COMPANY.items()), *RETRAIN)


def test_one_command_leads_to_a_champion(ran: tuple[Clone, str]) -> None:
    project, said = ran
    for stage in ("validate", "preprocess", "train", "evaluate", "register"):
        assert f"{stage} " in said
    assert "1797 rows" in said or "1,797" in said
    assert "slipway ui" in said
    assert project.versions() == {"digits 1": {"champion", "challenger", "reference"}}
    assert read_json(project.path / "build/evaluation/metrics.json")["accuracy"] > 0.9
    assert not (project.home / ".prefect").exists()  # nothing in the user's home
    assert list(project.path.parent.iterdir()) == [project.path]  # nor beside the clone


def test_the_notebook_runs_from_its_folder(ran: tuple[Clone, str]) -> None:
    project, _ = ran
    code = """
import json, os
os.chdir("examples")
for cell in json.load(open("notebook.ipynb", encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"))
assert len(test) > 300 and model.name == "digits", model
print("predicted", len(answers), "explained", len(why.index.unique()))
"""
    said = project.run("python", "-c", code, MPLBACKEND="agg")
    assert re.search(r"^predicted 3\d\d explained 1$", said, re.MULTILINE), said


def test_every_digest_leads_everywhere(ran: tuple[Clone, str]) -> None:
    project, _ = ran
    client = project.client()
    version = client.get_model_version_by_alias("digits", "champion")
    build = project.path / "build"
    assert version.tags["slipway.model"] == sha256(build / "model/model.onnx", build / "model/model.json")
    assert version.tags["slipway.data"] in (project.path / "data.dvc").read_text()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project.path, capture_output=True, text=True, check=True)
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert head.stdout.strip() in {*run.data.tags.values(), *version.tags.values()}
    assert run.data.tags["slipway.model"] == version.tags["slipway.model"]
    assert run.data.params["train.epochs"] == "20"
    assert run.data.metrics["test/accuracy"] == pytest.approx(read_json(build / "evaluation/metrics.json")["accuracy"])
    assert run.inputs.dataset_inputs[0].dataset.digest == version.tags["slipway.data"]
    assert len(client.get_metric_history(version.run_id, "validation/loss")) == 20
    names = {artifact.path for artifact in client.list_artifacts(version.run_id)}
    assert any("figures" in name or name.endswith(".png") for name in names), names
    assert "mistakes.html" in names
    experiments = project.run("dvc", "exp", "list", "--name-only").split()
    assert set(experiments) & set(version.tags.values())
    assert version.tags["mlflow.source.git.commit"] == project.run("git", "rev-parse", "HEAD").strip()


def test_the_registered_model_answers_raw_examples(ran: tuple[Clone, str], tmp_path: Path) -> None:
    project, _ = ran
    stored = pq.read_table(project.path / "data/digits.parquet")
    sure = 0
    for row in range(0, 40, 4):
        (tmp_path / f"{row:02d}.png").write_bytes(stored["image"][row].as_py())
    said = project.run("slipway", "predict", "models:/digits@champion", str(tmp_path))
    for row in range(0, 40, 4):
        (line,) = [line for line in said.splitlines() if f"{row:02d}.png" in line]
        sure += stored["label"][row].as_py() in line.replace(f"{row:02d}.png", "").split()
    assert sure >= 8


def test_a_second_run_changes_nothing(ran: tuple[Clone, str]) -> None:
    project, _ = ran
    before = project.versions(), (project.path / "dvc.lock").read_bytes()
    said = project.run(*RETRAIN)
    assert "nothing changed" in said
    assert "Running stage" not in said
    assert (project.versions(), (project.path / "dvc.lock").read_bytes()) == before
    assert len(project.client().search_runs(["1"])) == 1


def test_dvc_works_as_its_users_expect(ran: tuple[Clone, str]) -> None:
    project, _ = ran
    assert "Data and pipelines are up to date" in project.run("dvc", "repro")
    assert "accuracy" in project.run("dvc", "metrics", "show")
    project.run("dvc", "plots", "show", "--out", "build/plots")
    page = (project.path / "build/plots/index.html").read_text()
    for plot in ("loss", "accuracy", "confusion", "calibration"):
        assert plot in page
    project.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qam", "lock", "--allow-empty")
    said = project.run("dvc", "exp", "run", "-S", "train.epochs=2", "--name", "short")
    assert "epoch 2/2" in said
    assert "train.epochs" in project.run("dvc", "params", "diff")
    assert "short" in project.run("dvc", "exp", "show", "--csv")
    epochs = {run.data.params["train.epochs"] for run in project.client().search_runs(["1"])}
    assert epochs == {"20", "2"}  # every training is an MLflow run
    assert project.versions() == {"digits 1": {"champion", "challenger", "reference"}}  # DVC leaves the registry alone


def test_a_worse_model_becomes_challenger_and_no_more(ran: tuple[Clone, str], prefect_server: str) -> None:
    project, _ = ran  # its params now say two epochs
    said = project.run(*RETRAIN, PREFECT_API_URL=prefect_server)
    assert project.versions() == {"digits 1": {"champion", "reference"}, "digits 2": {"challenger"}}
    registered = project.registered()
    assert not registered["promoted"]
    assert registered["champion"]["version"] in (1, "1")
    assert registered["champion"]["difference"]["high"] < 0
    assert "0.9" in said
    tags = project.client().get_model_version("digits", "2").tags
    commit, parent = tags["mlflow.source.git.commit"], tags["slipway.parent"]  # the checkout had changes
    assert "epochs: 2" in project.run("git", "show", f"{commit}:params.yaml")
    assert project.run("git", "rev-parse", "HEAD", f"{commit}~").split() == [parent, parent]
    project.run("git", "checkout", "--", "params.yaml")
    said = project.run(*RETRAIN, PREFECT_API_URL=prefect_server)  # from DVC's run cache
    assert "epoch" not in said
    assert "champion" in project.versions()["digits 1"]
    assert len(project.versions()) == 2


def test_a_new_empty_store_gets_run_model_and_version_again(
    ran: tuple[Clone, str], prefect_server: str, tmp_path: Path
) -> None:
    project, _ = ran
    before = project.client().get_model_version_by_alias("digits", "champion").tags["slipway.model"]
    other = f"sqlite:///{tmp_path}/new.db"
    said = project.run(*RETRAIN, MLFLOW_TRACKING_URI=other, PREFECT_API_URL=prefect_server)
    assert "epoch 1/" not in said
    assert project.versions(other) == {"digits 1": {"champion", "challenger", "reference"}}
    client = project.client(other)
    version = client.get_model_version_by_alias("digits", "champion")
    assert version.tags["slipway.model"] == before
    run = client.get_run(version.run_id)
    assert run.data.metrics["test/accuracy"] > 0.9
    assert len(client.get_metric_history(version.run_id, "validation/loss")) == 20


def picture(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, size).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def test_bad_rows_are_set_aside_and_too_many_stop_the_run(
    ran: tuple[Clone, str], prefect_server: str, tmp_path: Path
) -> None:
    project, _ = ran
    settings = project.path / "params.yaml"
    settings.write_text(settings.read_text().replace("epochs: 20", "epochs: 2"))  # how well it is trained is no matter
    folder = tmp_path / "more"
    (folder / "3").mkdir(parents=True)
    (folder / "3" / "broken.png").write_bytes(picture((8, 8))[:-30])
    (folder / "3" / "small.png").write_bytes(picture((2, 2)))
    (folder / "3" / "good.png").write_bytes(picture((8, 8)))
    project.run("slipway", "ingest", "images", str(folder))
    said = project.run(*RETRAIN, PREFECT_API_URL=prefect_server)
    assert "2 set aside" in said
    aside = pq.read_table(project.path / "build/validation/quarantine.parquet").to_pylist()
    assert [(row["file"], row["row"]) for row in aside] == [("more.parquet", 0), ("more.parquet", 2)]
    before = project.versions()
    for number in range(40):
        (folder / "3" / f"narrow{number}.png").write_bytes(picture((8 + number, 2)))
    project.run("slipway", "ingest", "images", str(folder), "--name", "evenmore")
    said = project.run(*RETRAIN, fails=True, PREFECT_API_URL=prefect_server)
    assert "width" in said
    assert "evenmore.parquet" in said
    assert project.versions() == before
    assert "failed" in said.lower()
    assert (project.path / "build/validation/report.html").exists()
    (project.path / "data/evenmore.parquet").unlink()  # a file that is missing is said, not taken for granted
    assert "data/evenmore.parquet: missing" in project.run(*RETRAIN, fails=True, PREFECT_API_URL=prefect_server)
    project.run("dvc", "add", "data")
    assert "nothing changed" not in project.run(*RETRAIN, PREFECT_API_URL=prefect_server)
    assert project.versions() == before


def test_a_typo_stops_the_run_before_anything_else(ran: tuple[Clone, str]) -> None:
    project, _ = ran
    path = project.path / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("epochs:", "epoch:"))
    before = project.versions()
    assert "did you mean train.epochs?" in project.run(*RETRAIN, fails=True)
    assert project.versions() == before
    path.write_text(text)


@pytest.mark.timeout(1800)  # four runs
def test_killed_half_way_again_and_again_a_rerun_goes_on(clone: Callable[[str], Clone]) -> None:
    project = clone("killed")
    path = project.path / "params.yaml"
    path.write_text(path.read_text().replace("epochs: 20", "epochs: 60"))
    resumed = []
    for number, epoch in ((signal.SIGINT, 5), (signal.SIGTERM, 12), (signal.SIGKILL, 19)):
        process = project.start(*RETRAIN)
        assert process.stdout
        said = ""
        for line in process.stdout:
            said += line
            if f"epoch {epoch}/60" in line:
                break
        # Ctrl-C reaches the whole foreground group of a terminal; a scheduler's signal only the process
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        rest = process.communicate(timeout=120)[0]
        assert process.returncode != 0, said + rest
        assert "Traceback" not in rest or number == signal.SIGKILL, rest
        if number == signal.SIGKILL:  # nobody could end the stage's own group: it ends or is ended by hand
            end_children_of(project.path)
        deadline = time.time() + 60
        while working_in(project.path) and time.time() < deadline:
            time.sleep(0.2)
        assert not working_in(project.path)
        assert not (project.path / "build/model").exists()
        resumed += re.findall(r"resuming after epoch (\d+)", said)
    said = project.run(*RETRAIN)
    resumed += re.findall(r"resuming after epoch (\d+)", said)
    assert len(resumed) == 3, said  # each went on where the one before was killed
    assert [int(after) >= least for after, least in zip(resumed, (4, 11, 18), strict=True)] == [True] * 3, resumed
    assert project.versions() == {"digits 1": {"champion", "challenger", "reference"}}
    runs = project.client().search_runs(["1"])
    assert [run.info.status for run in runs] == ["FINISHED"]


def end_children_of(folder: Path) -> None:
    for pid in working_in(folder):
        os.kill(pid, signal.SIGKILL)
