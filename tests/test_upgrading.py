"""docs/upgrading.md: a team's repository, made from an older Slipway, takes in the present one by a merge."""

from pathlib import Path

import pytest

from components import params
from tests.conftest import ROOT
from tests.flowing import GIT, command

COMMITS_BACK = 40
EXAMPLE = "examples/income/params.yaml"


@pytest.fixture(scope="module")
def older() -> str:
    """A commit some way back in this repository's history, in which there are examples."""
    if command(ROOT, "git", "rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("this clone is shallow: it has no history to start from")
    found = command(ROOT, "git", "rev-list", f"--skip={COMMITS_BACK}", "--max-count=1", "HEAD")
    if not found or not command(ROOT, "git", "ls-tree", "--name-only", found, EXAMPLE):
        pytest.skip(f"the commit {COMMITS_BACK} back in this history has no {EXAMPLE}")
    return found


@pytest.mark.e2e
def test_an_upgrade_merges_without_conflicts(older: str, tmp_path: Path) -> None:
    team = tmp_path / "team"
    command(tmp_path, "git", "clone", "-q", "--no-checkout", str(ROOT), "team")
    command(team, "git", "checkout", "-q", "-b", "work", older)
    model = team / "models/people"
    model.mkdir(parents=True)
    for name in ("params.yaml", "expectations.yaml"):
        text = (team / "examples/income" / name).read_text()
        (model / name).write_text(text.replace("name: income", "name: people"))
    (model / "data.dvc").write_text("outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  hash: md5\n  path: data\n")
    (model / "README.md").write_text("# people\n")
    (team / "expectations/own.yaml").write_text("examples: []\n")
    before = {path: path.read_bytes() for path in (*model.iterdir(), team / "expectations/own.yaml")}
    command(team, "git", "add", "-A")
    command(team, "git", "commit", "-qm", "our model", env=GIT)

    command(team, "git", "fetch", "-q", "origin", "HEAD")
    command(team, "git", "merge", "--no-edit", "-q", "FETCH_HEAD", env=GIT)

    assert command(team, "git", "status", "--porcelain") == ""
    for path, content in before.items():
        assert path.read_bytes() == content
    assert command(team, "git", "diff", "--stat", "FETCH_HEAD", "--", "components", "flows", "dvc.yaml") == ""
    assert params.load(model / "params.yaml").name == "people"
    assert params.load(team / "params.yaml").name == params.load(ROOT / "params.yaml").name
