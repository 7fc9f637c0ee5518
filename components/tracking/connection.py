"""Where MLflow is, and how to talk to it: the address, the client, its errors in plain words."""

import contextlib
import functools
import json
import logging
import os
import re
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import SlipwayError, closest, files, listed, locks, near, nearest
from components.masking import mask
from components.surroundings import root as root  # noqa: PLC0414 - for those who ask here where the project is

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CLIENT_DEFAULTS = {  # for MLflow's client, where the user has set nothing else: a dead server is told in seconds
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it would print the password in the address
}
RAISING_PACKAGES = (  # whose errors are of MLflow, its HTTP client, its database or the store of its artefacts
    "mlflow",
    "requests",
    "urllib3",
    "sqlalchemy",
    "psycopg2",
    "botocore",
    "boto3",
    "s3transfer",
    "google",
    "azure",
)
_ANNOUNCING = threading.RLock()
FILE = "mlflow.db"  # in the project's root
MAKING = "another process is making mlflow.db ({holder}); waiting until it is done"
EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}  # else `mlflow ui` takes it for GenAI


def uri() -> str:
    """Return MLFLOW_TRACKING_URI or, where it is not set, the file that plain `mlflow ui` opens."""
    return os.environ.get("MLFLOW_TRACKING_URI") or default()


def default() -> str:
    """Return the address of the file that plain `mlflow ui` opens in the project's root."""
    return f"sqlite:///{(root() / FILE).as_posix()}"


def cause(error: BaseException) -> str:
    """Say in a line why MLflow could not be reached or did not do it; no credentials, no pile of wrapped errors."""
    text = str(error)
    for sign, plain in {
        "Connection refused": "connection refused",
        "Name or service not known": "unknown host",
        "Failed to resolve": "unknown host",
        "timed out": "no response in time",
    }.items():
        if sign in text:
            return plain
    return mask(next(iter(text.strip().splitlines()), type(error).__name__))[:300]


def set_defaults() -> None:
    """Set what the user has not; before MLflow is asked anything, and before `check` is shorter still."""
    for name, value in CLIENT_DEFAULTS.items():
        os.environ.setdefault(name, value)


def client() -> "MlflowClient":
    """Return MLflow's client of `uri()`; a registry of its own is MLFLOW_REGISTRY_URI, as always."""
    return _client(uri(), os.environ.get("MLFLOW_REGISTRY_URI"))


@functools.cache
def _client(store: str, registry: str | None) -> "MlflowClient":
    set_defaults()
    if "MLFLOW_TRACKING_URI" not in os.environ and (root() / "mlruns").is_dir():
        _warn_of_old_store(root() / "mlruns")
    from mlflow import MlflowClient

    own = os.environ["MLFLOW_LOGGING_LEVEL"] == CLIENT_DEFAULTS["MLFLOW_LOGGING_LEVEL"]
    for name in ("alembic", "urllib3", *(["mlflow"] if own else [])):
        logging.getLogger(name).setLevel(logging.ERROR)
    if store == default() and not (root() / FILE).exists():
        _make(root() / FILE)
    if own:  # that shows the traceback of what it raises, such as of a full disk, and we say it in a sentence
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return MlflowClient(store, registry)


def _make(path: Path) -> None:
    """Make MLflow's database whole or not at all.

    MLflow does it in a hundred steps, and one that was killed in between can neither go on nor be upgraded.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with locks.alone(locks.place(path.parent, "mlflow"), MAKING):
        if path.exists():
            return
        with files.replacing(path) as aside, files.beside(path) as room:  # SQLite has files of its own there
            room.mkdir()
            place = (path.parent / "mlartifacts").as_uri()
            store = SqlAlchemyStore(f"sqlite:///{(room / FILE).as_posix()}", place)  # type: ignore[no-untyped-call]
            store.engine.dispose()
            (room / FILE).replace(aside)


def _half_made(path: Path) -> bool:
    """Tell whether a database of MLflow's was never finished: it has neither a run nor a model."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as base:
            tables = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            rows = {"runs": "SELECT 1 FROM runs", "registered_models": "SELECT 1 FROM registered_models"}
            return "alembic_version" in tables and not any(
                base.execute(rows[n]).fetchone() for n in tables & rows.keys()
            )
    except sqlite3.Error:
        return False


def _warn_of_old_store(folder: Path) -> None:
    """Plain `mlflow ui` prefers a file store of older days, and would then not show our experiments."""
    if any(folder.glob("*/meta.yaml")):
        print(
            f"warning: {folder} contains an old MLflow file store, which plain `mlflow ui` opens instead of "
            "mlflow.db; move it away, or use `mlflow ui --backend-store-uri sqlite:///mlflow.db`",
            file=sys.stderr,
        )


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """Name the store in the environment, where MLflow's own code looks for it in places.

    It would open the one of the current folder, and escape the path's spaces: a folder of that name beside ours.
    One thread at a time: each puts back what was there.
    """
    with _ANNOUNCING:
        before = os.environ.get("MLFLOW_TRACKING_URI")
        os.environ["MLFLOW_TRACKING_URI"] = uri()
        try:
            yield
        finally:
            if before is None:
                del os.environ["MLFLOW_TRACKING_URI"]


@contextlib.contextmanager
def plainly(doing: str) -> Iterator[None]:
    """Turn what MLflow, its HTTP client, database or artefact store raises into a SlipwayError without credentials."""
    try:
        yield
    except SlipwayError:
        raise
    except Exception as error:
        if type(error).__module__.split(".")[0] not in RAISING_PACKAGES:
            raise
        raise SlipwayError(f"MLflow at {mask(uri())}: cannot {doing}: {cause(error)}") from None


