"""A version's code runs only if it is ours, and where it runs there is no secret."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components import SlipwayError
from components.__main__ import main
from components.files import read_json
from components.tracking import connection, isolated, registry, runs, trusted
from tests import fabricate

GIVEN = Path("data/a.parquet")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a registered version, which nobody has loaded yet."""
    root = tmp_path_factory.mktemp("trusted") / "my #1 (50%) ü"
    root.mkdir()
    settings = fabricate.project(root)
    fabricate.store(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run_id = runs._start(settings, "0" * 32, read_json(root / "build/arrays/manifest.json")).info.run_id
        example = pq.read_table(GIVEN).slice(0, 3)
        version = registry.add(settings, root / "build", run_id, fabricate.digest(root), example)
        connection.client().set_registered_model_alias("sides", "champion", version.version)
    return root


@pytest.fixture
def place(template: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where the version's files lie: spoil them, and they are put back. The database is the test's own."""
    shutil.copytree(template, tmp_path / "good")
    monkeypatch.chdir(template)
    shutil.copy(template / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (found,) = {path.parent for path in (template / "mlartifacts").rglob("MLmodel")}
    yield found
    shutil.rmtree(template)
    shutil.copytree(tmp_path / "good", template)


def code(place: Path) -> Path:
    (path,) = (place / "code").rglob("onnx_model.py")
    return path


def test_what_was_registered_is_loaded(place: Path, tmp_path: Path) -> None:
    """Also where MLflow and Python have left their own files in the store."""
    tags = connection.client().get_model_version("sides", "1").tags
    assert tags[trusted.TAG] == trusted.digest(place)
    (place / trusted.ADDED).write_text("model_name: sides\n")
    (code(place).parent / "__pycache__").mkdir()
    (code(place).parent / "__pycache__" / "onnx_model.cpython-311.pyc").write_bytes(b"something else")
    found = trusted.fetch("models:/sides/1", tmp_path / "fetched")
    assert trusted.digest(found) == tags[trusted.TAG]
    assert not list(found.rglob("*.pyc"))


def test_beside_a_project_no_folder_of_an_escaped_name_appears(
    place: Path, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert connection.about("models:/sides/1")["recipe"] == "images"
    trusted.fetch("models:/sides/1", tmp_path / "fetched")
    assert list(template.parent.iterdir()) == [template]


def test_what_a_version_has_learned_is_read_of_its_files(place: Path) -> None:
    file = next(place.rglob("model.json"))
    data = connection.about("models:/sides/1")["data"]
    assert connection.state("models:/sides/1", data) == json.loads(file.read_text())["state"]
    for text in ("{}", "spoiled"):  # fetch refuses it, and says why
        file.write_text(text)
        assert connection.state("models:/sides/1", data) == {}


def loader(place: Path) -> None:
    from mlflow.models import Model

    made = Model.load(place)
    made.flavors["python_function"]["loader_module"] = "mlflow.sklearn"
    made.save(place / "MLmodel")


TAMPERED: dict[str, Callable[[Path], object]] = {
    "code": lambda place: code(place).write_text(code(place).read_text() + "\nprint('mine')\n"),
    "weights": lambda place: next(place.rglob("model.onnx")).write_bytes(b"other"),
    "state": lambda place: next(place.rglob("model.json")).write_text("{}"),
    "loader": loader,
    "a module more": lambda place: (place / "code" / "numpy.py").write_text("print('mine')"),
    "a file less": lambda place: (place / "requirements.txt").unlink(),
    "a name": lambda place: (place / "requirements.txt").rename(place / "requirements.in"),
}


@pytest.mark.parametrize("spoil", TAMPERED.values(), ids=TAMPERED)
def test_what_was_changed_is_not_loaded(
    place: Path, spoil: Callable[[Path], object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(place)
    with pytest.raises(SlipwayError, match=r"models:/sides/1 is not loaded: its files are not those .* use --trust"):
        trusted.fetch("models:/sides/1", tmp_path / "fetched")
    assert main(["predict", "models:/sides/1", str(GIVEN)]) == 1
    assert "error: models:/sides/1 is not loaded: its files are not" in capsys.readouterr().err
    trusted.fetch("models:/sides/1", tmp_path / "again", trust=True)
    assert "warning: models:/sides/1 is loaded, as --trust says, though its files" in capsys.readouterr().err


def test_a_version_of_others_is_not_loaded(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a digest, or with one that fits a loader that is none of ours."""
    client = connection.client()
    client.delete_model_version_tag("sides", "1", trusted.TAG)
    with pytest.raises(SlipwayError, match=r"it has no tag slipway\.files"):
        trusted.fetch("models:/sides/1", tmp_path / "1")
    loader(place)
    client.set_model_version_tag("sides", "1", trusted.TAG, trusted.digest(place))
    with pytest.raises(SlipwayError, match=r"its loader mlflow\.sklearn is none of Slipway's"):
        trusted.fetch("models:/sides/1", tmp_path / "2")
    trusted.adopt(client.get_model_version("sides", "1"))
    assert "is trusted from now on" in capsys.readouterr().err
    trusted.fetch("models:/sides/1", tmp_path / "3")
    trusted.adopt(client.get_model_version("sides", "1"))
    assert capsys.readouterr().err == ""  # nothing to say of what is as it should be
    code(place).write_text("")
    with pytest.raises(SlipwayError, match="its files are not those"):
        trusted.fetch("models:/sides/1", tmp_path / "4")


def test_a_link_is_no_file_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(SlipwayError, match="b is a link"):
        trusted.digest(tmp_path)


@pytest.mark.e2e
def test_a_champion_that_was_changed_is_not_asked_and_one_that_is_trusted_is(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`register` names it; with --trust its answers count, from then on."""
    code(place).write_text(code(place).read_text() + "\n# another line\n")
    fabricate.project(Path(), 0.3)
    command = ["register", "--build", "build", "--data", "data", "--out", "build/register.json"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "version 1 cannot be evaluated again (models:/sides/1 is not loaded: its files are not those" in told
    assert main([*command, "--trust"]) == 0
    both = capsys.readouterr()
    assert "models:/sides/1 is trusted from now on" in both.err
    assert "cannot be evaluated" not in both.out
    assert main(command) == 0
    assert "nothing has changed since the decision" in capsys.readouterr().out


@pytest.mark.e2e
def test_no_secret_is_in_the_environment_of_a_model(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's code tells all that it finds there."""
    secrets = {"AWS_SECRET_ACCESS_KEY": "s3cr3t-1", "DATABASE_URL": "postgresql://u:s3cr3t-2@h/db"}
    secrets |= {"HTTPS_PROXY": "http://u:s3cr3t-3@proxy:1", "MLFLOW_TRACKING_PASSWORD": "s3cr3t-4", "LANG": "C.UTF-8"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    spy = "import os\nraise ValueError(repr({k: v for k, v in os.environ.items()}))\n"
    code(place).write_text(spy)
    trusted.adopt(connection.client().get_model_version("sides", "1"))
    with pytest.raises(SlipwayError, match=r"'LANG': 'C\.UTF-8'") as told:
        isolated.predict("models:/sides/1", GIVEN)
    assert "s3cr3t" not in str(told.value)
    command = isolated._environment(Path("/work"))
    assert set(command) <= {*isolated.VARIABLES, *connection.CLIENT_DEFAULTS, "MLFLOW_TRACKING_URI", "TMPDIR"} | {
        "PYTHONDONTWRITEBYTECODE"
    }
    assert not any("s3cr3t" in value or str(Path.cwd()) in value for value in command.values())
