"""The page of a version, and the search for a file or a row, on a small store made by hand."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import SlipwayError, params
from components.reports import lineage as report
from components.tracking import connection, examined, origin
from flows import lineage, search
from flows.machinery import experiment
from flows.machinery import origin as sources
from slipway.model import Model
from tests import fabricate
from tests.flowing import GIT, command, repository

STAGES: dict[str, dict[str, Any]] = {
    "validate": {
        "cmd": "mkdir -p build; cp -r made/validation build/",
        "deps": ["data", "made"],
        "outs": ["build/validation/quarantine.parquet"],
        "metrics": ["build/validation/summary.json"],
    },
    "evaluate": {
        "cmd": "cp -r made/evaluation build/",
        "deps": ["build/validation/quarantine.parquet"],
        "outs": ["build/evaluation"],
    },
}
TAKEN = {  # what an update noted beside b.parquet
    "march.csv": {"sha256": "5a" * 32, "outcome": "taken"},
    "bad.csv": {"sha256": "b0" * 32, "outcome": "aside"},
}
NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Path]:
    """A project with two versions: the first on a.parquet and b.parquet, the second without b.parquet."""
    root = tmp_path_factory.mktemp("lineage")
    path = root / "repo"
    fabricate.project(root, 0.0)
    shutil.copytree(root / "build", path / "made")
    (path / "params.yaml").write_text(fabricate.PARAMS)
    (path / "requirements").mkdir()
    (path / "requirements/lock.txt").write_text("numpy==1\n")
    repository(path, STAGES)
    shutil.copytree(root / "data", path / "data")
    (path / "data/.b.source.json").write_text(json.dumps({"files": TAKEN}))
    logging.getLogger("dvc").setLevel(logging.ERROR)
    shutil.copy(empty_store, path / "mlflow.db")
    with (path / ".gitignore").open("a") as file:
        file.write("mlflow.db\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        made(path)
        register(path, decision="promoted", reason=f"no champion {NASTY}")
        for name in ("b.parquet", ".b.source.json"):
            (path / "data" / name).unlink()
        (path / "params.yaml").write_text(fabricate.PARAMS.replace("epochs: 3", "epochs: 4"))
        made(path)
        register(path, aliases=["champion"])
        yield path


def made(path: Path) -> None:
    from dvc.repo import Repo

    with Repo() as repo:
        repo.add(str(path / "data"))
        repo.reproduce()
    command(path, "git", "add", "-A")
    command(path, "git", "commit", "-qm", "made", env=GIT)


def register(path: Path, aliases: list[str] | None = None, **tags: str) -> None:
    from dvc.repo import Repo
    from mlflow import MlflowClient

    with Repo() as repo:
        name = experiment.save(repo)
    client = MlflowClient(f"sqlite:///{path}/mlflow.db")
    found = client.get_experiment_by_name("sides")
    run = client.create_run(found.experiment_id if found else client.create_experiment("sides"))
    for key, value in {"cost.fit_seconds": 2.0, "test/accuracy": 0.9, "test/by_label/f1_of_left": 0.8}.items():
        client.log_metric(run.info.run_id, key, value)
    client.set_tag(run.info.run_id, "hardware.device_name", "Z80")
    if not found:
        client.create_registered_model("sides")
        client.set_registered_model_tag(
            "sides",
            "slipway.move.000001",
            json.dumps(
                {
                    "kind": "promoted",
                    "version": "1",
                    "before": None,
                    "when": "2026-01-02T03:04:05.000Z",
                    "who": "ann@host",
                    "why": "first",
                    "state": "done",
                }
            ),
        )
    rule: dict[str, Any] = {"by": "id", "column": None, "seed": 1, "test": 0.2, "validation": 0.2, "official": []}
    known = {
        "slipway.model": fabricate.digest(path.parent),
        "slipway.data": fabricate.folder_digest(path / "data"),
        "slipway.dvc_experiment": name,
        "slipway.split": json.dumps(rule),
        "slipway.compared": json.dumps(
            {"gates": [{"metric": "accuracy", "limit": ">= 0.6", "value": 0.9, "held": True}]}
        ),
        "mlflow.source.git.commit": command(path, "git", "rev-parse", "HEAD"),
    }
    version = client.create_model_version(
        "sides", str(path), run.info.run_id, tags=known | {f"slipway.{key}": value for key, value in tags.items()}
    )
    for alias in aliases or ():
        client.set_registered_model_alias("sides", alias, version.version)


def test_the_page_tells_all_of_it(path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = origin.find("sides@champion")
    origin.add(
        made,
        {"verdict": "identical", "date": "2026-01-01T00:00:00Z", "machine": "here", "processor": "Z80", "seconds": 9.6},
    )
    assert lineage.run("sides@champion", tmp_path / "page.html", None, None, None) == 0
    said = capsys.readouterr().out
    digest = fabricate.folder_digest(path / "data")
    md5 = fabricate.md5(path / "data/a.parquet")
    words = " ".join(said.split())
    for text in (
        "sides version 2",
        "champion; registered 20",
        f"version {digest}",
        "files 1, 150 rows",
        "set aside 2 rows",
        "by id: test 0.2",
        f"a.parquet 150 {md5}",
        "train.epochs 3 4",
        made.commit,
        f"experiment {made.tag('dvc_experiment')}",
        "requirements/lock.txt, SHA-256 ",
        "processor Z80",
        "fit_seconds 2",
        "accuracy 0.9 ",
        "accuracy >= 0.6 0.9 passed",
        "2026-01-01 00:00 identical here Z80 10",
        f"run {made.run_id}",
    ):
        assert text in words, text
    interval = next(line for line in said.splitlines() if line.startswith("accuracy  0.9 "))
    assert " to " in interval
    assert "<title>sides version 2</title>" in (tmp_path / "page.html").read_text()


def test_a_name_alone_is_its_champion(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lineage.run("sides", None, None, None, None) == 0
    assert "\nsides version 2\n" in f"\n{capsys.readouterr().out}"
    assert origin.find("sides") == origin.find("models:/sides@champion")
    with pytest.raises(SlipwayError) as error:
        origin.find("sides@prod")
    assert str(error.value) == (
        "sides has no version with the alias prod; there are: sides@champion, and sides/VERSION names one by its number"
    )
    with pytest.raises(SlipwayError, match=r"models:/side@champion: no such model .*; did you mean sides@champion\?$"):
        origin.find("side")
    with pytest.raises(SlipwayError, match=r"models:/nope@champion: no such model in MLflow .*; there are: sides$"):
        origin.find("nope")


def test_html_is_one_file_and_escapes_what_others_wrote(path: Path, tmp_path: Path) -> None:
    assert lineage.run("sides/1", tmp_path / "page.html", None, None, None) == 0
    page = (tmp_path / "page.html").read_text()
    assert NASTY not in page and "&lt;script&gt;alert(1)" in page
    assert "src=" not in page and "<link" not in page and "url(" not in page
    assert "ann@host" in page and "2026-01-02 03:04:05" in page
    bad = report.Page("t", "s", [], {"MLflow": "javascript:alert(1)"})
    assert "javascript" not in report.html(bad)


def test_links_lead_to_a_server_that_is_known(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    made = origin.find("sides/1")
    assert lineage._links(made) == {}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example.org/")
    links = lineage._links(made)
    assert links["MLflow: the version"] == (
        "https://mlflow.example.org/#/models/sides/versions/1?workflowType=machine_learning"
    )
    assert links["MLflow: its run"].endswith(
        f"/experiments/{made.experiment_id}/runs/{made.run_id}?workflowType=machine_learning"
    )


def test_which_versions_hold_a_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lineage.run(None, None, "a.parquet", None, None) == 0
    said = capsys.readouterr().out
    assert "2 of 2 registered versions hold the file a.parquet" in said
    assert lines(said, "sides 1")[0].split()[2:4] == ["none", "was"]
    assert lines(said, "sides 2")[0].split()[2:4] == ["champion", "is"]
    for taken in ("march.csv", "5a" * 4):
        assert lineage.run(None, None, taken, None, None) == 0
        said = capsys.readouterr().out
        assert "1 of 2 registered versions holds the file" in said and "b.parquet" in lines(said, "sides 1")[0]
    assert lineage.run(None, None, "bad.csv", None, None) == 0
    said = capsys.readouterr().out
    assert "0 of 2 registered versions hold the file bad.csv\nfiles are known by their names" in said
    digest = files("1")["b.parquet"]
    assert lineage.run("sides", None, digest[:8], None, None) == 0
    said = capsys.readouterr().out
    assert "1 of 2 registered versions holds the file" in said and not lines(said, "sides 2")


def lines(said: str, start: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith(start)]


def files(version: str) -> dict[str, str]:
    """The files of a version's data, by name."""
    with sources.opened() as store:
        return store.listing(origin.find(f"sides/{version}").tag("data")) or {}