def load() -> None:
    """Import MLflow with what it will need, in a process that is prepared while others work."""
    set_defaults()  # some of them are read by the import
    import mlflow

    if uri().startswith("sqlite:"):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def check() -> None:
    """Raise SlipwayError at once if MLflow does not answer."""
    set_defaults()
    store = uri()
    short = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    before = {name: os.environ[name] for name in short}
    os.environ.update(short)
    try:
        if not store.startswith(("http", "sqlite", "file", "databricks", "/", ".")):
            import sqlalchemy  # MLflow itself would try a dead database for minutes

            sqlalchemy.create_engine(store).connect().close()
        client().search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001 - whatever it is, it does not answer
        hint = "start it, or unset MLFLOW_TRACKING_URI to use mlflow.db here"
        if "MLFLOW_TRACKING_URI" not in os.environ:
            hint = "move the file away, or run `mlflow db upgrade` on it if another version of MLflow made it"
            if _half_made(root() / FILE):
                hint = f"its making was cut short, and it has neither runs nor models: remove {FILE} and run this again"
        raise SlipwayError(f"MLflow at {mask(store)} does not respond ({cause(error)}); {hint}") from None
    finally:
        os.environ.update(before)


def page(server: str, path: str) -> str:
    """Return the address of a page of MLflow's, in its mode for trained models: left alone it opens that for agents."""
    return f"{server.rstrip('/')}/#/{path}?workflowType=machine_learning"


def experiment(name: str) -> str:
    """Return the id of the experiment of that name; it is made, or taken out of the bin, where needed."""
    mlflow = client()
    found = mlflow.get_experiment_by_name(name)
    if found is None:
        place = None
        if uri() == default():
            place = (root() / "mlartifacts" / name).as_uri()
        try:
            return mlflow.create_experiment(name, place, EXPERIMENT_KIND)
        except Exception:  # two trainings may start at once: the other one was first
            found = mlflow.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        mlflow.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def about(version: str) -> dict[str, Any]:
    """Return what models:/NAME/VERSION was registered with: `recipe`, and `params` of its section, where it is ours.

    `inputs` are the columns of its signature, and MLflow's names of their types; `data` is the folder of its files.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model

    with plainly(f"read {version}"), announced():
        path = download_artifacts(artifact_uri=f"{version}/MLmodel", tracking_uri=uri())
    model = Model.load(path)
    columns = model.signature.inputs.inputs if model.signature and model.signature.inputs else []
    inputs = {column.name: str(getattr(column.type, "name", "")) for column in columns}
    data = model.flavors.get("python_function", {}).get("data", "")
    return dict(model.metadata or {}) | {"inputs": inputs, "data": data}


def state(version: str, data: str) -> dict[str, Any]:
    """Return what models:/NAME/VERSION learned of its training data, as `fit` of its recipe made it; {} if unknown.

    `data` is the folder of its files. A version that is not ours has no such file.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    with plainly(f"read {version}"), announced():
        try:
            path = download_artifacts(artifact_uri=f"{version}/{data}/model.json", tracking_uri=uri())
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except (MlflowException, OSError, ValueError):
            return {}
    return dict(found.get("state") or {}) if isinstance(found, dict) else {}


def pinned(model: str) -> str:
    """Return models:/NAME/VERSION for NAME@ALIAS or NAME/VERSION, with or without models:/ before it.

    SlipwayError names the models and aliases that there are.
    """
    from mlflow.exceptions import MlflowException

    found = re.fullmatch(r"(?:models:/)?([^/@:]+)(?:@([^/@]+)|/(\d+))", model)
    if not found:
        raise SlipwayError(
            f"{model}: expected models:/NAME@ALIAS or models:/NAME/VERSION, or these without models:/, such as "
            f"{re.sub(r'[/@:].*', '', model.removeprefix('models:/')) or 'digits'}@champion"
        )
    name, alias, number = found.groups()
    with plainly(f"find {model}"):
        try:
            entry = client().get_model_version_by_alias(name, alias) if alias else None
            number = entry.version if entry else client().get_model_version(name, number).version
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            models = {
                found.name: {*found.aliases}
                for found in client().search_registered_models()
                if not found.name.endswith(".lock")
            }
            if number and name in models:
                version(name, number)  # says which there are
            likely = closest(name, models)
            hint = nearest(name, sorted(models)) if models else "there are none yet"
            if name in models:
                hint = near(alias, models[name], f"{name}@")
                if not hint:
                    why = f" yet; `slipway history {name}` says why" if alias == "champion" else ""
                    there = listed(f"{name}@{each}" for each in sorted(models[name])) or "no aliases"
                    raise SlipwayError(
                        f"{name} has no version with the alias {alias}{why}; there are: {there}, and {name}/VERSION "
                        "names one by its number"
                    ) from None
            elif likely and alias in models[likely]:
                hint = f"did you mean {likely}@{alias}?"
            raise SlipwayError(
                f"models:/{model.removeprefix('models:/')}: no such model in MLflow at {mask(uri())}; {hint}"
            ) from None
    return f"models:/{name}/{number}"


def version(name: str, number: str) -> "ModelVersion":
    """Return a version; SlipwayError names those that there are."""
    found = client().search_model_versions(f"name = '{name}'")
    for entry in found:
        if str(entry.version) == number:
            return client().get_model_version(name, number)
    known = ", ".join(str(n) for n in sorted(int(entry.version) for entry in found)[-20:])
    raise SlipwayError(f"{name} has no version {number!r}; there are: {known or 'none'}")
