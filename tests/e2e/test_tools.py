"""Each of the five tools starts from the lock: their newest versions resolve together and then break at run time."""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from flows.machinery import server

pytestmark = pytest.mark.e2e


def answers(command: list[str], address: str, folder: Path, bare: dict[str, str]) -> str:
    """Start a server, wait until it answers, end it; return the answer."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=bare, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(address, timeout=2) as answer:
                    return str(answer.read().decode())
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
        raise AssertionError((folder / "log").read_text())
    finally:
        process.terminate()
        process.wait(30)


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def test_prefects_server_starts(tmp_path: Path, bare: dict[str, str]) -> None:
    port = server.free_port()
    command = python("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    assert answers(command, f"http://127.0.0.1:{port}/api/health", tmp_path, bare) == "true"


def test_mlflows_server_starts(tmp_path: Path, bare: dict[str, str]) -> None:
    port = server.free_port()
    command = python("-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    assert answers(command, f"http://127.0.0.1:{port}/health", tmp_path, bare) == "OK"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("prefect", "from prefect import flow\n@flow\ndef f(): return 3\nassert f() == 3"),
        ("dvc", "from dvc.repo import Repo; Repo.init(no_scm=True); assert Repo().status() == {}"),
        (
            "great_expectations",
            "import great_expectations as gx, pandas\n"
            "asset = gx.get_context(mode='ephemeral').data_sources.add_pandas('p').add_dataframe_asset('a')\n"
            "frame = pandas.DataFrame({'x': [1, 2]})\n"
            "batch = asset.add_batch_definition_whole_dataframe('b').get_batch({'dataframe': frame})\n"
            "assert not batch.validate(gx.expectations.ExpectColumnValuesToBeInSet(column='x', value_set=[1])).success",
        ),
        (
            "tensorflow",
            "import keras; assert keras.backend.backend() == 'tensorflow'; assert float(keras.ops.sum([1., 2.])) == 3",
        ),
    ],
)
def test_a_library_works(name: str, code: str, tmp_path: Path, bare: dict[str, str], prefect_server: str) -> None:
    env = bare | {"PREFECT_API_URL": prefect_server}
    done = subprocess.run(python("-c", code), cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


def test_telemetry_is_off_in_every_process_of_the_environment() -> None:
    """no_telemetry.pth, which `make setup` puts into .venv, reaches what a user starts by hand."""
    line = (Path(__file__).parents[2] / "no_telemetry.pth").read_text()
    for name in (
        "DO_NOT_TRACK",
        "DVC_NO_ANALYTICS",
        "GX_ANALYTICS_ENABLED",
        "MLFLOW_DISABLE_TELEMETRY",
        "ORT_DISABLE_TELEMETRY",
    ):
        assert name in line
    import sysconfig

    installed = Path(sysconfig.get_path("purelib")) / "no_telemetry.pth"
    assert installed.read_text() == line
    code = "import os; print(os.environ['DO_NOT_TRACK'], os.environ['PREFECT_SERVER_ANALYTICS_ENABLED'])"
    done = subprocess.run(python("-c", code), env={"PATH": ""}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "false"]
