"""How boxes are read: COCO's JSON, Pascal VOC's XML, YOLO's text files and CSV, and what is wrong with them."""

import csv
import io
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from components import SlipwayError, params
from components.recipes.detection import contract, example
from components.recipes.detection.source import detection
from components.recipes.images import source as images_source
from components.recipes.source import NAMES, Source
from components.stages import ingest, validate
from components.targets.boxes import BOX, EDGES
from tests.conftest import ROOT

PARAMS = "name: old\nrecipe: images\nimages:\n  height: 8\n  width: 8\n"
Pixels = list[tuple[str, Any, Any, Any, Any]]  # label, left, top, right, bottom
SIZE = (40, 20)
CAT, DOG = ("cat", 4.0, 2.0, 20.0, 12.0), ("dog", 0.0, 0.0, 10.0, 20.0)


def image(path: Path, size: tuple[int, int] = SIZE, seed: int | None = None, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(str(path)) * 1000 + sum(map(ord, path.name)) if seed is None else seed)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(random.integers(0, 255, (size[1], size[0])).astype(np.uint8)).save(path, exif=exif)
    return path


def coco(file: Path, of: dict[str, Pixels], size: Any = SIZE, **more: Any) -> Path:
    names = sorted({box[0] for boxes in of.values() for box in boxes})
    content: dict[str, Any] = {
        "images": [
            {"id": n, "file_name": name, **({"width": size[0], "height": size[1]} if size else {})}
            for n, name in enumerate(of)
        ],
        "categories": [{"id": n + 1, "name": name} for n, name in enumerate(names)],
        "annotations": [
            {"id": 100 * n + k, "image_id": n, "category_id": names.index(label) + 1, "bbox": [x, y, r - x, b - y]}
            for n, boxes in enumerate(of.values())
            for k, (label, x, y, r, b) in enumerate(boxes)
        ],
    }
    for key, value in more.items():
        content[key] = [*content[key], *value]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8-sig" if "bom" in file.name else "utf-8")
    return file


