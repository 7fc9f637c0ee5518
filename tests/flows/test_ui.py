import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest

from components.files import write_json
from flows import ui
from flows.machinery import server, summary
from tests.conftest import ROOT
from tests.flowing import DONE, end, flows, gone, repository, until


def test_the_report_and_nothing_else_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    port = server.free_port()
    with ui.report(port):
        with pytest.raises(HTTPError, match="404") as error:
            urlopen(f"http://127.0.0.1:{port}/")
        assert b"make run" in error.value.read()
        (tmp_path / "build/validation").mkdir(parents=True)
        (tmp_path / "build/validation/report.html").write_text("<p>the report")
        with urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert answer.read() == b"<p>the report"
        (tmp_path / ".workspaces/churn/build/validation").mkdir(parents=True)
        (tmp_path / ".workspaces/churn/build/validation/report.html").write_text("<p>of a model")
        with urlopen(f"http://127.0.0.1:{port}/churn") as answer:
            assert answer.read() == b"<p>of a model"
        with pytest.raises(HTTPError, match="404") as error:
            urlopen(f"http://127.0.0.1:{port}/churn/mistakes")
        assert b"slipway run churn" in error.value.read()
        (tmp_path / "build/evaluation").mkdir()
        (tmp_path / "build/evaluation/metrics.json").write_text("{}")
        shutil.copy(ROOT / "params.yaml", tmp_path)
        monkeypatch.setattr("components.reports.page.html", lambda settings, build: f"of {settings.name} in {build}")
        with urlopen(f"http://127.0.0.1:{port}/mistakes") as answer:
            assert answer.read() == b"of digits in build"
        (tmp_path / "params.yaml").write_text("nme: digits")
        with pytest.raises(HTTPError, match="500") as error:
            urlopen(f"http://127.0.0.1:{port}/mistakes")
        assert b"nme" in error.value.read()
        for path in (
            "/params.yaml",
            "/../params.yaml",
            "/chur/mistakes",
            "/build/validation/report.html",
            "/..",
            "/chur",
            "/build",
        ):
            with pytest.raises(HTTPError, match="404"):
                urlopen(f"http://127.0.0.1:{port}{path}")
    assert not server.answers(f"http://127.0.0.1:{port}/")


def test_a_server_of_others_is_not_taken_for_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while `slipway ui` runs, which shows its address: clean would remove the flow runs of others there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".prefect").mkdir()
    monkeypatch.setattr(server, "answers", lambda *_: True)
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example.org/api")
    served = {"prefect": "http://prefect.example.org", "report": "http://127.0.0.1:8010"}
    server.announce(served, server.shared())
    assert server.served() == served and not server.ours()
    server.announce(served, {})
    assert server.ours()


def test_what_others_serve_is_named_and_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example.org")
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example.org/api")
    assert server.shared() == {"mlflow": "http://mlflow.example.org", "prefect": "http://prefect.example.org"}
    assert ui.commands({"report": 8010}) == {}
    registered = {"name": "digits", "version": "3"}
    assert summary.places(registered, server.shared()).splitlines() == [
        "mlflow: http://mlflow.example.org/#/models/digits/versions/3?workflowType=machine_learning"
        "  runs, metrics and the registry",
        "prefect: http://prefect.example.org  flow runs and their logs",
        "report: run `slipway ui`  data",
    ]
    assert summary.places(registered, {}) == "to see everything, run `slipway ui`: MLflow, Prefect and the data report"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:marker@mlflow.example.org/")
    monkeypatch.setenv("PREFECT_API_URL", "https://me:marker@prefect.example.org/api/")
    assert server.shared() == {"mlflow": "https://mlflow.example.org", "prefect": "https://prefect.example.org"}


