import contextlib
import os
import shutil
import signal
import string
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components import SlipwayError, params, temporary
from components.__main__ import main
from components.files import read_json, write_json
from components.masking import mask
from components.reports import results
from components.stages import evaluate
from components.tracking import apart, connection, live, provenance, runs
from tests import fabricate

DEVICE = {"device": "cpu", "device_name": "test", "cores": 2}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tracking")
    fabricate.project(root, flip=0.3)
    fabricate.store(root)
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    root = tmp_path / "a project"  # with a space
    shutil.copytree(template, root)
    monkeypatch.chdir(root)
    return root


def manifest() -> dict[str, Any]:
    found: dict[str, Any] = read_json(Path("build/arrays/manifest.json"))
    return found


def all_runs() -> list[Any]:
    return list(connection.client().search_runs([connection.experiment("sides")]))


def train(root: Path, key: str = "a" * 32, steps: int = 3) -> str:
    with runs.training(params.load(), key, manifest(), DEVICE) as run:
        for step in range(1, steps + 1):
            run.log({"step_loss": 1 / step}, step)
        run.done(fabricate.digest(root))
    return run.run_id


def test_root_of_a_dvc_workspace_is_the_outer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    inside = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmpabc"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert connection.root() == tmp_path
    assert runs.uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert runs.uri() == "http://127.0.0.1:9"


def test_threads_announce_the_store_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    inside: list[str | None] = []

    def announce(_: int) -> None:
        before = os.environ.get("MLFLOW_TRACKING_URI")
        with connection.announced():
            time.sleep(0.005)
            inside.append(os.environ.get("MLFLOW_TRACKING_URI"))
        assert before in (None, connection.default())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(announce, range(16)))
    assert inside == [connection.default()] * 16
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_masks_credentials() -> None:
    text = "postgresql+psycopg://me:pa%20ss@db.example:5432/x and https://tok@h/ but not http://h/ and a@b"
    masked = "postgresql+psycopg://***@db.example:5432/x and https://***@h/ but not http://h/ and a@b"
    assert mask(text) == masked
    assert mask("https://u:p@h/?user=u&api_key=abc&x=1") == "https://***@h/?user=u&api_key=***&x=1"


@given(
    st.text(string.ascii_letters + string.digits + string.punctuation, min_size=1).map(lambda text: f"pass{text}word")
)
def test_masks_whatever_a_password_holds(password: str) -> None:
    for address in (
        f"postgresql://u:{password}@h/db",
        f"cannot reach 'https://{password}@h/db?sslmode=on': no",
        f"postgresql://h/db?user=u&password={password.replace('&', '%26')}",
    ):
        hidden = mask(address)
        assert "pass" not in hidden.replace("password=***", "")
        assert "word" not in hidden.replace("password=***", "")


def test_a_training_is_a_whole_run(project: Path) -> None:
    run_id = train(project)
    runs.evaluated(params.load(), fabricate.digest(project), project / "build", {"latency_ms": 0.05})
    run = connection.client().get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first run"
    wanted = {
        "name": "sides",
        "seed": "1",
        "train.epochs": "3",
        "images.height": "6",
        "network.hidden": "[16]",
        "split.by": "auto",
        "split.seed": "1",
        "split.test": "0.2",
    }
    assert wanted.items() <= run.data.params.items()
    tags = run.data.tags
    assert tags["slipway.model"] == fabricate.digest(project)
    assert tags["slipway.params"] == params.load().digest()
    assert tags["hardware.device"] == "cpu"
    assert run.inputs is not None
    dataset = run.inputs.dataset_inputs[0].dataset
    assert dataset.digest == tags["slipway.data"] == fabricate.folder_digest(project / "data")
    metrics = run.data.metrics
    assert metrics["train/steps/loss"] == pytest.approx(1 / 3)
    accuracy = read_json(project / "build" / "evaluation" / "metrics.json")["accuracy"]
    assert metrics["test/accuracy"] == pytest.approx(accuracy)
    assert {"test/by_label/f1_of_left", "cost.latency_ms", "cost.size_mb", "cost.fit_seconds"} <= metrics.keys()
    assert "cost.evaluate_seconds" not in metrics  # the stage still runs: its file is of the last time
    assert "Most confused" in tags["mlflow.note.content"]
    figures = {item.path for item in connection.client().list_artifacts(run_id, "figures")}
    assert {"figures/confusion.png", "figures/calibration.png", "figures/loss.png"} <= figures
    tables = [item.path for item in connection.client().list_artifacts(run_id, "evaluation")]
    assert tables == ["evaluation/classes.csv"]
    # the same run, and only what the evaluation took in the end is added
    assert runs.ensure_run(params.load(), project / "build") == run_id
    assert len(all_runs()) == 1
    assert all_runs()[0].data.metrics == metrics | {"cost.evaluate_seconds": 1.0}
    assert runs.ensure_run(params.load(), project / "build") == run_id
    assert len(connection.client().get_metric_history(run_id, "test/accuracy")) == 1
    assert len(connection.client().get_metric_history(run_id, "cost.evaluate_seconds")) == 1


