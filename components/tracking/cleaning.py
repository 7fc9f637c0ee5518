"""What MLflow holds and nobody needs: runs, and models that were logged and not registered.

A registered version keeps its run, its logged model, and all that its tags lead to. On a store of this project alone
the rest is removed at once. On a shared one, where another machine may be registering the very model, a run first goes
into MLflow's bin and is removed for good a day later; `registry.add` takes its own run out of the bin again.
"""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from components.tracking import connection, record, registry, shown

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

TAG = "slipway.spent"  # of a run: `slipway clean` put it into the bin
IN_BIN_SECONDS = 86_400  # that a run of a shared store stays there
STORE = "mlartifacts"  # in the project's folder: NAME/RUN/artifacts, NAME/models/MODEL/artifacts
BATCH = 50  # runs in one turn of the registry


@dataclass
class Needed:
    """What the registered versions lead to."""

    runs: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)  # logged ones, by id
    experiments: set[str] = field(default_factory=set)  # of DVC, by name
    commits: set[str] = field(default_factory=set)
    data: set[str] = field(default_factory=set)  # digests of DVC


@dataclass
class Spent:
    """Runs, with their logged models, that nobody needs, and what their artefacts take where that can be seen."""

    runs: "list[Run]"
    models: "list[LoggedModel]"
    size: int


def needed(without: "Iterable[ModelVersion]" = ()) -> Needed:
    """Return what all registered versions of all models need, but those `without`."""
    found, others = Needed(), {(version.name, str(version.version)) for version in without}
    for version in _pages(connection.client().search_model_versions, ""):
        if (version.name, str(version.version)) in others:
            continue
        tags = version.tags
        found.runs |= {version.run_id or "", tags.get("slipway.run", "")}
        found.models |= {version.model_id or "", version.source.rpartition("/")[2] if version.source else ""}
        found.experiments.add(tags.get("slipway.dvc_experiment", ""))
        found.commits.add(tags.get("mlflow.source.git.commit", ""))
        found.data.add(tags.get("slipway.data", ""))
    for kind in (found.runs, found.models, found.experiments, found.commits, found.data):
        kind.discard("")
    return found


def passed_over(names: list[str], keep: int, seconds: float) -> "list[ModelVersion]":
    """List the versions of these models that were decided against, beyond the last `keep` and older than `seconds`.

    None that has an alias, or that the record of a model's moves names, be it as what was there before.
    """
    client, found = connection.client(), []
    for name in names:
        model = next(iter(client.search_registered_models(f"name = '{name}'")), None)
        if model is None:
            continue
        moves = [json.loads(text) for key, text in model.tags.items() if key.startswith(record.PREFIX)]
        named = {str(move.get(key)) for move in moves for key in ("version", "before", "reference")}
        named |= {str(version) for version in model.aliases.values()}
        versions = sorted(_pages(client.search_model_versions, f"name = '{name}'"), key=lambda each: -int(each.version))
        kept = [each for each in versions if shown.decided(each.tags)[0] == shown.REFUSED][keep:]
        before = (time.time() - seconds) * 1000
        found += [each for each in kept if str(each.version) not in named and each.creation_timestamp < before]
    return found


def remove_versions(found: "list[ModelVersion]") -> None:
    """Remove versions that nobody has given an alias by now."""
    client = connection.client()
    for version in found:
        with registry.turn(version.name):
            if not client.get_model_version(version.name, version.version).aliases:
                client.delete_model_version(version.name, version.version)


def spent(names: list[str], keep: int, seconds: float, without: "Iterable[ModelVersion]" = ()) -> Spent:
    """List the runs of these models that no version needs: beyond the last `keep` of each, and older than `seconds`.

    Runs that are under way stay, and so do those that are not Slipway's. A store of this project alone is looked
    through as a whole, also for models that are no longer here. The versions `without` need nothing any more.
    """
    from mlflow.entities import ViewType

    client, kept, old, models = connection.client(), needed(without), [], []
    for experiment in _pages(client.search_experiments, view_type=ViewType.ALL):
        if connection.uri() != connection.default() and experiment.name not in names:
            continue
        order = {"order_by": ["attributes.start_time DESC"], "run_view_type": ViewType.ALL}
        found = [run for run in _pages(client.search_runs, [experiment.experiment_id], **order) if _is_ours(run)]
        alive = [run for run in found if run.info.lifecycle_stage != "deleted"]
        of_bin = [run for run in found if run.info.lifecycle_stage == "deleted" and TAG in run.data.tags]
        before = (time.time() - seconds) * 1000
        beyond = [run for run in alive[keep:] if run.info.start_time < before and run.info.status != "RUNNING"]
        found = [run for run in [*beyond, *of_bin] if run.info.run_id not in kept.runs]
        old += found
        ids = {run.info.run_id for run in found}
        logged = _pages(client.search_logged_models, [experiment.experiment_id])
        models += [model for model in logged if model.source_run_id in ids and model.model_id not in kept.models]
    sizes = [_size(run.info.artifact_uri) for run in old] + [_size(model.artifact_location) for model in models]
    return Spent(old, models, sum(sizes))


