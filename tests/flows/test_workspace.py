"""Workspaces: what they hold, what goes back to the checkout, and what a killed run leaves; with tiny repositories."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo

from components import SlipwayError
from components.data import versions
from components.tracking import connection
from flows.machinery import models, workspace
from tests.flowing import GIT, command, repository, status

STAGES = {"first": {"cmd": "cat data/* params.yaml > first", "deps": ["data"], "params": ["name"], "outs": ["first"]}}
PARAMS = "name: {}\nrecipe: images\nimages: {{height: 6, width: 6, labels: [left, right]}}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with the root's model `start` and a model `sales` in models/, both committed; the current folder."""
    monkeypatch.setattr(connection, "check", lambda: None)  # what makes MLflow's store
    path = tmp_path / "repo"
    path.mkdir()
    (path / "params.yaml").write_text(PARAMS.format("start"))
    (path / "expectations").mkdir()
    (path / "expectations/images.yaml").write_text("examples: []\n")
    model(path / "models/sales")
    repository(path, STAGES, data="1")
    (path / ".gitignore").write_text(".prefect/\n__pycache__/\n/build\n/data\n/first\n.workspaces/\n")
    (path / ".dvcignore").write_text("/models/*\n")
    commit(path)
    monkeypatch.chdir(path)
    yield path


def model(folder: Path, text: str = "") -> None:
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(text or PARAMS.format(folder.name))
    (folder / "expectations.yaml").write_text("examples: [] # of this model\n")


def commit(path: Path) -> str:
    command(path, "git", "add", "-A")
    command(path, "git", "commit", "-qm", "more", "--allow-empty", env=GIT)
    return command(path, "git", "rev-parse", "HEAD")


def state(path: Path) -> dict[str, str]:
    """Return the digest of every file of a checkout but its workspaces, and what git says of it."""
    found = {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.rglob("*")
        if file.is_file()
        and file.relative_to(path).parts[0] not in (".workspaces", ".git")
        and file.relative_to(path).parts[:2] not in ((".dvc", "tmp"), (".dvc", "cache"))
    }
    return found | {"git": command(path, "git", "status", "--porcelain") + command(path, "git", "rev-parse", "HEAD")}


def add(path: Path, text: str) -> None:
    """Make another version of a dataset, as an ingest does."""
    (path / "data").mkdir(exist_ok=True)
    (path / "data/a.txt").write_text(text)
    with Repo(str(path)) as repo:
        repo.add(str(path / "data"))


def reproduce(path: Path) -> None:
    with Repo(str(path)) as repo:
        repo.checkout(["data.dvc"])
        repo.reproduce()


def test_a_revision_is_what_was_committed_and_changes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "params.yaml").write_text(PARAMS.format("start") + "seed: 7\n")
    (home / "components/new.py").write_text("")
    (home / "data/a.txt").write_text("not versioned")
    before = state(home)
    with workspace.entered("", "HEAD") as place:
        assert Path.cwd() == place == home / ".workspaces/root"
        assert Path("params.yaml").read_text() == PARAMS.format("start")
        assert not Path("components/new.py").exists()
        assert Path("data.dvc").read_bytes() == (home / "data.dvc").read_bytes()
        reproduce(place)
        assert Path("first").read_text().startswith("1name")
    assert state(home) == before and Path.cwd() == home
    said = capsys.readouterr().out
    assert "the checkout has uncommitted changes in components/new.py, params.yaml: this run does not have" in said


def test_a_model_without_a_revision_has_the_checkout_s_files_and_gives_back_its_own(home: Path) -> None:
    (home / "components/new.py").write_text("")
    (home / "dvc.lock").write_text("schema: '2.0'\n")
    before = state(home)
    with workspace.entered("sales") as place:
        assert not Path("data.dvc").exists() and not Path("dvc.lock").exists()  # those are the root's
        assert Path("components/new.py").exists()
        assert Path("expectations/images.yaml").read_text() == "examples: [] # of this model\n"
        add(place, "2")
        reproduce(place)
        assert Path("first").read_text().startswith("2name: sales")
    after = state(home)
    assert {path for path in after if after[path] != before.get(path)} == {
        "git", "models/sales/data.dvc", "models/sales/dvc.lock"
    }  # fmt: skip
    commit(home)
    with workspace.entered("sales", "HEAD"):
        assert status(place) == {}
        assert Path("data.dvc").read_bytes() == (home / "models/sales/data.dvc").read_bytes()


