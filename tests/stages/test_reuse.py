"""What validate and preprocess keep of single files: the bytes are those of a run from nothing, whatever happens."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from components import SlipwayError, params, recipes, reuse, shipped, surroundings
from components.data import dataset
from components.recipes import networks
from components.stages import preprocess, validate
from tests.conftest import ROOT, write_dataset

DATA = Path("data")
pytestmark = pytest.mark.usefixtures("read_once")
KEPT = Path(reuse.FOLDER) / "trial"
SUITE = """\
examples:
  - type: expect_column_values_to_be_in_set
    kwargs: {column: label_known, value_set: [true]}
    meta: {reason: unknown label}
  - type: expect_column_values_to_be_in_set
    kwargs: {column: copy, value_set: [0]}
    meta: {reason: copy}
  - type: expect_column_values_to_be_in_set
    kwargs: {column: conflict, value_set: [false], MORE}
    meta: {reason: two labels}
dataset:
  - type: expect_column_values_to_be_between
    kwargs: {column: rows, min_value: 40}
"""


class Project:
    """A dataset of several files in the current folder, its settings and its expectations."""

    def __init__(self, recipe: str = "images", files: int = 3, rows: int = 60) -> None:
        self.recipe, self.rows, self.made = recipes.load(recipe), rows, 0
        section, _ = self.recipe.sample(rows, 1)
        network = networks.load(recipe).sample
        self.settings: dict[str, Any] = {"name": "trial", "recipe": recipe, recipe: section, "network": network}
        self.settings |= {"validate": {"max_bad_fraction": 0.5}, "split": {"seed": 1}}
        self.mostly = 1.0
        for _ in range(files):
            self.add()

    def load(self) -> params.Params:
        YAML().dump(self.settings, Path("params.yaml"))
        Path("suite.yaml").write_text(SUITE.replace("MORE", f"mostly: {self.mostly}"))
        return params.load()

    def add(self, *others: pa.Table) -> Path:
        """Add a file of new rows, and of others that may be in the dataset already."""
        self.made += 1
        sample = self.recipe.sample(self.rows, self.made)[1]
        path = DATA / f"{self.made:03}.parquet"
        write_dataset(path, self.load(), pa.concat_tables([sample, *others]))
        return path

    def run(self, out: str = "kept") -> dict[str, bytes | str]:
        """Run both stages; return the bytes of all that they wrote, or what was wrong."""
        loaded, found = self.load(), dict[str, bytes | str]()
        checked, arrays = Path(out) / "validation", Path(out) / "arrays"
        try:
            validate.run(loaded, DATA, Path("suite.yaml"), checked)
            preprocess.run(loaded, DATA, checked / "quarantine.parquet", arrays)
        except SlipwayError as error:
            found["error"] = str(error)
        for path in (path for path in Path(out).rglob("*") if path.is_file()):
            found[path.relative_to(out).as_posix()] = path.read_bytes()
        return found

    def from_nothing(self) -> dict[str, bytes | str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(surroundings.REUSE, "0")
            return self.run("nothing")

    def must_agree(self) -> None:
        expected, found = self.from_nothing(), self.run()
        assert found.keys() == expected.keys()
        assert [name for name in found if found[name] != expected[name]] == []


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(path: Path) -> pa.Table:
    return pq.read_table(path).drop_columns(["id"])


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("as before")]


def test_only_new_files_are_done(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project()
    project.run()
    assert lines(capsys.readouterr().out) == []
    new = project.add()
    done: dict[str, list[int]] = {"facts": [], "encode": []}

    def counted(name: str) -> Callable[..., Any]:
        function = getattr(project.recipe, name)

        def call(rows: pa.Table, *more: Any) -> Any:
            done[name].append(len(rows))
            return function(rows, *more)

        return call

    for name in done:
        monkeypatch.setattr(project.recipe, name, counted(name))
    project.run()
    rows = pq.read_metadata(new).num_rows
    assert sum(done["facts"]) == rows and sum(done["encode"]) == rows + 1  # the first example, for the shapes
    said = ["as before     3 of 4 files", "as before: 3 of 4 files; what they were encoded to is reused"]
    assert lines(capsys.readouterr().out) == said
    project.must_agree()


def test_other_expectations_reuse_what_was_read(capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(files=2)
    project.run()
    capsys.readouterr()
    project.mostly = 0.9
    project.run()
    assert lines(capsys.readouterr().out)[0] == "as before     0 of 2 files; what was read of 2 is reused"
    project.must_agree()


@pytest.mark.parametrize("recipe", recipes.names())
def test_kept_facts_are_those_derived_and_leave_out_what_the_file_has(recipe: str) -> None:
    project = Project(recipe, files=1)
    columns = recipes.schema(project.recipe, project.load().task)
    (path,) = DATA.iterdir()
    if recipe == "tabular":  # what is not equal to itself, and a date that is shown as missing
        odd = [
            pa.array([None, float("nan"), -0.0], kind) if pa.types.is_floating(kind)
            else pa.array([None, 2**62, 5], pa.int64()).cast(kind) if pa.types.is_timestamp(kind)
            else table(path)[name].slice(0, 3)
            for name, kind in zip(table(path).column_names, table(path).schema.types, strict=True)
        ]  # fmt: skip
        write_dataset(path, project.load(), pa.concat_tables([table(path), pa.table(odd, table(path).schema.names)]))
    with reuse.store("validate", recipe, "trial", {}, 1, ()) as kept:
        for chunk in dataset.chunks(DATA, columns):
            slot = reuse.slot(kept, reuse.sources(kept, [path])[path], "facts", chunk.start)
            derived, again = (validate._kept_facts(recipe, project.load().task, (chunk, slot)) for _ in range(2))
            assert derived.schema == again.schema
            assert repr(derived.to_pydict()) == repr(again.to_pydict())
            content = reuse.get(slot)
            assert content is not None and "id" not in pa.ipc.open_stream(content).schema.names


def test_a_copy_in_a_new_file_changes_what_is_found_of_an_old_one(capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(files=2)
    project.run()
    capsys.readouterr()
    old = table(DATA / "001.parquet")[:3]
    labels = ["left" if label == "right" else "right" for label in old["label"].to_pylist()]
    project.add(old.set_column(old.column_names.index("label"), "label", pa.array(labels)))
    project.run()
    told = lines(capsys.readouterr().out)[0]
    assert told == "as before     1 of 3 files; what was read of 2 is reused"  # 001 has conflicts now
    project.must_agree()


def test_what_is_learned_from_all_data_is_never_kept() -> None:
    project = Project("tabular", files=1)
    project.run()
    assert reuse.entries(KEPT / "validate") and not reuse.entries(KEPT / "preprocess")


def test_nothing_is_kept_where_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(files=1)
    project.settings["clean"] = {"keep_gb": 0}
    project.run()
    del project.settings["clean"]
    monkeypatch.setenv(surroundings.REUSE, "0")
    project.run()
    assert not Path(reuse.FOLDER).exists()


def test_damaged_results_are_told_and_made_anew(capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(files=2)
    project.run()
    entries = sorted(reuse.entries(KEPT))
    for number, path in enumerate(entries):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        other = entries[number - 1].read_bytes()  # whole, and another one's
        path.write_bytes([bytes(content), bytes(content[:-5]), b"", other][number % 4])
    capsys.readouterr()
    project.must_agree()
    assert capsys.readouterr().out.count("damaged, so it is made anew") == len(entries)
    project.must_agree()
    assert "damaged" not in capsys.readouterr().out


def test_results_that_another_run_removes_at_that_moment_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def vanishing(place: reuse.Slot | None) -> bool:
        there = place is not None and place.path.exists()
        if place is not None:
            place.path.unlink(missing_ok=True)
        return there

    project = Project(files=2)
    project.run()
    monkeypatch.setattr(reuse, "has", vanishing)
    project.must_agree()


def test_what_a_killed_run_left_is_removed(capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(files=1)
    project.run()
    left = KEPT / "validate" / f".{'0' * 64}.999999-1-{'0' * 4}.abcdef.tmp"
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    project.must_agree()
    assert not left.exists()


def test_a_place_that_cannot_be_written_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(files=2)
    Path(reuse.FOLDER).write_text("a file in its place")
    project.must_agree()
    assert capsys.readouterr().out.count("nothing more is kept there") == 2  # by each stage


def test_a_file_that_changes_meanwhile_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    kept = reuse.Store(tmp_path / "store", "")
    place = reuse.slot(kept, reuse.sources(kept, [path])[path], "x")
    path.write_text("newer")
    reuse.put(place, b"of the newer one")
    assert reuse.get(place) is None


def test_the_place_depends_on_code_and_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shared(settings: Any = None) -> str:
        with reuse.store("validate", "images", "trial", settings, 1.0, ("pillow",)) as kept:
            return kept.shared

    first = shared()
    assert shared() == first and shared({"height": 3}) != first
    code = shipped.stage("validate", "images")
    names = {path.relative_to(shipped.PACKAGE).as_posix() for path in code}
    assert {
        "stages/validate.py",
        "validation/suite.py",
        "data/dataset.py",
        "recipes/images/example/__init__.py",
    } <= names
    assert "recipes/images/networks.py" not in names
    with monkeypatch.context() as patch:
        patch.setattr(shipped, "stage", lambda *_: code[1:])
        assert shared() != first
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0" if name == "pillow" else version(name))
    assert shared() != first


def test_code_that_changed_after_it_was_loaded_is_not_what_ran(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "new.py"
    changed.touch()
    monkeypatch.setattr(shipped, "stage", lambda *_: [changed])
    with reuse.store("validate", "images", "trial", None, 1.0, ()) as kept:
        assert kept.folder is None
    assert "the code was changed after this run began" in capsys.readouterr().out


def test_the_disk_stays_bounded(tmp_path: Path) -> None:
    folder, day = tmp_path / "store", 86_400
    source = tmp_path / "file"
    source.touch()
    kept = reuse.Store(folder, "")
    began = time.time() - 10
    places = [reuse.slot(kept, reuse.sources(kept, [source])[source], number) for number in range(6)]
    for number, place in enumerate(places):
        assert place is not None
        reuse.put(place, bytes(968))  # and its digest: 1,000
        used = began - (6 - number) * day if number < 3 else began + number
        os.utime(place.path, (used, used))

    def left() -> list[int]:
        return [number for number, place in enumerate(places) if reuse.has(place)]

    for limit, expected in ((6000, [0, 1, 2, 3, 4, 5]), (4500, [2, 3, 4, 5]), (2500, [3, 4]), (0, [])):
        reuse._cut(folder, limit, began)
        assert left() == expected


def test_workspaces_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / ".workspaces" / "trial"
    place.mkdir(parents=True)
    (tmp_path / ".dvc").mkdir()
    found = []
    for folder in (tmp_path, place):
        monkeypatch.chdir(folder)
        with reuse.store("validate", "images", "trial", None, 1.0, ()) as kept:
            found.append(kept)
    assert found[0] == found[1] and found[0].folder == tmp_path / reuse.FOLDER / "trial" / "validate"


def test_force_and_reproduce_go_without(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import reproduce
    from flows.machinery import stages

    given: list[dict[str, str]] = []
    children: Any = SimpleNamespace(start=lambda _, variables, *__: given.append(variables), prepare=lambda _: None)
    stage: Any = SimpleNamespace(addressing="validate", desc="", is_data_source=False)
    monkeypatch.setattr(stages, "follow", lambda *_: 0)
    work: Any = SimpleNamespace(children=children, first=None)
    assert stages._bring(work, stage, force=True, then="") == "ran"
    monkeypatch.setattr(stages, "nodes", lambda _: [(stage, [])])
    monkeypatch.setattr(stages, "submit", lambda _, body, **__: body())
    monkeypatch.setattr(stages, "outcomes", lambda _: [])
    reproduce._run(children, cast("Any", None), {"A": "1"})
    assert given == [{surroundings.REUSE: "0"}, {"A": "1", surroundings.REUSE: "0"}]


def changed(project: Project, draw: random.Random) -> None:
    """Do one of the things that happen to a dataset and to its settings."""
    paths = sorted(DATA.iterdir())
    path = draw.choice(paths)
    what = draw.choice(
        ["add", "add", "overlap", "remove", "shorten", "rename", "seed", "share", "suite", "limit", "task"]
    )
    if what == "add":
        project.add()
    elif what == "overlap":
        project.add(table(path)[: draw.randrange(1, 20)])
    elif what == "remove" and len(paths) > 1:
        path.unlink()
    elif what == "shorten":
        pq.write_table(pq.read_table(path)[1:], path, row_group_size=draw.choice([20, 50, 1000]))
    elif what == "rename":
        path.rename(DATA / f"{draw.randrange(10**6)}.parquet")
    elif what == "seed":
        project.settings["split"]["seed"] = draw.randrange(3)
    elif what == "share":
        project.settings["split"]["test"] = draw.choice([0.2, 0.3])
    elif what == "suite":
        project.mostly = draw.choice([0.9, 1.0])
    elif what == "limit":
        project.settings["validate"]["max_bad_fraction"] = draw.choice([0.01, 0.5])
    elif what == "task" and project.settings["recipe"] == "images":
        project.settings["images"]["height"] = draw.choice([6, 5])


@pytest.mark.e2e
@pytest.mark.parametrize(("recipe", "seed"), [("images", 1), ("images", 2), ("series", 3), ("text", 4)])
def test_any_history_ends_with_the_bytes_of_a_run_from_nothing(recipe: str, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - a history, no secret
    project = Project(recipe, files=2)
    for _ in range(8):
        for _ in range(draw.choice([1, 1, 2])):
            changed(project, draw)
        for path in reuse.entries(Path(reuse.FOLDER)):
            if draw.random() < 0.05:
                path.write_bytes(path.read_bytes()[: draw.randrange(40)])
        project.must_agree()


@pytest.mark.e2e
@pytest.mark.parametrize("stage", ["validate", "preprocess"])
def test_a_run_that_is_killed_leaves_nothing_wrong(stage: str) -> None:
    project = Project(files=4, rows=300)
    if stage == "preprocess":
        project.run()
        for path in reuse.entries(KEPT / "preprocess"):
            path.unlink()
    words = {"validate": ["--expectations", "suite.yaml", "--out", "killed/validation"]}
    words["preprocess"] = ["--quarantine", "kept/validation/quarantine.parquet", "--out", "killed/arrays"]
    command = [sys.executable, "-m", "components", stage, "--data", "data", *words[stage]]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    while process.poll() is None and not reuse.entries(KEPT / stage):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert reuse.entries(KEPT / stage)
    project.must_agree()
    assert not list(KEPT.rglob("*.tmp"))