def test_which_versions_hold_an_example_and_on_which_side(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = params.load()
    table = pq.read_table(path / "data/a.parquet")
    train, test = (read_ids(path.parent / "build/arrays" / name) for name in ("train", "test"))
    known = set(table["id"].to_pylist())
    doubled = set(table["id"].to_pylist()[:2])  # b.parquet has them again, and they were set aside there
    one, other = (next(key for key in ids if key in known - doubled) for ids in (train, test))
    assert lineage.run("sides", None, None, one, None) == 0
    said = capsys.readouterr().out
    assert "2 of 2" in said and all("1 train" in line for line in lines(said, "sides"))
    assert lineage.run(None, None, None, other, None) == 0
    assert all("1 test" in line for line in lines(capsys.readouterr().out, "sides"))
    assert lineage.run(None, None, None, table["id"][0].as_py(), None) == 0
    said = capsys.readouterr().out
    assert "1 set aside" in lines(said, "sides 1")[0] and "set aside" not in lines(said, "sides 2")[0]
    assert lineage.run(None, None, None, "f" * 32, None) == 0
    assert "0 of 2 registered versions hold the example" in capsys.readouterr().out
    assert settings.name == "sides"


def test_which_test_examples_a_version_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def aside(keys: list[str]) -> list[str]:
        found = search.set_aside("sides/1", keys)
        assert found is not None and len(found) == len(keys)
        return [key for key, gone in zip(keys, found.tolist(), strict=True) if gone]

    tested = pq.read_table(path / "made/evaluation/predictions.parquet")["id"].to_pylist()
    doubled = pq.read_table(path / "made/validation/quarantine.parquet")["id"].to_pylist()
    others = [key for key in doubled if key not in tested]
    assert aside([*tested, "f" * 32, *others]) == others
    with sources.opened() as store:
        quarantine = store.path(sources.source(origin.find("sides/1")).outs()[search.QUARANTINE])

    def ids(file: Path, columns: list[str]) -> pa.Table:  # `one` stood thrice
        return pa.table({"id": ["one", "one", "two"] if file == quarantine else ["one", "three"]})

    monkeypatch.setattr(pq, "read_table", ids)
    lock = sources.source(origin.find("sides/1")).read("dvc.lock")
    with monkeypatch.context() as patch:  # a clone that lacks the version's commit
        patch.setattr(sources, "_has", lambda _: False)
        patch.setattr(sources, "experiment", lambda *_: "")
        assert search.set_aside("sides/1", ["one"]) is None
        patch.setattr(origin, "kept", lambda _, name: {"project/dvc.lock": lock}.get(name))
        assert aside(["one", "two"]) == ["two"]
    assert aside(["one", "two", "three", "one", "one", "four"]) == ["two", "one", "one"]
    assert aside(["one", "three"]) == []
    monkeypatch.setattr(search, "QUARANTINE", "build/nothing.parquet")
    assert search.set_aside("sides/1", tested) is None


def test_a_notebook_is_told_what_a_version_was_trained_on(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = {"height": 6, "width": 6, "labels": ["left", "right"]}
    monkeypatch.setattr(connection, "about", lambda _: {"recipe": "images", "params": task})
    table = pq.read_table(path / "data/a.parquet")
    tested = pq.read_table(path / "made/evaluation/predictions.parquet")["id"].to_pylist()
    model = Model("sides", "1", (), {}, {})
    pictures = pa.concat_tables([table.select(["image"]), pa.table({"image": [b"another"]})])
    trained = sum(key not in tested for key in table["id"].to_pylist())
    assert 0 < trained < len(table)
    (told,) = model._seen(pictures, pictures)
    assert told == (
        f"{trained} of {len(table) + 1} examples are in the data of sides version 1 and not of its test split: it may "
        "have been trained on them, and seem better than it is; `test_split(slipway.data('sides'))` returns those that "
        "no training saw"
    )
    assert model._seen(*[pictures.rename_columns(["a picture"])] * 2) == [told]  # whatever it is called
    assert not model._seen(*[pictures.slice(len(table))] * 2)
    md5 = files("1")["b.parquet"]
    kept = path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    kept.rename(tmp_path / "away")
    try:
        assert not model._seen(pictures, pictures)  # it cannot be told without a remote
    finally:
        (tmp_path / "away").rename(kept)
    two = pictures.append_column("other", pictures["image"]).rename_columns(["one", "other"])
    assert examined.keys(model.uri, two) is None
    monkeypatch.setattr(connection, "about", lambda _: {"recipe": "of another Slipway"})
    assert examined.keys(model.uri, pictures) is None


def read_ids(folder: Path) -> list[str]:
    import numpy as np

    return [key.decode() for key in np.load(folder / "id.npy")]


def test_rows_are_found_by_their_values(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pq.read_table(path / "data/a.parquet")
    left = table["label"].to_pylist().count("left")
    assert lineage.run("sides", None, None, None, ["label=left"]) == 0
    counts = [word for word in lines(capsys.readouterr().out, "sides 2")[0].replace(",", "").split() if word.isdigit()]
    assert sum(map(int, counts[1:])) == left
    assert lineage.run("sides", None, None, None, ["label=left", "no_such_column=1"]) == 0
    assert "0 of 2" in capsys.readouterr().out
    with pytest.raises(SlipwayError, match="expected COLUMN=VALUE"):
        lineage.run("sides", None, None, None, ["label"])
    assert search._same(39, "39") and search._same(39.0, "39") and not search._same(39, "4")
    assert search._same(None, "") and search._same(True, "true") and not search._same(None, "None")


def test_what_cannot_be_had_is_told_and_the_answer_is_not_complete(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    md5 = files("1")["b.parquet"]
    kept = path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    kept.rename(tmp_path / "away")
    try:
        assert lineage.run(None, None, None, "f" * 32, None) == 1
    finally:
        (tmp_path / "away").rename(kept)
    said = capsys.readouterr().out
    assert "not complete" in said
    assert f"sides 1: b.parquet ({md5}) is neither in DVC's cache nor in its remotes" in said


def test_wrong_questions(path: Path) -> None:
    with pytest.raises(SlipwayError, match="which version"):
        lineage.run(None, None, None, None, None)
    with pytest.raises(SlipwayError, match="only one of"):
        lineage.run(None, None, "a", "b", None)
    with pytest.raises(SlipwayError, match="name the registered model alone"):
        lineage.run("sides@champion", None, "a", None, None)
    with pytest.raises(SlipwayError, match="no registered model other; there are: sides"):
        lineage.run("other", None, "a", None, None)


def test_only_the_newest_verdicts_are_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "VERDICTS_KEPT", 2)
    made = origin.find("sides/1")
    for number in range(3):
        origin.add(
            made,
            {
                "verdict": str(number),
                "date": "2026-01-01T00:00:00Z",
                "machine": "m",
                "processor": "p",
                "seconds": 1.0,
                "metrics": {f"m{n}" * 50: [n, n + 1] for n in range(99)},
            },
        )
    said = origin.verdicts(origin.find("sides/1").tags)
    assert [each["verdict"] for each in said] == ["2", "1"]
    assert len(json.dumps(said[0])) <= origin.MAX_TAG and said[0]["metrics"]
