"""What a registered version says of its making, and what came of making it again.

Tags of a version that hold it: `slipway.model`, `slipway.data`, `slipway.split`, `slipway.dvc_experiment`,
`slipway.dirty`, `slipway.parent`, `mlflow.source.git.commit` (see registry.add), and those of shown.py; its run keeps
params.yaml and dvc.lock, and the processor and the packages as tags. A reproduction's verdict is a tag of its own,
`slipway.reproduced.TIME`, so that no two machines overwrite each other's.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import SlipwayError, temporary
from components.tracking import connection, provenance, record, shown

if TYPE_CHECKING:
    from mlflow.entities import Run

REPRODUCED = "slipway.reproduced."
VERDICTS_KEPT = 20  # of a version; older ones go
LAST_RUNS = 100  # of an experiment that are looked through
MAX_TAG = 4900  # characters that MLflow keeps of a tag: 5,000


@dataclass(frozen=True)
class Origin:
    """A registered version: its tags, and the tags and metrics of its run (empty where that is gone)."""

    name: str
    version: str
    run_id: str
    tags: dict[str, str]
    aliases: tuple[str, ...]
    created: float  # as time.time() has it
    run_tags: dict[str, str]
    run_metrics: dict[str, float]
    experiment_id: str = ""  # MLflow's, of the run

    def tag(self, name: str) -> str:
        """Return a tag of the version, without `slipway.`; the run's where the version has none; else empty."""
        key = name if "." in name else f"slipway.{name}"
        return self.tags.get(key) or self.run_tags.get(key, "")

    @property
    def uri(self) -> str:
        """The address that MLflow knows it by."""
        return f"models:/{self.name}/{self.version}"

    @property
    def commit(self) -> str:
        """The git commit of what it was made with; empty where there was none.

        With the tag `dirty` (of a model that no run of the flow made, or of an older Slipway) it is the one that was
        checked out, and files differed from it.
        """
        return self.tag(provenance.COMMIT)

    @property
    def parent(self) -> str:
        """The commit that was checked out, where files differed from it and `commit` holds these; else empty."""
        return self.tag(provenance.PARENT)

    @property
    def decided(self) -> tuple[str, str]:
        """The decision on it, as in shown.py, and the reason; empty where none is made."""
        return shown.decided(self.tags)

    @property
    def processor(self) -> str:
        """The device that trained it; empty where nobody noted it, as for a model that DVC's cache brought."""
        return self.run_tags.get("hardware.device_name", "")


def pinned(spec: str) -> str:
    """Return models:/NAME/VERSION for NAME, which is its champion, NAME@ALIAS, NAME/VERSION, or these after models:/.

    SlipwayError names the models and aliases that there are.
    """
    bare = not {*":@/"} & {*spec}
    return connection.pinned(f"{spec}@{champion(spec)}" if bare else spec)


def find(spec: str) -> Origin:
    """Read a version, which `spec` names as for `pinned`. Raises SlipwayError where there is none."""
    uri = pinned(spec)
    _, name, number = uri.rsplit("/", 2)
    with connection.plainly(f"read {uri}"):
        entry = connection.client().get_model_version(name, number)
        return _origin(entry, entry.aliases, _run(entry.run_id))


def every(name: str = "") -> list[Origin]:
    """Return all versions of a registered model, or of all, the oldest first, without what their runs say.

    Raises SlipwayError for an unknown name.
    """
    with connection.plainly("list the registered versions"):
        client = connection.client()
        known = {model.name: dict(model.aliases) for model in _pages(client.search_registered_models)}
        if name and name not in known:
            raise SlipwayError(f"no registered model {name}; there are: {', '.join(sorted(known)) or 'none'}")
        found = []
        for model in [name] if name else sorted(known):
            versions = _pages(client.search_model_versions, f"name = '{model}'")
            for version in sorted(versions, key=lambda each: int(each.version)):
                aliases = [alias for alias, number in known[model].items() if str(number) == str(version.version)]
                found.append(_origin(version, aliases, None))
        return found


def evaluated(name: str) -> "list[Run]":
    """Return the evaluated runs of a model's MLflow experiment, the newest first, at most LAST_RUNS; none without."""
    with connection.plainly(f"list the runs of {name}"):
        there = connection.client().get_experiment_by_name(name)
        if there is None:
            return []
        found = connection.client().search_runs(
            [there.experiment_id], order_by=["attributes.start_time DESC"], max_results=LAST_RUNS
        )
    return [run for run in found if "slipway.evaluated" in run.data.tags]


