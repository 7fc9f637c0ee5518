"""Predict with a registered model in a process of its own, with the code that was shipped with it."""

import os
import subprocess
import sys
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


def predict(uri: str, given: Path, *, trust: bool = False, called: str = "") -> "pa.Table":
    """Load models:/NAME/VERSION in a fresh process and predict the examples in a Parquet file.

    Returns a table as components.serving.onnx_model.predict does. `uri` may also be a folder with an MLflow model;
    `called` is what errors call it.

    This process downloads and checks the version, see trusted.fetch. The fresh one starts in a temporary folder, with
    no way to import the checkout and no secret in its environment. Raises SlipwayError with the reason where the model
    is not ours (unless `trust`), cannot be loaded or cannot predict.
    """
    import pyarrow.parquet as pq

    with temporary.folder() as folder:
        place = Path(uri).absolute()
        if uri.startswith("models:/"):
            place = trusted.fetch(uri, folder / "model", trust=trust)
        work = folder / "work"
        work.mkdir()
        answered = work / "answers.parquet"
        # -P: neither this file's folder nor the current one is looked into for modules
        command = [sys.executable, "-P", str(Path(worker.__file__).resolve())]
        command += [str(place), str(given.resolve()), str(answered)]
        done = subprocess.run(
            command,
            cwd=work,
            env=_environment(work),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not answered.exists():
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise SlipwayError(f"{called or uri}: the model cannot predict: {mask(last)[:500]}")
        return pq.read_table(answered, memory_map=False)


def _environment(work: Path) -> dict[str, str]:
    own = {"TMPDIR": str(work), "MLFLOW_TRACKING_URI": f"sqlite:///{work}/none.db", "PYTHONDONTWRITEBYTECODE": "1"}
    return {name: os.environ[name] for name in VARIABLES if name in os.environ} | connection.CLIENT_DEFAULTS | own
