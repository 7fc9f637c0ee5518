"""The MLflow registry: models and versions found by the model's digest, so that nothing is made twice.

Only tracking.py and this file do something in MLflow.
"""

import contextlib
import json
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from components import SlipwayError, locks, recipes, shipped, temporary
from components.files import model_digest, read_json
from components.params import Params
from components.reports import card, results
from components.serving import onnx_model
from components.tracking import connection, provenance, record, shown, trusted

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

MAX_TURN_SECONDS = 60.0  # that a lock stays unchanged before its holder is taken for dead
MAX_GONE = 20  # times that MLflow finds a lock and then does not find it, until its error is another one than that
OWNER_TAG = "slipway.owner"  # of a logged model: the process that makes it
# What components/serving/onnx_model.py imports.
SERVING_PACKAGES = ("mlflow", "numpy", "onnxruntime", "pandas", "pyarrow", "pydantic")
TAGS_OF_RUN = (provenance.COMMIT, provenance.PARENT, provenance.DIRTY, "slipway.dvc_experiment")  # as on the run
WAITING = "another `register` is using this registry ({holder}); waiting for it ..."
MLFLOW_TYPES = {
    "string": "string",
    "double": "double",
    "binary": "binary",
}
# MLflow would make false of a boolean that is null, and refuse all rows for a time with an offset: serving/loose.py.
LOOSE = ("bool", "timestamp[us]")


@contextmanager
def alone() -> Iterator[None]:
    """Let one `register` at a time of this project work on its store; others wait.

    This spares them doing the same work twice; what two machines must not do at once, they do in turn (see `turn`).
    """
    with locks.alone(locks.place(connection.root(), "register"), WAITING):
        yield


def find(name: str, digest: str) -> "ModelVersion | None":
    """Return the oldest version of that model digest."""
    query = f"name = '{name}' and tags.`slipway.model` = '{digest}'"
    found = connection.client().search_model_versions(query)
    return min(found, key=lambda version: int(version.version), default=None)


def holders(name: str) -> "dict[str, ModelVersion | None]":
    """Return the versions that have the roles `champion` and `reference`, the best one so far."""
    there = record.find(name)
    numbers = {"champion": there and there.champion, "reference": there and there.reference}
    found = {n: connection.client().get_model_version(name, n) for n in {*numbers.values()} if n}
    return {role: found[number] if number else None for role, number in numbers.items()}


def adopt(name: str) -> None:
    """Trust the versions that a challenger is compared with as they lie there now, whoever registered them."""
    for holder in holders(name).values():
        if holder is not None:
            trusted.adopt(holder)


def newer(name: str, champion: "ModelVersion") -> bool:
    """Tell whether the data that was used is of a version that came after all that the champion could have seen."""
    seen = connection.client().search_model_versions(
        f"name = '{name}' and tags.`slipway.data` = '{provenance.used_data()}'"
    )
    return all(int(version.version) > int(champion.version) for version in seen)


@contextmanager
def turn(name: str) -> Iterator[None]:
    """Let one `register` at a time, of all machines, move the aliases of a model; others wait.

    MLflow has no lock to offer, but a registered model's name is given away once: who could make NAME.lock has the
    turn, for a second or so. One whose holder died is removed: at once where that can be known, else after
    MAX_TURN_SECONDS.
    """
    from mlflow.exceptions import MlflowException

    client, lock = connection.client(), f"{name}.lock"
    mine = f"held for a moment, while the aliases of {name} move: {socket.gethostname()} {temporary.owner()}"
    seen, since, gone = "", time.monotonic(), 0
    while True:
        try:
            client.create_registered_model(lock, description=mine)
            break
        except MlflowException as error:
            gone += error.error_code == "RESOURCE_DOES_NOT_EXIST"  # the other's, as MLflow looked whose it is
            if gone > MAX_GONE or error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise
        there = next(iter(client.search_registered_models(f"name = '{lock}'")), None)
        if there is not None and there.description != seen:
            seen, since = str(there.description), time.monotonic()
        dead = temporary.is_dead(seen.rpartition(" ")[2]) or time.monotonic() - since > MAX_TURN_SECONDS
        if there is not None and dead:
            print(f"the registered model {lock} was left behind by a process that died; it is removed", flush=True)
            with suppress(MlflowException):
                client.delete_registered_model(lock)
        time.sleep(0.2)
    try:
        yield
    finally:
        there = next(iter(client.search_registered_models(f"name = '{lock}'")), None)
        if there is not None and there.description == mine:  # not that of one who took us for dead
            client.delete_registered_model(lock)