def run(text: str) -> "Run | None":
    """Return the run of that id, or the newest one of that name; None where there is none."""
    if re.fullmatch(r"[0-9a-f]{32}", text):
        with connection.plainly(f"read the run {text}"):
            return _run(text)
    with connection.plainly(f"find the run {text}"):
        client = connection.client()
        places = [each.experiment_id for each in client.search_experiments()]
        found = client.search_runs(
            places, f'attributes.run_name = "{text}"', order_by=["attributes.start_time DESC"], max_results=1
        )
    return found[0] if found else None


def of_run(run_id: str) -> Origin | None:
    """Return the first version that a run became; None where it became none."""
    with connection.plainly(f"find the version of the run {run_id}"):
        found = connection.client().search_model_versions(f"run_id = '{run_id}'")
    first = min(found, key=lambda version: int(version.version), default=None)
    return None if first is None else find(f"{first.name}/{first.version}")


def before(made: Origin) -> Origin | None:
    """Return the version before; None where it is the first."""
    numbers = [int(other.version) for other in every(made.name) if int(other.version) < int(made.version)]
    return find(f"{made.name}/{max(numbers)}") if numbers else None


def _pages(search: Any, *arguments: str) -> list[Any]:
    found, token = [], None
    while True:
        page = search(*arguments, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _origin(entry: Any, aliases: Iterable[str], run: "Run | None") -> Origin:
    return Origin(
        name=entry.name,
        version=str(entry.version),
        run_id=entry.run_id or "",
        tags=dict(entry.tags),
        aliases=tuple(sorted(aliases)),
        created=entry.creation_timestamp / 1000,
        run_tags=dict(run.data.tags) if run else {},
        run_metrics=dict(run.data.metrics) if run else {},
        experiment_id=str(run.info.experiment_id) if run else "",
    )


def _run(run_id: str | None) -> "Run | None":
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    try:
        return connection.client().get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def kept(origin: Origin, name: str) -> bytes | None:
    """Return a file that the version's run keeps, such as `project/dvc.lock`; None where it does not."""
    folder = name.rpartition("/")[0]
    with connection.plainly(f"read {name} of run {origin.run_id}"), temporary.folder() as place:
        client = connection.client()
        if _run(origin.run_id) is None or name not in [
            item.path for item in client.list_artifacts(origin.run_id, folder)
        ]:
            return None
        return Path(client.download_artifacts(origin.run_id, name, str(place))).read_bytes()


def moves(name: str) -> list[dict[str, Any]]:
    """Return the recorded moves of a registered model's champion, and decisions about one, the oldest first."""
    tags = _of_model(name)
    return [json.loads(tags[key]) for key in sorted(tags) if key.startswith(record.PREFIX)]


def champion(name: str) -> str:
    """Return the alias that a registered model's champion has."""
    return record.names(_of_model(name))["champion"]


def _of_model(name: str) -> dict[str, str]:
    with connection.plainly(f"read the registered model {name}"):
        model = next(iter(connection.client().search_registered_models(f"name = '{name}'")), None)
        return dict(model.tags) if model is not None else {}


def add(origin: Origin, verdict: Mapping[str, Any]) -> str:
    """Add a verdict to the version; returns the name of its tag. The oldest ones beyond VERDICTS_KEPT go."""
    content = dict(verdict)
    while len(text := json.dumps(content, allow_nan=False)) > MAX_TAG and content.get("metrics"):
        content["metrics"] = dict(list(content["metrics"].items())[:-1])  # the smallest difference
    key = f"{REPRODUCED}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    with connection.plainly(f"write the verdict onto {origin.uri}"):
        client = connection.client()
        client.set_model_version_tag(origin.name, origin.version, key, text)
        there = client.get_model_version(origin.name, origin.version).tags
        for old in sorted(name for name in there if name.startswith(REPRODUCED))[:-VERDICTS_KEPT]:
            client.delete_model_version_tag(origin.name, origin.version, old)
    return key


def verdicts(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the verdicts of a version's tags, the newest first."""
    found = sorted((key for key in tags if key.startswith(REPRODUCED)), reverse=True)
    return [json.loads(tags[key]) for key in found]
