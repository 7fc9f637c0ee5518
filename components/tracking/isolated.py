"""Predict with a registered model in a process of its own, with the code that was shipped with it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components import SlipwayError, temporary
from components.masking import mask
from components.serving import worker
from components.tracking import connection, trusted

if TYPE_CHECKING:
    import pyarrow as pa

# What a model's process is given of the environment: no credentials, proxies or addresses; it downloads nothing.
VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True)
class Started:
    """A fresh process that waits for what to predict, once, and the temporary folder it is in."""

    process: subprocess.Popen[str]
    folder: Path


def predict(
    uri: str, given: Path, *, trust: bool = False, called: str = "", process: Started | None = None
) -> "pa.Table":
    """Load models:/NAME/VERSION in a fresh process and predict the examples in a Parquet file.

    Returns a table as components.serving.onnx_model.predict does. `uri` may also be a folder with an MLflow model;
    `called` is what errors call it, `process` one that was started before.

    This process downloads and checks the version, see trusted.fetch. The fresh one starts in a temporary folder, with
    no way to import the checkout and no secret in its environment. Raises SlipwayError with the reason where the model
    is not ours (unless `trust`), cannot be loaded or cannot predict.
    """
    import pyarrow.parquet as pq

    with started() if process is None else nullcontext(process) as fresh:
        place = Path(uri).absolute()
        if uri.startswith("models:/"):
            place = trusted.fetch(uri, fresh.folder / "model", trust=trust)
        answered = fresh.folder / "answers.parquet"
        _, said = fresh.process.communicate(json.dumps([str(place), str(given.resolve()), str(answered)]))
        if fresh.process.returncode != 0 or not answered.exists():
            last = (said.strip().splitlines() or [f"exit code {fresh.process.returncode}"])[-1]
            raise SlipwayError(f"{called or uri}: the model cannot predict: {mask(last)[:500]}")
        return pq.read_table(answered, memory_map=False)


@contextmanager
def started() -> Iterator[Started]:
    """Start the fresh process of a prediction, which imports MLflow while others work."""
    with temporary.folder() as folder:
        work = folder / "work"
        work.mkdir()
        process = subprocess.Popen(
            # -P: neither this file's folder nor the current one is looked into for modules
            [sys.executable, "-P", str(Path(worker.__file__).resolve())],
            cwd=work,
            env=_environment(work),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield Started(process, folder)
            finally:
                process.kill()  # does nothing where it has ended


def _environment(work: Path) -> dict[str, str]:
    own = {"TMPDIR": str(work), "MLFLOW_TRACKING_URI": f"sqlite:///{work}/none.db", "PYTHONDONTWRITEBYTECODE": "1"}
    return {name: os.environ[name] for name in VARIABLES if name in os.environ} | connection.CLIENT_DEFAULTS | own