def left_behind(name: str) -> bool:
    """Tell whether the turn of a model is held by a process that died: the next turn removes it."""
    there = connection.client().search_registered_models(f"name = '{name}.lock'")
    return any(temporary.is_dead(str(each.description).rpartition(" ")[2]) for each in there)


def with_metrics(name: str, champion: dict[str, Any] | None, tags: dict[str, str]) -> dict[str, Any] | None:
    """Add to what is known of the champion the test metrics of its own evaluation, if that had the same test split."""
    from mlflow.exceptions import MlflowException

    client = connection.client()
    try:
        holder = client.get_model_version(name, str((champion or {})["version"]))
        measured = client.get_run(str(holder.run_id)).data.metrics
    except (KeyError, MlflowException):  # no champion, or a version that was deleted since
        return champion
    if any(holder.tags.get(key) != tags.get(key) for key in ("slipway.data", "slipway.split")):
        return (champion or {}) | {"unlike": "it was evaluated on another test split"}
    known = (champion or {}).get("metrics", {})
    return (champion or {}) | {"metrics": results.of_test(measured) | known}


def tag(version: "ModelVersion", values: dict[str, str]) -> None:
    """Set tags on a version; those that it has already are not written again.

    The caller has the turn: of two machines that add one tag at once, MLflow fails the second.
    """
    for key, value in values.items():
        if version.tags.get(key) != value:
            connection.client().set_model_version_tag(version.name, version.version, key, value)


def add(params: Params, build: Path, run_id: str, digest: str, example: pa.Table) -> "ModelVersion":
    """Log the model to its run, where that is still to be done, and register it as a new version."""
    client = connection.client()
    model_id = _logged(params, build, run_id, digest, example)
    of_run = client.get_run(run_id).data.tags
    tags = {
        **shown.BEGUN,
        shown.DECISION: "none yet",
        "score": results.score(params, build),
        **shown.made_of(read_json(build / "arrays" / "manifest.json"), of_run),
        "slipway.model": digest,
        "slipway.data": provenance.used_data(),
        trusted.TAG: client.get_logged_model(model_id).tags[trusted.TAG],
        "slipway.split": json.dumps(read_json(build / "arrays" / "manifest.json").get("split")),
        **{key: of_run[key] for key in TAGS_OF_RUN if of_run.get(key, "false") != "false"},
        **provenance.experiment(),  # the run was there before `retrain` saved its experiment
    }
    with turn(params.name), connection.announced():  # another machine may have made it while this one wrote the model
        if (version := find(params.name, digest)) is not None:
            if version.model_id != model_id:
                remove_logged(client.get_logged_model(model_id))
            return version
        if client.get_run(run_id).info.lifecycle_stage == "deleted":  # by `slipway clean` on another machine
            client.restore_run(run_id)
        if not client.search_registered_models(f"name = '{params.name}'"):
            used = params.register_.aliases.champion
            client.create_registered_model(
                params.name,
                description=f"A model built with the recipe `{params.recipe}` by Slipway. The version with the alias "
                f"`{used}` is the one to use; each version's description begins with what was decided about it.",
            )
        return client.create_model_version(
            params.name, f"models:/{model_id}", run_id, tags=tags, model_id=model_id, await_creation_for=60
        )


def _logged(params: Params, build: Path, run_id: str, digest: str, example: pa.Table) -> str:
    """Return the id of the run's logged model of that digest; one that was left half-made is made anew.

    One that another process is making at this moment is left to it.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
    from mlflow.models import Model

    client = connection.client()
    run = client.get_run(run_id)
    query = f"source_run_id = '{run_id}' AND tags.`slipway.model` = '{digest}'"
    for model in client.search_logged_models([run.info.experiment_id], query):
        if model.status != LoggedModelStatus.READY:
            owner = model.tags.get(OWNER_TAG)  # none: made by an older version of Slipway
            if owner in (None, temporary.owner()) or temporary.is_dead(owner, model.last_updated_timestamp / 1000):
                remove_logged(model)
        elif trusted.TAG in model.tags:  # else of an older version of Slipway
            return str(model.model_id)
    made = client.create_logged_model(
        run.info.experiment_id,
        params.name,
        run_id,
        tags={"slipway.model": digest, OWNER_TAG: temporary.owner()},
        params=run.data.params,
        model_type="pyfunc",
    )
    with temporary.folder() as name:
        folder = Path(name)
        meta = Model(made.artifact_location, run_id, model_uuid=made.model_id, model_id=made.model_id)
        _save(params, build, example, folder, meta)
        client.set_logged_model_tags(made.model_id, {trusted.TAG: trusted.digest(folder / "model")})
        client.log_model_artifacts(made.model_id, str(folder / "model"))
    numbers = {k: v for k, v in run.data.metrics.items() if k.startswith(("test/", results.COST))}
    metrics = [
        Metric(key, value, run.info.end_time or 0, 0, model_id=made.model_id, run_id=run_id)
        for key, value in numbers.items()
    ]
    client.log_batch(run_id, metrics=metrics[:1000])
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    for path in _papers(build):
        client.log_artifact(run_id, str(path), "build" if build in path.parents else "project")
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    return str(made.model_id)


def remove_logged(model: "LoggedModel") -> None:
    """Remove a logged model, and what was written of it."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    connection.client().delete_logged_model(model.model_id)  # in the store alone
    written: Any = get_artifact_repository(model.artifact_location)  # untyped
    with contextlib.suppress(Exception):
        written.delete_artifacts()


