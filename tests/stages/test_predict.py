from pathlib import Path

import pytest

from components import SlipwayError
from components.__main__ import main
from components.stages import predict


@pytest.mark.parametrize(
    "out", ["people.csv", "./people.csv", "link.csv", "data/new.parquet", "data/deep/people.csv", "way/p.csv"]
)
def test_predictions_take_the_place_of_no_example(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("age\n30\n")
    Path("link.csv").symlink_to("people.csv")
    Path("data/deep").mkdir(parents=True)
    Path("data.dvc").touch()
    Path("way").symlink_to("data")
    assert main(["predict", "--out", out, "people", "people.csv"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: --out {Path(out)}: ") and "choose another" in said
    assert Path("people.csv").read_text() == "age\n30\n"


def test_an_earlier_file_of_predictions_may_be_replaced(tmp_path: Path) -> None:
    given, out = tmp_path / "people.csv", tmp_path / "out.csv"
    given.touch()
    out.touch()
    predict._writable(out, given)
    with pytest.raises(SlipwayError, match=r"expected a \.csv or \.parquet file"):
        predict._writable(tmp_path / "out.txt", given)