def remove(found: Spent) -> None:
    """Remove what `spent` has found and no version needs by now; one that is killed leaves the rest in the bin."""
    from mlflow.entities import ViewType

    client = connection.client()
    experiments = _pages(client.search_experiments, view_type=ViewType.ALL)
    names = {experiment.experiment_id: experiment.name for experiment in experiments}
    for experiment_id in dict.fromkeys(run.info.experiment_id for run in found.runs):
        alive = [
            run
            for run in found.runs
            if run.info.experiment_id == experiment_id and run.info.lifecycle_stage != "deleted"
        ]
        for start in range(0, len(alive), BATCH):
            with registry.turn(names[experiment_id]):  # so no version comes between the look and the removal
                kept = needed().runs
                for run in alive[start : start + BATCH]:
                    if run.info.run_id not in kept:
                        client.set_tag(run.info.run_id, TAG, f"{int(time.time())}")
                        client.delete_run(run.info.run_id)
    _empty_bin(found)


def _empty_bin(found: Spent) -> None:
    """Remove for good what is in the bin, and on a shared store was so a day ago."""
    client, store, kept = connection.client(), _store(), needed()
    of_run: dict[str, list[LoggedModel]] = {}
    for model in found.models:
        of_run.setdefault(str(model.source_run_id), []).append(model)
    for run in found.runs:
        own = client.get_run(run.info.run_id)
        since = float(own.data.tags.get(TAG, "inf"))
        is_shared = connection.uri() != connection.default()
        if own.info.lifecycle_stage != "deleted" or (is_shared and time.time() - since < IN_BIN_SECONDS):
            continue
        for model in of_run.get(run.info.run_id, []):
            if model.model_id not in kept.models:
                registry.remove_logged(model)
                _remove_empty(model.artifact_location)
        with suppress(FileNotFoundError):
            _artefacts(str(run.info.artifact_uri)).delete_artifacts()
        _remove_empty(run.info.artifact_uri)
        if store is not None:
            for model_id in store._get_deleted_logged_models():
                if store.get_logged_model(model_id, allow_deleted=True).source_run_id == run.info.run_id:
                    store._hard_delete_logged_model(model_id)
            store._hard_delete_run(run.info.run_id)


def _is_ours(run: "Run") -> bool:
    return "slipway.training" in run.data.tags


def _store() -> Any:
    """Return the store itself, which alone removes for good; None behind a server, whose `mlflow gc` does it."""
    from mlflow.tracking._tracking_service.utils import _get_store

    found = _get_store(connection.uri())  # type: ignore[no-untyped-call]
    return found if hasattr(found, "_hard_delete_run") else None


def behind_server() -> bool:
    """Return whether runs in the bin are the server's to remove."""
    return connection.uri().startswith("http")


def _artefacts(uri: str) -> Any:  # untyped
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(uri)


def _size(uri: str | None) -> int:
    """Return what a folder of artefacts takes on this machine's disk; 0 for one that lies elsewhere."""
    folder = _folder(uri)
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) if folder else 0


def _folder(uri: str | None) -> Path | None:
    """Return a folder of artefacts on this machine's disk; None for one that lies elsewhere."""
    parts = urlsplit(uri or "")
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _remove_empty(uri: str | None) -> None:
    """Remove the folder whose artefacts were removed, if empty, and that of the run or model that it was in.

    MLflow leaves them. Only in the store of this project alone: in another one a name may be given before its files.
    """
    folder, store = _folder(uri), (connection.root() / STORE).resolve()
    if folder is None or folder.name != "artifacts" or connection.uri() != connection.default():
        return
    for place in (folder, folder.parent):
        with suppress(OSError):  # not empty, or gone already
            if store in place.resolve().parents:
                place.rmdir()


def _pages(ask: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
    token = None
    while True:
        page = ask(*arguments, page_token=token, **options)
        yield from page
        token = page.token
        if not token:
            return