def test_costs_of_another_model_are_left_out(project: Path) -> None:
    """DVC's cache brought this model; the stages last ran here for another one."""
    build, digest = project / "build", fabricate.digest(project)
    for stage in ("train", "evaluate"):
        path = build / "cost" / f"{stage}.json"
        write_json(path, read_json(path) | {"model_digest": "0" * 64})
    write_json(build / "cost" / "validate.json", {"seconds": 2.5})
    assert results.costs(build, digest) == {"validate": {"seconds": 2.5}}
    found = results.numbers(build, digest, {"latency_ms": 0.7})
    costs = {name: value for name, value in found.items() if name.startswith("cost.")}
    assert costs == {"cost.validate_seconds": 2.5, "cost.latency_ms": 0.7, "cost.size_mb": found["cost.size_mb"]}


@pytest.mark.usefixtures("no_figures")
def test_an_evaluation_says_of_which_model_it_is(project: Path) -> None:
    run_id = train(project)
    build = project / "build"
    cost = evaluate.run(
        params.load(),
        project / "data",
        build / "arrays",
        build / "model",
        build / "baseline",
        build / "evaluation",
    )
    assert cost["model_digest"] == fabricate.digest(project)
    metrics = connection.client().get_run(run_id).data.metrics
    assert metrics["cost.latency_ms"] == cost["latency_ms"]
    assert "cost.evaluate_seconds" not in metrics


@given(st.lists(st.text(max_size=120), unique=True))
@example(["猫", "狗", "a?", "a!", "a__2", "a_"])
def test_every_label_has_a_metric_of_its_own(labels: list[str]) -> None:
    from mlflow.utils.validation import _validate_metric

    names = results._names(labels)
    assert len(set(names)) == len(labels)
    for name in names:
        _validate_metric(f"test/by_label/f1_of_{name}", 1.0, 0, 0)


def test_labels_in_any_script_keep_their_name() -> None:
    assert results._names(["猫", "é", "a b", "a?", "a!", "a/b"]) == ["猫", "é", "a b", "a_", "a__2", "a_b"]


def test_settings_keyed_by_columns_or_labels_are_one_parameter() -> None:
    """MLflow refuses the name of a parameter with a bracket in it; and there may be thousands of columns."""
    from mlflow.utils.validation import _validate_param_name

    reading = {"missing": [], "numbers": {"price (€)": "1.234,5 €"}, "dates": {"when?": "%d.%m.%Y"}, "zones": {}}
    found = runs.flat({"train": {"class_weights": {"a|b": 2.0}, "epochs": 3}, "tabular": {"reading": reading}})
    for name in found:
        _validate_param_name(name)
    assert found == {
        "train.class_weights": {"a|b": 2.0},
        "train.epochs": 3,
        "tabular.reading.missing": [],
        "tabular.reading.numbers": reading["numbers"],
        "tabular.reading.dates": reading["dates"],
    }