def _papers(build: Path) -> list[Path]:
    """Files that explain or continue the model, for the run's artefacts."""
    data = [build / "validation" / name for name in ("report.html", "columns.json")]
    made = [build / name for name in ("evaluation/metrics.json", "model/model.keras", "model/model.json")]
    found = [*data, *made, *map(Path, ("params.yaml", "dvc.yaml", "dvc.lock"))]
    return [path for path in found if path.exists()]


def _save(params: Params, build: Path, example: pa.Table, folder: Path, meta: Any) -> None:
    """Write the MLflow model to folder/model: ONNX, the code that reads it, signature, example, requirements."""
    import mlflow.pyfunc

    data = folder / "onnx"
    data.mkdir()
    for name in ("model.onnx", "model.json"):
        shutil.copy(build / "model" / name, data / name)
    package = shipped.write(folder / "code", params.recipe, model_digest(data))
    recipe = recipes.load(params.recipe)
    packages = sorted({*SERVING_PACKAGES, *recipe.requirements})
    mlflow.pyfunc.save_model(
        folder / "model",
        loader_module=f"{package}.{shipped.LOADER}",
        data_path=str(data),
        code_paths=[str(folder / "code" / package)],
        pip_requirements=[f"{name}=={provenance.version(name)}" for name in packages],
        signature=_signature(params),
        input_example=example.select(recipes.asked(recipe, params.task).names).to_pandas(),
        metadata={
            "recipe": params.recipe,
            "params": params.task.model_dump(mode="json"),
            "network": read_json(data / "model.json").get("network"),  # none where the classical model ships
        },
        mlflow_model=meta,
    )


def _signature(params: Params) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import AnyType, Array, Object, Property

    def spec(field: pa.Field, *, required: bool) -> ColSpec:
        if str(field.type) in LOOSE:
            return ColSpec(AnyType(), field.name, required=required)  # type: ignore[no-untyped-call]
        return ColSpec(of(field, field.type), field.name, required=required)

    def of(field: pa.Field, kind: pa.DataType) -> Any:
        if pa.types.is_list(kind):
            return Array(of(field, kind.value_type))
        if pa.types.is_struct(kind):
            return Object([Property(each.name, of(field, each.type)) for each in kind])
        if (name := MLFLOW_TYPES.get(str(kind))) is None:
            raise SlipwayError(f"recipe {params.recipe}: column {field.name} is {field.type}; MLflow has no such type")
        return DataType[name]

    recipe = recipes.load(params.recipe)
    inputs: list[ColSpec | TensorSpec] = [spec(field, required=True) for field in recipes.asked(recipe, params.task)]
    # an example that cannot be read has an error and no answer
    answer = onnx_model.schema(recipe.target(params.task))
    outputs: list[ColSpec | TensorSpec] = [spec(field, required=False) for field in answer]
    return ModelSignature(Schema(inputs), Schema(outputs))


def describe(version: "ModelVersion", params: Params, build: Path, digest: str, evidence: list[str]) -> None:
    """Write the version's description: the model's card and why it was or was not promoted; see shown.decide too."""
    cost = results.costs(build, digest).get("evaluate", {})
    why = ("\n### Promotion\n" + "\n".join(evidence) + "\n")[: shown.MAX_DESCRIPTION // 2]
    most = shown.MAX_DESCRIPTION - shown.MAX_HEAD - len("\n\n") - len(why)
    text = card.text(params, build, digest, cost, most) + why
    connection.client().update_model_version(version.name, version.version, text)
