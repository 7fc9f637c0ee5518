"""New data by itself, before the stages of a run."""

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.flowing import GIT, REGISTER, ROOT, command, flows, repository, started, status

PARAMS = """\
name: digits
recipe: tabular
tabular: {numeric: [x], labels: ["no", "yes"]}
source: {kind: files, path: inbox, ingest: table --label y, settle: 0}
"""
COUNT = (
    f"{sys.executable} -c \"import pathlib, pyarrow.parquet as q; pathlib.Path('n').write_text("
    "str(sum(q.read_metadata(f).num_rows for f in pathlib.Path('data').glob('*.parquet'))))\""
)
STAGES = f"""\
import runpy, sys
if sys.argv[1:2] == ["update"]:
    sys.exit(runpy.run_path({str(ROOT / "components/__main__.py")!r})["main"]())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = repository(tmp_path / "project", {"count": {"cmd": COUNT, "deps": ["data"], "outs": ["n"]}})
    (root / "components/__main__.py").write_text(STAGES + REGISTER)
    (root / "params.yaml").write_text(PARAMS)
    (root / "inbox").mkdir()
    (root / ".gitignore").open("a").write("/inbox\n/data\n/gone\n/n\n.workspaces/\n")
    arrive(root, "a", 0)
    done = flows(root, "update")
    assert "update: 4 new rows from 1 file" in done.communicate()[0]
    command(root, "git", "add", "-A")
    command(root, "git", "commit", "-qm", "data", env=GIT)
    return root


def arrive(root: Path, name: str, start: int) -> None:
    lines = [f"{start + n},{'yes' if n % 2 else 'no'}" for n in range(4)]
    (root / "inbox" / f"{name}.csv").write_text("\n".join(["x,y", *lines, ""]))


@pytest.mark.e2e
def test_a_run_brings_new_data_before_its_stages(project: Path, prefect_server: str) -> None:
    """It fails where the source cannot be reached, unless that is allowed; a workspace goes on from where it was."""
    arrive(project, "b", 10)
    (project / "inbox" / "bad.csv").write_text("z\n1\n")
    run = flows(project, "run", PREFECT_API_URL=prefect_server)
    said = run.communicate()[0]
    assert run.returncode in (0, 3), said
    assert "update: 4 new rows from 1 file" in said
    assert "update: warning: set aside: bad.csv" in said
    assert (project / "n").read_text() == "8"
    assert not status(project)
    run = flows(project, "run", PREFECT_API_URL=prefect_server)
    said = run.communicate()[0]
    assert run.returncode in (0, 3), said
    assert "update: nothing new" in said
    (project / "inbox").rename(project / "gone")
    run = flows(project, "run", PREFECT_API_URL=prefect_server)
    said = run.communicate()[0]
    assert run.returncode == 1
    assert "error: update: error: source.path: inbox: no such folder" in said or "source.path: inbox" in said
    assert "count" not in said.partition("source.path: inbox")[2]
    (project / "params.yaml").write_text(PARAMS.replace("settle: 0", "settle: 0, required: false"))
    run = flows(project, "run", PREFECT_API_URL=prefect_server)
    said = run.communicate()[0]
    assert run.returncode in (0, 3), said
    assert "warning: no new data: " in said
    assert "the run goes on with the data that there is (source.required: false)" in said


@pytest.mark.e2e
def test_a_run_of_a_revision_goes_on_with_the_data_of_the_one_before(project: Path, prefect_server: str) -> None:
    """What was taken yesterday is not read again, even where its file has gone since, and the checkout stays."""
    code = "from flows.__main__ import _once\n_once(revision='HEAD')\n"
    before = (project / "data.dvc").read_text()
    for name, start in (("b", 10), ("c", 20)):
        arrive(project, name, start)
        said = started(project, [sys.executable, "-c", code], PREFECT_API_URL=prefect_server).communicate()[0]
        assert "update: 4 new rows from 1 file" in said, said
        (project / "inbox" / f"{name}.csv").unlink()
    assert (project / "data.dvc").read_text() == before
    (place,) = [path for path in (project / ".workspaces").iterdir() if path.is_dir()]
    assert sum(pq.read_metadata(path).num_rows for path in (place / "data").glob("*.parquet")) == 12
    assert (place / "n").read_text() == "12"