def voc(file: Path, boxes: Pixels, size: Any = SIZE, name: str = "", more: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    of_size = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>1</depth></size>" if size else ""
    objects = "".join(
        f"<object><name>{escape(label)}</name><bndbox>"
        + "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True))
        + "</bndbox></object>"
        for label, *edges in boxes
    )
    text = f"<annotation><filename>{escape(name)}</filename>{of_size}{objects}{more}</annotation>"
    file.write_text(text, encoding="utf-8")
    return file


def yolo(file: Path, boxes: Pixels, names: list[str], size: tuple[int, int] = SIZE) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{names.index(label)} {(x + r) / 2 / size[0]} {(y + b) / 2 / size[1]} {(r - x) / size[0]} {(b - y) / size[1]}"
        for label, x, y, r, b in boxes
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def table(file: Path, rows: list[list[Any]]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows(rows)
    return file


def found(source: Source) -> dict[str, list[tuple[Any, ...]]]:
    """Return the boxes of each image in pixels of SIZE."""
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for part in source.tables:
        for name, label in zip(json.loads(part.schema.metadata[NAMES]), part["label"].to_pylist(), strict=True):
            edges = [[box[edge] * SIZE[n % 2] for n, edge in enumerate(EDGES)] for box in label]
            rows[name] = [
                (box["label"], *(round(value, 6) for value in each)) for box, each in zip(label, edges, strict=True)
            ]
    return rows


def splits(source: Source) -> dict[str, str | None]:
    return {
        name: split
        for part in source.tables
        for name, split in zip(json.loads(part.schema.metadata[NAMES]), part["split"].to_pylist(), strict=True)
    }


numbers = st.integers(0, 2**12).map(lambda n: n / 64)  # exact, and so is what is made of them
pixels = st.tuples(st.sampled_from(["cat", "Hündin & <Welpe>", "a b"]), numbers, numbers, numbers, numbers).map(
    lambda box: (box[0], box[1] / 2, box[2] / 4, box[1] / 2 + box[3] / 8 + 0.5, box[2] / 4 + box[4] / 16 + 0.25)
)


@given(st.lists(st.lists(pixels, max_size=4), min_size=1, max_size=3).filter(any))
def test_the_same_boxes_in_four_formats_are_the_same_shares(every: list[Pixels]) -> None:
    size = (64, 32)
    names = sorted({box[0] for boxes in every for box in boxes})
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        for n in range(len(every)):
            image(top / "images" / "train" / f"{n}.png", size, seed=n)
        coco(top / "c.json", {f"{n}.png": boxes for n, boxes in enumerate(every)}, size)
        rows: list[list[Any]] = [["file", "label", "x", "y", "width", "height"]]
        for n, boxes in enumerate(every):
            voc(top / "voc" / "train" / f"{n}.xml", boxes, size)
            yolo(top / "labels" / "train" / f"{n}.txt", boxes, names, size)
            rows += [[f"{n}.png", label, x, y, r - x, b - y] for label, x, y, r, b in boxes]
            rows += [] if boxes else [[f"{n}.png", "", "", "", "", ""]]
        table(top / "t.csv", rows)
        (top / "data.yaml").write_text(json.dumps({"names": names, "train": "images/train"}))
        read = [detection(top, boxes=top / name) for name in ("c.json", "voc", "data.yaml", "t.csv")]
        assert [source.settings for source in read] == [read[0].settings] * 4
        labels = [[each for part in source.tables for each in part["label"].to_pylist()] for source in read]
    plain = [
        [sorted((box["label"], *(round(box[edge], 9) for edge in EDGES)) for box in label) for label in each]
        for each in labels
    ]
    assert plain == [plain[0]] * 4
    partly = [[box for box in boxes if box[1] < 64 and box[2] < 32] for boxes in every]
    wanted = [
        sorted((box[0], box[1] / 64, box[2] / 32, min(box[3] / 64, 1), min(box[4] / 32, 1)) for box in boxes)
        for boxes in partly
    ]
    inside = [[box for box in label if box[1] < 1 and box[2] < 1] for label in plain[0]]
    assert [np.array([box[1:] for box in boxes]).ravel() for boxes in inside] == [
        pytest.approx(np.array([box[1:] for box in boxes]).ravel(), abs=2e-3) for boxes in wanted
    ]


def test_coco_has_its_official_split_by_the_names_of_its_files(tmp_path: Path, capsys: Any) -> None:
    for folder, name in (("train2017", "a"), ("train2017", "b"), ("val2017", "a")):
        image(tmp_path / folder / f"{name}.png")
    coco(tmp_path / "annotations" / "instances_train2017.json", {"a.png": [CAT], "b.png": []})
    coco(tmp_path / "annotations" / "instances_val2017.json", {"a.png": [DOG]})
    (tmp_path / "annotations" / "captions_val2017.json").write_text('{"images": [], "annotations": []}')
    source = detection(tmp_path)
    assert splits(source) == {"train2017/a.png": "train", "train2017/b.png": "train", "val2017/a.png": "test"}
    assert found(detection(tmp_path))["val2017/a.png"] == [DOG]
    assert dict(source.skipped) == {"not an image file (.json)": 1}
    told = capsys.readouterr().out
    assert "2 boxes in 3 images, 1 of them without any" in told
    assert "validation is taken as test" in told


def test_a_folder_of_a_split_may_hold_its_own_annotations(tmp_path: Path, capsys: Any) -> None:
    for folder in ("train", "valid", "test"):
        image(tmp_path / folder / "a.png")
        coco(tmp_path / folder / "_annotations.coco.json", {"a.png": [CAT]})
    assert [*splits(detection(tmp_path)).values()] == ["test", "train", "validation"]
    (tmp_path / "test" / "_annotations.coco.json").unlink()
    coco(tmp_path / "more.json", {"test/a.png": [CAT]})
    assert {*splits(detection(tmp_path)).values()} == {None}
    told = capsys.readouterr().out
    assert "official split train, validation: not used, for 1 of 3 images are in none, such as test/a.png" in told
    assert {*splits(detection(tmp_path, boxes=tmp_path / "train")).values()} == {None}
    assert (
        "official split train: not used, for a new dataset needs images of train and of test" in capsys.readouterr().out
    )


def test_voc_has_its_official_split_where_every_image_is_in_one_list(tmp_path: Path, capsys: Any) -> None:
    for name in "abc":
        image(tmp_path / "JPEGImages" / f"{name}.jpg")
        voc(tmp_path / "Annotations" / f"{name}.xml", [CAT], name=f"{name}.jpg")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, text in (
        ("train", "a\n"),
        ("val", "b\nlost\n"),
        ("test", "\ufeffc"),
        ("trainval", "a\nb"),
        ("cat_val", "a 1"),
    ):
        (lists / f"{name}.txt").write_text(text)
    wanted = {"JPEGImages/a.jpg": "train", "JPEGImages/b.jpg": "validation", "JPEGImages/c.jpg": "test"}
    assert splits(detection(tmp_path)) == splits(detection(tmp_path, boxes=tmp_path / "Annotations")) == wanted
    assert "names in the lists of ImageSets/Main have no annotation (1)" in capsys.readouterr().out
    (lists / "test.txt").write_text("b")
    assert {*splits(detection(tmp_path)).values()} == {None}
    told = capsys.readouterr().out
    assert "images in several lists of ImageSets/Main: b" in told
    assert "official split train: not used, for 2 of 3 images are in none, such as JPEGImages/b.jpg" in told


@pytest.mark.parametrize("layout", ["images/train", "train/images"])
def test_yolo_is_read_in_both_layouts(tmp_path: Path, capsys: Any, layout: str) -> None:
    for split in ("train", "val"):
        folder = layout.replace("train", split)
        for name in "ab":
            image(tmp_path / folder / f"{name}.png")
        yolo(tmp_path / folder.replace("images", "labels") / "a.txt", [CAT, DOG], ["dog", "cat"])
    (tmp_path / "README.roboflow.txt").write_text("about")
    text = f"train: ../{layout}\nval: {layout.replace('train', 'val')}\ntest: ../test/images\nnc: 2\n"
    (tmp_path / "data.yaml").write_text(text + "names: {0: dog, 1: cat}\n")
    source = detection(tmp_path)
    assert {**found(source)}[f"{layout}/a.png"] == [CAT, DOG]
    assert found(detection(tmp_path))[f"{layout}/b.png"] == []
    assert [*splits(detection(tmp_path)).values()].count("test") == 2
    assert dict(source.skipped) == {"a text file that is not called like an image": 1}
    told = capsys.readouterr().out
    assert "images have no text file, and are taken as images without boxes (2)" in told
    assert "test: no folder ../test/images" in told
    (tmp_path / "data.yaml").write_text("val: lists/val.txt\nnames: [dog, cat]\n")
    with pytest.raises(SlipwayError, match=r"data\.yaml: val: lists/val\.txt is a list of files, which is not read"):
        detection(tmp_path)


def test_text_files_beside_images_tell_of_those_images_alone(tmp_path: Path) -> None:
    for name in "ab":
        image(tmp_path / f"{name}.png")
    yolo(tmp_path / "a.txt", [CAT], ["cat"])
    (tmp_path / "classes.txt").write_text("cat\n\n")
    source = detection(tmp_path)
    assert (found(source), dict(source.skipped)) == ({"a.png": [CAT]}, {"image without annotation": 1})


def test_a_csv_has_a_row_for_each_box(tmp_path: Path) -> None:
    for name in "abc":
        image(tmp_path / "x" / f"{name}.png")
    head = ["\ufeffFile", " Label", "XMin", "YMin", "XMax", "YMax", "Split", "Patient"]
    rows = [
        ["x\\a.png", *CAT, "train", 7],
        ["x/b.png", "", "", "", "", "", "val", 8],
        ["x/a.png", *DOG, "train", 7],
        ["c.png", *DOG, "test", 9],
    ]
    file = table(tmp_path / "boxes.csv", [head, *rows])
    source = detection(tmp_path, split_by="group=patient")
    assert source.split_by is not None
    parts = [*source.tables]
    assert parts[0]["patient"].to_pylist() == ["7", "8", "9"]
    assert parts[0]["split"].to_pylist() == ["train", "validation", "test"]
    assert found(detection(tmp_path)) == {"x/a.png": [CAT, DOG], "x/b.png": [], "x/c.png": [DOG]}
    table(file, [head, *rows, ["x/a.png", *CAT, "train", 8]])
    with pytest.raises(SlipwayError, match=r"boxes\.csv, line 6: patient is not that of line 2, of the same image"):
        detection(tmp_path, split_by="group=patient")
    assert len(found(detection(tmp_path, pattern="{kind}/{name}", split_by="group=kind"))) == 3
    with pytest.raises(SlipwayError, match=r"has no 'owner' \(there are: patient\)"):
        detection(tmp_path, split_by="group=owner")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_boxes_turn_with_an_image_where_its_annotation_has_the_size_before(
    tmp_path: Path, capsys: Any, orientation: int, kind: str
) -> None:
    """The bright part of the image as a viewer shows it is in the box, whichever of the two it was drawn on."""
    stored = np.zeros((20, 40), np.uint8)
    stored[2:12, 4:20] = 255
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{kind}"
    Image.fromarray(stored).save(path, exif=exif)
    with Image.open(io.BytesIO(path.read_bytes())) as opened:  # Pillow 13 turns a TIFF twice that it maps from disk
        shown = np.asarray(ImageOps.exif_transpose(opened))
    height, width = shown.shape
    down, across = np.nonzero(shown)
    there = (across.min() / width, down.min() / height, (across.max() + 1) / width, (down.max() + 1) / height)
    of_shown = ("cat", there[0] * width, there[1] * height, there[2] * width, there[3] * height)
    about = images_source.header(path)
    assert about is not None and (about.stored, about.shown) == ((40, 20), (width, height))
    wide = [(CAT, (40, 20)), (CAT, (80, 40))] if orientation >= 5 else []
    for box, size in [*wide, (of_shown, (width, height)), (of_shown, None)]:
        scale = size[0] / max(stored.shape) if size and max(size) == 80 else 1
        box = (box[0], *(edge * scale for edge in box[1:]))  # noqa: PLW2901
        coco(tmp_path / "a.json", {path.name: [box]}, size)
        source = detection(tmp_path)
        label = next(source.tables)["label"][0].as_py()
        assert [label[0][edge] for edge in EDGES] == pytest.approx(there)
        assert (source.settings["height"], source.settings["width"]) == shown.shape
        told = capsys.readouterr().out
        assert ("the boxes are turned too" in told) == (
            (box, size) != (of_shown, (width, height)) and size in ((40, 20), (80, 40)) and orientation >= 5
        )
        assert ("shown turned (EXIF)" in told) == (orientation > 1)
        assert ("another size than" in told) == (size == (80, 40))


def test_an_annotation_of_another_resolution_gives_shares_of_its_own_size(tmp_path: Path, capsys: Any) -> None:
    for name in "abc":
        image(tmp_path / f"{name}.png")
    double = ("cat", 8.0, 4.0, 40.0, 24.0)
    for name, size in (("a", (80, 40)), ("b", (0, 0)), ("c", None)):
        voc(tmp_path / f"{name}.xml", [double if size == (80, 40) else CAT], size)
    assert found(detection(tmp_path)) == {f"{name}.png": [CAT] for name in "abc"}
    assert (
        "images have another size than their annotation says: the edges are shares of the size that it says (1)"
        in capsys.readouterr().out
    )


def test_what_is_no_plain_box_is_told_and_nothing_is_lost(tmp_path: Path, capsys: Any) -> None:
    """Boxes outside, of no area and of NaN stay, so that validate sets their images aside."""
    for name in "abcdefg":
        image(tmp_path / f"{name}.png")
    images: dict[str, Pixels] = {
        "a.png": [("cat", -4.0, 2.0, 20.0, 40.0)],
        "b.png": [("cat", 50.0, 2.0, 60.0, 4.0)],
        "c.png": [("cat", 5.0, 2.0, 5.0, 4.0)],
        "d.png": [("cat", math.nan, 2.0, 5.0, 4.0)],
        "e.png": [("cat", 9.0, 2.0, 5.0, 4.0)],
        "f.png": [],
        "g.png": [("cat", n / 500, n / 1000, n / 500 + 10, n / 1000 + 5) for n in range(10_000)],
    }
    more = [
        {"id": 1, "image_id": 5, "category_id": 1, "segmentation": [[4, 2, 20, 2, 20, 12], [5, 5, 6, 6, 7, 5]]},
        {"id": 1, "image_id": 5, "category_id": 1, "iscrowd": 1, "segmentation": {"counts": [], "size": [1, 1]}},
        {"id": 2, "image_id": 77, "category_id": 1, "bbox": [1, 1, 1, 1]},
    ]
    coco(tmp_path / "bom.json", images, annotations=more, categories=[{"id": 5, "name": "bird"}])
    read = found(detection(tmp_path))
    assert read["a.png"] == [("cat", 0, 2, 20, 20)]
    assert [read[f"{name}.png"] for name in "bce"] == [images[f"{name}.png"] for name in "bce"]
    assert math.isnan(read["d.png"][0][1])
    assert read["f.png"] == [CAT]
    assert len(read["g.png"]) == 10_000
    told = capsys.readouterr().out
    for line in (
        "categories without a box are no labels: bird",
        "boxes are those around a polygon, for there is no bbox",
        "annotations are of crowds (iscrowd), regions with many things, and left out",
        "annotations are of images that their file does not list, and left out",
        "boxes lie outside of the image: validate sets such images aside",
        "images have more than 100 boxes: validate sets them aside, or raise detection.max_boxes",
    ):
        assert line in told
    assert "or an edge that is no finite number: validate sets such images aside (3)" in told


def test_an_image_that_cannot_be_opened_is_kept(tmp_path: Path, capsys: Any) -> None:
    image(tmp_path / "a.png")
    for name in "bc":
        (tmp_path / f"{name}.png").write_text("no image")
    for name, size in (("a", SIZE), ("b", SIZE), ("c", None)):
        voc(tmp_path / f"{name}.xml", [CAT], size)
    read = found(detection(tmp_path))
    assert read["b.png"] == [CAT]
    assert all(math.isnan(edge) for edge in read["c.png"][0][1:])
    told = capsys.readouterr().out
    assert "b.png: cannot be opened as an image; validate will set it aside" in told
    assert "images cannot be opened, and nothing gives their size: the edges of their boxes are NaN (1)" in told


@pytest.mark.parametrize(
    "name", ["Ä ö ü.png", "A\u0308 o\u0308.png", "100 % & <x>.png", "a\\b.png", "x/y z/Straße.png"]
)
def test_names_that_are_hard_to_write_are_found(tmp_path: Path, name: str) -> None:
    import unicodedata

    image(tmp_path / name)
    written = [name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)]
    written += [name.replace("/", "\\"), f"./{name}"] if "\\" not in name else []
    for each in written:
        coco(tmp_path / "bom.json", {each: [CAT]})
        assert [*found(detection(tmp_path)).values()] == [[CAT]]
    (tmp_path / "bom.json").unlink()
    stem = unicodedata.normalize("NFC", Path(name).stem)
    voc((tmp_path / name).parent / f"{stem}.xml", [CAT], name="other.png")
    assert [*found(detection(tmp_path)).values()] == [[CAT]]


def annotated(**changes: Any) -> Callable[[Path], object]:
    """Write a COCO file of an image, with a change in its only annotation."""

    def write(top: Path) -> None:
        file = coco(top / "c.json", {"a.png": [CAT]})
        content = json.loads(file.read_text())
        content["annotations"][0] |= changes
        file.write_text(json.dumps(content))

    return write


def texts(**files: str) -> Callable[[Path], object]:
    def write(top: Path) -> None:
        for name, text in files.items():
            (top / name.replace("_", ".")).write_text(text, encoding="latin-1")

    return write


def twice(top: Path) -> None:
    coco(top / "one.json", {"a.png": [CAT]})
    coco(top / "two.json", {"a.png": [DOG]})


def two_kinds(top: Path) -> None:
    coco(top / "one.json", {"a.png": [CAT]})
    voc(top / "a.xml", [CAT])


BOMB = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><annotation><filename>&b;</filename>'
HEAD = "file,label,left,top,right,bottom\n"
WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda top: None, r"no boxes found; expected COCO's \.json.*--boxes says where they are"),
    "two kinds": (two_kinds, r"boxes of COCO \(one\.json\) and of Pascal VOC \(a\.xml\); choose with --boxes"),
    "cut JSON": (texts(c_json='{"images": [{"id": 1,'), r"c\.json: not a complete JSON file \(.*line 1"),
    "deep JSON": (texts(c_json='{"images": ' + "[" * 100_000), r"c\.json: not a complete JSON file"),
    "other JSON": (texts(c_json='{"images": []}'), r"c\.json: not in COCO's format, which has the lists images, annot"),
    "latin JSON": (texts(c_json='{"images": "\xe4"}'), r"c\.json: not a complete JSON file"),
    "unknown category": (annotated(category_id=9), r"annotations\[0\]: category_id 9 is none of the file's categ"),
    "box of five": (annotated(bbox=[1, 2, 3, 4, 5]), r"annotations\[0\]: bbox is \[1, 2, 3, 4, 5\], expected four"),
    "box of text": (annotated(bbox=["1", 2, 3, 4]), r"annotations\[0\]: bbox is \['1', 2, 3, 4\], expected four"),
    "no box": (annotated(bbox=[]), r"annotations\[0\]: no bbox, and no polygon"),
    "no image": (annotated(image_id=None), r"annotations\[0\]: image_id is None"),
    "twice in a file": (lambda top: coco(top / "c.json", {"a.png": [CAT], "./a.png": []}), r"a\.png is already listed"),
    "twice in two": (twice, r"two\.json: images\[0\]: a\.png is already listed, as \S+one\.json: images\[0\]"),
    "lost": (
        lambda top: coco(top / "c.json", {"a.png": [CAT], "b.png": []}),
        r"1 of the 2 images that it lists.*b\.png",
    ),
    "same id": (
        lambda top: coco(top / "c.json", {"a.png": [CAT]}, images=[{"id": 0, "file_name": "b.png"}]),
        r"images\[1\]: its id 0 is that of an image before it",
    ),
    "bomb": (texts(a_xml=BOMB), r"a\.xml: has a DOCTYPE, which is not read"),
    "cut XML": (texts(a_xml="<annotation><object>"), r"a\.xml: not a complete XML file \(no element found: line 1"),
    "other XML": (texts(a_xml="<annotations/>"), r"a\.xml: not in Pascal VOC's format: its root is <annotations>"),
    "no number": (
        lambda top: voc(top / "a.xml", [("cat", "x", 1, 2, 3)]),
        r"a\.xml: object 1: xmin is 'x', not a number",
    ),
    "no bndbox": (
        lambda top: voc(top / "a.xml", [CAT], more="<object><name>dog</name></object>"),
        r"a\.xml: object 2 \(dog\): no <bndbox>",
    ),
    "no name": (lambda top: voc(top / "a.xml", [], more="<object/>"), r"a\.xml: object 1: no <name>"),
    "XML of no image": (lambda top: voc(top / "z.xml", [CAT]), r"1 of the 1 images that it lists are not in .*z"),
    "no names": (texts(a_txt="0 .5 .5 .1 .1", data_yaml="names: []"), r"data\.yaml: expected a name for each class"),
    "bad YAML": (texts(a_txt="0 .5 .5 .1 .1", data_yaml="names: [a"), r"data\.yaml: not valid YAML"),
    "class of none": (texts(a_txt="\n7 .5 .5 .1 .1", data_yaml="names: [a]"), r"a\.txt, line 2: class 7 is none of 0"),
    "words": (texts(a_txt="cat .5 .5 .1 .1", classes_txt="cat"), r"a\.txt, line 1: 'cat \.5 \.5 \.1 \.1' are not all"),
    "score": (texts(a_txt="0 .5 .5 .1 .1 .9", classes_txt="cat"), r"line 1: has 6 numbers; .* may be a score"),
    "no text": (texts(b_txt="0 .5 .5 .1 .1", classes_txt="cat"), r"no text file of boxes is called like an image"),
    "no edge": (texts(t_csv=HEAD + "a.png,cat,1,,2,3"), r"t\.csv, line 2: top is empty; a row has a label and four"),
    "no label": (texts(t_csv=HEAD + "a.png,,1,1,2,3"), r"t\.csv, line 2: label is empty"),
    "word": (texts(t_csv=HEAD + "a.png,cat,1,1,2,wide"), r"t\.csv, line 2: bottom is 'wide', not a number"),
    "both": (
        texts(t_csv=HEAD + "a.png,cat,1,1,2,3\na.png,,,,,"),
        r"line 3: a\.png is listed in line 2 too, and one of",
    ),
    "rows in two files": (
        texts(t_csv=HEAD + "a.png,cat,1,1,2,3", u_csv=HEAD + "a.png,cat,1,1,2,3"),
        r"u\.csv, line 2: a\.png is already listed in \S+t\.csv, line 2; list each image in one file",
    ),
    "row of no image": (texts(t_csv=HEAD + "z.png,cat,1,1,2,3"), r"t\.csv: 1 of the 1 images that it lists.*z\.png"),
    "row of no name": (texts(t_csv=HEAD + ",cat,1,1,2,3"), r"t\.csv, line 2: file is empty"),
    "edges twice": (texts(t_csv="x,y,width,height," + HEAD + "1,1,1,1,a.png,cat,1,1,2,3"), r"has the edges twice"),
    "no boxes": (texts(t_csv=HEAD + "a.png,,,,,"), r"no box in any of the 1 annotated images"),
    "bad bytes": (texts(t_csv=HEAD + "\xe4.png,cat,1,1,2,3"), r"line 2, byte 1 \(e4\) is not utf-8; give the encoding"),
}


