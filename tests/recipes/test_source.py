"""What sources have in common: junk in their folders, and names."""

import re
import tarfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from components.recipes.source import commands, slug


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


ALWAYS = {"My pets": "my-pets", "a_b": "a-b", "y2": "y2", "Müller": "muller", "Straße": "strasse", "x" * 100: "x" * 100}
SCRIPTS = [
    "売上",
    "顧客",
    "売上2",
    "продажи",
    "عملاء",
    "مبيعات",
    "ข้อมูล",
    "ελλάδα",
    "🐶",
    "sales 🐶",
    "sales",
    "-",
    "tr\udce4in",  # a byte of a name that is not UTF-8
    "tr\udce5in",
    "tr-in",
    "x" * 101,
]


def test_a_name_is_readable_and_fits_everything_that_is_named_after_it() -> None:
    assert {name: slug(name) for name in ALWAYS} == ALWAYS
    assert slug("mean radius", "_") == "mean_radius"
    assert slug("売上").startswith("mai-shang-")
    found = [slug(name) for name in SCRIPTS]
    assert len(set(found)) == len(found)
    assert slug("Продажи") == slug("продажи")  # as of ASCII names


@given(st.text(max_size=200))
def test_any_file_name_gives_a_name_that_params_allow(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", slug(name)) and len(slug(name)) < 120


no_latin = st.text(
    st.characters(categories=["Lo", "Lu", "Ll", "So"], min_codepoint=0x370, max_codepoint=0x1D00), min_size=1
)


@given(no_latin, no_latin)
def test_names_of_other_scripts_stay_other_names(one: str, other: str) -> None:
    same = len({unicodedata.normalize("NFKC", name).casefold() for name in (one, other)}) == 1
    assert (slug(one) == slug(other)) == same
