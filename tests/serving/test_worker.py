"""The process in which a registered model predicts: how many rows it answers at once."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.serving import worker


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ({"x": [1.0] * 50, "colour": ["red"] * 50}, worker.MANY_ROWS),
        ({"x": [1.0] * 50, "image": [b"the same, so short in the file"] * 50}, worker.FEW_ROWS),
        ({"text": [f"{at}" * 3000 for at in range(50)]}, worker.FEW_ROWS),
        ({"image": pa.array([b"the same"] * 50, pa.large_binary())}, worker.FEW_ROWS),
    ],
)
def test_more_of_short_rows_are_answered_at_once(tmp_path: Path, columns: dict[str, Any], rows: int) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        assert worker._at_once(file) == rows