def test_of_a_thousand_classes_only_those_that_a_gate_names_have_metrics_of_their_own() -> None:
    whole = {"test/accuracy": 0.9, "cost.size_mb": 1.0}
    few, many = ({f"test/by_label/f1_of_{at}": 0.5 for at in range(count)} for count in (100, 1000))
    assert results.few(whole | few, ()) == whole | few
    assert results.few(whole | many, ("accuracy", "f1_of_7")) == whole | {"test/by_label/f1_of_7": 0.5}


def test_a_table_of_very_many_columns_is_tracked_without_their_schema(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MAX_SCHEMA", 10)
    run = connection.client().get_run(train(project))
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.schema is None


@pytest.mark.usefixtures("no_figures")
def test_an_empty_store_gets_the_run_again_from_the_files(project: Path) -> None:
    run_id = runs.ensure_run(params.load(), project / "build")
    run = connection.client().get_run(run_id)
    assert run.info.status == "FINISHED"
    history = connection.client().get_metric_history(run_id, "validation/loss")
    steps = -(-manifest()["rows"]["train"] // 32)
    assert [m.step for m in history] == [steps, 2 * steps, 3 * steps]
    assert run.data.metrics["train/steps/accuracy"] == pytest.approx(1 - 0.5 / 12)
    assert run.data.metrics["test/rows"] == manifest()["rows"]["test"]
    assert run.inputs is not None
    assert run.inputs.dataset_inputs
    assert runs.ensure_run(params.load(), project / "build") == run_id


def _at_once(work: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Do the same work on three "machines" that look for a run at the same moment."""
    begin, find = Barrier(3), runs._find

    def slowly(name: str, **tags: str) -> Any:
        found = find(name, **tags)
        time.sleep(0.3)
        return found

    def one(_: int) -> str:
        begin.wait()
        return work()

    monkeypatch.setattr(runs, "_find", slowly)
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(one, range(3)))


@pytest.mark.usefixtures("no_figures")
def test_machines_that_complete_a_run_at_once_make_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _at_once(lambda: runs.ensure_run(params.load(), project / "build"), monkeypatch)
    assert {run.info.run_id for run in all_runs()} == set(made) and len(set(made)) == 1
    history = connection.client().get_metric_history(made[0], "validation/loss")
    assert len(history) == 3  # one for each epoch


@pytest.mark.usefixtures("project")
def test_machines_that_start_a_training_at_once_share_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> str:
        with runs.training(params.load(), "d" * 32, manifest(), DEVICE) as run:
            return run.run_id

    made = _at_once(start, monkeypatch)
    assert {run.info.run_id for run in all_runs()} == set(made) and len(set(made)) == 1


def test_a_killed_training_goes_on_in_its_own_run(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt), runs.training(params.load(), "b" * 32, manifest(), DEVICE) as run:
        for step in (1, 2, 3):
            run.log({"step_loss": 1.0}, step)
        raise KeyboardInterrupt
    assert connection.client().get_run(run.run_id).info.status == "KILLED"
    with pytest.raises(ValueError, match="loss"), runs.training(params.load(), "c" * 32, manifest(), DEVICE) as bad:
        raise ValueError("loss")
    assert connection.client().get_run(bad.run_id).info.status == "FAILED"
    with runs.training(params.load(), "b" * 32, manifest(), DEVICE) as again:
        for step in (2, 3, 4):  # from the checkpoint on
            again.log({"step_loss": 1.0}, step)
        again.done(fabricate.digest(project))
    assert again.run_id == run.run_id
    history = connection.client().get_metric_history(run.run_id, "train/steps/loss")
    assert [metric.step for metric in history] == [1, 2, 3, 4]
    # made anew from scratch, as where it was killed before DVC had its outputs, it is the same again
    assert train(project, key="b" * 32) == run.run_id


@pytest.mark.usefixtures("project")
def test_a_training_that_was_killed_and_given_up_is_not_shown_as_running(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"e": "1-1-" + temporary.owner()[-4:], "f": temporary.owner()}  # process 1 did not start in tick 1
    for key, owner in owners.items():
        run = runs._start(params.load(), key * 32, manifest())
        connection.client().set_tag(run.info.run_id, "slipway.process", owner)
    with runs.training(params.load(), "d" * 32, manifest(), DEVICE):
        every = connection.client().search_runs(["1"])
        found = {run.data.tags["slipway.training"][0]: run.info.status for run in every}
    assert found == {"e": "KILLED", "f": "RUNNING", "d": "RUNNING"}


def test_a_run_is_called_by_what_is_other_than_in_the_run_before(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(key: str, settings: params.Params, rows: int = 0) -> str:
        given = manifest()
        given["rows"]["train"] += rows
        with runs.training(settings, key * 32, given, DEVICE) as run:
            return str(connection.client().get_run(run.run_id).info.run_name)

    before = params.load()
    assert name("a", before) == "first run"
    assert name("b", before) == "other code"
    changed = before.train.model_copy(update={"dropout": 0.3, "epochs": 7})
    after = before.model_copy(update={"train": changed})
    assert name("c", after) == "epochs=7, dropout=0.3"
    assert name("c", after) == "epochs=7, dropout=0.3"  # the same run, resumed
    monkeypatch.setattr(provenance, "used_data", lambda: "9" * 32 + ".dir")
    assert name("d", after, rows=1088) == "+1,088 rows"
    plateau = changed.model_copy(update={"schedule": params.Plateau(), "augment": params.Augment(shift=0.1)})
    turned = after.model_copy(update={"train": plateau})
    assert name("f", turned, rows=1088) == "schedule=plateau, shift=0.1"
    shown = connection.client().search_runs([connection.experiment("sides")], max_results=1)[0].data.params
    assert {key for key in shown if key.startswith("train.")} == {
        *("train.epochs", "train.batch_size", "train.optimizer", "train.learning_rate", "train.loss", "train.dropout"),
        *("train.schedule.name", "train.augment.shift"),
    }
    assert {"split.validation", "images.max_pixels", "network.hidden"} <= shown.keys()
    back = turned.model_copy(update={"train": changed.model_copy(update={"augment": params.Augment(shift=0.1)})})
    assert name("g", turned, rows=1088) == "other code"
    assert name("h", back, rows=1088) == "schedule=constant"
    many = after.model_copy(update={"train": params.Train(), "seed": 5})
    assert name("e", many, rows=1088).startswith("seed=5, ") and name("e", many).endswith(" more")


@pytest.mark.usefixtures("project")
def test_a_run_of_as_many_rows_says_whether_its_columns_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for key, numeric in (("a", ["x", "y"]), ("b", ["x", "y"]), ("c", ["x"])):
        content = {"name": "sides", "recipe": "tabular", "network": {"model": "mlp"}}
        settings = params.check(content | {"tabular": {"numeric": numeric, "labels": ["left", "right"]}}, Path("p"))
        monkeypatch.setattr(provenance, "used_data", lambda key=key: key * 32 + ".dir")
        with runs.training(settings, key * 32, manifest(), DEVICE) as run:
            names.append(connection.client().get_run(run.run_id).info.run_name)
    assert names == ["first run", "other rows", "numeric=[x], other columns"]


@pytest.mark.usefixtures("project")
@pytest.mark.e2e
def test_system_metrics_of_a_short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSE_SECONDS", 0.1)
    with runs.training(params.load(), "d" * 32, manifest(), DEVICE) as run:
        time.sleep(2.6)
        # live: it is there while the training goes on
        assert "system/cpu_utilization_percentage" in connection.client().get_run(run.run_id).data.metrics


@pytest.mark.e2e
def test_a_server_lost_half_way_stops_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A stopped process answers nothing; a dead one refuses, see below."""
    port = fabricate.free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setattr(live, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(live, "RETRY_SECONDS", 0.3)
    with fabricate.server(project, tmp_path, port) as process:
        with runs.training(params.load(), "e" * 32, manifest(), DEVICE) as run:
            run.log({"step_loss": 1.0}, 1)
            wait_for(run.run_id, 1.0)  # live
            os.killpg(process.pid, signal.SIGSTOP)
            started = time.monotonic()
            for step in range(2, 2000):
                run.log({"step_loss": 1 / step}, step)
            assert time.monotonic() - started < 2  # nobody waits for it: one request that does takes two seconds
            time.sleep(2.5)
            assert run.problem
            os.killpg(process.pid, signal.SIGCONT)
            wait_for(run.run_id, 1 / 1999)  # what was kept arrives
            os.killpg(process.pid, signal.SIGSTOP)
            monkeypatch.setattr(apart, "PATIENCE_SECONDS", 1)
            run.log({"step_loss": 0.25}, 2000)
            run.done(fabricate.digest(project))
        told = capsys.readouterr().err
        assert "lost the connection" in told
        assert "secret" not in told
        runs.evaluated(params.load(), fabricate.digest(project), project / "build", {})
        told = capsys.readouterr().err
        assert "warning" in told  # no error
        assert "secret" not in told
        os.killpg(process.pid, signal.SIGCONT)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        measured = {"training": "e" * 32, "model_digest": fabricate.digest(project), "fit_seconds": 2.0}
        write_json(project / "build" / "cost" / "train.json", measured)  # as train does
        run_id = runs.ensure_run(params.load(), project / "build")  # made whole from the files
        assert run_id == run.run_id
        made = connection.client().get_run(run_id)
        assert made.info.status == "FINISHED"
        assert made.data.tags["slipway.model"] == fabricate.digest(project)
        assert "validation/loss" in made.data.metrics


def wait_for(run_id: str, value: float) -> None:
    for _ in range(100):
        with contextlib.suppress(Exception):  # it may be slow to wake up
            if connection.client().get_run(run_id).data.metrics.get("train/steps/loss") == value:
                return
        time.sleep(0.1)
    pytest.fail("the metric did not arrive")


@pytest.mark.usefixtures("project")
def test_a_server_that_is_down_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{fabricate.free_port()}")
    started = time.monotonic()
    with pytest.raises(SlipwayError, match="start it, or unset MLFLOW_TRACKING_URI") as error:
        runs.check()
    assert time.monotonic() - started < 30  # MLflow alone would try for minutes
    assert "secret" not in str(error.value)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:marker@127.0.0.1:1/db",
        "postgresql://me:mark er@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=me&password=marker",
        "postgresql:/me:marker@127.0.0.1/db",
        "nonsense://me:marker@127.0.0.1/db",
        "http://me:marker@127.0.0.1:1",
        "http://127.0.0.1:1/?token=marker",
        "http://me:marker@[::1",
        "me:marker@127.0.0.1",
    ],
)
def test_no_address_that_does_not_answer_is_told_with_its_password(
    address: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    command = ["register", "--build", "build", "--data", "data", "--out", "build/register.json", "--up-to-date"]
    assert main(command) == 1
    told = capfd.readouterr()
    assert "does not respond" in told.err
    for text in (*told, (Path("build/register.json").read_text() if Path("build/register.json").exists() else "")):
        assert "mark" not in text and "er@" not in text


@pytest.mark.usefixtures("project")
def test_what_check_sets_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own are 7 retries and 120 s: a server that is lost later would hang the program for minutes."""
    for name in connection.CLIENT_DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    connection._client.cache_clear()
    runs.check()
    found = {name: os.environ.get(name) for name in connection.CLIENT_DEFAULTS}
    assert found == connection.CLIENT_DEFAULTS | {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("kind", ["botocore.exceptions", "google.api_core.exceptions", "psycopg2", "sqlalchemy.exc"])
def test_errors_of_a_store_are_told_plainly(kind: str) -> None:
    error = type("NoSuchBucket", (Exception,), {"__module__": kind})
    with pytest.raises(SlipwayError, match=r"cannot do it: no https://\*{3}@h/") as told, connection.plainly("do it"):
        raise error("no https://me:secret@h/")
    assert "secret" not in str(told.value)
    with pytest.raises(KeyError), connection.plainly("do it"):
        raise KeyError("a mistake of ours")


def test_a_broken_database_file(project: Path) -> None:
    (project / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(SlipwayError, match="does not respond"):
        runs.check()
