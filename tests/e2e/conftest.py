import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.files import read_json
from tests.flowing import DONE


@dataclass
class Clone:
    """A clone of the project that a test uses as a stranger would: by its commands, in a bare environment."""

    path: Path
    home: Path

    def environment(self) -> dict[str, str]:
        keep = ("PATH", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
        kept = {name: os.environ[name] for name in keep if name in os.environ}
        return kept | {"HOME": str(self.home), "CI": "true"}

    def run(self, *command: str, fails: bool = False, **environment: str) -> str:
        """Run a command to its end; return what it said. `fails` expects exit code 1."""
        process = self.start(*command, **environment)
        try:
            said = process.communicate(timeout=600)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.returncode in ((1,) if fails else DONE), said
        assert not fails or "Traceback" not in said, said
        return said

    def start(self, *command: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable if command[0] == "python" else command[0], *command[1:]],
            cwd=self.path,
            env=self.environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def registered(self) -> Any:
        return read_json(self.path / "build" / "register.json")

    def client(self, store: str = "") -> Any:
        from mlflow import MlflowClient

        return MlflowClient(store or f"sqlite:///{self.path}/mlflow.db")

    def versions(self, store: str = "") -> dict[str, set[str]]:
        """Version -> aliases of every registered model."""
        found, client = {}, self.client(store)
        for model in client.search_registered_models():
            for version in client.search_model_versions(f"name='{model.name}'"):
                full = client.get_model_version(model.name, version.version)
                found[f"{model.name} {version.version}"] = set(full.aliases)
        return found


@pytest.fixture(scope="session")
def clone(checkout: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Clone]:
    return lambda name: Clone(checkout(name), tmp_path_factory.mktemp("home"))


def working_in(folder: Path) -> list[int]:
    """Return the processes whose current folder is this one."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == folder:
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found
