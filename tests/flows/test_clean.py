"""`slipway clean` on the traces of many runs: what it removes, and what it never does."""

import os
import random
import time
from pathlib import Path

import pytest
from mlflow.entities import RunTag

from components import SlipwayError, locks, reuse
from components.tracking import cleaning, connection, registry
from flows import clean
from flows.machinery import cache, runs, server
from tests import fabricate
from tests.traces import DAY, Project, disk, git


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    fabricate.store(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "p").mkdir()
    monkeypatch.chdir(tmp_path / "p")
    for name in ("claim", "bury"):  # they ask Prefect's server, which is not needed here
        monkeypatch.setattr(runs, name, lambda: None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return Project(tmp_path / "p", store)


def policy(runs: int, days: float) -> None:
    Path("params.yaml").write_text(f"name: digits\nclean: {{keep_runs: {runs}, keep_days: {days}}}\n")


def test_a_dry_run_lists_and_removes_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    policy(1, 1)
    for day in (9, 8, 7):
        project.run(day)
    before = disk(project.root / ".dvc/cache"), git(project.root, "for-each-ref")
    with registry.alone(), locks.alone(Path(".dvc/tmp/slipway.lock"), ""):  # a run is under way
        found = clean.clean.fn(dry_run=True)
    assert found["MLflow runs"] == (2, 200) and found["DVC experiments of runs"] == (2, 0)
    assert found["objects in DVC's cache"][0] == 8  # of each: data, model, weights, steps; the last has all rows
    out = capsys.readouterr().out
    assert "beyond the last 1 runs of each model, and older than 1 days" in out and "200 B" in out
    assert "nothing was removed, because of --dry-run" in out
    assert before == (disk(project.root / ".dvc/cache"), git(project.root, "for-each-ref"))
    removed = clean.clean.fn()
    assert {kind: removed[kind] for kind in list(found)[:4]} == {kind: found[kind] for kind in list(found)[:4]}
    assert "removed: " in capsys.readouterr().out
    assert all(count == 0 for kind, (count, _) in clean.clean.fn(dry_run=True).items() if "room" not in kind)


def test_nothing_is_left_of_a_removed_run(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """No empty folders, which pile up over the years; and the room in the database is given back by the same clean."""
    policy(0, 0)
    client, store = connection.client(), project.root / "mlartifacts"
    old, kept = project.run(9), project.run(8, registers=True)
    logged = client.create_logged_model(project.experiment, "digits", old.run)
    place = store / "digits/models" / logged.model_id
    (place / "artifacts").mkdir(parents=True)
    (place / "artifacts/MLmodel").write_text("x")
    tags = [RunTag(f"tag{number}", "x" * 4000) for number in range(100)]
    for start in range(5):
        client.log_batch(old.run, tags=[RunTag(f"{start}{each.key}", each.value) for each in tags])
    mine = store / "digits" / "somebody's"
    mine.mkdir()
    removed = clean.clean.fn()
    assert sorted(path.name for path in (store / "digits").iterdir()) == sorted([kept.run, "models", mine.name])
    assert not place.exists() and list(project.lacking(kept)) == []
    assert removed["room within mlflow.db"][1] > 1_000_000
    assert "\nroom within mlflow.db: " in capsys.readouterr().out
    assert clean.clean.fn(dry_run=True)["room within mlflow.db"] == (0, 0)


def test_a_file_that_somebody_put_there_stays(project: Project) -> None:
    policy(0, 0)
    run = project.root / "mlartifacts/digits" / project.run(9).run
    (run / "notes.txt").write_text("mine")
    clean.clean.fn()
    assert [path.name for path in run.iterdir()] == ["notes.txt"]


@pytest.mark.e2e
@pytest.mark.parametrize("seed", range(3))
def test_what_a_registered_version_needs_is_never_removed(project: Project, seed: int) -> None:
    """Random histories; clean at random moments, also killed half-way; every version is whole at the end."""
    draw = random.Random(seed)  # noqa: S311 - a history, no secret
    policy(draw.randrange(3), draw.choice([0, 2.0, 5.0]))
    traces = []
    for day in range(10, 0, -1):
        alias = draw.choice(["", "", "", "champion", "challenger", "reference", "staging"])
        traces.append(project.run(day, new_rows=draw.random() < 0.7, registers=draw.random() < 0.2, alias=alias))
        if draw.random() < 0.2:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(draw.choice([cache, cleaning]), "remove", killed)
                with pytest.raises(KeyboardInterrupt):
                    clean.clean.fn()
        if draw.random() < 0.2:
            clean.clean.fn()
    clean.clean.fn()
    for trace in traces:
        if trace.version:
            assert list(project.lacking(trace)) == []
    assert not [trace for trace in traces[:4] if not trace.version and not list(project.lacking(trace))]


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_is_kept_besides_versions(project: Project) -> None:
    policy(1, 3)
    names = ("branch", "tag", "stash", "by hand", "lying", "gone")
    old = {name: project.run(day) for day, name in enumerate(names, 9)}
    young, last = project.run(2), project.run(1)
    for name in ("branch", "tag"):
        git(project.root, name, "mine", ref(project, old[name].experiment))
    git(project.root, "update-ref", ref(project, "my-own-try"), ref(project, old["by hand"].experiment))
    for name, path in (("stash", "data.dvc"), ("lying", "dvc.lock")):
        (project.root / path).write_text(git(project.root, "show", f"{ref(project, old[name].experiment)}:{path}"))
    git(project.root, "add", "data.dvc")
    git(project.root, "stash", "push", "-q", "data.dvc")
    clean.clean.fn()
    assert list(project.lacking(young)) == list(project.lacking(last)) == []
    for name in ("branch", "tag", "by hand", "lying"):
        assert all(project.place(digest).exists() for digest in old[name].digests), name
    assert project.place(old["stash"].data).exists()
    assert not project.place(old["gone"].data).exists()
    experiments = git(project.root, "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps").split()
    assert sorted(experiments) == sorted([young.experiment, last.experiment, "my-own-try"])
    assert list(project.lacking(old["gone"]))[-1].startswith(old["gone"].run)


def test_what_stages_keep_of_single_files_goes_once_no_run_uses_it(project: Project) -> None:
    policy(1, 3)
    young, old = (project.root / reuse.FOLDER / "digits" / "validate" / (name * 64) for name in "ab")
    young.parent.mkdir(parents=True)
    for path, days in ((young, 2), (old, 4)):
        path.write_bytes(b"kept")
        os.utime(path, (time.time() - days * DAY,) * 2)
    assert clean.clean.fn(dry_run=True)["stages' results of single files"] == (1, 4)
    clean.clean.fn()
    assert young.exists() and not old.exists()


def test_committed_data_stays_however_old(project: Project) -> None:
    policy(0, 0)
    first = project.run(90)
    for content in (git(project.root, "show", f"{ref(project, first.experiment)}:data.dvc"), "outs: []"):
        (project.root / "data.dvc").write_text(content)
        git(project.root, "add", "data.dvc")
        git(project.root, "commit", "-qm", "data", at=time.time() - 80 * DAY)
    clean.clean.fn()
    assert project.place(first.data).exists()
    assert sum(project.place(digest).exists() for digest in first.digests) == 2  # the list and its file


def test_versions_that_were_never_promoted_go_where_the_policy_says_so(project: Project) -> None:
    Path("params.yaml").write_text("name: digits\nclean: {keep_runs: 0, keep_days: 0, keep_versions: 1}\n")
    client = connection.client()
    made = [project.run(day, registers=True) for day in range(9, 3, -1)]
    client.set_registered_model_alias("digits", "champion", "1")
    client.set_registered_model_tag(
        "digits", "slipway.move.000001", '{"version": "1", "before": "2", "reference": null}'
    )
    client.set_model_version_tag("digits", "3", "slipway.decision", "promoted")
    assert clean.clean.fn(dry_run=True)["registered versions"] == (2, 0)
    assert len(client.search_model_versions("name = 'digits'")) == 6
    assert clean.clean.fn()["MLflow runs"][0] == 2
    left = sorted(str(version.version) for version in client.search_model_versions("name = 'digits'"))
    assert left == ["1", "2", "3", "6"]  # champion, the one before, promoted once, and the last
    assert all(list(project.lacking(trace)) == [] for trace in made if trace.version in left)
    assert not project.place(made[3].data).exists()


def ref(project: Project, name: str) -> str:
    return f"refs/exps/{project.head[:2]}/{project.head[2:]}/{name}"


def test_dvc_itself_brings_a_version_back(project: Project) -> None:
    policy(0, 0)
    first = project.run(9, alias="champion")
    for day in (8, 7, 6):
        project.run(day)
    clean.clean.fn()
    place = project.root / "elsewhere"
    git(project.root, "worktree", "add", "-q", "--detach", str(place), ref(project, first.experiment))
    from dvc.repo import Repo

    with Repo(str(place)) as repo, repo.config.edit("local") as config:
        config["cache"]["dir"] = str(project.root / ".dvc/cache")
    with Repo(str(place)) as repo:
        repo.checkout(targets=[str(place / "data.dvc")])
    assert len(list((place / "data").iterdir())) == 1
    assert len(list(project.root.joinpath(".dvc/cache").rglob("*.dir"))) == 2


def test_a_damaged_list_of_a_folder_stops_it(project: Project) -> None:
    policy(0, 0)
    trace = project.run(9, alias="champion")
    path = project.place(trace.data)
    path.chmod(0o644)
    path.write_text("[{")
    before = disk(project.root / ".dvc/cache")
    with pytest.raises(SlipwayError, match="damaged, so it is not known which files are needed"):
        clean.clean.fn()
    assert disk(project.root / ".dvc/cache") == before


def test_on_a_shared_store_a_run_is_in_the_bin_for_a_day(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    policy(0, 0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.root}/./mlflow.db")
    trace = project.run(9)
    clean.clean.fn()
    client = connection.client()
    assert client.get_run(trace.run).info.lifecycle_stage == "deleted"
    assert client.list_artifacts(trace.run)  # another machine may be registering it: it can be taken out again
    clean.clean.fn()
    assert client.get_run(trace.run)
    client.restore_run(trace.run)
    version = project.register(trace.run, trace.experiment, trace.data)
    clean.clean.fn()
    assert client.get_run(trace.run).info.lifecycle_stage == "active" and client.list_artifacts(trace.run)
    client.delete_model_version("digits", version)
    clean.clean.fn()
    monkeypatch.setattr(cleaning, "IN_BIN_SECONDS", 0)
    clean.clean.fn()
    with pytest.raises(Exception, match="not found"):
        client.get_run(trace.run)
    assert client.search_logged_models([project.experiment]) == []


@pytest.mark.e2e
def test_prefects_database_is_cleaned(project: Project, prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect import Flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Completed, Running

    policy(1, 0)
    monkeypatch.setattr(server, "ours", lambda: True)
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        retrain = Flow(lambda model="": None, name="retrain")
        made = [
            client.create_flow_run(retrain, parameters={"model": f"clean-{name}"}, state=Completed()) for name in "aaab"
        ]
        made.append(client.create_flow_run(retrain, state=Running()))
        line = {"name": "x", "level": 20, "message": "a line", "timestamp": "2026-01-01T00:00:00Z"}
        client.request("POST", "/logs/", json=[line | {"flow_run_id": str(run.id)} for run in made])
        artifact = {"key": "retrain", "type": "markdown", "data": "x", "flow_run_id": str(made[0].id)}
        client.request("POST", "/artifacts/", json=artifact)
        found = clean.clean.fn()
        assert found["Prefect's flow runs"][0] >= 2
        left = {run.id for run in client.read_flow_runs()}
        assert made[-1].id in left and made[3].id in left and len(left & {run.id for run in made[:3]}) == 1
        of_ours = {"artifacts": {"flow_run_id": {"any_": [str(run.id) for run in made]}}}
        gone = [run.id for run in made if run.id not in left]
        assert not client.read_logs(LogFilter.model_validate({"flow_run_id": {"any_": gone}}))
        if made[0].id in gone:
            assert client.request("POST", "/artifacts/filter", json=of_ours).json() == []
        client.delete_flow_run(made[-1].id)  # or it would run for ever, on a server that other tests use


def test_files_that_the_dead_have_left(project: Project) -> None:
    policy(0, 3)
    now = time.time()
    kept: list[Path] = []
    old: list[Path] = []
    for day, which in ((9, old), (1, kept)):
        for path in (f"build/checkpoints/{day}/fit/variables.npz", f".prefect/logs/{day}.log"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text("x" * 10)
            for each in (Path(path), *Path(path).parents[: 2 if "fit" in path else 0]):
                os.utime(each, (now - day * DAY,) * 2)
            which.append(Path(path))
    Path(".workspaces/income/build").mkdir(parents=True)
    Path(".workspaces/income.lock").touch()
    found = clean.clean.fn()
    assert found["checkpoints of trainings"] == found["logs"] == (1, 10)
    assert found["workspaces of models that are gone"][0] == 1
    assert all(path.exists() for path in kept) and not any(path.exists() for path in old)
    assert not Path(".workspaces/income").exists()


def test_a_cache_that_other_projects_may_use_is_left_alone(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy(0, 0)
    (project.root / ".dvc/config.local").write_text(f"[cache]\n    dir = {tmp_path / 'shared'}\n")
    (tmp_path / "shared/files/md5/ab").mkdir(parents=True)
    (tmp_path / "shared/files/md5/ab" / ("c" * 30)).touch()
    assert "objects in DVC's cache" not in clean.clean.fn()
    assert "may be others' too: left alone" in capsys.readouterr().out
    assert list((tmp_path / "shared/files/md5/ab").iterdir())


@pytest.mark.e2e
def test_disk_and_database_stay_bounded(project: Project) -> None:
    policy(3, 4)
    sizes = []
    for day in range(40, 0, -1):
        project.run(day)
        if day % 5 == 0:
            clean.clean.fn()
            sizes.append((disk(project.root / ".dvc/cache"), disk(project.root / "mlartifacts")))
    early, late = ([max(kind) for kind in zip(*part, strict=True)] for part in (sizes[:3], sizes[-3:]))
    assert all(after <= 1.02 * before for before, after in zip(early, late, strict=True))  # times are of other lengths
    found = connection.client().search_runs([project.experiment])
    assert len(found) <= 10


def test_settings_that_make_no_sense() -> None:
    from components import params

    with pytest.raises(SlipwayError, match=r"clean\.keep_run: unknown key; did you mean clean\.keep_runs"):
        params.check({"name": "x", "recipe": "images", "clean": {"keep_run": 1}}, Path("params.yaml"))