def test_edges_that_may_be_shares_are_told(tmp_path: Path, capsys: Any) -> None:
    image(tmp_path / "a.png")
    for edges, said in (("0.1,0.2,0.5,1", True), ("0,0,1,1", False), ("0.1,0.2,0.5,3", False)):
        (tmp_path / "t.csv").write_text(f"{HEAD}a.png,cat,{edges}\n")
        detection(tmp_path)
        assert ("if these edges are shares, multiply them" in capsys.readouterr().out) == said


@pytest.mark.parametrize("name", WRONG)
def test_boxes_that_cannot_be_read_say_why_and_where(tmp_path: Path, name: str) -> None:
    image(tmp_path / "a.png")
    write, expected = WRONG[name]
    write(tmp_path)
    with pytest.raises(SlipwayError, match=expected):
        detection(tmp_path)


def test_folders_and_files_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SlipwayError, match="nowhere: no such file or folder"):
        detection(tmp_path / "nowhere")
    with pytest.raises(SlipwayError, match="no boxes found"):
        detection(tmp_path / "empty")
    coco(tmp_path / "empty" / "c.json", {"a.png": [CAT]})
    with pytest.raises(SlipwayError, match="no image files in the folder"):
        detection(tmp_path / "empty")
    with pytest.raises(SlipwayError, match="--boxes nowhere: no such file or folder"):
        detection(tmp_path / "empty", boxes=Path("nowhere"))
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(SlipwayError, match=r"notes\.txt: expected COCO's"):
        detection(tmp_path / "empty", boxes=tmp_path / "notes.txt")


