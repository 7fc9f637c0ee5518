"""What an ingest advises can be done, and is about what is wrong."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import SlipwayError
from components.recipes.series.source import series
from components.recipes.tabular.source import tabular
from components.recipes.text.source import text
from tests.data.test_csv_reader import read, written

NULS = r"NUL bytes, which cannot be typed: .*remove them from the file, such as with tr -d '\\000' < OLD > NEW"


@pytest.mark.parametrize("value", ["\0\0\0\0", "1\0"])
def test_nobody_is_asked_to_type_nul_bytes(tmp_path: Path, value: str) -> None:
    numbers = "".join(f"{at}.5,{'ab'[at % 2]}\n" for at in range(1, 20))
    with pytest.raises(SlipwayError, match=f"column x: 19 of 20 values are numbers, but row 20 has .*{NULS}") as caught:
        read(tmp_path, f"x,y\n{numbers}{value},a\n")
    assert "--missing" not in str(caught.value) and "--category x" in str(caught.value)
    with pytest.raises(SlipwayError, match=f"column x: .* is not a number; .*{NULS}"):
        read(tmp_path, f"x,y\n{numbers}{value},a\n", number=["x"])

    days = "".join(f"2020-01-0{at},{at}.5\n" for at in range(1, 9))
    file = written(tmp_path, f"t,v\n{days}2020-01-09,{value}\n")
    given: dict[str, Any] = dict.fromkeys(("group", "season", "step", "form"))
    with pytest.raises(SlipwayError, match=f"line 10: v is '.*', which is not a finite number; .*{NULS}"):
        series(file, time="t", value=["v"], history=1, horizon=1, every=1, **given)


def test_words_with_nul_bytes_among_numbers_are_to_be_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read(tmp_path, "x,y\n" + "".join(f"{at}.5,a\n{at}.25,b\nno\0,a\nna na,b\n" for at in range(9)))
    said = capsys.readouterr().out
    assert "'no\\x00'" in said and "tr -d '\\000'" in said and "--missing='na na' reads numbers" in said
    assert "\0" not in said


LOOK = r"no column 'label' .*; 'l\u0430bel' \(l\\u0430bel\) looks the same, but has other characters: .* copy the name"


def test_a_column_that_looks_as_it_is_asked_for_is_pointed_out(tmp_path: Path) -> None:
    file = written(tmp_path, "x,l\u0430bel,t\n1,a,2024\n2,b,2025\n")
    assert tabular(file, ["l\u0430bel"]).settings["labels"] == ["a", "b"]
    given: dict[str, Any] = dict.fromkeys(("group", "season", "step", "form"))
    with pytest.raises(SlipwayError, match=LOOK) as caught:
        tabular(file, ["label"])
    assert "--skip" not in str(caught.value)
    with pytest.raises(SlipwayError, match=LOOK):
        text(file, "t", "label")
    with pytest.raises(SlipwayError, match=LOOK):
        series(file, time="t", value=["label"], history=1, horizon=1, every=1, **given)
    pq.write_table(pa.table({"x": [1, 2], "l\u0430bel": ["a", "b"]}), tmp_path / "t.parquet")
    with pytest.raises(SlipwayError, match=LOOK):
        tabular(tmp_path / "t.parquet", ["label"])
    with pytest.raises(SlipwayError, match=r"no column 'label' \(there are: x, Label\); 'Label' looks the same, but"):
        read(tmp_path, "x,Label\n1,a\n", label=["label"])


def test_a_pointer_of_git_lfs_is_not_the_data(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        with pytest.raises(SlipwayError, match=rf"{name}: is a pointer of Git LFS, not the data: .* git lfs pull"):
            tabular(written(tmp_path, pointer, name), ["y"])


def test_a_label_that_is_an_id_or_a_text_is_not_said_to_have_too_few_classes(tmp_path: Path) -> None:
    rows = "".join(f"{at % 7},name {at}\n" for at in range(200))
    with pytest.raises(
        SlipwayError, match="column y has 200 different values in 200 rows, each of them once"
    ) as caught:
        read(tmp_path, "x,y\n" + rows)
    assert "at least 2" not in str(caught.value)
    with pytest.raises(
        SlipwayError, match=r"y has 200 different values in 400 rows, too many .*at most 50, or a tenth"
    ):
        read(tmp_path, "x,y\n" + rows * 2)
    many = "".join(f"{at % 7},name {at}\n" for at in range(11_000))
    with pytest.raises(SlipwayError, match="y has 10,000 different values or more, too many"):
        read(tmp_path, "x,y\n" + many)
