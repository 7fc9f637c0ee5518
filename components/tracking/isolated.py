"""Predict with a registered model in a process of its own, with the code that was shipped with it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from components import SlipwayError, temporary
from components.serving import worker
from components.tracking import connection
from components.tracking.connection import mask

if TYPE_CHECKING:
    import pyarrow as pa


def predict(uri: str, given: Path) -> "pa.Table":
    """Load the model `uri` from MLflow in a fresh process and predict the examples in a Parquet file.

    Returns a table as components.serving.onnx_model.predict does.

    The process starts in a temporary folder, with no way to import the checkout. Raises SlipwayError with the
    reason where the model cannot be loaded or cannot predict.
    """
    import pyarrow.parquet as pq

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= connection.environment() | {"PYTHONDONTWRITEBYTECODE": "1"}  # a local store is read in place
    with temporary.folder() as folder:
        answered = Path(folder, "answers.parquet")
        # -P: neither this file's folder nor the current one is looked into for modules
        command = [sys.executable, "-P", str(Path(worker.__file__).resolve()), uri, str(given.resolve()), str(answered)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not answered.exists():
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise SlipwayError(f"{uri}: the model cannot predict: {mask(last)[:500]}")
        return pq.read_table(answered, memory_map=False)
