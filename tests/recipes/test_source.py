"""What sources have in common: junk in their folders, and names."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from components.recipes.source import commands


def example(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.new("L", (4, 4), number).save(path)
    elif path.suffix == ".wav":
        soundfile.write(path, np.full(4000, number / 100), 8000)
    else:
        path.write_text(f"number {number}")


@pytest.mark.parametrize("kind", ["images", "text", "audio", "tar"])
def test_junk_in_a_folder_is_no_example_and_is_not_mentioned(tmp_path: Path, kind: str) -> None:
    """A checkpoint of a notebook server and a Mac's shadow file look like examples."""
    suffix = {"images": ".png", "text": ".txt"}.get(kind, ".wav")
    top = tmp_path / "top"
    places = [f"{label}/{n}{suffix}" for label in ("cat", "dog") for n in (1, 2)]
    for number, name in enumerate(places):
        example(top / name, number)
    junk = [
        "cat/.ipynb_checkpoints/1-checkpoint",
        ".ipynb_checkpoints/x",
        "__MACOSX/cat/._1",
        "cat/._1",
        "@eaDir/cat/1",
    ]
    for number, name in enumerate(junk, 50):
        example(top / f"{name}{suffix}", number)
    for name in ("cat/.DS_Store", "Thumbs.db", "dog/desktop.ini", "dog/.nfs01", "~$list.xlsx"):
        (top / name).write_text("junk")
    if kind == "tar":
        with tarfile.open(tmp_path / "top.tar", "w") as archive:
            archive.add(top, "top")
        top = tmp_path / "top.tar"
    options: dict[str, object] = {"folder": top} if kind == "images" else {"path": top}
    if suffix == ".wav":
        options |= {"pattern": None, "test": None, "keep": []}
    source = commands()["audio" if kind == "tar" else kind].read(**options)
    labels = [label for table in source.tables for label in table["label"].to_pylist()]
    assert sorted(labels) == ["cat", "cat", "dog", "dog"]
    assert source.settings["labels"] == ["cat", "dog"]
    assert not +source.skipped
