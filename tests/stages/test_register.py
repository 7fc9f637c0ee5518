import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import SlipwayError, params, recipes
from components.__main__ import main
from components.data import splits
from components.data import versions as dvc_versions
from components.evaluation import promotion
from components.files import read_json, write_csv, write_json
from components.serving import onnx_model, worker
from components.stages import predict, register
from components.tracking import connection, isolated, moving, provenance, record, registry, rivals, runs
from flows import moves
from flows.machinery import idle
from tests import fabricate
from tests.conftest import ROOT

REGISTER = ["register", "--build", "build", "--data", "data", "--out", "build/register.json"]
GOOD, POOR = 0.0, 0.8  # noise in the weights: all answers right, and about three in five


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("register")
    fabricate.project(root, GOOD)
    fabricate.store(root)
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(template, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def model(root: Path, noise: float, **changes: str) -> None:
    """Put another model into the project, and other settings."""
    text = fabricate.PARAMS
    for old, new in changes.items():
        text = text.replace(f"{old}: ", f"{old}: {new} # ")
    fabricate.project(root, noise, text=text)


def run() -> dict[str, Any]:
    register.run(params.load(), Path("build"), Path("data"), Path("build/register.json"))
    found: dict[str, Any] = read_json(Path("build/register.json"))
    return found


def asked(uri: str, given: Path, **_: object) -> pa.Table:
    """Ask the registered model in this process: where the fresh one is not what is tried, it takes seconds."""
    from mlflow.artifacts import download_artifacts

    try:
        folder = Path(download_artifacts(uri, tracking_uri=runs.uri()))
        examples = pq.read_table(given)
        if examples.column_names == [worker.FILE_COLUMN]:
            examples = examples.rename_columns(["image"])
        return onnx_model.predict(onnx_model.load(next(folder.rglob("model.onnx")).parent), examples)
    except SlipwayError as error:
        raise SlipwayError(f"{uri}: the model cannot predict: {error}") from None


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, no_figures: None) -> None:
    monkeypatch.setattr(isolated, "predict", asked)
    monkeypatch.setattr(isolated, "started", contextlib.nullcontext)


def versions() -> list[str]:
    return sorted(str(v.version) for v in connection.client().search_model_versions("name = 'sides'"))


def alias(name: str) -> str:
    return str(connection.client().get_model_version_by_alias("sides", name).version)


def test_the_first_model_becomes_champion_and_again_changes_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run()
    assert first["new_version"]
    assert first["promoted"]
    assert first["changed"]
    assert first["aliases"] == ["challenger", "champion", "reference"]
    assert first["reason"] == "it passes all gates and there was no champion"
    assert [gate["held"] for gate in first["gates"]] == [True] * 6
    assert [gate["metric"] for gate in first["gates"]][3:] == [
        "above_trivial",
        "not_below_classical",
        "unseen_test",
    ]
    version = connection.client().get_model_version("sides", "1")
    tags = version.tags
    assert tags["slipway.model"] == first["model_digest"] == fabricate.digest(project)
    assert tags["slipway.data"] == fabricate.folder_digest(project / "data")
    assert version.run_id == first["run_id"]
    of_run = connection.client().get_run(first["run_id"]).data.tags
    assert connection.client().get_run(first["run_id"]).info.run_name == "promoted: first run"
    for there in (tags, of_run):
        assert (there["decision"], there["reason"]) == ("promoted", first["reason"])
        assert re.fullmatch(r"f1_macro [01][.\d]*( \(0\.\d+ to [01][.\d]*\))?", there["score"])
        assert there["data"] == f"300 rows, {tags['slipway.data'][:8]}"
    for there in (tags, of_run):  # in the order of MLflow's pages, which leave out its own
        names = [key for key in there if not key.startswith("mlflow.")]
        assert names[:4] == ["decision", "score", "reason", "data"]
    (model,) = connection.client().search_registered_models("name = 'sides'")
    assert str(model.description).endswith(
        " The version with the alias `champion` is the one to use; each version's description begins with what was "
        "decided about it."
    )
    assert str(version.description).startswith(f"Promoted, {tags['score']}: {first['reason']}\n\n**sides**: ")
    for text in ("### Cost", "### Promotion", "By label", "accuracy >= 0.6"):
        assert text in str(version.description)
    # no isolated process, no new version, no write
    monkeypatch.setattr(isolated, "predict", None)
    before = hashlib.sha256((project / "mlflow.db").read_bytes()).hexdigest()
    again = run()
    assert again == first | {"new_version": False, "changed": False, "new_champion": False}
    assert "nothing has changed" in capsys.readouterr().out
    assert hashlib.sha256((project / "mlflow.db").read_bytes()).hexdigest() == before


@pytest.mark.usefixtures("project")
def test_a_dirty_checkout_is_named_by_its_experiments_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "commit", lambda: {provenance.COMMIT: "a" * 40, provenance.DIRTY: "true"})
    monkeypatch.setenv(provenance.SAVED, "b" * 40)
    named = {provenance.COMMIT: "b" * 40, provenance.PARENT: "a" * 40, "commit": "b" * 12}
    first = run()
    for tags in (
        connection.client().get_model_version("sides", "1").tags,
        connection.client().get_run(first["run_id"]).data.tags,
    ):
        assert named.items() <= tags.items() and tags.get(provenance.DIRTY) != "true"


@pytest.mark.usefixtures("project")
@pytest.mark.e2e
def test_what_was_registered_answers_alone(tmp_path: Path) -> None:
    """In a process without the checkout: raw examples in, answers out, an error where one cannot be read."""
    run()
    images = pq.read_table("data/a.parquet")["image"].to_pylist()[:3]
    given = tmp_path / "given.parquet"
    pq.write_table(pa.table({"image": pa.array([*images, b"no image"], pa.binary())}), given)
    answers = isolated.predict("models:/sides/1", given).to_pylist()
    assert [row["label"] for row in answers[:3]] == pq.read_table("data/a.parquet")["label"].to_pylist()[:3]
    assert answers[3]["label"] is None
    assert "decoded" in answers[3]["error"]
    place = Path(connection.client().get_model_version_download_uri("sides", "1").removeprefix("file://"))
    if not place.exists():
        model_id = connection.client().get_model_version("sides", "1").model_id
        assert model_id is not None
        place = Path(connection.client().get_logged_model(model_id).artifact_location.removeprefix("file://"))
    (package,) = (path for path in (place / "code").iterdir() if path.name != "__pycache__")
    code = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    recipe = {"recipes/__init__.py", "recipes/images/__init__.py", "recipes/images/example/__init__.py"}
    target = {f"targets/{name}.py" for name in ("__init__", "single_label", "multi_label")}  # an image may have either
    assert code == {"__init__.py", "serving/__init__.py", "serving/loose.py", "serving/onnx_model.py", *recipe, *target}
    assert not any("import keras" in (package / path).read_text() for path in code)
    pinned = (place / "requirements.txt").read_text().split()
    assert f"onnxruntime=={provenance.version('onnxruntime')}" in pinned
    assert f"pillow=={provenance.version('pillow')}" in pinned
    assert all("==" in line for line in pinned)
    assert not any(line.startswith(("tensorflow", "keras", "dvc")) for line in pinned)


