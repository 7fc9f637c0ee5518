"""MLflow's runs: one for each training, found again by what it is made of and never by a stored random id.

Names in a run, in the groups that MLflow draws together: an epoch's metrics as `train/loss` and `validation/loss`,
those within an epoch as `train/steps/loss`, all at the optimizer's step; the evaluation as `test/<metric>`, what it all
took as `cost.<name>`.
Tags: `slipway.training` (digest of everything the training depends on), `slipway.model` (digest of the model;
set last, so that a run which has it is complete), `slipway.data`, `slipway.params`, `slipway.evaluated`; those for
people: see shown.py.
"""

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel

from components import SlipwayError, listed, recipes, temporary
from components.evaluation import metrics
from components.files import model_digest, read_json, sha256
from components.masking import mask
from components.params import Params
from components.reports import card, results
from components.tracking import live, provenance, registry, shown
from components.tracking.apart import closed
from components.tracking.connection import check, client, experiment, plainly, uri

if TYPE_CHECKING:
    from mlflow.entities import Dataset, Metric, Run

__all__ = ["Training", "check", "ensure_run", "evaluated", "training", "uri"]
Training = live.Training  # what train is given
KEYED_BY_DATA = ("class_weights", "numbers", "dates", "zones")  # of `train`; the others of the setting `reading`
ALWAYS = (  # parameters that every run shows; what ends with a point is a section
    *("name", "recipe", "seed", "split.", "network.model"),
    *(f"train.{name}" for name in ("epochs", "batch_size", "optimizer", "learning_rate", "loss", "schedule.name")),
)
MAX_CHANGES, MAX_VALUE = 3, 40  # that a run's name tells, and characters of each
MAX_NOTE = 8000  # characters that MLflow takes
MAX_SCHEMA = 1_000_000  # characters of a dataset's schema that MLflow takes


def _find(name: str, **tags: str) -> "Run | None":
    """Return the newest run of the experiment with these `slipway.` tags."""
    query = " and ".join(f"tags.`slipway.{key}` = '{value}'" for key, value in tags.items())
    found = client().search_runs([experiment(name)], query, order_by=["attributes.start_time DESC"])
    return found[0] if found else None