def test_a_workspace_that_went_on_keeps_its_data_until_the_revision_says_something_new(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with workspace.entered("sales") as place:
        add(place, "2")
    commit(home)
    with workspace.entered("sales", "HEAD") as place:
        add(place, "brought by an update")
        newer = Path("data.dvc").read_bytes()
    assert (home / "models/sales/data.dvc").read_bytes() != newer
    (home / "README.md").write_text("another commit\n")
    commit(home)
    with workspace.entered("sales", "HEAD"):
        assert Path("data.dvc").read_bytes() == newer
        assert Path("README.md").exists()
    older = (home / "models/sales/data.dvc").read_bytes()
    with workspace.entered("sales"):
        assert Path("data.dvc").read_bytes() == newer
    assert (home / "models/sales/data.dvc").read_bytes() == newer  # for the user to commit
    commit(home)
    with workspace.entered("sales", "HEAD"):
        assert Path("data.dvc").read_bytes() == newer
    assert "is another one" not in capsys.readouterr().out
    (home / "models/sales/data.dvc").write_bytes(older)
    commit(home)
    with workspace.entered("sales", "HEAD"):
        assert Path("data.dvc").read_bytes() == older
        assert not Path("data").exists()  # the other version's: DVC brings these
    assert "models/sales/data.dvc is another one than this workspace went on from" in capsys.readouterr().out


def _killed(_: Path) -> None:
    raise KeyboardInterrupt


def test_what_somebody_does_by_hand_takes_nothing_from_the_runs_of_a_schedule(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes on from the data of these, and gets into them once it is committed."""
    pointer = home / "models/sales/data.dvc"
    with workspace.entered("sales") as place:
        add(place, "2")
    commit(home)
    committed = pointer.read_bytes()
    with workspace.entered("sales", "HEAD") as place:
        add(place, "brought by an update")
        brought = Path("data.dvc").read_bytes()
    with workspace.entered("sales", give_back=False):
        assert Path("data.dvc").read_bytes() == brought
    assert pointer.read_bytes() == committed
    with workspace.entered("sales", "HEAD"):
        assert Path("data.dvc").read_bytes() == brought
    capsys.readouterr()
    with workspace.entered("sales"):
        assert "runs of a revision have brought newer data" in capsys.readouterr().out
        add(place, "tried by hand")
    tried = pointer.read_bytes()
    with workspace.entered("sales", "HEAD"):
        assert Path("data.dvc").read_bytes() == brought
        assert not Path("data").exists()  # DVC brings it
        add(place, "brought by the next update")
        newest = Path("data.dvc").read_bytes()
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace, "_clear", _killed)
        with workspace.entered("sales"):
            pass
    with workspace.entered("sales", "HEAD"):
        assert Path("data.dvc").read_bytes() == newest
    with workspace.entered("sales"):
        assert Path("data.dvc").read_bytes() == tried
    assert pointer.read_bytes() == tried
    with workspace.entered("sales", "HEAD"):
        assert Path("data.dvc").read_bytes() == newest
    assert "is another one" not in capsys.readouterr().out
    commit(home)
    with workspace.entered("sales", "HEAD"):
        assert Path("data.dvc").read_bytes() == tried
    assert "models/sales/data.dvc is another one than this workspace went on from" in capsys.readouterr().out


def test_data_that_dvc_does_not_keep_are_not_removed_for_another_version(home: Path) -> None:
    with workspace.entered("sales") as place:
        add(place, "2")
    pointer = home / "models/sales/data.dvc"
    with workspace.entered("sales"):
        add(place, "3")
        Path("data/b.txt").write_text("of somebody")
    pointer.write_text(pointer.read_text().replace("md5: ", "md5: 0"))
    with pytest.raises(SlipwayError, match=r"b\.txt"), workspace.entered("sales"):
        pass
    assert (place / "data/b.txt").exists()


def test_what_was_changed_in_the_checkout_during_a_run_stays(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with workspace.entered("sales") as place:
        add(place, "2")
        (home / "models/sales/data.dvc").write_text("pulled meanwhile\n")
    assert (home / "models/sales/data.dvc").read_text() == "pulled meanwhile\n"
    assert "models/sales/data.dvc was changed while this run worked" in capsys.readouterr().out


@pytest.mark.parametrize("left", ["nothing", "half", "locked", "pruned", "aside", "dirty"])
def test_what_a_killed_run_left_is_set_right(home: Path, left: str) -> None:
    with workspace.entered("sales", "HEAD") as place:
        add(place, "2")
    admin = home / ".git/worktrees/sales"
    if left == "nothing":
        command(home, "rm", "-rf", str(place), str(admin))
    elif left == "half":
        (place / ".git").unlink()
        (place / "components/__init__.py").unlink()
    elif left == "locked":
        (admin / "locked").write_text("initializing")
        for name in ("index.lock", "HEAD.lock"):
            (admin / name).touch()
        (place / ".git").unlink()
    elif left == "pruned":
        command(home, "rm", "-rf", str(admin))
    elif left == "aside":
        place.rename(home / ".workspaces/.sales.aside")
        place.mkdir()
    else:
        (place / "dvc.yaml").write_text("<<<<<<< \n")
        (place / "components/__init__.py").unlink()
        (place / "more.py").write_text("")
    with workspace.entered("sales", "HEAD") as place:
        assert command(place, "git", "rev-parse", "HEAD") == command(home, "git", "rev-parse", "HEAD")
        changed = command(place, "git", "diff", "--name-only", "HEAD").splitlines()
        assert set(changed) == {"expectations/images.yaml", "params.yaml", "data.dvc"}  # the model's own
        assert Path("data/a.txt").exists() == (left != "nothing")  # what came there stays


def test_what_somebody_changed_in_a_workspace_is_kept_and_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with workspace.entered("sales") as place:
            Path("data.dvc").write_text("outs: []\n")  # as an update does
    (place / "params.yaml").write_text("name: mine\n")
    (place / "expectations/mine.yaml").write_text("new\n")
    assert "somebody changed" not in capsys.readouterr().out
    with workspace.entered("sales"):
        assert "name: sales" in Path("params.yaml").read_text()
    assert "somebody changed expectations/mine.yaml, params.yaml in the workspace of sales" in capsys.readouterr().out
    (ref,) = command(home, "git", "for-each-ref", "--format=%(refname)", "refs/slipway/kept").split()
    assert command(home, "git", "show", f"{ref}:params.yaml") == "name: mine"
    assert command(home, "git", "show", f"{ref}:expectations/mine.yaml") == "new"


def test_dvc_finds_the_checkout_s_cache_and_remotes(home: Path) -> None:
    (home / ".dvc/config.local").write_text(
        "[core]\n    remote = team\n['remote \"team\"']\n    url = ../../remote\n    jobs = 2\n"
    )
    with workspace.entered("sales") as place:
        add(place, "2")
        with Repo() as repo:
            repo.push()
        config = Path(".dvc/config.local").read_text()
        assert "dir = ../../../.dvc/cache\n" in config and "jobs = 2" in config
        assert not Path(".dvc/cache").exists()
    assert list((home / "../remote").rglob("*.dir"))
    command(home, "rm", "-rf", str(place / "data"), str(home / ".dvc/cache"))
    commit(home)
    with workspace.entered("sales", "HEAD"):
        versions.fetched(Path("data"))
        assert Path("data/a.txt").read_text() == "2"
    command(home, "rm", "-rf", str(place / "data"), str(home / ".dvc/cache"), str(home / "../remote"))
    with workspace.entered("sales", "HEAD"), pytest.raises(SlipwayError, match="`dvc push` it where it was ingested"):
        versions.fetched(Path("data"))


def test_mlflow_s_store_is_the_checkout_s_and_made_before_two_begin(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(connection, "check", lambda: made.append(connection.uri()))
    with workspace.entered("sales"):
        assert made == [connection.uri()] == [os.environ["MLFLOW_TRACKING_URI"]]
        assert made == [f"sqlite:///{home}/mlflow.db"]
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_inside_a_workspace_no_other_model_is_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with workspace.entered("sales") as place:
        pass
    monkeypatch.chdir(place)
    with pytest.raises(SlipwayError, match=r"is a workspace: run this in .*repo instead"), workspace.entered("sales"):
        pass
    with workspace.entered() as here, workspace.entered() as again:  # the flow enters what its command has entered
        assert here == again == place


# Which models there are, and what they may be called.


@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [
        ("sale", "", "no model 'sale'; did you mean sales?\nthe root's model: start\nmodels: new, sales, wrong"),
        ("sale", "HEAD", "no model 'sale'; did you mean sales?"),
        ("../x", "", "no model '../x'"),
        ("sales", "HAED", "'HAED' is no revision of this repository"),
        ("sales", "--all", "'--all' is no revision of this repository"),
        ("new", "HEAD", "models/new is not in HEAD: commit it first, `git add models/new && git commit`"),
        ("wrong", "", "models/wrong/params.yaml: name is 'right', but the folder is models/wrong"),
    ],
)
def test_models_that_cannot_be_run(home: Path, name: str, revision: str, said: str) -> None:
    model(home / "models/new")
    model(home / "models/wrong", PARAMS.format("right"))
    with pytest.raises(SlipwayError) as error, workspace.entered(name, revision):
        pass
    assert said in str(error.value)
    assert Path.cwd() == home


def test_the_root_s_model_has_a_name_too(home: Path) -> None:
    assert models.find("start") == models.find("") == models.Model("", Path())
    with workspace.entered("start") as place:
        assert place == home


def test_the_root_s_model_is_not_called_as_another_one(home: Path) -> None:
    (home / "params.yaml").write_text(PARAMS.format("sales"))
    with pytest.raises(SlipwayError, match="name is sales, and so is models/sales"), workspace.entered():
        pass
    with workspace.entered("sales"):
        pass


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("start", "the model of the root's params.yaml is called start"),
        ("sales", "there is a model models/sales"),
        ("income", "there is an example income"),
        ("files", "'files' is a name that Slipway uses itself"),
        ("root", "'root' is a name that Slipway uses itself"),
        ("A b", "made of a-z, 0-9 and -; 'a-b' instead of 'A b'"),
        ("notes", "models/notes exists, and has no params.yaml"),
    ],
)
def test_names_that_a_new_model_cannot_have(home: Path, name: str, said: str) -> None:
    (home / "examples/income").mkdir(parents=True)
    (home / "examples/income/example.yaml").touch()
    (home / "models/notes").mkdir()
    with pytest.raises(SlipwayError, match=said):
        models.new(name)
    assert models.new("other") == models.Model("other", Path("models/other"))


def test_a_run_waits_for_another_of_the_same_model_alone(home: Path) -> None:
    with workspace.entered("sales"):
        pid = os.fork()
        if not pid:  # a process of its own: another model's run does not wait
            workspace._entered.clear()
            os.chdir(home)
            with workspace.entered("", "HEAD"):
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_an_error_within_a_workspace_names_the_files_to_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    for folder in ("models/churn", ".workspaces/churn", ".workspaces/root"):
        (tmp_path / folder).mkdir(parents=True)
    for place in ("models/churn", ".workspaces/churn", "."):
        (tmp_path / place / "params.yaml").write_text("name: churn\nrecipe: tabular\n")
    said = []
    for place in (".", ".workspaces/root", ".workspaces/churn"):
        monkeypatch.chdir(tmp_path / place)
        said.append(workspace.places())
    assert said[:2] == [[], []]
    (line,) = said[2]
    assert "params.yaml and expectations/tabular.yaml are those of models/churn: change them there" in line
