"""What was registered before the code moved answers as it did: its own code is shipped with it."""

import base64
import json
import shutil
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import SlipwayError
from components.serving import worker
from components.tracking import connection, isolated

OLD = Path(__file__).with_name("registered-0.1.zip")  # the starter's model as 0.1 registered it: its code lay flat


@pytest.mark.e2e
def test_a_model_of_an_older_version_still_answers(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall("model")
    connection.client().create_registered_model("old")
    connection.client().create_model_version("old", str(tmp_path / "model"))
    examples = json.loads(Path("model/input_example.json").read_text())["data"]
    images = [base64.b64decode(row[0]) for row in examples]
    pq.write_table(pa.table({worker.FILE_COLUMN: pa.array([*images, b"no image"], pa.binary())}), "given.parquet")
    with pytest.raises(SlipwayError, match="nobody knows which code it was registered with"):
        isolated.predict("models:/old/1", Path("given.parquet"))
    answers = isolated.predict("models:/old/1", Path("given.parquet"), trust=True).to_pylist()
    assert [row["label"] for row in answers] == ["2", "8", "9", None]
    assert [row["error"] is None for row in answers] == [True, True, True, False]
    assert min(row["probability"] for row in answers[:3]) > 0.8
