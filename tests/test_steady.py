"""What somebody changes while a stage works is not recorded as what its results were made of."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components import SlipwayError, steady
from tests.conftest import ROOT

Change = Callable[[], object]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with our graph and settings, code and data, in which DVC has started `train`."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text("recipe: images\nseed: 1\ntrain: {epochs: 3, schedule: {name: cosine}}\n")
    shutil.copytree(ROOT / "components", tmp_path / "components")
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.parquet").write_bytes(b"PAR1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "train")
    return tmp_path


def replaced(file: str, old: str, new: str) -> Change:
    def change() -> None:
        path = Path(file)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (replaced("params.yaml", "epochs: 3", "epochs: 5"), r"^params.yaml: train.epochs: changed while train"),
        (replaced("params.yaml", "{name: cosine}", "{}"), r"params.yaml: train.schedule"),
        (replaced("params.yaml", "seed: 1\n", ""), r"params.yaml: seed"),
        (replaced("components/stages/train.py", "import", "import  "), r"components/stages/train.py: changed"),
        (lambda: Path("components/recipes/images/networks.py").unlink(), r"networks.py"),
        (lambda: Path("components/training/new.py").touch(), r"components/training/new.py"),
    ],
)
def test_what_changed_meanwhile_is_named(place: Path, change: Change, named: str) -> None:
    before = steady.seen("train")
    steady.must_be("train", before)
    change()
    with pytest.raises(SlipwayError, match=named):
        steady.must_be("train", before)


@pytest.mark.parametrize(
    "change",
    [
        replaced("params.yaml", "seed: 1", "seed: 1  # a word\nregister: {margin: 1}"),  # train does not read it
        replaced("components/stages/train.py", "import", "import"),  # written again as it was
        lambda: Path("components/training/.loop.py.swp").touch(),
        lambda: Path("components/stages/register.py").unlink(),
        lambda: Path("data/b.parquet").touch(),  # train reads arrays
        lambda: Path("params.yaml").write_text("a: ["),  # told by whoever reads it
    ],
)
def test_what_the_stage_does_not_read_may_change(place: Path, change: Change) -> None:
    before = steady.seen("train")
    change()
    steady.must_be("train", before)


def test_data_is_looked_at_by_its_stamps(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "dvc.yaml:validate")
    before = steady.seen("validate")
    Path("data/b.parquet").touch()
    with pytest.raises(SlipwayError, match=r"data/b.parquet: changed while validate"):
        steady.must_be("validate", before)


def test_where_dvc_records_nothing_nothing_is_looked_at(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE")
    assert steady.seen("train") == {}


def test_a_setting_within_a_section_is_looked_at(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "baseline")
    Path("params.yaml").write_text("recipe: images\nevaluate: {baseline_rows: 100, explain: 1}\n")
    before = steady.seen("baseline")
    replaced("params.yaml", "explain: 1", "explain: 2")()  # baseline does not read it
    steady.must_be("baseline", before)
    replaced("params.yaml", "baseline_rows: 100", "baseline_rows: 200")()
    with pytest.raises(SlipwayError, match=r"params.yaml: evaluate.baseline_rows: changed while baseline"):
        steady.must_be("baseline", before)


def test_a_stage_of_ones_own_may_depend_on_the_folder(place: Path) -> None:
    replaced("dvc.yaml", "    - components/stages/train.py", "    - .")()
    assert steady.seen("train")