@pytest.mark.usefixtures("quick")
@pytest.mark.e2e
def test_an_empty_store_gets_everything_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run()
    (project / "new").mkdir()
    fabricate.store(project / "new")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/new/mlflow.db")
    second = run()
    assert second["new_version"]
    assert second["promoted"]
    assert second["run_id"] != first["run_id"]
    assert second["model_digest"] == first["model_digest"]
    assert versions() == ["1"]


@pytest.mark.e2e
def test_a_worse_model_is_kept_back_by_the_bootstrap_and_a_better_one_promoted(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model(project, POOR)
    with monkeypatch.context() as patch:
        patch.setattr(isolated, "predict", asked)
        poor = run()
    assert poor["promoted"]
    model(project, GOOD)
    good = run()
    assert good["promoted"]
    assert good["version"] == "2"
    assert good["score"] == "f1_macro"
    for name in ("f1_macro", "accuracy"):  # of the same test split
        assert good["champion"]["metrics"][name] == pytest.approx(poor["metrics"][name])
    tests = good["metrics"]["rows"]
    assert (good["champion"]["version"], good["champion"]["rows"], good["champion"]["of"]) == ("1", tests, tests)
    gain, apart = good["metrics"]["f1_macro"] - poor["metrics"]["f1_macro"], good["champion"]["difference"]
    assert apart["mean"] == pytest.approx(gain)
    assert 0 < apart["low"] < gain < apart["high"]
    assert alias("reference") == "2"
    # the poor one again: it is version 1 still, and not promoted
    monkeypatch.setattr(isolated, "predict", asked)
    model(project, POOR)
    back = run()
    assert back["version"] == "1"
    assert not back["promoted"]
    assert "it is worse than the champion" in back["reason"]
    assert alias("champion") == "2"
    assert versions() == ["1", "2"]
    assert not run()["changed"]


@pytest.mark.e2e
@pytest.mark.usefixtures("quick")
def test_a_gate_that_does_not_hold(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model(project, POOR, minimum="{accuracy: 0.95}")
    kept = run()
    assert not kept["promoted"]
    assert kept["aliases"] == ["challenger"]
    assert "the gate is >= 0.95" in kept["reason"]
    assert "not the champion" in capsys.readouterr().out
    # a lower gate is a new decision about the same version
    model(project, POOR, minimum="{accuracy: 0.5}")
    let = run()
    assert let["promoted"]
    assert not let["new_version"]
    assert let["changed"]
    # a higher one takes no alias away
    model(project, POOR, minimum="{accuracy: 0.95}")
    still = run()
    assert still["promoted"]
    assert "fails the current gates (accuracy)" in still["reason"]
    assert "fails the current gates" in str(connection.client().get_model_version("sides", "1").description)
    capsys.readouterr()
    # lowered again, what made it the champion is told again
    model(project, POOR, minimum="{accuracy: 0.5}")
    again = run()
    assert again["reason"] == let["reason"] == "it passes all gates and there was no champion"
    version = connection.client().get_model_version("sides", "1")
    assert version.tags["reason"] == let["reason"]
    for text in (capsys.readouterr().out, str(version.description)):
        assert let["reason"] in text
        assert "fails" not in text


@pytest.mark.e2e
@pytest.mark.usefixtures("quick")
def test_the_baselines_are_gates_that_a_user_may_turn_off_and_the_version_says_so(project: Path) -> None:
    """What each gate holds and says is in tests/evaluation/test_promotion.py."""
    rows = [fabricate.beside("trivial", 0.1, 0.2), fabricate.beside("classical", -0.229, -0.082)]
    write_csv(Path("build/evaluation/baselines.csv"), rows, list(rows[0]))
    fabricate.versions(project)
    kept = run()
    assert not kept["promoted"]
    assert kept["aliases"] == ["challenger"]
    assert "the model IS WORSE THAN the classical baseline (LogisticRegression): f1_macro" in kept["reason"]
    settings = "{minimum: {}, above_trivial: false, not_below_classical: false}"
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text[: text.index("register:")] + f"register: {settings}\n")
    fabricate.versions(project)
    let = run()
    assert let["promoted"]
    assert "it passes all gates (above_trivial, not_below_classical turned off) and there was no" in let["reason"]
    page = str(connection.client().get_model_version("sides", "1").description)
    assert "- above_trivial > 0, the interval's low end: **turned off**" in page


@pytest.mark.usefixtures("quick")
def test_a_gate_on_nothing_names_the_nearest_and_makes_nothing(project: Path) -> None:
    model(project, GOOD, minimum="{acuracy: 0.95}")
    with pytest.raises(SlipwayError, match=r"register\.minimum\.acuracy: no such metric; did you mean accuracy\?"):
        run()
    assert versions() == []


def test_a_gate_on_the_worst_slice_says_where_there_is_none() -> None:
    gate = params.Register(minimum={"worst_slice_accuracy": 0.8})
    with pytest.raises(SlipwayError, match=r"evaluate\.slices has a slice of at least 30"):
        promotion.gates(gate, {"baseline_accuracy": 0.9})
    with pytest.raises(SlipwayError, match=r"did you mean worst_slice_cost\?"):
        promotion.gates(gate, {"worst_slice_cost": 0.9})


@pytest.mark.usefixtures("quick")
@pytest.mark.e2e
def test_a_champion_that_cannot_answer_is_told_and_stays(project: Path) -> None:
    model(project, POOR)
    run()
    for path in (project / "mlartifacts").rglob("model.onnx"):
        path.write_bytes(b"damaged")
    model(project, GOOD)
    kept = run()
    assert not kept["promoted"]
    assert "cannot be evaluated again" in kept["reason"]
    assert kept["reason"].endswith("; `slipway promote sides 2` makes it the champion anyway")
    assert alias("champion") == "1"
    # by hand, then
    connection.client().set_registered_model_alias("sides", "champion", "2")
    assert run()["promoted"]
    # the best version so far can be left out: what becomes the champion has no such advice in its reason
    connection.client().delete_registered_model_alias("sides", "champion")
    let = run()
    assert let["promoted"]
    assert "the best version so far was left out: version 1 cannot be evaluated again" in let["reason"]
    assert "slipway promote" not in let["reason"]


@pytest.mark.usefixtures("quick")
def test_what_has_moved_in_the_data_since_the_champion_is_told(project: Path) -> None:
    assert run()["drift"] is None

    def other(rows: int, noise: float, counts: dict[str, int]) -> dict[str, Any]:
        fabricate.project(project, noise, rows)
        path = Path("build/validation/columns.json")
        found = read_json(path)
        found["columns"]["label"] |= {"rows": rows, "values": counts}
        write_json(path, found)
        return run()

    drifted = other(330, POOR, {"left": 33, "right": 297})
    (told,) = drifted["drift"].pop("columns")
    assert drifted["drift"] == {"version": "1", "rows": "330 rows beside 300"} and not drifted["promoted"]
    assert told[0] == "label" and told[1].startswith("'right' 90 %, before 5")
    assert alias("champion") == "1"
    # the champion is of a Slipway that did not keep this
    of_run = connection.client().get_model_version("sides", "1").run_id
    shutil.rmtree(next(project.rglob(f"{of_run}/artifacts/build/columns.json")).parent)
    assert other(340, POOR, {"left": 34, "right": 306})["drift"]["columns"] is None


@pytest.mark.e2e
@pytest.mark.usefixtures("quick")
def test_versions_of_another_split_are_compared_on_examples_that_are_test_for_both(project: Path) -> None:
    """`split.seed: 2` makes test examples of what the champion was trained on."""

    def split(seed: int, test: float) -> dict[str, Any]:
        fabricate.project(project, 0.2 + seed / 100, text=f"{fabricate.PARAMS}split: {{seed: {seed}, test: {test}}}\n")
        return run()

    assert split(1, 0.5)["promoted"]
    rule = json.loads(connection.client().get_model_version("sides", "1").tags["slipway.split"])
    assert (rule["by"], rule["seed"], rule["test"]) == ("id", 1, 0.5)
    other = split(2, 0.5)
    test = pq.read_table("build/evaluation/predictions.parquet")
    both = splits.in_test(rule, test.append_column("split", pa.nulls(len(test), pa.string())))
    assert 30 < both.sum() < 0.7 * len(test)
    assert (other["champion"]["rows"], other["champion"]["of"]) == (both.sum(), len(test))
    assert f"on the {both.sum()} of {len(test)} test examples that are test for both" in other["reason"]
    assert list(other["champion"]["metrics"]) == ["f1_macro"]
    assert other["champion"]["unlike"] == "it was evaluated on another test split"
    # one that was registered before this was written down: its run knows
    connection.client().set_registered_model_alias("sides", "champion", "1")
    connection.client().delete_model_version_tag("sides", "1", "slipway.split")
    assert split(3, 0.5)["champion"]["rows"] < 0.7 * len(test)
    few = split(4, 0.1)
    assert not few["promoted"]
    assert "whose split was made otherwise: only" in few["reason"]


@pytest.mark.e2e
@pytest.mark.usefixtures("quick")
def test_an_alias_moved_back_by_hand_stays_there(project: Path) -> None:
    model(project, POOR)
    run()
    model(project, GOOD)
    assert run()["promoted"]
    connection.client().set_registered_model_alias("sides", "champion", "1")
    after = run()
    assert not after["promoted"]
    assert not after["changed"]
    assert "moved" in after["reason"]
    assert alias("champion") == "1"


@pytest.mark.e2e
@pytest.mark.usefixtures("quick")
def test_a_version_promoted_by_hand_is_not_called_worse(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    model(project, POOR)
    assert "it is worse than the champion" in run()["reason"]
    connection.client().set_registered_model_alias("sides", "champion", "2")
    capsys.readouterr()
    after = run()
    assert after["promoted"]
    assert after["reason"] == "it is already the champion"
    assert "worse" not in capsys.readouterr().out
    assert run() == after | {"changed": False}


@pytest.mark.e2e
@pytest.mark.usefixtures("quick")
def test_a_version_that_answers_otherwise_moves_no_alias(project: Path) -> None:
    """The predictions that were evaluated are not this model's."""
    path = project / "build" / "evaluation" / "predictions.parquet"
    table = pq.read_table(path)
    other = pa.array([[0.4, 0.6]] * len(table), pa.list_(pa.float32()))
    at = table.column_names.index("probabilities")
    pq.write_table(table.set_column(at, "probabilities", other), path)
    fabricate.versions(project)
    with pytest.raises(SlipwayError, match="predicts differently"):
        run()
    assert connection.client().get_registered_model("sides").aliases == {}


class Killed(BaseException):
    """As good as SIGKILL: nothing catches it."""


@pytest.mark.parametrize(
    "at",
    [
        "MlflowClient.log_model_artifacts",
        "MlflowClient.finalize_logged_model",
        "MlflowClient.create_registered_model",
        "MlflowClient.create_model_version",
        "isolated.predict",
        "registry.tag",
        "MlflowClient.update_model_version",
        "MlflowClient.set_registered_model_alias",
    ],
)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.usefixtures("project", "quick")
@pytest.mark.e2e
def test_killed_anywhere_it_goes_on(monkeypatch: pytest.MonkeyPatch, at: str, after: bool) -> None:
    """The end is the same as if nothing had happened, and nothing is there twice."""
    from mlflow import MlflowClient

    owner, name = at.split(".")
    holder = {"MlflowClient": MlflowClient, "isolated": isolated, "registry": registry}[owner]
    real = getattr(holder, name)

    def dies(*arguments: Any, **options: Any) -> None:
        if after:
            real(*arguments, **options)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(holder, name, dies)
        with pytest.raises(Killed):
            run()
    done = run()
    assert done["version"] == "1"
    assert done["aliases"] == ["challenger", "champion", "reference"]
    assert done["reason"] == "it passes all gates and there was no champion"
    assert versions() == ["1"]
    client = connection.client()
    experiment = connection.experiment("sides")
    assert len(client.search_runs([experiment])) == 1
    assert len(client.search_logged_models([experiment])) == 1
    assert not run()["changed"]


def replaced(path: str, old: str, new: str) -> Callable[[], None]:
    def replace() -> None:
        text = Path(path).read_text()
        assert old in text
        Path(path).write_text(text.replace(old, new))

    return replace


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda: shutil.rmtree("build"), "dvc repro"),
        (lambda: Path("build/evaluation/metrics.json").unlink(), r"metrics\.json: no such file; run `dvc repro`"),
        (
            lambda: Path("dvc.lock").unlink(),
            "not up to date .* differs from what dvc.lock lists.*: run `dvc repro` first",
        ),
        (lambda: Path("build/model/model.onnx").write_bytes(b"x"), "build/model differs from what dvc.lock lists"),
        (lambda: fabricate.data(Path(), params.load(), 100), "data differs from what data.dvc lists"),
        (lambda: shutil.rmtree("data"), r"data is missing; `dvc pull data\.dvc` fetches it"),
        (lambda: Path("data/a.parquet").unlink(), "data differs from what data.dvc lists"),
        (replaced("params.yaml", "epochs: 3", "epochs: 4"), "params.yaml: train has changed since the stage train ran"),
        (replaced("dvc.yaml", "cmd: evaluate", "cmd: evaluate --all"), "the command of the stage evaluate has changed"),
        (
            replaced("dvc.yaml", "- build/model\n", "- build/model\n    - params.yaml\n"),
            "params.yaml has changed since the stage evaluate ran",
        ),
        (lambda: shutil.rmtree(".dvc"), "is not a DVC repository: run this in the project's root"),
        (
            replaced("dvc.yaml", "  evaluate:", "  evaluation:"),
            "DVC cannot tell whether .* up to date: 'evaluate' does not",
        ),
    ],
)
@pytest.mark.usefixtures("project", "quick")
def test_a_pipeline_that_is_not_up_to_date(spoil: Callable[[], None], message: str) -> None:
    spoil()
    with pytest.raises(SlipwayError, match=message):
        run()
    assert versions() == []


