"""Marks of a merge in a file that commands read: a sentence with file, line and what to do, from every command."""

import shutil
from pathlib import Path

import pytest

from components import SlipwayError, params
from components.__main__ import STAGES, main
from flows import __main__ as flows
from tests.conftest import ROOT

FILES = ["params.yaml", "dvc.lock", "data.dvc", "dvc.yaml", "expectations/images.yaml"]


@pytest.fixture(params=FILES)
def conflict(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project in which git left a conflict in one file; its name."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    path = tmp_path / str(request.param)
    first, rest = path.read_text().split("\n", 1)
    path.write_text(f"{first}\n<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> other branch\n{rest}")
    monkeypatch.chdir(tmp_path)
    return str(request.param)


def commands() -> list[list[str]]:
    stages = [[stage, *(word for path in paths for word in (f"--{path}", "x"))] for stage, (_, paths) in STAGES.items()]
    return [*stages, ["ingest", "digits"], ["find-lr", "--arrays", "x"]]


def test_every_command_says_where_and_what_to_do(conflict: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands():
        assert main(words) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: {conflict}, line 2: marks of a merge that is not finished (<<<<<<<): ")
        assert ("git checkout --ours" in said) == (conflict in ("dvc.lock", "data.dvc"))
    for flow, options in (("run", {"force": False}), ("schedule", {"force": False, "cron": "0 3 * * *"})):
        assert flows.run(flow, options) == 1
        assert f"error: {conflict}, line 2: marks of a merge" in capsys.readouterr().err
    assert {path.name for path in Path().iterdir()} == {Path(name).parts[0] for name in FILES}


def test_params_that_are_loaded_alone_say_it_too(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n")
    with pytest.raises(SlipwayError, match=r"p\.yaml, line 2: marks of a merge"):
        params.load(tmp_path / "p.yaml")
