import os
import subprocess
import sys
from pathlib import Path

import pytest

from components import SlipwayError
from flows import ui
from flows.machinery import logs
from flows.machinery.process import Children
from tests.conftest import ROOT

LINES = """\
 ___ ___ ___ ___
20:53:05.123 | INFO    | prefect.server - all is well
20:53:05.124 | WARNING | prefect.server.services - slow
2026/11/27 20:53:05 WARNING mlflow.store: old
2026/11/27 20:53:05 INFO mlflow.store.db.utils: Creating initial MLflow database tables...
INFO:     127.0.0.1:5 - "GET /WARNING HTTP/1.1" 200
[2026-11-27 20:53:05 +0000] [7] [ERROR] gone
ERROR:    Exception in ASGI application
Traceback (most recent call last):
  File "a.py", line 1, in f
    raise KeyError
KeyError: 'a'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 1, in g
sqlalchemy.exc.InvalidRequestError: Can't evaluate bulk DML statement
20:53:06.480 | ERROR   | prefect.server.utilities.worker_channel - Worker channel heartbeat persistence failed: vm P
Traceback (most recent call last):
  File "cursor.py", line 1, in execute
sqlite3.OperationalError: database is locked

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "base.py", line 1, in execute
sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database is locked
18:24:53.256 | ERROR   | docket.dependencies - ↩ [   156ms] monitor_worker_health(){monitor_worker_health}
Traceback (most recent call last):
  File "base.py", line 1, in execute
sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database is locked
INFO:     and on
Traceback of nothing"""


def test_warnings_errors_and_what_ended_a_traceback_are_loud() -> None:
    shown = logs.loud()
    assert [line for line in LINES.splitlines() if shown(line)] == [
        "20:53:05.124 | WARNING | prefect.server.services - slow",
        "2026/11/27 20:53:05 WARNING mlflow.store: old",
        "[2026-11-27 20:53:05 +0000] [7] [ERROR] gone",
        "ERROR:    Exception in ASGI application",
        "KeyError: 'a'",
        "sqlalchemy.exc.InvalidRequestError: Can't evaluate bulk DML statement",
    ]


def test_a_log_holds_all_and_the_terminal_what_is_loud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tell = logs.teller("prefect")
    for line in LINES.splitlines():
        tell(line)
    tell("ERROR: while it is stopped", quiet=True)
    assert logs.path("prefect").read_text() == f"{LINES}\nERROR: while it is stopped\n"
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 6
    assert told[0].endswith("slow  (more in .prefect/logs/prefect.log)")


def test_a_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "MAX_BYTES", 1000)
    tell = logs.teller("mlflow")
    for number in range(1000):
        tell(f"INFO: {number}")
    assert sum(path.stat().st_size for path in logs.FOLDER.iterdir()) <= 4000
    assert logs.path("mlflow").read_text().endswith("INFO: 999\n")


def test_the_servers_of_the_ui_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["python", "-c", "print('INFO: fine'); print('12:00:00.1 | ERROR   | scheduler - failed'); exit(3)"]
    with Children() as children, pytest.raises(SlipwayError, match="prefect stopped unexpectedly"):
        ui._serve(children, {"prefect": command}, {"prefect": "http://127.0.0.1:9"})
    assert capsys.readouterr().err.startswith("prefect: 12:00:00.1 | ERROR   | scheduler - failed  (more in ")
    assert "INFO: fine" in logs.path("prefect").read_text()


def test_an_error_that_says_all_has_no_traceback(tmp_path: Path) -> None:
    """Where a worker starts a run, Prefect logs each error some times over, with the stack of its own engine."""
    file = tmp_path / "log"
    code = (
        "import logging; from components import SlipwayError; from flows.machinery import engine\n"
        "logging.setLogRecordFactory(engine._plain)\n"
        "logging.basicConfig(filename='log')\n"
        "for error in (SlipwayError('the disk is full'), KeyboardInterrupt(), KeyError('a fault')):\n"
        "    try:\n        raise error\n"
        "    except BaseException as error:\n        logging.exception('failed: %r', error)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    first, stopped, second, *rest = file.read_text().splitlines()
    assert first == "ERROR:root:failed: SlipwayError('the disk is full')"
    assert stopped == "ERROR:root:failed: KeyboardInterrupt()"
    assert second == "ERROR:root:failed: KeyError('a fault')"
    assert rest[0].startswith("Traceback") and rest[-1] == "KeyError: 'a fault'"