@pytest.mark.e2e
@pytest.mark.usefixtures("project", "quick")
def test_other_data_or_another_evaluation_is_never_shown_to_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever DVC is said to have said."""
    path = Path("build/evaluation/predictions.parquet")
    whole = pq.read_table(path)
    pq.write_table(whole.take(pa.array(range(len(whole) - 1, -1, -1))), path)
    assert main([*REGISTER, "--up-to-date"]) == 1
    assert "build/evaluation is not based on the examples in build/arrays: run `dvc repro`" in capsys.readouterr().err
    pq.write_table(whole, path)
    Path("data/a.parquet").unlink()
    assert main([*REGISTER, "--up-to-date"]) == 1
    assert "data does not contain the examples of build/arrays/test: run `dvc repro` first" in capsys.readouterr().err
    assert versions() == []


@pytest.mark.usefixtures("project")
def test_no_server_and_no_password_in_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter22@127.0.0.1:{fabricate.free_port()}")
    with pytest.raises(SlipwayError, match=r"MLflow at http://\*\*\*@127.* does not respond") as error:
        run()
    assert "hunter22" not in str(error.value)


@pytest.mark.e2e
def test_a_server_with_a_password_in_its_address(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way over HTTP; the password is nowhere afterwards."""
    port = fabricate.free_port()
    with fabricate.server(project, tmp_path, port):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter22@127.0.0.1:{port}")
        assert run()["promoted"]
        assert not run()["changed"]
    assert "hunter22" not in capsys.readouterr().out
    for path in [*tmp_path.rglob("*.json"), tmp_path / "store.db", *(tmp_path / "artifacts").rglob("*")]:
        if path.is_file():
            assert b"hunter22" not in path.read_bytes(), path