def test_annotations_may_lie_elsewhere_and_one_image_of_several_is_told_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        image(tmp_path / "photos" / folder / "a.png")
    coco(tmp_path / "c.json", {"two/a.png": [CAT]})
    source = detection(tmp_path / "photos", boxes=tmp_path / "c.json")
    assert (found(source), dict(source.skipped)) == ({"two/a.png": [CAT]}, {"image without annotation": 1})
    coco(tmp_path / "c.json", {"a.png": [CAT]})
    with pytest.raises(SlipwayError, match=r"c\.json: a\.png may be one/a\.png, two/a\.png; give them other names"):
        detection(tmp_path / "photos", boxes=tmp_path / "c.json")
    for folder in ("one", "two"):
        yolo(tmp_path / "labels" / folder / "a.txt", [CAT], ["cat"])
    (tmp_path / "labels" / "classes.txt").write_text("cat")
    assert len(found(detection(tmp_path / "photos", boxes=tmp_path / "labels"))) == 2
    assert len(found(detection(tmp_path / "photos", boxes=tmp_path / "labels" / "classes.txt"))) == 2


def test_boxes_become_a_dataset_that_grows(repo: Path, capsys: Any) -> None:
    """One class is enough; its spellings are one, and the same boxes in another order are no other label."""
    for n in range(3):
        image(repo / "pets" / f"{n}.png", (80, 40))
    boxes = [CAT, ("cat\u200b", 0.0, 0.0, 9.0, 9.0)]
    coco(repo / "pets" / "c.json", {"0.png": boxes, "1.png": [], "2.png": [CAT]}, (80, 40))
    ingest.run("detection", folder=repo / "pets")
    assert "label 'cat\\u200b'" in capsys.readouterr().out
    task = params.load().task
    assert (task.labels, task.height, task.width) == (["cat"], 40, 80)
    first = pq.read_table("data/pets.parquet")
    assert [[box["label"] for box in label] for label in first["label"].to_pylist()] == [["cat", "cat"], [], ["cat"]]
    coco(repo / "pets" / "c.json", {"0.png": boxes[::-1], "1.png": [], "2.png": [DOG]}, (80, 40))
    capsys.readouterr()
    ingest.run("detection", folder=repo / "pets")
    told = capsys.readouterr().out
    assert "read 3 examples; 1 are new" in told
    assert "1 have the same content as another one with another label" in told
    assert params.load().task.labels == ["cat", "dog"]