def flat(values: object, prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings: {"train": {"epochs": 3}} becomes {"train.epochs": 3}.

    Settings whose keys are columns or labels stay one: there may be thousands, of any spelling.
    """
    if not isinstance(values, dict) or (values and prefix.rpartition(".")[2] in KEYED_BY_DATA):
        return {prefix: values}
    return {
        key: item for name, value in values.items() for key, item in flat(value, f"{prefix}.{name}".lstrip(".")).items()
    }


def parameters(params: Params) -> dict[str, Any]:
    """Return the settings that a training depends on, by name, such as train.epochs."""
    return _chosen(params.model_dump(mode="json", by_alias=True), params.recipe)


def _chosen(every: dict[str, Any], recipe: str) -> dict[str, Any]:
    chosen = {key: every[key] for key in ("name", "recipe", "seed", "split", "network", "train") if key in every}
    return flat(chosen | {recipe: every.get("task", {})})


def _shown(params: Params) -> dict[str, str]:
    """Return the parameters of a run: those of the recipe, the usual ones, and what params.yaml sets or has otherwise.

    Of a version all of it is in its run's project/params.yaml, and the others are the defaults; a hundred settings that
    nobody has touched hide those that matter.
    """
    every = _spelled(parameters(params))
    given = _chosen(params.model_dump(mode="json", by_alias=True, exclude_unset=True), params.recipe)
    defaults, always = usual(params), (*ALWAYS, f"{params.recipe}.")
    return {
        key: value
        for key, value in every.items()
        if key.startswith(always) or key in given or defaults.get(key) != value
    }


def usual(params: Params) -> dict[str, str]:
    """Return the defaults of all parameters: of a section with several kinds, such as a schedule, those of its kind."""

    def defaults(section: BaseModel) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, field in type(section).model_fields.items():
            value = getattr(section, name)
            if isinstance(value, BaseModel):
                found[name] = defaults(value)
            elif not field.is_required():
                found[name] = field.get_default(call_default_factory=True)
        return found

    return _spelled(_chosen(defaults(params), params.recipe))


def _describe(run: "Run", params: Params, manifest: dict[str, Any], tags: dict[str, Any]) -> None:
    """Log what is known before a training starts; what the run has already is left as it is."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    values = _shown(params)
    new = [Param(key, value) for key, value in values.items() if key not in run.data.params]
    found = provenance.tags()
    every = shown.made_of(manifest, found) | found | {"slipway.params": params.digest()} | tags
    for at in range(0, max(len(new), 1), 100):  # MLflow's limit a call
        client().log_batch(
            run.info.run_id,
            params=new[at : at + 100],
            tags=[RunTag(key, str(value)) for key, value in every.items()] if at == 0 else [],
        )
    if run.inputs is not None and run.inputs.dataset_inputs:
        return
    dataset = Dataset(
        name=params.name,
        digest=(provenance.used_data() or "not versioned")[:36],
        source_type="dvc",
        source=json.dumps({"file": "data.dvc", **provenance.commit()}),
        schema=_schema(params),
        profile=json.dumps(
            {"num_rows": sum(manifest["rows"].values()), **{k: manifest[k] for k in ("rows", "classes")}}
        ),
    )
    context = InputTag("mlflow.data.context", "train, validation, test")
    client().log_inputs(run.info.run_id, [DatasetInput(dataset, [context])])


def _schema(params: Params) -> str | None:
    """Return the columns of the dataset as MLflow shows them; None where they are too many: the signature has them."""
    columns = recipes.load(params.recipe).columns(params.task)
    schema = [
        {"name": field.name, "type": str(field.type), "required": not field.nullable}
        for field in [*columns, pa.field("label", pa.string(), nullable=False)]
    ]
    text = json.dumps({"mlflow_colspec": schema})
    return text if len(text) <= MAX_SCHEMA else None


def _start(params: Params, key: str, manifest: dict[str, Any], owner: str = "") -> "Run":
    """Make a run that is found again from its first moment on, should its making be cut short."""
    made_of = shown.made_of(manifest, provenance.commit())
    tags = shown.BEGUN | made_of | {"slipway.training": key, "slipway.process": owner or temporary.owner()}
    found = client().search_runs([experiment(params.name)], max_results=1, order_by=["attributes.start_time DESC"])
    name = _called(params, manifest, found[0]) if found else "first run"
    return client().create_run(experiment(params.name), tags=tags, run_name=name)


def _called(params: Params, manifest: dict[str, Any], before: "Run") -> str:
    """Return the name of a run: what is other than in the run before, such as `dropout=0.3, +1,088 rows`."""
    was, defaults = before.data.params, usual(params)
    now = _spelled(parameters(params))
    names = Counter(map(_short, now))
    changed = []
    for key in dict.fromkeys([*now, *was]):
        if was.get(key, defaults.get(key)) != now.get(key):
            short = _short(key)
            value = now.get(key, "default").replace('"', "")[:MAX_VALUE]
            changed.append(f"{short if names[short] == 1 else key}={value}")
    if before.data.tags.get("slipway.data") != provenance.used_data():
        dataset = _dataset(before)
        rows = sum(manifest["rows"].values()) - json.loads(dataset.profile or "{}").get("num_rows", 0) if dataset else 0
        columns = dataset is not None and dataset.schema != _schema(params)
        changed.append(f"{rows:+,} rows" if rows else "other columns" if columns else "other rows")
    return listed(changed, MAX_CHANGES) if changed else "other code"


def _short(key: str) -> str:
    """Return the last word of a parameter's name; of a schedule's name, `schedule`."""
    return key.removesuffix(".name").rpartition(".")[2]


def _dataset(run: "Run") -> "Dataset | None":
    """Return what MLflow knows of a run's dataset: its columns, and its examples in all splits."""
    given = run.inputs.dataset_inputs if run.inputs is not None else []
    return given[0].dataset if given else None


def _spelled(values: dict[str, Any]) -> dict[str, str]:
    """Spell parameters as MLflow keeps them."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def _bury(name: str) -> None:
    """Mark the runs of trainings whose process is dead as killed."""
    for run in client().search_runs([experiment(name)], "attributes.status = 'RUNNING'"):
        if temporary.is_dead(run.data.tags.get("slipway.process", "")):
            client().set_terminated(run.info.run_id, "KILLED")


@contextlib.contextmanager
def training(params: Params, key: str, manifest: dict[str, Any], device: dict[str, Any]) -> Iterator[Training]:
    """Track a training: in the run of the same `key`, which ends with the same bytes; a new one where there is none.

    `key` is a digest of everything the training depends on, `manifest` that of build/arrays, `device` what
    it runs on. Raises SlipwayError where MLflow does not answer now; one that is lost later is no error.
    """
    with closed(begun(params, key, manifest, device, temporary.owner())) as tracked:
        yield tracked


def begun(params: Params, key: str, manifest: dict[str, Any], device: dict[str, Any], owner: str) -> Training:
    """Begin to track a training, as `training` does; `owner` stands for its process (temporary.owner)."""
    check()
    with plainly("start a run"), registry.turn(params.name):  # MLflow lets no two log one parameter at once
        _bury(params.name)
        run = _find(params.name, training=key)
        if run is None:
            run = _start(params, key, manifest, owner)
        else:
            client().update_run(run.info.run_id, status="RUNNING")
        tags = {f"hardware.{name}": value for name, value in device.items()}
        own = {"slipway.training": key, "slipway.process": owner}
        _describe(run, params, manifest, tags | own)
        return Training(client(), run, mask(uri()))


def evaluated(params: Params, model_digest: str, build: Path, cost: dict[str, Any], drawn: Path | None = None) -> None:
    """Add the evaluation's metrics and figures to the run that made the model; only warns if it cannot.

    `drawn` has the figures where they are drawn already: see figures.drawn.
    """
    try:
        check()
        with plainly("record the evaluation"):
            run = _find(params.name, model=model_digest)
            if run is not None:  # a model from DVC's cache gets its run from `register`
                _evaluate(run, params, build, cost, drawn)
    except SlipwayError as error:
        print(f"warning: {error}\n  `slipway run` will complete the MLflow run", file=sys.stderr)


def ensure_run(params: Params, build: Path) -> str:
    """Return the id of the run that made the model in `build`; what it lacks is added from the files there.

    Raises SlipwayError where MLflow does not answer.
    """
    digest = model_digest(build / "model")
    trained = results.costs(build, digest).get("train", {})  # here, and not brought from DVC's cache
    key = str(trained.get("training", digest))
    with plainly("find or make the run"):
        run = _find(params.name, model=digest)
        if run is None:
            with registry.turn(params.name):  # of two machines with this model, one makes the run
                run = _find(params.name, model=digest) or _made(params, build, key, digest)
        cost = results.costs(build, digest).get("evaluate", {})
        if run.data.tags.get("slipway.evaluated") != _evaluation(build):
            _evaluate(run, params, build, cost)
        else:  # what the evaluation took is known when it has ended, and so not in `evaluated`
            _record(run, params, results.numbers(build, digest, cost))
        tags = client().get_run(run.info.run_id).data.tags
        if named := provenance.exact(tags):
            manifest = read_json(build / "arrays" / "manifest.json")
            for name, value in (named | shown.made_of(manifest, tags | named)).items():
                client().set_tag(run.info.run_id, name, value)
    return str(run.info.run_id)


def _made(params: Params, build: Path, key: str, digest: str) -> "Run":
    """Make the run of a training, or complete the one that was cut short; the caller has the turn."""
    run, manifest = _find(params.name, training=key), read_json(build / "arrays" / "manifest.json")
    if run is None or "slipway.model" in run.data.tags:
        run = _start(params, key, manifest)
    _describe(run, params, manifest, {"slipway.training": key})
    _complete(run, params, build)
    client().set_tag(run.info.run_id, "slipway.model", digest)
    client().set_terminated(run.info.run_id, "FINISHED")
    return run


def _complete(run: "Run", params: Params, build: Path) -> None:
    """Log the steps and epochs of a training that the run lacks, as train does while it runs."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    rows = read_json(build / "arrays" / "manifest.json")["rows"]["train"]
    steps = -(-rows // params.train.batch_size)  # in an epoch
    wanted = [
        Metric(f"train/steps/{key}", float(row[key]), now, int(row["step"]))
        for row in results.read_csv(build / "training" / "steps.csv")
        for key in row
        if key not in ("step", "learning_rate")
    ]
    wanted += [
        Metric(live.grouped(key), float(value), now, int(row["epoch"]) * steps)
        for row in results.read_csv(build / "training" / "epochs.csv")
        for key, value in row.items()
    ]
    there = {
        (key, metric.step) for key in run.data.metrics for metric in client().get_metric_history(run.info.run_id, key)
    }
    _log(run, [metric for metric in wanted if (metric.key, metric.step) not in there])


def _log(run: "Run", metrics: "list[Metric]") -> None:
    for at in range(0, len(metrics), 1000):  # MLflow's limit a call
        client().log_batch(run.info.run_id, metrics=metrics[at : at + 1000])


def _evaluation(build: Path) -> str:
    return sha256(*sorted((build / "evaluation").iterdir()))


def _record(run: "Run", params: Params, numbers: dict[str, float]) -> None:
    """Log numbers of the whole run, where it does not have them so already."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    shown = results.few(numbers, (*params.register_.minimum, *params.register_.maximum))
    _log(run, [Metric(key, value, now, 0) for key, value in shown.items() if run.data.metrics.get(key) != value])


def _evaluate(run: "Run", params: Params, build: Path, cost: dict[str, Any], drawn: Path | None = None) -> None:
    from components.reports import figures, page

    digest = model_digest(build / "model")
    numbers, note = results.numbers(build, digest, cost), card.text(params, build, digest, cost, MAX_NOTE)
    table = build / "evaluation" / metrics.of(params.target()).TABLE
    with figures.drawn(build) if drawn is None else contextlib.nullcontext(drawn) as folder, registry.turn(params.name):
        run = client().get_run(run.info.run_id)
        _record(run, params, numbers)
        if run.data.tags.get("slipway.evaluated") == _evaluation(build):  # another machine was first
            return
        if table.exists():
            client().log_artifact(run.info.run_id, str(table), "evaluation")
        client().log_artifacts(run.info.run_id, str(folder), "figures")
        client().log_text(run.info.run_id, page.html(params, build), page.NAME)
        client().set_tag(run.info.run_id, "mlflow.note.content", note)
        client().set_tag(run.info.run_id, "score", results.score(params, build))
        client().set_tag(run.info.run_id, "slipway.evaluated", _evaluation(build))