@pytest.mark.e2e
def test_two_at_once_make_one_version(project: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "components", "register", "--build", "build", "--data", "data", "--out"]
    both = [
        subprocess.Popen([*command, f"build/{n}.json"], env=environment, stdout=subprocess.PIPE, text=True)
        for n in (1, 2)
    ]
    told = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert versions() == ["1"]
    made = [read_json(project / "build" / f"{n}.json")["new_version"] for n in (1, 2)]
    assert sorted(made) == [False, True]


@pytest.mark.e2e
@pytest.mark.usefixtures("quick")
def test_a_champion_made_meanwhile_is_compared_with_and_not_overwritten(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Minutes pass between reading the champion and moving the alias."""
    model(project, POOR)
    run()
    model(project, 0.3)
    middling = run()
    assert middling["promoted"]
    connection.client().set_registered_model_alias("sides", "champion", "1")
    connection.client().set_registered_model_alias("sides", "reference", "1")
    real = rivals.compare
    calls: list[dict[str, str]] = []

    def interrupted(challenger: Any, holders: Any, version: str) -> None:
        real(challenger, holders, version)
        if not calls:  # another machine promotes version 2
            connection.client().set_registered_model_alias("sides", "champion", "2")
        calls.append({alias: str(holder.version) for alias, holder in holders.items()})

    monkeypatch.setattr(rivals, "compare", interrupted)
    model(project, 0.5)
    kept = run()
    assert [call["champion"] for call in calls] == ["1", "2"]
    assert not kept["promoted"]
    assert kept["champion"]["version"] == "2"
    assert alias("champion") == "2"
    assert "another version became the champion meanwhile" in capsys.readouterr().out


@pytest.mark.e2e
def test_two_machines_at_once_make_one_version_of_a_digest_and_lose_no_promotion(
    project: Path, tmp_path: Path, postgres: str
) -> None:
    """The best of three is the champion, whoever comes last; each machine has locks of its own."""
    from mlflow import MlflowClient

    machines = {}
    for name, noise in (("a", GOOD), ("b", 0.4), ("c", GOOD)):
        machines[name] = tmp_path / name
        shutil.copytree(project, machines[name])
        with contextlib.chdir(machines[name]):
            model(machines[name], noise)
        (tmp_path / f"{name}-tmp").mkdir()
    model(project, POOR)

    def registering(root: Path, name: str) -> subprocess.Popen[str]:
        places = {"MLFLOW_TRACKING_URI": f"{postgres}&application_name={name}", "XDG_RUNTIME_DIR": f"{root}-tmp"}
        environment = os.environ | places | {"PYTHONPATH": str(ROOT), "TMPDIR": f"{root}-tmp"}
        command = [sys.executable, "-m", "components", *REGISTER]
        out = subprocess.PIPE
        return subprocess.Popen(command, cwd=root, env=environment, stdout=out, stderr=subprocess.STDOUT, text=True)

    (tmp_path / "project-tmp").mkdir()
    first = registering(project, "first")
    told = first.communicate(timeout=600)[0]
    assert first.returncode == 0, told
    started = {name: registering(root, name) for name, root in machines.items()}
    told = "".join(process.communicate(timeout=600)[0] for process in started.values())
    assert [process.returncode for process in started.values()] == [0, 0, 0], told
    client = MlflowClient(postgres, postgres)
    made = client.search_model_versions("name = 'sides'")
    digests = [version.tags["slipway.model"] for version in made]
    assert len(digests) == len(set(digests)) == 3
    best = read_json(machines["a"] / "build" / "register.json")["model_digest"]
    for name in ("champion", "reference"):
        assert client.get_model_version_by_alias("sides", name).tags["slipway.model"] == best
    assert [found.name for found in client.search_registered_models()] == ["sides"]  # no lock is left


@pytest.mark.e2e
@pytest.mark.parametrize("table", ["runs", "model_versions"])
def test_a_database_that_is_killed_half_way_is_told_and_loses_nothing(
    project: Path, postgres_server: Any, table: str
) -> None:
    """SIGKILL of PostgreSQL, all of it, as soon as a table has its first row."""
    import psycopg
    from mlflow import MlflowClient

    uri = str(postgres_server.get_uri())
    model(project, GOOD)
    client = MlflowClient(uri, uri)
    client.search_registered_models()  # makes the tables
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "components", *REGISTER]
    process = subprocess.Popen(
        command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(uri, autocommit=True) as base:
        while process.poll() is None and not base.execute(f"SELECT FROM {table}").fetchall():
            time.sleep(0.001)
    fabricate.kill_postgres(postgres_server)
    told = process.communicate(timeout=600)[0]
    assert "Traceback" not in told
    assert process.returncode == 1 and "error: " in told, told
    postgres_server.ensure_postgres_running()
    client = MlflowClient(uri, uri)
    again = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    (made,) = client.search_model_versions("name = 'sides'")
    assert sorted(client.get_model_version("sides", made.version).aliases) == ["challenger", "champion", "reference"]
    assert [found.name for found in client.search_registered_models()] == ["sides"]  # no lock is left
    experiments = [found.experiment_id for found in client.search_experiments()]
    assert [found.info.status for found in client.search_runs(experiments)] == ["FINISHED"]
    assert len(client.search_logged_models(experiments)) == 1


@pytest.mark.usefixtures("project")
def test_a_lock_whose_holder_died_is_taken_over(capsys: pytest.CaptureFixture[str]) -> None:
    client = connection.client()
    dead = subprocess.run(
        [sys.executable, "-c", "from components import temporary; print(temporary.owner())"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    client.create_registered_model("sides.lock", description=f"held: elsewhere {dead.stdout.strip()}")
    with registry.turn("sides"):
        assert [found.name for found in client.search_registered_models()] == ["sides.lock"]
    assert not client.search_registered_models()
    assert "left behind by a process that died" in capsys.readouterr().out


@pytest.mark.usefixtures("project")
def test_the_lock_is_of_one_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the user has no name, as in a container."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    entered = threading.Event()

    def other() -> None:
        with registry.alone():
            entered.set()

    with registry.alone():
        thread = threading.Thread(target=other)
        thread.start()
        assert not entered.wait(0.3)
    assert entered.wait(5)
    thread.join()


@pytest.mark.usefixtures("project", "quick")
def test_the_command_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    images = pq.read_table("data/a.parquet").slice(0, 2).to_pylist()
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, row in enumerate(images):
        (folder / f"{number}.png").write_bytes(row["image"])
    (folder / "notes.txt").write_text("no image")
    (folder / os.fsdecode(b"f\xfcnf.png")).write_bytes(images[1]["image"])  # a name that is not UTF-8
    assert main(["predict", str(folder)]) == 1  # a part is not all
    told, said = capsys.readouterr()
    assert "without a prediction: 1 of 4 examples (notes.txt)\n" in said
    assert rf"f\xfcnf.png  {images[1]['label']}" in told
    names = os.fsdecode(b"n\xe4mes.parquet")
    assert main(["predict", str(folder), "--out", names]) == 1
    assert pq.read_table(io.BytesIO(Path(names).read_bytes()))["example"].to_pylist() == [
        "0.png",
        "1.png",
        r"f\xfcnf.png",
        "notes.txt",
    ]
    assert f"0.png        {images[0]['label']}" in told
    assert "notes.txt    error: " in told
    assert main(["predict", str(folder), "--out", "some.csv"]) == 1
    told, said = capsys.readouterr()
    assert "wrote 3 predictions to some.csv\n" in told
    assert "without a prediction: 1 of 4 examples (notes.txt); the column error says why\n" in said
    assert main(["predict", "sides/1", "data/a.parquet", "--out", "answers.csv"]) == 0
    lines = Path("answers.csv").read_text().splitlines()
    assert lines[0] == '"example","label","probability","probabilities","error"'
    assert len(lines) == 151
    for arguments, message in {
        ("sides@chmpion", str(folder)): "did you mean sides@champion?",
        (
            "sides@staging",
            str(folder),
        ): "sides has no version with the alias staging; there are: sides@challenger, sides@champion",
        ("sides/77", str(folder)): "sides has no version '77'; there are: 1",
        ("sdes", str(folder)): "models:/sdes@champion: no such model in MLflow",
        ("digits", str(folder)): "models:/digits@champion: no such model in MLflow",
        ("models:/digits", str(folder)): "expected models:/NAME@ALIAS",
        (str(tmp_path / "nothing"),): "no such file or folder",
        ("data/a.parquet", "--out", "answers.txt"): "expected a .csv or .parquet",
        ("dvc.lock", "--out", "answers.parquet"): "without a prediction: 1 of 1 examples (dvc.lock)",
    }.items():
        assert main(["predict", *arguments]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.e2e
def test_a_model_of_numbers_answers_a_table_and_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through MLflow's signature: missing values are answered, a CSV's text too, and a bad value costs one row."""
    from mlflow.models import Model

    monkeypatch.chdir(tmp_path)
    recipe = recipes.load("tabular")
    section, sample = recipe.sample(40, 5)
    Path("params.yaml").write_text(f"name: table\nrecipe: tabular\ntabular: {json.dumps(section)}\n")
    settings = params.load()
    fabricate.table_model(tmp_path / "model", settings, recipe.fit([sample], settings.task))
    columns = recipe.columns(settings.task)
    colours = [None if row % 7 == 0 else value for row, value in enumerate(sample["colour"].to_pylist())]
    raw = sample.select(columns.names).set_column(2, "colour", pa.array(colours, pa.string())).cast(columns)
    assert raw["y"].null_count
    (tmp_path / "out").mkdir()
    registry._save(settings, tmp_path, raw.slice(0, 3), tmp_path / "out", Model())
    expected = onnx_model.predict(onnx_model.load(tmp_path / "model"), raw)
    text = pa.table({name: raw[name].cast(pa.string()) for name in raw.column_names})
    spoilt = text.set_column(0, "x", pa.array(["two", *text["x"].to_pylist()[1:]]))
    pq.write_table(raw, "typed.parquet")
    pq.write_table(spoilt, "text.parquet")
    assert isolated.predict(str(tmp_path / "out" / "model"), Path("typed.parquet")).equals(expected)
    answers = isolated.predict(str(tmp_path / "out" / "model"), Path("text.parquet"))
    assert answers.slice(1).equals(expected.slice(1))
    first = {"label": None, "probability": None, "probabilities": None, "error": "x: 'two' is not a number"}
    assert answers.slice(0, 1).to_pylist() == [first]


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> params.Params:
    """Make a model of two numbers and a category; the registered one answers in this process."""
    monkeypatch.chdir(tmp_path)
    section = {"numeric": ["x", "y"], "categorical": ["code"], "labels": ["no", "yes"]}
    Path("params.yaml").write_text(f"name: table\nrecipe: tabular\ntabular: {json.dumps(section)}\n")
    settings = params.load()
    seen = pa.table({"x": [-1.0, 1.0], "y": [-1.0, 1.0], "code": ["007", "7"]})
    state = recipes.load("tabular").fit([seen], settings.task)
    fabricate.table_model(tmp_path / "model", settings, state)
    return settings


def about(columns: dict[str, str], recipe: str = "tabular", **reading: Any) -> dict[str, Any]:
    """What a version says of itself; `reading` is of its training files."""
    return {"inputs": columns, "recipe": recipe, "params": {"reading": reading}}


MIXED = {"x": "double", "y": "double", "code": "string"}


def test_a_csv_is_read_as_it_was_ingested(mixed: params.Params) -> None:
    """Missing values as at its ingest; what is a number is asked of the signature, not of this file."""
    Path("a.csv").write_text("code,x,y,when\n007,1,-2.5,2020-01-01\nNA,?,nan,\n7,two,3,2020-01-02\n")
    names, table = predict._read(Path("a.csv"), about(MIXED), missing=["?"])
    assert names == ["0", "1", "2"]
    assert table["code"].to_pylist() == ["007", None, "7"]
    (batch,) = table.combine_chunks().to_batches()
    inputs = registry._signature(mixed).inputs
    frame, problems = worker._asked(batch, inputs, "tabular")
    assert frame["code"].fillna("missing").tolist() == ["007", "missing", "7"]
    assert frame["y"].dropna().tolist() == [-2.5, 3.0]
    assert frame["x"].isna().tolist() == [False, True, True]
    assert problems == {2: "x: 'two' is not a number"}
    assert worker._lacking(frame, inputs) == ""
    (kept,) = (
        predict._read(Path("a.csv"), about(MIXED), missing=["?"], not_missing=["NA"])[1].combine_chunks().to_batches()
    )
    assert worker._asked(kept, inputs, "tabular")[0]["code"].tolist() == ["007", "NA", "7"]
    lacking = "the columns x, code are missing; the table has: y, when"
    assert worker._lacking(frame[["y", "when"]], inputs) == lacking
    picture = pa.RecordBatch.from_pydict({worker.FILE_COLUMN: [b"1"]})
    frame, _ = worker._asked(picture, inputs)
    assert "a .csv or .parquet with the columns x, y, code" in worker._lacking(frame, inputs)
    with pytest.raises(SlipwayError, match=r"b\.csv: no such file"):
        predict._read(Path("b.csv"), about(MIXED))


@pytest.mark.parametrize("numbers", [pa.int64(), pa.bool_(), pa.float32(), pa.null()])
@pytest.mark.parametrize("codes", [pa.bool_(), pa.string(), pa.dictionary(pa.int8(), pa.string()), pa.null()])
def test_a_parquet_file_of_other_types_is_cast(mixed: params.Params, numbers: pa.DataType, codes: pa.DataType) -> None:
    """Through MLflow's own enforcement of the signature."""
    from mlflow.models.utils import _enforce_schema

    plain = pa.array([True, None, False]).cast(numbers) if numbers != pa.null() else pa.nulls(3)
    given = [True, None, True] if codes == pa.bool_() else ["true", None, "true"]
    code = pa.nulls(3) if codes == pa.null() else pa.array(given, codes)
    pq.write_table(pa.table({"x": plain, "y": [1, 2, 3], "code": code, "more": [b"", b"", b""]}), "a.parquet")
    (batch,) = predict._read(Path("a.parquet"), about(MIXED))[1].to_batches()
    inputs = registry._signature(mixed).inputs
    frame, problems = worker._asked(batch, inputs)
    assert problems == {}
    checked = _enforce_schema(frame, inputs)
    expected = [None] * 3 if numbers == pa.null() else [1.0, None, 0.0]
    assert [None if value != value else value for value in checked["x"]] == expected  # noqa: PLR0124 - NaN
    assert checked["y"].tolist() == [1.0, 2.0, 3.0]
    texts = [None if not isinstance(value, str) else value for value in checked["code"]]
    assert texts == ([None] * 3 if codes == pa.null() else ["true", None, "true"])
    loaded = onnx_model.load(Path("model"))
    answers = onnx_model.Pyfunc(loaded).predict(checked)
    assert answers["error"].isna().all()


def test_gates_and_numbers_that_are_none() -> None:
    settings = params.Register(minimum={"accuracy": 0.9}, maximum={})
    (gate,) = promotion.gates(settings, {"accuracy": float("nan")})
    assert gate == {"metric": "accuracy", "limit": ">= 0.9", "value": None, "held": False}
    assert json.dumps(gate, allow_nan=False)


@pytest.mark.e2e
@pytest.mark.usefixtures("project")
def test_a_dvc_at_work_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Until then it is open what its stage will have made."""
    Path(".dvc/tmp").mkdir()
    lock = Path(".dvc/tmp/rwlock")
    model = str(Path("build/model").resolve())
    lock.write_text(json.dumps({"write": {model: {"pid": os.getppid(), "cmd": "dvc repro"}}}))
    Path("free").write_text("{}")
    timer = threading.Timer(1.5, os.replace, ["free", lock])
    timer.start()
    assert dvc_versions.outdated("evaluate") == ""
    assert not timer.is_alive()
    assert capsys.readouterr().out.count("waiting: ") == 1


@pytest.mark.e2e
def test_what_has_just_been_asked_is_not_asked_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a flow that saw each of DVC's stages up to date: DVC alone takes longer than all else that is left to do."""
    run()
    monkeypatch.setattr(dvc_versions, "outdated", None)
    assert main([*REGISTER, "--up-to-date"]) == 0
    assert not read_json(Path("build/register.json"))["changed"]


def test_text_of_a_csv_is_read_by_the_signature() -> None:
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    specs = [ColSpec(DataType.boolean, "owner"), ColSpec(DataType.datetime, "since")]
    inputs = Schema([*specs, ColSpec(Array(DataType.double), "history")])
    batch = pa.record_batch(
        {
            "owner": ["true", "0", None, "perhaps"],
            "since": ["2026-01-31", "2026-01-31T14:00+02:00", None, "31 January"],
            "history": ["[1, 2.5, null]", "[]", None, "1;2"],
        }
    )
    frame, problems = worker._asked(batch, inputs)
    assert frame["owner"].tolist() == [True, False, None, None]
    assert [str(day)[:16] for day in frame["since"][:2]] == ["2026-01-31 00:00", "2026-01-31 12:00"]
    assert frame["history"][0][:2] == [1.0, 2.5]
    assert frame["history"].tolist()[1:] == [[], [], []]  # MLflow refuses a table in which a list is missing
    assert problems == {3: "owner: 'perhaps' is not true or false"}
    lists = pa.record_batch({"history": pa.array([[1.0], None])})
    frame, _ = worker._asked(lists, Schema([ColSpec(Array(DataType.double), "history")]))
    assert [list(found) for found in frame["history"]] == [[1.0], []]


def test_the_content_of_a_file_is_asked_beside_columns_that_no_model_sees() -> None:
    from mlflow.types import ColSpec, DataType, Schema

    inputs = Schema([ColSpec(DataType.binary, "audio"), ColSpec(DataType.string, "speaker")])
    batch = pa.record_batch({worker.FILE_COLUMN: pa.array([b"RIFF", b"fLaC"], pa.binary())})
    frame, problems = worker._asked(batch, inputs)
    assert frame["audio"].tolist() == [b"RIFF", b"fLaC"]
    assert frame["speaker"].tolist() == ["", ""]
    assert not problems


def test_a_word_for_missing_is_a_text_as_any_to_a_model_of_texts(tmp_path: Path) -> None:
    from mlflow.types import ColSpec, DataType, Schema

    (tmp_path / "a.csv").write_text("text,more\nNA,null\nnull,1\n,2\n")
    text = about({"text": "string"}, "text")
    (batch,) = predict._read(tmp_path / "a.csv", text)[1].combine_chunks().to_batches()
    frame, _ = worker._asked(batch, Schema([ColSpec(DataType.string, "text")]))
    assert frame["text"].fillna("missing").tolist() == ["NA", "null", "missing"]
    frame, _ = worker._asked(batch.select(["more"]), Schema([ColSpec(DataType.string, "text")]))
    assert frame["text"].fillna("missing").tolist() == ["null", "1", "2"]  # the only column, whatever it is called
    two = about({"text": "string", "more": "double"}, "series")
    (batch,) = predict._read(tmp_path / "a.csv", two)[1].combine_chunks().to_batches()
    columns = Schema([ColSpec(DataType.string, "text"), ColSpec(DataType.double, "more")])
    frame, problems = worker._asked(batch, columns)
    assert frame["text"].fillna("missing").tolist() == ["NA", "null", "missing"]  # such as the name of a series
    assert frame["more"].isna().tolist() == [True, False, False]
    assert not problems


def test_a_decimal_comma_is_read_in_numbers_and_left_in_categories(mixed: params.Params) -> None:
    Path("a.tsv").write_text("code\tx\ty\n1,5\t1,5\t1.234,5\n2,0\t-2,25\t1.5\n")
    (batch,) = predict._read(Path("a.tsv"), about(MIXED), decimal=",", thousands=".")[1].combine_chunks().to_batches()
    frame, problems = worker._asked(batch, registry._signature(mixed).inputs, "tabular")
    assert frame["code"].tolist() == ["1,5", "2,0"]
    assert frame["x"].tolist() == [1.5, -2.25]
    assert frame["y"].fillna(0).tolist() == [1234.5, 0]
    assert problems == {1: "y: '1.5' is not a number written as 1.234,5"}


def test_a_csv_means_what_the_training_files_meant(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """NA, ?, the spelling of numbers and dates are the model's; an option that says otherwise is told."""
    from mlflow.types import ColSpec, DataType, Schema

    columns = {"x": "double", "price": "double", "when": "datetime", "owner": "boolean", "land": "string"}
    inputs = Schema([ColSpec(DataType[kind], name) for name, kind in columns.items()])
    reading: dict[str, Any] = {
        "missing": ["unknown"],
        "not_missing": ["NA"],
        "decimal": ",",
        "numbers": {"price": "1.234,5 €"},
        "dates": {"when": "%d.%m.%Y"},
    }
    file = tmp_path / "a.csv"
    head = "x;price;when;owner;land\n"
    file.write_text(f"{head}1,5;1.234,50 €;31.12.2023;true;NA\nunknown;-;NULL;?;unknown\n2,0;7;2023-12-31;false;n/a\n")
    (batch,) = predict._read(file, about(columns, **reading))[1].combine_chunks().to_batches()
    frame, problems = worker._asked(batch, inputs, "tabular")
    assert frame["x"].fillna(0).tolist() == [1.5, 0, 2]
    assert frame["price"].fillna(0).tolist() == [1234.5, 0, 0]
    assert str(frame["when"][0])[:10] == "2023-12-31"
    assert frame["owner"].tolist() == [True, None, False]
    assert frame["land"].fillna("missing").tolist() == ["NA", "missing", "missing"]
    assert problems == {2: "price: '7' is not a number written as 1.234,5 €"}
    assert capsys.readouterr().err == ""
    file.write_text(f"{head}1.5;1,234.5 €;31.12.2023;true;NA\n")
    (batch,) = (
        predict._read(file, about(columns, **reading), decimal=".", thousands=",")[1].combine_chunks().to_batches()
    )
    frame, problems = worker._asked(batch, inputs, "tabular")
    assert (frame["x"][0], frame["price"][0], problems) == (1.5, 1234.5, {})
    said = capsys.readouterr().err
    assert "note: --decimal is '.' here, but ',' for the training data" in said
    old = {"inputs": columns, "recipe": "tabular", "params": {}}  # of a version registered before
    file.write_text(f"{head}1.5;2;2023-12-31;1;NA\n".replace(";", ","))
    (batch,) = predict._read(file, old)[1].combine_chunks().to_batches()
    frame, problems = worker._asked(batch, inputs, "tabular")
    assert (frame["x"][0], frame["price"][0], problems) == (1.5, 2, {})
    assert frame["land"].fillna("missing").tolist() == ["missing"]


def test_other_tables_are_read_too_and_what_is_packed_is_refused(mixed: params.Params) -> None:
    Path("a.JSONL").write_text('{"code": "7", "x": 1, "y": null}\n{"code": null, "x": 2.5, "y": 3}\n')
    names, table = predict._read(Path("a.JSONL"), about(MIXED))
    assert names == ["0", "1"]
    (batch,) = table.combine_chunks().to_batches()
    frame, problems = worker._asked(batch, registry._signature(mixed).inputs, "tabular")
    assert frame["x"].tolist() == [1, 2.5] and frame["y"].isna().tolist() == [True, False] and not problems
    Path("a.CSV").write_text("code,x,y\n7,1,2\n")
    assert predict._read(Path("a.CSV"), about(MIXED))[1].column_names == ["code", "x", "y"]
    Path("b.jsonl").write_text("{")
    for name, message in {
        "a.csv.gz": "no such file",
        "b.jsonl": "line 1, column 2: is not JSON",
        "c.jsonl": "no such file",
    }.items():
        with pytest.raises(SlipwayError, match=message):
            predict._read(Path(name), about(MIXED))


def test_a_file_is_the_only_column_of_the_signature() -> None:
    from mlflow.types import ColSpec, DataType, Schema

    batch = pa.record_batch({worker.FILE_COLUMN: pa.array([b"good", b"\xff", "schön".encode()], pa.binary())})
    frame, problems = worker._asked(batch, Schema([ColSpec(DataType.string, "text")]))
    assert frame["text"].tolist() == ["good", "", "schön"]
    assert problems == {1: "text: not UTF-8 text (byte 0)"}
    frame, problems = worker._asked(batch, Schema([ColSpec(DataType.binary, "audio")]))
    assert frame["audio"].tolist()[1] == b"\xff"
    assert not problems


def history() -> str:
    return moves.history(moving.look("sides"), None)


@pytest.mark.usefixtures("quick")
@pytest.mark.e2e
def test_a_rollback_during_a_retraining_is_not_undone_by_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(moving, "prove", lambda *_, **__: None)
    model(project, POOR)
    first = run()
    assert first["decision"] == "promoted"
    model(project, 0.3)
    assert run()["decision"] == "promoted"
    began = time.time()  # a retraining begins, and before it is done:
    done = moving.rollback("sides", why="it is slow")
    assert (done.before, done.version) == ("2", "1")
    model(project, GOOD)
    register.run(params.load(), Path("build"), Path("data"), Path("build/register.json"), began=began)
    kept = read_json(Path("build/register.json"))
    assert (kept["version"], kept["decision"], alias("champion")) == ("3", "kept", "1")
    assert "while this run was under way, version 1 was made the champion (rolled back by" in kept["reason"]
    assert "`slipway promote sides 3` does" in kept["reason"]
    assert not run()["changed"]  # and not by the next one either
    # what was rolled back from is not promoted again by a run, whatever the settings are now
    model(project, 0.3, minimum="{accuracy: 0.5}")
    again = run()
    assert (again["version"], again["decision"], alias("champion")) == ("2", "kept", "1")
    assert "it was rolled back from by" in again["reason"]
    told = history()
    assert "rolled back  2 -> 1" in told
    assert f"mlflow run {first['run_id']}" in told
    # a person's word
    capsys.readouterr()
    assert moves.run("promote", "sides", "challenger", why="it is fast enough") == 0
    assert "the champion moved from version 1 to version 2 (by hand by" in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
@pytest.mark.e2e
def test_with_approve_a_version_waits_for_a_person(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "prove", lambda *_, **__: None)
    more = "{accuracy: 0.5}\n  promotion: approve\n  aliases: {champion: production, staging: next} # "
    model(project, POOR, minimum=more)
    first = run()
    assert (first["decision"], first["promoted"], first["waiting"]) == ("waiting", False, ["1"])
    assert first["aliases"] == ["challenger", "next"]
    assert "slipway approve sides 1" in first["to_decide"]
    assert first["reason"] == "it passes all gates and there was no champion"
    assert not run()["changed"]
    assert moves.run("approve", "sides", "1") == 0
    assert alias("production") == "1"
    approved = run()
    assert (approved["decision"], approved["aliases"]) == ("promoted", ["challenger", "production", "reference"])
    model(project, GOOD, minimum=more)
    second = run()
    assert (second["decision"], alias("production"), alias("next")) == ("waiting", "1", "2")
    assert second["champion"]["difference"]["mean"] > 0
    assert moves.run("refuse", "sides", "2", why="not today") == 0
    refused = run()
    assert (refused["decision"], refused["changed"]) == ("kept", False)
    assert "refused by" in refused["reason"] and "(not today)" in refused["reason"]
    model(project, GOOD, minimum=more.replace("approve", "auto"))  # nor otherwise
    assert (run()["decision"], alias("production")) == ("kept", "1")


@pytest.mark.e2e
def test_a_version_is_proved_in_a_process_of_its_own_before_it_moves(project: Path) -> None:
    run()
    version = connection.client().get_model_version("sides", "1")
    moving.prove(version)
    (code,) = (project / "mlartifacts").rglob("onnx_model.py")
    code.write_text(code.read_text() + "\n# changed\n")
    model(project, 0.3)
    connection.client().delete_registered_model_alias("sides", "champion")
    with pytest.raises(SlipwayError, match=r"models:/sides/1 is not loaded: its files are not those"):
        moving.promote("sides", "1", why="")
    assert connection.client().get_registered_model("sides").aliases.get("champion") is None
    assert [entry.kind for entry in record.read("sides").entries] == ["promoted", "moved outside Slipway"]
    connection.client().delete_model_version_tag("sides", "1", "slipway.proved")
    with pytest.raises(SlipwayError, match="its registration was cut short"):
        moving.promote("sides", "1", why="")


@pytest.mark.e2e
def test_from_settings_a_flow_sees_at_once_that_there_is_something_to_decide(project: Path) -> None:
    assert not idle.asked_anew()  # never registered
    run()
    assert not idle.asked_anew()
    settings = Path("params.yaml")
    text = settings.read_text()
    assert "register:" in text
    settings.write_text(text.replace("register:", "register:  # a word about it"))
    assert not idle.asked_anew()
    settings.write_text(text.replace("register:", "register:\n  confidence: 0.9", 1))
    assert idle.asked_anew()
    run()
    assert not idle.asked_anew()
    settings.write_text("register: {minimum: [1]}")  # is told where the file is needed
    assert not idle.asked_anew()