def test_images_whose_boxes_cannot_be_are_set_aside_with_the_reason(repo: Path) -> None:
    size = (64, 64)
    good = ("cat", 4.0, 2.0, 40.0, 32.0)
    hostile: dict[str, Pixels] = {
        "box outside of the image": [("cat", 90.0, 2.0, 95.0, 8.0)],
        "box of no area": [good, ("cat", 5.0, 2.0, 5.0, 9.0)],
        "box of no area ": [("cat", math.nan, 2.0, 5.0, 9.0)],
        "the same box twice": [good, ("cat", 4.5, 2.0, 40.0, 32.0)],
        "too many boxes": [("cat", n / 4, n / 4, n / 4 + 8, n / 4 + 8) for n in range(101)],
        "undecodable image": [good],
        "same content under two labels": [good],
        "same content under two labels ": [],
    }
    boxes: dict[str, Pixels] = {f"{n}.png": [good] if n % 2 else [] for n in range(60)}
    for n in range(60):
        image(repo / "pets" / f"{n}.png", size, seed=n)
    for n, name in enumerate(hostile):
        image(repo / "pets" / f"{name}.png", size, seed=99 if "two labels" in name else 100 + n)
    (repo / "pets" / "undecodable image.png").write_text("no image")
    coco(repo / "pets" / "c.json", boxes | {f"{name}.png": each for name, each in hostile.items()}, size)
    ingest.run("detection", folder=repo / "pets")
    settings = params.load()
    allowed = settings.validate_.model_copy(update={"max_bad_fraction": 0.5})
    settings = settings.model_copy(update={"validate_": allowed})
    validate.run(settings, Path("data"), ROOT / "expectations" / "detection.yaml", Path("out"))
    aside = pq.ParquetFile("out/quarantine.parquet").read(["reasons"])["reasons"].to_pylist()
    assert len(aside) == len(hostile)
    for name, reasons in zip(hostile, aside, strict=True):
        assert name.strip() in reasons


def test_what_expectations_are_drafted_from_is_what_they_are_held_against() -> None:
    settings, table = example.sample(30, 1)
    more = [None, [], [None], [dict.fromkeys(EDGES, math.nan) | {"label": "bar"}]]
    odd = pa.table({"image": pa.nulls(4, pa.binary()), "label": pa.array(more, pa.list_(BOX))})
    table, task = pa.concat_tables([table, odd]), example.Params.model_validate(settings)
    found = contract.facts(table, task)
    assert found == example.facts(table, task).select(found.column_names)
