"""Archives: unpacked as long as they are read, and nothing outside is touched."""

import io
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from components import SlipwayError
from components.data import archive

FILES = {"top/a.txt": b"a", "top/sub/b.txt": b"b"}
BAD = {"../out.txt": b"x", "/abs.txt": b"x", "top/../../up.txt": b"x", "C:\\drive.txt": b"x"}


def tar(path: Path, mode: str) -> Path:
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload]
        for name, content in (FILES | BAD | {"top/.DS_Store": b"junk"}).items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            made.addfile(about, io.BytesIO(content))
        link = tarfile.TarInfo("top/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    return path


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in (FILES | BAD).items():
            made.writestr(name, content)
    return path


def test_what_is_packed_is_there_as_long_as_it_is_read_and_nothing_of_it_lies_elsewhere(tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    packed = [tar(tmp_path / f"x.{end}", mode) for end, mode in (("tar", "w"), ("tar.gz", "w:gz"), ("tar.xz", "w:xz"))]
    before = {*tmp_path.rglob("*")}
    for path in (*packed, zipped(tmp_path / "x.zip")):
        before.add(path)
        skipped: Counter[str] = Counter()
        with archive.unpacked(path, skipped) as folder:
            there = {
                file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
            }
            assert there == FILES
        assert not folder.exists()
        assert skipped["a path that points outside the archive"] == len(BAD)
        assert skipped["a link or a device in the archive"] == (path.suffix != ".zip")
    assert {*tmp_path.rglob("*")} == before
    with archive.unpacked(outer, Counter()) as folder:
        assert folder == outer
    assert outer.exists()


def test_what_is_no_whole_archive_is_named(tmp_path: Path) -> None:
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(tar(tmp_path / "whole.tar.gz", "w:gz").read_bytes()[:100])
    text = tmp_path / "notes.txt"
    text.write_text("not packed")
    for path in (cut, text, tmp_path / "nothing.zip"):
        with pytest.raises(SlipwayError, match=path.name), archive.unpacked(path, Counter()):
            pass


@pytest.mark.parametrize(
    ("name", "stem"), [("BCCD.tar", "BCCD"), ("a.b.tar.gz", "a.b"), ("X.ZIP", "X"), ("photos.v2", "photos.v2")]
)
def test_an_archive_is_called_without_its_ending(name: str, stem: str) -> None:
    assert archive.stem(Path(name)) == stem