def test_a_temporary_server_has_no_pages_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in a run that a schedule in the foreground starts, which only inherits its address."""
    for name in ("PREFECT_API_URL", server.TEMPORARY):
        monkeypatch.setenv(name, "http://127.0.0.1:9/api")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert server.shared() == {}
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:10/api")
    assert server.shared() == {"prefect": "http://127.0.0.1:10"}


def test_the_address_of_a_database_is_in_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:marker@db.example.org/mlflow")
    assert "marker" not in str(ui.commands({"mlflow": 5000, "prefect": 4200}))


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert server.free_port(port) > port


@pytest.mark.e2e
def test_all_are_served_on_loopback_and_end_together(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    path = repository(tmp_path / "repo", {"a": {"cmd": "echo 1 > a", "outs": ["a"]}})
    home = {"HOME": str(tmp_path / "home")}
    process = flows(path, "ui", **home)
    said = until(process, "Ctrl-C")
    addresses = json.loads((path / ".prefect/ui.json").read_text())
    assert addresses.pop("shared") == ""  # none is another's
    for name, address in addresses.items():
        assert address in said
        if name != "report":  # none has been made here
            assert server.answers(f"{address}/"), name
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    listening = [c for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 3
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}

    other = flows(path, "ui", **home)
    out, _ = other.communicate()
    assert other.returncode == 0 and out.startswith("already running") and addresses["mlflow"] in out

    run = flows(path, "retrain", **home)  # finds it without being told
    out, _ = run.communicate()
    assert run.returncode in DONE and addresses["prefect"] in out, out
    kept = {log.name: log.read_text() for log in (path / ".prefect/logs").iterdir()}
    assert sorted(kept) == ["mlflow.log", "prefect.log"]  # no temporary server
    assert "startup complete" in kept["mlflow.log"]

    end(process, signal.SIGINT)
    assert process.returncode == 0
    assert all(gone(member.pid) for member in family)
    assert not (path / ".prefect/ui.json").exists()


@pytest.mark.e2e
def test_one_that_dies_takes_the_others_along(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    process = flows(tmp_path, "ui", HOME=str(tmp_path / "home"))
    until(process, "Ctrl-C")
    family = psutil.Process(process.pid).children(recursive=True)
    next(member for member in family if "mlflow" in member.cmdline()).kill()
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "error: mlflow stopped unexpectedly, killed by signal 9" in out and "startup complete" in out
    assert all(gone(member.pid) for member in family)


PROFILES = """active = "{}"
[profiles.empty]
PREFECT_LOGGING_LEVEL = "INFO"
[profiles.team]
PREFECT_API_URL = "http://127.0.0.1:9/api"
"""


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("files", "environment", "expected"),
    [
        ({}, {}, False),
        ({"home/.prefect/profiles.toml": PROFILES.format("empty")}, {}, False),
        ({"home/.prefect/profiles.toml": PROFILES.format("team")}, {}, True),
        ({"home/.prefect/profiles.toml": PROFILES.format("empty")}, {"PREFECT_PROFILE": "team"}, True),
        ({"elsewhere.toml": PROFILES.format("team")}, {"PREFECT_PROFILES_PATH": "elsewhere.toml"}, True),
        ({"own/profiles.toml": PROFILES.format("team")}, {"PREFECT_HOME": "own"}, True),
        ({".env": "PREFECT_LOGGING_LEVEL=INFO\n#PREFECT_API_URL=http://x/api\n"}, {}, False),
        ({".env": "export PREFECT_API_URL=http://127.0.0.1:9/api\n"}, {}, True),
        ({"prefect.toml": 'home = ".prefect"\n[api]\nurl = "http://127.0.0.1:9/api"\n'}, {}, True),
        ({}, {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, True),
    ],
)
def test_who_has_named_no_server_gets_that_of_the_project(
    tmp_path: Path, files: dict[str, str], environment: dict[str, str], *, expected: bool
) -> None:
    """A profile without an address is no answer: Prefect would start a server of its own, and leave it behind."""
    for name, text in {"prefect.toml": 'home = ".prefect"\n', **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    code = """
import os
from flows.machinery import server
print(server.configured())
from prefect.settings import get_current_settings
print(get_current_settings().api.url is not None)
"""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=kept | {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)} | environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert out.split() == [str(expected)] * 2


def test_what_has_moved_in_the_data_is_told_as_far_as_it_is_known() -> None:
    assert summary._drift(None) == []
    head = "how the data moved since the champion before (version 3"
    found = {"version": "3", "rows": "9 rows beside 8", "columns": []}
    assert summary._drift(found) == [f"{head}; 9 rows beside 8):\n  no column has moved"]
    assert summary._drift(found | {"columns": [["age", "is new"]]}) == [f"{head}; 9 rows beside 8):\n  age: is new"]
    told = f"{head}): not known, for that version is of an older Slipway"
    assert summary._drift(found | {"columns": None}) == [told]


def test_what_may_be_chance_is_called_neither_better_nor_worse() -> None:
    def told(mean: float, low: float, high: float) -> str:
        return summary._beside({"mean": mean, "low": low, "high": high}, "that of version 2")

    assert told(0.02, 0.01, 0.03) == "better than that of version 2 by 0.02 (0.01 to 0.03)"
    assert told(-0.02, -0.03, -0.01) == "worse than that of version 2 by 0.02 (0.01 to 0.03)"
    text = "not surely better or worse than that of version 2: better by -2e-05 (-0.01 to +0.009)"
    assert told(-2e-5, -0.01, 0.009) == text
    assert told(0, 0, 0) == "that of version 2"


def test_a_leak_is_told_beside_the_metrics(tmp_path: Path) -> None:
    known = {"rows": 9, "files": 1, "set_aside": 0}
    write_json(tmp_path / "summary.json", known)
    assert summary._data(tmp_path / "summary.json") == ["data: 9 rows in 1 file validated, 0 set aside"]
    write_json(tmp_path / "summary.json", known | {"leaks": "answer: alone tells the label"})
    assert summary._data(tmp_path / "summary.json")[1] == "BEFORE YOU TRUST THE MODEL: answer: alone tells the label"
