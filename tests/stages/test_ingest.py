import functools
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyarrow.csv import write_csv
from ruamel.yaml import YAML

from components import SlipwayError, files, params, recipes
from components.__main__ import main
from components.data import dataset, versions
from components.params import changes
from components.params.train import Train
from components.recipes import defaults
from components.recipes.images.source import known
from components.stages import ingest
from tests.conftest import ROOT

PARAMS = "# kept\nname: old\nrecipe: images\nimages:\n  height: 8  # kept too\n  width: 8\n"
MNIST = ROOT.parent / "shared" / "datasets" / "mnist"


@pytest.fixture(autouse=True, scope="module")
def pictures_once() -> Iterator[None]:
    """Write each of the 1,797 digits as PNG once: ten tests ingest them."""
    real = known._png
    written = functools.cache(lambda shape, content: real(np.frombuffer(content, np.uint8).reshape(shape)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "_png", lambda picture: written(picture.shape, picture.tobytes()))
        yield


def pictures(folder: Path, classes: dict[str, int], seed: int = 1, size: tuple[int, int] = (9, 7)) -> Path:
    random = np.random.default_rng(seed)
    for label, count in classes.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = random.integers(0, 255, size).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{seed}-{number}.png")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_starter_can_be_made_again_with_the_same_bytes(repo: Path) -> None:
    ingest.run("digits")
    made = hashlib.md5(Path("data/digits.parquet").read_bytes()).hexdigest()  # noqa: S324 - DVC's own
    assert (ROOT / "starter" / "files" / "md5" / made[:2] / made[2:]).exists()
    assert (repo / "data.dvc").read_text() == (ROOT / "data.dvc").read_text()
    assert pq.read_metadata("data/digits.parquet").num_rows == 1797


def test_class_folders_become_a_dataset_and_params_follow(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(repo / "My pets", {"cat": 3, "dog": 2})
    (folder / "cat" / "notes.txt").write_text("no image")
    (folder / "dog" / ".DS_Store").write_text("")
    (folder / "dog" / "cut.png").write_bytes(b"\x89PNG")
    for name in ("b.png", "a.txt"):
        (folder / name).write_text("loose")
    (folder / "dog" / "copy.png").write_bytes((folder / "dog" / "1-0.png").read_bytes())
    ingest.run("images", folder=folder)
    said = capsys.readouterr().out
    assert "read 7 examples; 6 are new" in said
    assert "skipped 2: not in a class folder: a.txt, b.png\n" in said
    assert f"{folder / 'dog' / 'cut.png'}: cannot be opened as an image; validate will set it aside" in said
    assert "skipped 1: identical to another with the same label; --copies keep keeps them" in said
    assert "skipped 1: not an image file (.txt)" in said
    found = pq.read_table("data/my-pets.parquet")
    assert sorted(found["label"].to_pylist()) == ["cat"] * 3 + ["dog"] * 3
    settings = params.load()
    assert (settings.name, settings.task.labels) == ("my-pets", ["cat", "dog"])
    assert (settings.task.height, settings.task.width, settings.task.channels) == (9, 7, 1)
    text = Path("params.yaml").read_text()
    assert "# kept\n" in text
    assert "# kept too" in text
    assert "data" in Path("data.dvc").read_text()


def test_pictures_with_several_labels_are_listed_in_a_file(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(repo / "pets", {"in": 2, "out": 2})
    lines = ["\ufeffFile,Labels,Split", "in/1-0.png,cat; dog;cat,train", "in/1-1.png,,test", '"out/1-0.png",dog,', ""]
    (folder / "labels.csv").write_text("\r\n".join([*lines, "out\\1-1.png,horse;cat,val"]), encoding="utf-8")
    ingest.run("images", folder=folder, labels=folder / "labels.csv")
    assert "skipped" not in capsys.readouterr().out
    found = pq.read_table("data/pets.parquet")
    assert found["label"].to_pylist() == [["cat", "dog"], [], ["dog"], ["cat", "horse"]]
    assert found["split"].to_pylist() == ["train", "test", None, "validation"]
    settings = params.load()
    assert (settings.task.several, settings.task.labels) == (True, ["cat", "dog", "horse"])
    dataset.chunks(Path("data"), _columns(settings))  # it is a dataset of this recipe
    with pytest.raises(SlipwayError, match=r"its label is string, but the dataset's is list.*--replace"):
        ingest.run("images", folder=pictures(repo / "more", {"cat": 2, "dog": 2}, seed=5))
    assert sorted(contents(Path("data"))) == ["pets.parquet"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", r"list\.csv: the file is empty"),
        ("image,labels\na.png,x", r"no column 'file' \(there are: image, labels\)"),
        ("file,labels\n", "lists no image"),
        ("file,labels\na.png\n", "line 2 has 1 values, the header 2"),
        ("file,labels\na.png,x,y\n", "line 2 has 3 values, the header 2; is a quote or a delimiter"),
        ("file,labels\na.png,x;y\nc.png,x", r"line 3: c\.png is not in pets"),
        ("file,labels\na.png,x;y\n../pets/b.png,x", r"line 3: \.\./pets/b\.png is not"),
        ("file,labels\na.png,x;y\nnotes.txt,x", r"line 3: notes\.txt is not an image file"),
        ("file,labels\na.png,x;y\n./a.png,x", r"line 3: a\.png is already listed in line 2"),
        ("file,labels\na.png,x;y", r"1 of the 2 images in pets are not listed, such as b\.png"),
        ("file,labels\na.png,x\nb.png,x", "1 label in the whole file"),
        ("file,labels,split\na.png,x,half\nb.png,y,", "line 2: split 'half' is not one of train, validation, test"),
        ('file,labels\n"a.png,x\nb.png,y', r"line 3: unexpected end of data; is a quote missing\?"),
        ("file,labels\na.png,\xe4\nb.png,y", r"line 2, byte 7 \(e4\) is not utf-8; give the encoding"),
    ],
)
def test_a_list_of_labels_that_cannot_be_used_says_why(repo: Path, text: str, expected: str) -> None:
    Path("pets").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("L", (3, 3)).save(Path("pets", name))
    Path("pets/notes.txt").write_text("no image")
    Path("list.csv").write_text(text, encoding="latin-1")
    with pytest.raises(SlipwayError, match=expected):
        ingest.run("images", folder=Path("pets"), labels=Path("list.csv"))
    assert not Path("data").exists()


def test_a_list_of_labels_may_be_of_another_encoding(repo: Path) -> None:
    Path("pets").mkdir()
    for name, grey in (("a.png", 0), ("b.png", 9)):
        Image.new("L", (3, 3), grey).save(Path("pets", name))
    Path("list.csv").write_text("file,labels\na.png,b\xe4r\nb.png,hund", encoding="latin-1")
    with pytest.raises(SlipwayError, match="--encoding latin-l: unknown"):
        ingest.run("images", folder=Path("pets"), labels=Path("list.csv"), encoding="latin-l")
    ingest.run("images", folder=Path("pets"), labels=Path("list.csv"), encoding="latin-1")
    assert sorted(params.load().task.labels) == ["b\xe4r", "hund"]


def test_the_size_of_a_model_follows_the_pictures(repo: Path) -> None:
    folder = pictures(repo / "same", {"cat": 3, "dog": 2})
    noise = np.random.default_rng(1).integers(0, 256, (30, 2000, 3)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "cat" / "wide.png")
    ingest.run("images", folder=folder, name="same")
    task = params.load().task
    assert (task.height, task.width, task.channels) == (9, 7, 3)  # the most frequent; one has colours
    for number, size in enumerate([(300, 900), (600, 1200), (900, 1500)]):
        Path("mixed", "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[274] = 6  # lies on its side
        Image.new("L", size, number).save(Path("mixed", "ab"[number % 2], f"{number}.jpg"), exif=exif)
    ingest.run("images", folder=Path("mixed"), replace=True)
    task = params.load().task
    assert (task.height, task.width) == (112, 224)  # 1200 x 600 is in the middle; at most 224


def test_an_official_split_of_folders_is_kept(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = repo / "pets"
    pictures(folder / "train", {"cat": 3, "dog": 3}, 1)
    pictures(folder / "test", {"cat": 2, "dog": 2}, 2)
    for number in range(4):
        (folder / "test" / f"{number}.png").write_text("loose")
    ingest.run("images", folder=folder)
    assert "skipped 4: not in a class folder: test/0.png, test/1.png, test/2.png, ..." in capsys.readouterr().out
    assert pq.read_table("data/pets.parquet")["split"].to_pylist().count("test") == 4


def test_new_data_is_one_more_file_and_only_what_is_new(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(repo / "first", {"cat": 3, "dog": 2})
    ingest.run("images", folder=folder)
    before = contents(Path("data"))
    pictures(folder, {"cow": 2}, seed=2)
    capsys.readouterr()
    ingest.run("images", folder=folder, name="second")
    assert "read 7 examples; 2 are new" in capsys.readouterr().out
    after = contents(Path("data"))
    assert {name: after[name] for name in before} == before
    assert pq.read_table("data/second.parquet")["label"].to_pylist() == ["cow", "cow"]
    settings = params.load()
    assert settings.task.labels == ["cat", "dog", "cow"]  # the old ones keep their places
    assert settings.name == "first"
    ingest.run("images", folder=pictures(repo / "calves", {"cow": 2}, seed=8))  # one class, and already known
    assert params.load().task.labels == ["cat", "dog", "cow"]
    ingest.run("images", folder=folder, name="third")
    assert "third.parquet" not in contents(Path("data"))


def test_a_taken_name_and_another_kind_are_refused_and_nothing_changes(repo: Path) -> None:
    ingest.run("images", folder=pictures(repo / "pets", {"cat": 3, "dog": 2}))
    before = contents(Path("data")), Path("params.yaml").read_text()
    with pytest.raises(SlipwayError, match=r"pets\.parquet already exists with other examples"):
        ingest.run("images", name="pets", folder=pictures(repo / "more" / "pets", {"cat": 3, "dog": 2}, seed=5))
    with pytest.raises(SlipwayError, match=r"to the recipe images, this source to tabular.*--replace"):
        ingest.run("breast-cancer")
    assert (contents(Path("data")), Path("params.yaml").read_text()) == before
    assert not [path for path in repo.iterdir() if path.name.endswith(".tmp")]


def test_a_file_that_went_from_the_dataset_is_told_before_a_version_without_it(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest.run("images", folder=pictures(repo / "pets", {"cat": 3, "dog": 2}))
    more = pictures(repo / "more", {"cat": 2}, seed=3)
    before = Path("data.dvc").read_bytes()
    Path("data/pets.parquet").rename("data/others.parquet")
    with pytest.raises(SlipwayError, match=r"pets\.parquet: missing, though listed in data\.dvc; `dvc checkout data"):
        ingest.run("images", folder=more)
    # a colleague's data.dvc, of which DVC's cache has nothing
    Path("data.dvc").write_bytes(before.replace(versions.recorded(Path("data"))[:32].encode(), b"0" * 32))
    with pytest.raises(SlipwayError, match=r"is not in DVC's cache: `dvc pull data\.dvc`"):
        ingest.run("images", folder=more)
    assert list(contents(Path("data"))) == ["others.parquet"]
    versions.record(Path("data"))  # on purpose, then
    table = pq.read_table("data/others.parquet")
    Path("data/others.parquet").unlink()  # DVC's cache may have the same file
    pq.write_table(table.set_column(table.column_names.index("label"), "label", [["dog"] * 5]), "data/others.parquet")
    capsys.readouterr()
    ingest.run("images", folder=more)
    assert list(contents(Path("data"))) == ["more.parquet", "others.parquet"]
    assert "data/others.parquet: changed since data.dvc was written" in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_names_of_an_official_split_are_those_of_slipway_or_an_error(
    repo: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    def made(name: str, splits: list[str | None]) -> Path:
        rows = [{"x": n / 7, "y": "no" if n % 2 else "yes", "split": splits[n % len(splits)]} for n in range(40)]
        table, path = pa.Table.from_pylist(rows), repo / f"{name}.{ending}"
        (pq.write_table if ending == "parquet" else write_csv)(table, path)
        return path

    ingest.run("table", file=made("t", ["Train", "TEST ", "dev", None]), label=["y"])
    said = capsys.readouterr().out
    assert "split 'Train': read as train" in said and "split 'dev': read as validation" in said
    assert set(pq.read_table("data/t.parquet")["split"].to_pylist()) == {"train", "test", "validation", None}
    with pytest.raises(SlipwayError, match=r"the column split has 'holdout' \(the first in 20 rows\)"):
        ingest.run("table", file=made("u", ["train", "holdout"]), label=["y"])


def test_a_link_to_nothing_is_skipped_and_named(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(repo / "pets", {"cat": 3, "dog": 2})
    (folder / "cat" / "gone.png").symlink_to("/nothing.png")
    ingest.run("images", folder=folder)
    said = capsys.readouterr().out
    assert f"skipped 1: not a file: {folder}/cat/gone.png (a link to nothing)" in said and "read 5 examples" in said


def test_the_same_image_with_two_labels_is_named(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(repo / "pets", {"cat": 3, "dog": 2})
    for number in range(7):
        pictures(folder, {"cat": 1}, seed=50 + number)
        shutil.copy(folder / "cat" / f"{50 + number}-0.png", folder / "dog" / f"same-{number}.png")
    ingest.run("images", folder=folder)
    said = capsys.readouterr().out
    assert "  cat/51-0.png (cat) and dog/same-1.png (dog)\n" in said and "  and 2 more\n" in said


def test_labels_that_are_rare_are_told(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"{row / 7},{'yes' if row % 20 == 0 else 'no'}\n" for row in range(200))
    (repo / "t.csv").write_text(f"x,left\n{rows}")
    ingest.run("table", file=repo / "t.csv", label=["left"])
    said = capsys.readouterr().out
    assert "label 'yes': 10 of 200 examples (5.0%): a model may never predict it" in said
    assert "label 'no'" not in said and "are few" not in said


def test_few_examples_and_a_label_that_some_split_must_lack_are_told(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{at / 7},{'once' if at == 3 else 'ny'[at % 2]}\n" for at in range(40))
    (repo / "t.csv").write_text(f"x,left\n{rows}")
    ingest.run("table", file=repo / "t.csv", label=["left"])
    said = capsys.readouterr().out
    assert "40 examples are few" in said
    assert "label 'once': 1 of 40 examples (2.5%): some split has none of them" in said


def test_rows_without_a_label_are_told_and_allowed_in_this_dataset_alone(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ingested(label: str, gaps: int) -> str:
        rows = [f"{n},{n * n % 17},{'' if n < gaps else n % 13 + 0.5}" for n in range(200)]
        (repo / "some.csv").write_text("\n".join([f"a,b,{label}", *rows]) + "\n")
        ingest.run("table", file=repo / "some.csv", label=[label], replace=True)
        return capsys.readouterr().out

    def allowed() -> float:
        return params.load(Path("params.yaml")).validate_.max_bad_fraction

    told = "50 of 200 rows (25.0%) have no label: nothing is learnt from them, they are set aside"
    assert told in ingested("pay", 50) and allowed() == 0.3
    assert told in ingested("pay", 50) and allowed() == 0.3
    assert "have no label" not in ingested("worth", 1) and allowed() == 0.01  # of another problem


@pytest.mark.parametrize(
    ("name", "text"),
    [("table", "a,b,label\n" + ",,yes\n,,no\n" * 20), ("text", "text,label\n" + "word,yes\nword,no\n" * 20)],
)
def test_examples_that_are_all_alike_are_refused(repo: Path, name: str, text: str) -> None:
    """All features missing, a text of one word: a clear word before anything is written, not after a training."""
    (repo / "t.csv").write_text(text)
    before = (repo / "params.yaml").read_bytes()
    more: dict[str, Any] = {"file": repo / "t.csv", "label": ["label"]}
    if name == "text":
        more = {"path": repo / "t.csv", "text": "text", "label": "label"}
    with pytest.raises(SlipwayError, match="there is nothing to learn from"):
        ingest.run(name, **more)
    assert not list(Path("data").glob("*.parquet")) and (repo / "params.yaml").read_bytes() == before


def test_replace_needs_what_was_there_to_be_kept_by_dvc(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ingest.run("images", folder=pictures(repo / "pets", {"cat": 3, "dog": 2}))
    stray, pets = Path("data/stray.parquet"), Path("data/pets.parquet").read_bytes()
    for content, said in ((pets + b"2", "does not keep \\(stray.parquet\\)"), (pets, "differs from data.dvc")):
        stray.write_bytes(content)
        with pytest.raises(SlipwayError, match=said):
            ingest.run("breast-cancer", replace=True)
        assert stray.read_bytes() == content
    stray.unlink()
    version = YAML(typ="safe").load(Path("data.dvc"))["outs"][0]["md5"]
    capsys.readouterr()
    ingest.run("breast-cancer", replace=True)
    assert f"it replaces version {version} of data, which DVC keeps" in capsys.readouterr().out
    assert list(contents(Path("data"))) == ["breast-cancer.parquet"]
    settings = params.load()
    assert (settings.name, settings.recipe) == ("breast-cancer", "tabular")
    assert settings.task.labels == ["benign", "malignant"]


@pytest.mark.parametrize("data", ["data", "../elsewhere"])
@pytest.mark.parametrize("replace", [False, True])
def test_files_of_the_users_in_the_folder_are_never_removed(
    repo: Path, data: str, replace: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a Parquet file there the folder was taken for none, and all in it was deleted."""
    files = {"kunden.csv": ANSWERS, "my-notes.csv": "a,b\n", "sub/thesis.txt": "thesis", ".hidden": "too"}
    for name, text in files.items():
        Path(data, name).parent.mkdir(parents=True, exist_ok=True)
        Path(data, name).write_text(text)
    before = Path("params.yaml").read_bytes()
    words = ["ingest", "table", f"{data}/kunden.csv", "--label", "kauft", "--data", data]
    assert main([*words, "--replace"] if replace else words) == 1
    said = capsys.readouterr().err
    assert (
        f"error: {data}: contains files that DVC does not keep (.hidden, kunden.csv, my-notes.csv and 1 more)" in said
    )
    assert {name: Path(data, name).read_text() for name in files} == files
    assert Path("params.yaml").read_bytes() == before
    assert not Path("data.dvc").exists()


def test_a_file_that_comes_while_an_ingest_reads_stays(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = dataset.write

    def meanwhile(*arguments: Any) -> Any:
        Path("data").mkdir()
        Path("data/new.txt").write_text("here I am")
        return written(*arguments)

    monkeypatch.setattr(dataset, "write", meanwhile)
    with pytest.raises(SlipwayError, match=r"does not keep \(new.txt\)"):
        ingest.run("digits")
    assert contents(Path("data")) == {"new.txt": b"here I am"}
    assert Path("params.yaml").read_text() == PARAMS


def test_an_empty_folder_may_go_and_a_link_is_explained(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("kunden.csv").write_text(ANSWERS)
    Path("disk").mkdir()
    Path("data").symlink_to("disk", target_is_directory=True)
    for replace in ([], ["--replace"]):
        assert main(["ingest", *GERMAN, *replace]) == 1
        assert "error: data is a link, and DVC cannot version what a link points to" in capsys.readouterr().err
    Path("data").unlink()
    Path("data/empty").mkdir(parents=True)
    assert main(["ingest", *GERMAN]) == 0
    capsys.readouterr()
    assert main(["ingest", *GERMAN, "--replace"]) == 0
    assert "it replaces" not in capsys.readouterr().out  # by the same


def csv(name: str, text: str) -> None:
    Path(f"{name}.csv").write_text(text)
    ingest.run("table", file=Path(f"{name}.csv"), label=["target"])


def test_more_rows_may_name_the_columns_in_another_order_but_must_have_them(repo: Path) -> None:
    csv("one", "age,colour,target\n30,red,yes\n31,blue,no\n")
    csv("two", "target,colour,age\nyes,red,30\nno,green,40\n")
    assert pq.read_table("data/two.parquet")["age"].to_pylist() == [40.0]  # the first row was known
    with pytest.raises(SlipwayError, match="three: column colour is missing"):
        csv("three", "age,target\n30,yes\n50,no\n")
    assert sorted(contents(Path("data"))) == ["one.parquet", "two.parquet"]
    columns = _columns(params.load())
    for chunk in dataset.chunks(Path("data"), columns):
        read = dataset.read(chunk, columns)
        assert dataset.ids(read, columns) == read["id"].to_pylist()


@pytest.mark.usefixtures("repo")
def test_more_rows_must_be_of_what_the_dataset_predicts(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(
        "x,c,y,split\n" + "".join(f"{n / 4},{'ab'[n % 2]},{'pq'[n // 3 % 2]},train\n" for n in range(40))
    )
    assert main(["ingest", "table", "a.csv", "--label", "y", "--replace"]) == 0
    assert "the column split, which is no feature; if it is not: --drop split" in capsys.readouterr().out
    assert main(["ingest", "table", "a.csv", "--label", "c"]) == 1
    beside = "--replace starts a new dataset in its place, `slipway new NAME ...` makes a model beside it"
    said = capsys.readouterr().err
    assert "--label c: the dataset has c as a feature, so it predicts something else" in said and beside in said
    Path("b.csv").write_text("z,y,w\n" + "".join(f"{n / 4},{'pq'[n // 3 % 2]},1\n" for n in range(40)))
    assert main(["ingest", "table", "b.csv", "--label", "y"]) == 1
    said = capsys.readouterr().err
    assert "column x is missing, but the dataset has it" in said and beside in said
    days = "".join(f"2024-01-{day:02},{day % 7}\n" for day in range(1, 31))
    Path("s.csv").write_text("t,v\n" + days)
    series = ["ingest", "series", "s.csv", "--time", "t", "--value", "v", "--horizon", "2"]
    assert main([*series, "--history", "7"]) == 1
    said = capsys.readouterr().err
    assert "belongs to the recipe tabular, this source to series" in said and beside in said
    assert main([*series, "--history", "7", "--replace"]) == 0
    assert main([*series, "--history", "8"]) == 1
    assert "--history is 8 here, but the windows of the dataset have 7: give --history 7" in capsys.readouterr().err


@pytest.mark.usefixtures("repo")
def test_more_rows_of_series_are_of_those_that_the_dataset_has(capsys: pytest.CaptureFixture[str]) -> None:
    def ingested(first: int, *names: str) -> str:
        days = [f"2024-01-{day:02},{name},{day}" for day in range(first, first + 14) for name in names]
        Path("s.csv").write_text("\n".join(["t,g,v", *days]))
        options = ["--time", "t", "--value", "v", "--group", "g", "--history", "7", "--horizon", "2"]
        assert main(["ingest", "series", "s.csv", *options]) == 0
        return capsys.readouterr().out

    ingested(1, "1.0", "Nord")
    said = ingested(15, "1", "nord")  # 1.0 may be a version where another series has a name
    assert "series '1' and '1.0' look alike" in said and "series 'nord' and 'Nord' look alike" in said
    assert "series 'Nord ': read as 'Nord'" in ingested(15, "Nord ")
    found = pc.unique(pa.concat_tables(pq.read_table(path) for path in Path("data").glob("*.parquet"))["group"])
    assert sorted(found.to_pylist()) == ["1", "1.0", "Nord", "nord"]


@pytest.mark.usefixtures("repo")
def test_two_hyphens_may_stand_for_missing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text("x,y\n" + "".join(f"{n / 4 if n % 5 else '--'},{'pq'[n // 3 % 2]}\n" for n in range(40)))
    assert main(["ingest", "table", "a.csv", "--label", "y", "--replace", "--missing=--"]) == 0
    assert "numeric: x" in capsys.readouterr().out
    assert params.load().task.reading.missing == ["--"]


def test_broken_params_stop_an_ingest_before_anything(repo: Path) -> None:
    Path("params.yaml").write_text("name: [")
    with pytest.raises(SlipwayError, match="not valid YAML"):
        ingest.run("digits")
    assert not Path("data").exists()
    Path("params.yaml").write_text("name: old\nrecipe: images\nimages:\n")
    ingest.run("digits")
    assert params.load().task.height == 8


def test_numbers_that_are_too_large_and_folders_of_two_kinds_are_refused(repo: Path) -> None:
    with pytest.raises(SlipwayError, match=r"column age: .*--drop age"):
        csv("large", f"age,target\n{2**60 + 1},yes\n1,no\n")
    pictures(repo / "mixed" / "train", {"cat": 1, "dog": 1})
    pictures(repo / "mixed" / "extra", {"cat": 1})
    (repo / "mixed" / "__MACOSX").mkdir()
    with pytest.raises(SlipwayError, match="train/ is a split but extra/ is not"):
        ingest.run("images", folder=repo / "mixed")


def test_a_table_is_read_with_its_types(repo: Path) -> None:
    Path("people.csv").write_text("age,colour,ok,target\n30,red,true,1\n?,blue,false,0\n41.5,,true,1\n")
    ingest.run("table", file=Path("people.csv"), label=["target"], missing=["?"])
    found = pq.read_table("data/people.parquet").to_pydict()
    assert found["age"] == [30.0, None, 41.5]
    assert found["colour"] == ["red", "blue", None]
    assert found["ok"] == [True, False, True]
    assert found["label"] == ["1", "0", "1"]
    settings = params.load()
    assert (settings.task.numeric, settings.task.categorical, settings.task.boolean) == (["age"], ["colour"], ["ok"])


@pytest.mark.parametrize(
    ("text", "label", "expected"),
    [
        ("a,b\n1,2\n3,4\n", "c", r"no column 'c' \(there are: a, b\)"),
        ("label,b\n1,2\n3,4\n", "b", r"cannot be named 'label'.*--drop label"),
        ("a,b\n1,2\n3,2\n", "b", "has 1 distinct value"),
        ("a,b\n1,2\n3\n", "b", "cannot be read"),
        ("", "b", "the file is empty"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(repo: Path, text: str, label: str, expected: str) -> None:
    Path("t.csv").write_text(text)
    with pytest.raises(SlipwayError, match=expected):
        ingest.run("table", file=Path("t.csv"), label=[label])
    assert not Path("data").exists()


def test_what_a_file_meant_is_kept_for_more_rows_and_forgotten_with_the_dataset(repo: Path) -> None:
    Path("a.csv").write_text("land,price,y\nNA,$5,a\nDE,$6,b\n")
    ingest.run("table", file=Path("a.csv"), label=["y"], not_missing=["NA"])
    kept = params.load().task.reading
    assert (kept.not_missing, kept.numbers) == (["NA"], {"price": "$ 1234.5"})
    Path("b.csv").write_text("land,price,y\nNA,$7,a\n")
    ingest.run("table", file=Path("b.csv"), label=["y"], task="class")
    assert pq.read_table("data/b.parquet").select(["land", "price"]).to_pylist() == [{"land": "NA", "price": 7.0}]
    assert params.load().task.reading == kept
    with pytest.raises(SlipwayError, match="column price: its numbers have no unit"):
        Path("c.csv").write_text("land,price,y\nFR,7,a\n")
        ingest.run("table", file=Path("c.csv"), label=["y"], task="class")
    Path("d.csv").write_text("x,y\n1,a\n2,b\n")
    ingest.run("table", file=Path("d.csv"), label=["y"], replace=True)
    assert params.load().task.reading == recipes.ReadAs()


def test_folders_that_cannot_be_used_say_why(repo: Path) -> None:
    with pytest.raises(SlipwayError, match="no such folder"):
        ingest.run("images", folder=Path("nowhere"))
    Path("empty").mkdir()
    with pytest.raises(SlipwayError, match="no class folders"):
        ingest.run("images", folder=Path("empty"))
    Path("empty/cat").mkdir()
    with pytest.raises(SlipwayError, match="no image files in its 1 class folders"):
        ingest.run("images", folder=Path("empty"))
    Image.new("L", (3, 3)).save("empty/cat/b.png")
    with pytest.raises(SlipwayError, match="only one class"):
        ingest.run("images", folder=Path("empty"))
    Path("empty/cat/b.png").unlink()
    Path("empty/cat/a.png").write_text("no image")
    with pytest.raises(SlipwayError, match="none of the 1 image files can be read"):
        ingest.run("images", folder=Path("empty"))


OTHER = gzip.compress(b"other content", mtime=0)  # the same bytes each time: they name the test


@pytest.mark.parametrize("content", [b"not gzip", OTHER, gzip.compress(b"x" * 100, mtime=0)[:20]])
def test_a_damaged_mnist_file_is_refused(repo: Path, content: bytes) -> None:
    Path("raw").mkdir()
    with pytest.raises(SlipwayError, match=r"train-images-idx3-ubyte\.gz: no such file"):
        ingest.run("mnist", origin="raw")
    Path("raw/train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(SlipwayError, match=r"train-images-idx3-ubyte\.gz: (damaged|not the original)"):
        ingest.run("mnist", origin="raw")
    assert not Path("data").exists()


def test_an_address_that_does_not_answer_is_an_error_that_names_the_way_out(repo: Path) -> None:
    with pytest.raises(SlipwayError, match="--from FOLDER"):
        ingest.run("mnist", origin="http://127.0.0.1:9/mnist")


@pytest.mark.skipif(not MNIST.exists(), reason="the four MNIST files are not on this machine")
@pytest.mark.e2e
def test_mnist_is_read_whole_with_its_official_test_set(repo: Path) -> None:
    ingest.run("mnist", origin=str(MNIST))
    found = pq.read_table("data/mnist.parquet", columns=["id", "label", "split"])
    assert found["split"].value_counts().to_pylist() == [
        {"values": "train", "counts": 60000},
        {"values": "test", "counts": 10000},
    ]
    assert len(set(found["id"].to_pylist())) == 70000
    assert found["label"].to_pylist()[:5] == ["5", "0", "4", "1", "9"]
    assert {label: found["label"].to_pylist().count(label) for label in ("1", "5")} == {"1": 7877, "5": 6313}
    settings = params.load()
    first = dataset.read(dataset.chunks(Path("data"), _columns(settings))[0], _columns(settings)).slice(0, 1)
    from components.recipes.images import example as images

    assert images.encode(first, settings.task, {})["image"].astype(int).sum() == 27525  # the first 5 of MNIST


def _columns(settings: params.Params):
    from components import recipes

    return recipes.schema(recipes.load(settings.recipe), settings.task)


def test_parquet_text_that_is_not_utf8_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    places = np.arange(0, 121, 2, dtype=np.int32)
    content = b"ok" * 59 + b"\xff\xfe"
    bad = pa.Array.from_buffers(pa.string(), 60, [None, pa.py_buffer(places), pa.py_buffer(content)])
    pq.write_table(pa.table({"word": bad, "answer": ["a", "b"] * 30}), "bad.parquet")
    assert main(["ingest", "table", "bad.parquet", "--label", "answer"]) == 1
    assert not Path("data").exists()


def state(repo: Path) -> dict[str, bytes]:
    """All that an ingest may change, and what it may leave behind."""
    return {
        str(path.relative_to(repo)): path.read_bytes()
        for path in sorted(repo.rglob("*"))
        if path.is_file() and not {".git", ".dvc"} & set(path.relative_to(repo).parts)
    }


ANSWERS = "age,kauft\n30,ja\n31,nein\n33,ja\n"


@pytest.fixture
def weighted(repo: Path) -> Path:
    """A dataset of yes and no whose params.yaml says what mistakes cost, and kunden.csv with other labels."""
    csv("customers", "age,target\n30,yes\n31,no\n")
    with Path("params.yaml").open("a") as file:
        file.write('costs: {"yes": {"no": 2.0}}\n')
    Path("kunden.csv").write_text(ANSWERS)
    return repo


def test_settings_that_do_not_go_with_new_data_stop_before_anything_is_changed(
    weighted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(weighted)
    capsys.readouterr()
    words = ["ingest", "table", "kunden.csv", "--label", "kauft", "--replace"]
    for _ in range(2):  # the second time is no other
        assert main(words) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: params.yaml: costs: no label 'yes'; there are: ja, nein\n")
        assert "nothing was changed: remove it from params.yaml, or change it to a value that fits, and ingest" in said
        assert state(weighted) == before
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace('{"yes": {"no": 2.0}}', "null"))
    assert main(words) == 0
    assert list(contents(Path("data"))) == ["kunden.parquet"]
    assert params.load().task.labels == ["ja", "nein"]


@pytest.mark.parametrize("replace", [True, False])
def test_a_dataset_that_cannot_be_put_in_place_leaves_params_as_they_were(
    repo: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    calves = pictures(repo / "calves", {"cow": 2, "cat": 2}, seed=8)
    ingest.run("images", folder=pictures(repo / "pets", {"cat": 3, "dog": 2}))
    before = state(repo)
    renamed = Path.rename

    def refused(path: Path, target: Path) -> Path:
        if Path("data") in (path, target.parent):
            assert Path("params.yaml").read_bytes() != before["params.yaml"]  # the data is put in place last
            raise PermissionError(path)
        return renamed(path, target)

    def not_exchanged(new: Path, old: Path) -> bool:
        return bool(refused(old, new))

    def unlinked(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "rename", refused)
    monkeypatch.setattr(os, "link", unlinked)  # a file system without hard links
    monkeypatch.setattr(files, "_exchanged", not_exchanged)
    with pytest.raises(PermissionError):
        ingest.run("images", folder=calves, replace=replace)
    assert state(repo) == before


@pytest.mark.e2e
def test_a_kill_before_the_data_is_in_place_does_not_block_the_next_ingest(repo: Path) -> None:
    ingest.run("images", folder=pictures(repo / "pets", {"cat": 3, "dog": 2}))
    Path("kunden.csv").write_text(ANSWERS)
    words = "import os\nfrom components import files\nfrom components.__main__ import main\n"
    words += "files._exchanged = lambda new, old: os._exit(9)\n"  # a killed process tidies nothing up
    words += "main(['ingest', 'table', 'kunden.csv', '--label', 'kauft', '--name', 'k', '--replace'])"
    killed = subprocess.run([sys.executable, "-c", words], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert killed.returncode == 9
    assert params.load().name == "k"
    ingest.run("table", file=Path("kunden.csv"), label=["kauft"], replace=True)
    assert list(contents(Path("data"))) == ["kunden.parquet"]
    assert params.load().name == "kunden"


def _replaced(gates: str, *sources: list[str]) -> dict[str, Any]:
    """The section `register` after one source was ingested, these gates were written, and the next took its place."""
    Path("numbers.csv").write_text("age,target\n30,1.5\n31,2.5\n33,4.5\n")
    Path("series.csv").write_text("day,kg\n" + "".join(f"2020-01-{day:02d},{day % 5}\n" for day in range(1, 20)))
    Path("kunden.csv").write_text(ANSWERS)
    Path("answers.csv").write_text("age,target\n30,yes\n31,no\n")
    first, second = sources
    assert main(["ingest", *first]) == 0
    yaml = YAML()
    content = yaml.load(Path("params.yaml"))
    content["register"] = yaml.load(gates)
    yaml.dump(content, Path("params.yaml"))
    assert main(["ingest", *second, "--replace"]) == 0
    return dict(YAML(typ="safe").load(Path("params.yaml"))["register"])


NUMBERS = ["table", "numbers.csv", "--label", "target"]
SERIES = ["series", "series.csv", "--time", "day", "--value", "kg", "--history", "4", "--horizon", "1"]
GERMAN = ["table", "kunden.csv", "--label", "kauft"]
ENGLISH = ["table", "answers.csv", "--label", "target"]
COSTS = {"latency_ms": 20.0, "size_mb": 5.0}


@pytest.mark.parametrize(
    ("first", "second", "before", "after"),
    [
        (NUMBERS, GERMAN, ({"r2": 0.0}, {"mae": 2.0}), ({}, {})),
        (GERMAN, NUMBERS, ({"accuracy": 0.8, "f1_of_ja": 0.5}, {"log_loss": 1.0}), ({"r2": 0.0}, {})),
        (SERIES, NUMBERS, ({}, {"mase": 1.0, "rmse": 3.0}), ({"r2": 0.0}, {})),
        (NUMBERS, SERIES, ({"r2": 0.5}, {}), ({}, {"mase": 1.0})),
        (SERIES, SERIES, ({}, {"mase": 0.9}), ({}, {"mase": 0.9})),  # the same problem: all stay
        (SERIES, SERIES, ({}, {}), ({}, {})),
        (GERMAN, GERMAN, ({"accuracy": 0.8, "f1_of_ja": 0.5}, {}), ({"accuracy": 0.8, "f1_of_ja": 0.5}, {})),
        (ENGLISH, GERMAN, ({"accuracy": 0.8, "roc_auc": 0.7, "f1_of_yes": 0.5}, {}), ({}, {})),
        (["digits"], GERMAN, ({"accuracy": 0.9}, {"train_seconds": 9.0}), ({}, {"train_seconds": 9.0})),
    ],
)
def test_a_dataset_of_another_problem_keeps_only_the_gates_on_cost(
    repo: Path,
    capsys: pytest.CaptureFixture[str],
    first: list[str],
    second: list[str],
    before: tuple[dict[str, float], dict[str, float]],
    after: tuple[dict[str, float], dict[str, float]],
) -> None:
    minimum, maximum = before
    found = _replaced(f"{{minimum: {json.dumps(minimum)}, maximum: {json.dumps(maximum | COSTS)}}}", first, second)
    assert (found["minimum"], found["maximum"]) == (after[0], after[1] | COSTS)
    said = capsys.readouterr().out.rpartition("examples; ")[2]  # of the second ingest
    assert (f"params.yaml: register.minimum: {minimum} -> {after[0]}" in said) == (minimum != after[0])
    assert ("params.yaml: register.maximum: " in said) == (maximum != after[1])


def test_gates_that_stay_keep_their_comments_and_those_by_default_are_not_written(repo: Path) -> None:
    gates = "maximum:  # of it\n  mase: 1.0  # goes\n  latency_ms: 20  # a promise\nmargin: 0.1\n"
    assert _replaced(gates, SERIES, NUMBERS) == {"maximum": {"latency_ms": 20}, "minimum": {"r2": 0.0}, "margin": 0.1}
    text = Path("params.yaml").read_text()
    assert "maximum: # of it\n    latency_ms: 20 # a promise\n" in text
    Path("params.yaml").write_text(PARAMS)
    ingest.run("digits", replace=True)
    assert "register" not in Path("params.yaml").read_text()


def test_params_that_are_kept_keep_their_gates(repo: Path) -> None:
    csv("numbers", "age,target\n30,1.5\n31,2.5\n")
    before = Path("params.yaml").read_bytes()
    ingest.run("digits", replace=True, keep_params=True)
    assert Path("params.yaml").read_bytes() == before


def test_a_new_problem_gets_training_settings_by_its_own_size_and_each_is_told(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    yaml = YAML()
    content = yaml.load(Path("params.yaml"))
    content["train"] |= {"epochs": 7, "device": "cpu", "ema": 0.9}
    yaml.dump(content, Path("params.yaml"))
    ingest.run("digits", replace=True)  # the same problem
    assert "train" not in capsys.readouterr().out
    rows = [f"{n * n % 997},{'often' if n % 10 else 'seldom'}" for n in range(5000)]
    Path("visits.csv").write_text("\n".join(["age,target", *rows]) + "\n")
    assert main(["ingest", "table", "visits.csv", "--label", "target", "--replace"]) == 0
    said = capsys.readouterr().out
    assert "train.epochs: 7 -> 100  # at most: early_stopping ends it\n" in said
    assert "train.schedule: {'name': 'cosine', 'warmup': 1.0} -> the default\n" in said
    assert "train.ema: 0.9 -> the default\n" in said
    assert "train.threshold: f1  # 10.0% of the examples are seldom" in said
    text = Path("params.yaml").read_text()
    assert "  batch_size: 64         # 50 batches in an epoch of about 3,200 training examples\n" in text
    assert "  device: cpu            # auto, cpu or gpu\n" in text  # of the machine: stays, with its comment
    assert "    # steps between live metrics\n\nevaluate:\n" in text
    chosen = params.load().train
    assert (chosen.early_stopping, chosen.ema, chosen.schedule.name) == (16, None, "constant")
    Path("numbers.csv").write_text("age,target\n30,1.5\n31,2.5\n33,4.5\n")
    assert main(["ingest", "table", "numbers.csv", "--label", "target", "--replace"]) == 0
    assert params.load().train.threshold is None


def test_a_dataset_of_the_same_answers_keeps_what_a_person_set_and_tells_what_would_be_drafted(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ingested(rows: int, *labels: str, more: str = "") -> str:
        lines = [f"{n},{n * n % 997}{',1.5' if more else ''},{labels[n % len(labels)]}" for n in range(rows)]
        Path("t.csv").write_text("\n".join([f"a,b{more},left", *lines]) + "\n")
        assert main(["ingest", "table", "t.csv", "--label", "left", "--drop", "a", "--replace"]) == 0
        return capsys.readouterr().out

    ingested(300, "yes", "no", "never")
    yaml = YAML()
    content = yaml.load(Path("params.yaml"))
    content["train"]["dropout"] = 0.15
    content["network"]["hidden"] = [8]
    content["register"] = {"minimum": {"accuracy": 0.6}}
    content["validate"] = {"max_bad_fraction": 0.2}
    yaml.dump(content, Path("params.yaml"))
    kept = {name: content[name] for name in ("train", "network", "register", "validate")}
    told = "train stays as it is; drafted from these examples, it would have batch_size: 64, dropout: 0.3\n"
    assert told in ingested(5000, "yes", "no")
    assert params.load().task.labels == ["no", "yes"]
    assert "train.dropout" not in ingested(5000, "yes", "no", more=",c")  # a column more
    content = YAML(typ="safe").load(Path("params.yaml"))
    assert {name: content[name] for name in kept} == kept
    assert "train.dropout: 0.15 -> 0.3" in ingested(300, "up", "down")  # another problem


def test_a_new_section_of_training_loses_no_comment_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    old = "epochs: 20\n  # more dropout hurts\n  dropout: 0.2  # found in May\n  log_every: 50\n"
    path.write_text(f"name: a\nrecipe: images\ntrain:\n  {old}\n# judged so\n# by us\nevaluate:\n  resamples: 100\n")
    values = {"epochs": 100, "log_every": 50}
    text, told = changes.merged(path, {"train": values}, grow=False, why={"epochs": "at most"})
    assert text.endswith(
        "train:\n  epochs: 100    # at most\n  log_every: 50\n  # more dropout hurts\n\n# judged so\n# by us\n"
        "evaluate:\n  resamples: 100\n"
    ), text
    assert told == ["train.epochs: 20 -> 100  # at most", "train.dropout: 0.2 -> the default"]
    path.write_text("name: a\nrecipe: images\n")
    assert changes.merged(path, {"train": values}, grow=False)[0].endswith("train:\n  epochs: 100\n  log_every: 50\n")


def test_defaults_of_every_recipe_suit_any_size() -> None:
    for recipe in recipes.names():
        if (module := defaults.load(recipe)) is None:
            continue
        for rows in (0, 1, 100, 10_000, 10_000_000):
            chosen = module.training(rows, "regression" if recipe == "series" else "single_label")
            settings = Train.model_validate({name: value for name, (value, _) in chosen.items()})
            assert settings.early_stopping and settings.epochs > 1
            assert all(why for _, why in chosen.values())


def _chosen(network: dict[str, Any]) -> None:
    yaml = YAML()
    content = yaml.load(Path("params.yaml"))
    content["network"] = network
    yaml.dump(content, Path("params.yaml"))


def _network() -> Any:
    return YAML(typ="safe").load(Path("params.yaml"))["network"]


def test_another_recipe_starts_from_its_own_network(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv("numbers", "age,target\n30,1.5\n31,2.5\n33,4.5\n")
    assert _network() == {"model": "mlp"}  # written out: DVC stops at a section that is not there
    _chosen({"hidden": [8], "batch_norm": True})
    capsys.readouterr()
    ingest.run("images", folder=pictures(repo / "pets", {"cat": 2, "dog": 2}), replace=True)
    said = capsys.readouterr().out
    assert "params.yaml: network: {'hidden': [8], 'batch_norm': True} -> {'model': 'cnn'}\n" in said
    assert "network stays" not in said
    assert _network() == {"model": "cnn"}
    ingest.run("table", file=Path("numbers.csv"), label=["target"], replace=True)
    assert "params.yaml: network: {'model': 'cnn'} -> {'model': 'mlp'}\n" in capsys.readouterr().out
    assert _network() == {"model": "mlp"}


def test_a_network_of_the_same_recipe_stays_and_that_is_told(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ingest.run("digits")
    _chosen({"model": "mlp", "hidden": [8]})
    capsys.readouterr()
    ingest.run("digits", replace=True)  # the same problem
    assert "network" not in capsys.readouterr().out
    ingest.run("images", folder=pictures(repo / "pets", {"cat": 2, "dog": 2}), replace=True)
    said = capsys.readouterr().out
    assert "params.yaml: network: {'model': 'mlp', 'hidden': [8]} -> {'model': 'cnn', 'hidden': [8]}\n" in said
    assert "params.yaml: network keeps the settings chosen for digits (hidden: [8]), which may not suit pets" in said
    _chosen({"filters": [1, 1, 1]})
    with pytest.raises(
        SlipwayError, match=r"network\.filters: 3 blocks halve .*\nthis setting does not fit the new data"
    ):
        ingest.run("images", folder=pictures(repo / "tiny", {"cat": 2, "dog": 2}, size=(3, 3)), replace=True)
    assert _network() == {"filters": [1, 1, 1]}


def test_classes_that_are_one_in_two_spellings_are_joined_and_told(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1.0 is what pandas makes of 1 where a column has gaps; a Mac writes accents as letters of their own."""
    for name, labels in (("a", "01"), ("b", ("0.0", "1.0")), ("c", ("0", "1.0"))):
        Path(f"{name}.csv").write_text("x,y\n" + "".join(f"{ord(name)}{n},{labels[n % 2]}\n" for n in range(8)))
    assert main(["ingest", "table", "a.csv", "--label", "y", "--test", "c.csv"]) == 0
    said = capsys.readouterr().out
    assert "label '1.0': read as '1'" in said and "has labels that" not in said
    assert set(pq.read_table("data/a.parquet")["label"].to_pylist()) == {"0", "1"}
    assert main(["ingest", "table", "b.csv", "--label", "y"]) == 0
    assert "label '0.0': read as '0'\nlabel '1.0': read as '1'\n" in capsys.readouterr().out
    assert params.load().task.labels == ["0", "1"]
    assert set(pq.read_table("data/b.parquet")["label"].to_pylist()) == {"0", "1"}
    pq.write_table(pa.table({"x": [1.0, 2.0, 3.0], "y": [0.0, 1.0, None]}), "floats.parquet")
    pq.write_table(pa.table({"x": [4.0, 5.0], "y": [0, 1]}), "whole.parquet")
    for name in ("floats", "whole"):
        assert main(["ingest", "table", f"{name}.parquet", "--label", "y"]) == 0
    assert params.load().task.labels == ["0", "1"]


@pytest.mark.parametrize("source", ["images", "text", "table"])
def test_accents_of_two_forms_are_one_class_and_letter_cases_are_told(
    repo: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ["cafe\u0301", "caf\u00e9", "Bar", "bar"]
    words = {"images": ["images", "f"], "text": ["text", "f"], "table": ["table", "f/t.csv", "--label", "y"]}[source]
    Path("f").mkdir()
    if source == "images":
        for seed, label in enumerate(labels):
            pictures(Path("f"), {label: 2}, seed)
    for number, label in enumerate(labels if source == "text" else ()):
        Path("f", label).mkdir()
        Path("f", label, "1.txt").write_text(f"text {number}")
    if source == "table":
        Path("f/t.csv").write_text("x,y\n" + "".join(f"{n},{labels[n % 4]}\n" for n in range(8)))
    assert main(["ingest", *words, "--name", "n"]) == 0
    said = capsys.readouterr().out
    assert "label 'cafe\u0301' (cafe\\u0301): read as 'caf\u00e9' (caf\\xe9)" in said
    assert "labels 'Bar' and 'bar' look alike, and are 2 classes" in said
    assert params.load().task.labels == ["Bar", "bar", "caf\u00e9"]
    assert set(pq.read_table("data/n.parquet")["label"].to_pylist()) == {"Bar", "bar", "caf\u00e9"}


def test_labels_that_are_numbers_are_listed_by_size_and_a_dataset_keeps_its_order(repo: Path) -> None:
    Path("t.csv").write_text("x,y\n" + "".join(f"{n * 7 % 13},{n % 11}\n" for n in range(44)))
    assert main(["ingest", "table", "t.csv", "--label", "y", "--task", "class"]) == 0
    assert params.load().task.labels == [str(n) for n in range(11)]
    yaml = YAML()
    content = yaml.load(Path("params.yaml"))
    content["tabular"]["labels"] = sorted(content["tabular"]["labels"])  # as an older version listed them
    yaml.dump(content, Path("params.yaml"))
    assert params.load().task.labels[:3] == ["0", "1", "10"]
    assert main(["ingest", "table", "t.csv", "--label", "y", "--task", "class", "--replace"]) == 0
    assert params.load().task.labels[:3] == ["0", "1", "10"]


def test_a_column_that_the_dataset_does_not_have_is_told_and_so_is_another_form_of_a_name(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv("one", "caf\u00e9,age,target\nred,30,yes\nblue,31,no\n")
    capsys.readouterr()
    csv("two", "cafe\u0301,important,age,target\nred,5,32,yes\nRed,6,33,no\n")
    said = capsys.readouterr().out
    assert "left out: important (the dataset does not have it)" in said
    assert "numeric: age\ncategorical: caf\u00e9\nlabels: no, yes\n" in said
    assert "caf\u00e9: 'Red' and 'red' look alike, and are different categories" in said
    assert pq.read_table("data/two.parquet")["caf\u00e9"].to_pylist() == ["red", "Red"]


def test_a_folder_in_place_of_a_table_is_told(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("pets", "parts.parquet"):
        Path(name).mkdir()
        assert main(["ingest", "table", name, "--label", "y"]) == 1
        said = capsys.readouterr().err
        assert f"error: {name}: is a folder, not a file; `ingest images`, `text` and `audio` read folders" in said


def test_params_keep_their_lines_and_new_settings_are_no_changes_of_none(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    before = Path("params.yaml").read_text()
    csv("one", "colour,age,target\nred,30,yes\nblue,31,no\n")
    said = capsys.readouterr().out
    assert "None" not in said and "tabular.boolean" not in said
    assert "params.yaml: tabular.numeric: ['age']\n" in said
    after = Path("params.yaml").read_text()
    assert "costs: null " in after
    assert "\n\ntabular:\n" in after
    lost = set(before.splitlines()) - set(after.splitlines())
    chosen = {name for name, _ in params.load().train}
    own = {"name", "recipe", "model", "minimum", "accuracy"}
    assert {line.split(":")[0].strip() for line in lost} <= own | chosen - {"device", "mixed_precision", "log_every"}


KEYED = ["table", "shop.csv", "--label", "target", "--key", "order"]


def test_a_key_that_has_lost_its_zeros_stops_the_ingest(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("shop.csv").write_text("order,x,target\n00001,3,yes\n00002,1,no\n00010,2,no\n,7,yes\n")
    assert main(["ingest", *KEYED]) == 0
    assert "1 have no value in the column of --key" in capsys.readouterr().out
    before = state(repo)
    for rows in ("1,3,yes\n2,1,no\n3,9,no\n", "2.0,1,no\n"):
        Path("shop.csv").write_text(f"order,x,target\n{rows}")
        assert main(["ingest", *KEYED]) == 1
        said = capsys.readouterr().err
        assert "keys are there already in another spelling" in said and "and 00002" in said
        assert {name: content for name, content in state(repo).items() if name != "shop.csv"} == {
            name: content for name, content in before.items() if name != "shop.csv"
        }
    Path("shop.csv").write_text("order,x,target\n00001,3,yes\n00100,2,no\n")
    assert main(["ingest", *KEYED]) == 0
    assert "1 are new" in capsys.readouterr().out


def test_keys_of_one_file_that_differ_by_zeros_are_other_rows(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("shop.csv").write_text("order,x,target\n7,3,yes\n007,1,no\n8,2,no\n")
    assert main(["ingest", *KEYED]) == 0
    said = capsys.readouterr().out
    assert "3 are new" in said and "differ from another one by zeros alone (007 and 7): other rows" in said


def test_a_key_that_tells_no_rows_apart_is_none(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"{n % 5},{n * n % 83},{'yes' if n % 3 else 'no'}\n" for n in range(40))
    Path("shop.csv").write_text(f"order,x,target\n{rows}")
    assert main(["ingest", *KEYED]) == 1
    assert "--key order: the column does not tell rows apart: 35 of 40 have" in capsys.readouterr().err
    assert not Path("data").exists() and not Path("data.dvc").exists()


def test_a_dataset_that_was_not_pulled_is_not_replaced_unseen(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.csv").write_text("age,target\n30,yes\n31,no\n")
    words = ["ingest", "table", "one.csv", "--label", "target"]
    assert main(words) == 0
    shutil.rmtree("data")
    before = state(repo)
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "data.dvc lists a dataset that is not here; `dvc pull data.dvc` brings it" in said
    assert state(repo) == before
    Path("data.dvc").write_text(Path("data.dvc").read_text().replace(versions.recorded(Path("data")), versions.STARTER))
    assert main(words) == 0  # the starter's may go
    shutil.rmtree("data")
    assert main([*words, "--replace"]) == 0


def test_where_a_dataset_is_that_was_not_pulled_is_told(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dvc.repo import Repo

    Path("one.csv").write_text("age,target\n30,yes\n31,no\n")
    Path("two.csv").write_text("age,target\n32,yes\n33,no\n")
    words = ["ingest", "table", "one.csv", "--label", "target"]
    assert main(words) == 0
    before = versions.recorded(Path("data"))
    with Repo() as dvc, dvc.config.edit() as settings:
        settings["remote"]["far"] = {"url": "s3://nowhere/it-is-not-asked"}
        settings["remote"]["shelf"] = {"url": str(repo / "shelf")}
    with Repo() as dvc:
        dvc.push(remote="shelf")
        cache = Path(dvc.cache.local.path)
    shutil.rmtree("data")
    shutil.rmtree(cache)
    pointer = Path("data.dvc").read_bytes()
    capsys.readouterr()
    assert main(["ingest", "table", "two.csv", *words[3:], "--replace"]) == 0
    assert (
        f"it replaces version {before} of data, which DVC's remote shelf keeps: restore the old data.dvc, and "
        "`dvc pull data.dvc` to get it back" in capsys.readouterr().out
    )
    shutil.rmtree("data")
    shutil.rmtree("shelf")
    Path("data.dvc").write_bytes(pointer)
    assert main(["ingest", "table", "two.csv", *words[3:], "--replace"]) == 0
    assert "which was never pulled here: restore the data.dvc of git's history, and `dvc" in capsys.readouterr().out


def test_a_file_that_has_grown_is_ingested_again_and_adds_what_is_new(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{n % 3},{'yes' if n % 2 else 'no'}" for n in range(30)]
    for number, until in enumerate((10, 20, 20, 30), 1):
        Path("people.csv").write_text("\n".join(["age,target", *rows[:until]]) + "\n")
        assert main(["ingest", "table", "people.csv", "--label", "target"]) == 0
        said = capsys.readouterr().out
        assert f"read {until} examples; {10 if number != 3 else 0} are new" in said
        assert ("already in the dataset" in said) == (number > 1)
    assert sorted(contents(Path("data"))) == ["people-2.parquet", "people-3.parquet", "people.parquet"]
    ids = [name for path in Path("data").iterdir() for name in pq.read_table(path)["id"].to_pylist()]
    assert len(ids) == len(set(ids)) == 30
