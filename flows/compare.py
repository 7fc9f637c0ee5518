"""What changed from one training to another, and what it brought: slipway compare."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components import SlipwayError, nearest, params, targets
from components.evaluation import bootstrap, metrics, tested
from components.evaluation.examples import Examples
from components.evaluation.promotion import MIN_COMMON_ROWS
from components.files import read_json, sha256
from components.params import Params
from components.reports import comparison, difference, results
from components.reports.comparison import Pairs, Side
from components.tracking import connection, origin, runs
from components.validation import drift
from flows.machinery import git, models, workspace
from flows.machinery import origin as sources
from flows.machinery.origin import Objects, Source

NOT_COMPARED = ("clean", "notify", "source")  # sections that change no result


@dataclass(frozen=True)
class Made:
    """A training and its evaluation: files where they were kept, and what MLflow knows."""

    title: str
    model: str  # the name of its MLflow experiment
    source: Source | None  # None: only MLflow's run is left
    run: Any = None  # of MLflow; None where none is known
    version: str = ""
    why: str = ""  # there is no source


def run(asked: list[str]) -> int:
    """Print how trainings differ: the last one from the champion, one from the champion, or each from the first."""
    connection.check()
    pairs = _pairs(asked)
    with sources.opened() as store:
        for at, (old, new) in enumerate(pairs):
            if at:
                print()
            for line in _told(old, new, store):
                print(line)
        for problem in store.problems:
            print(f"note: {problem}")
    return 0


def _pairs(asked: list[str]) -> list[tuple[Made, Made]]:
    if len(asked) > 1:
        first, *others = map(_found, asked)
        return [(first, other) for other in others]
    if asked and not _is_model(asked[0]):
        new = _found(asked[0])
        return [(_before(new), new)]
    new = _last(models.find(asked[0] if asked else ""))
    return [(_before(new), new)]


def _is_model(text: str) -> bool:
    return text in models.names() or text == models.root_name() or text in models.examples()


def _last(model: models.Model) -> Made:
    """Return the last training of a model."""
    name = params.name(model.folder / "params.yaml")
    found = origin.evaluated(name)
    if not found:
        raise SlipwayError(
            f"no run of {name} has been evaluated yet: `slipway run {model.name}".rstrip() + "` makes one"
        )
    return _of_run(found[0])


def _before(new: Made) -> Made:
    """Return the champion; where there is none, or it is the new one, the training before."""
    alias = origin.champion(new.model)
    champion = next((made for made in _versions(new.model) if alias in made.aliases), None)
    if champion is not None and champion.run_id != (new.run.info.run_id if new.run else None):
        return _of_version(origin.find(f"{champion.name}/{champion.version}"), alias)
    earlier = origin.evaluated(new.model)
    if new.run is not None:
        earlier = [run for run in earlier if run.info.start_time < new.run.info.start_time]
    if not earlier:
        raise SlipwayError(
            f"there is nothing to compare {new.title} with: it is the only run of {new.model}; name two, such as "
            f"`slipway compare {new.model}/1 {new.model}/2`"
        )
    return _of_run(earlier[0])


def _versions(name: str) -> list[origin.Origin]:
    try:
        return origin.every(name)
    except SlipwayError:  # nothing was registered yet
        return []


def _found(text: str) -> Made:
    """Find a training: a version, a DVC experiment, or the id or name of an MLflow run."""
    if "@" in text or text.startswith("models:/") or text.rpartition("/")[2].isdigit():
        return _of_version(origin.find(text), text.rpartition("@")[2] if "@" in text else "")
    if _is_model(text):
        return _last(models.find(text))
    if re.fullmatch(r"[\w.-]+", text) and (commit := sources.experiment(text)):
        source = Source(commit, f"DVC experiment {text}", text)
        name = str(source.yaml("params.yaml").get("name", ""))
        known = [run for run in origin.evaluated(name) if run.data.tags.get("slipway.dvc_experiment") == text]
        return Made(text, name, source, known[0] if known else None)
    if (run := origin.run(text)) is not None:
        return _of_run(run)
    names = [made.uri.removeprefix("models:/") for made in origin.every()]
    names += git.run("for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps").split()
    names += [str(run.info.run_name) for run in origin.evaluated(models.root_name())]
    raise SlipwayError(
        f"{text}: expected a version (NAME@ALIAS, NAME/VERSION), the name of a DVC experiment, or the id or name of "
        f"a run in MLflow; {nearest(text, [each for each in dict.fromkeys(names) if each])}"
    )


def _of_version(made: origin.Origin, alias: str = "") -> Made:
    title = f"{made.name}/{made.version}{f' ({alias})' if alias else ''}"
    run = origin.run(made.run_id) if made.run_id else None
    try:
        return Made(title, made.name, sources.source(made), run, made.version)
    except SlipwayError as error:
        return Made(title, made.name, None, run, made.version, str(error))


def _of_run(run: Any) -> Made:
    """Find the files of a run: by its version, its DVC experiment, or in the checkout, where it was the last one."""
    called, name = run.info.run_name, connection.client().get_experiment(run.info.experiment_id).name
    if (made := origin.of_run(run.info.run_id)) is not None:
        found = _of_version(made)
        return Made(f"{found.title} ({called})", name, found.source, run, made.version, found.why)
    experiment = run.data.tags.get("slipway.dvc_experiment", "")
    if experiment and (commit := sources.experiment(experiment)):
        return Made(f"{experiment} ({called})", name, Source(commit, f"DVC experiment {experiment}", experiment), run)
    for place in (Path(), *(workspace.WORKSPACES / model for model in models.names())):
        if _lies_in(place, run):
            lays = {path: (place / path).read_bytes() for path in sources.KEPT if (place / path).is_file()}
            return Made(called, name, Source(git.commit("HEAD"), "the checkout", "", lays), run)
    why = f"the predictions of the run {called} were not kept: it is neither a version nor a DVC experiment"
    return Made(called, name, None, run, "", why)


def _lies_in(place: Path, run: Any) -> bool:
    folder = place / "build/evaluation"
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return bool(files) and sha256(*files) == run.data.tags.get("slipway.evaluated")


@dataclass
class _Files:
    """What is left of a training's files."""

    manifest: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    predictions: pa.Table | None = None
    blocks: np.ndarray | None = None
    columns: dict[str, Any] = field(default_factory=dict)


def _files(made: Made, store: Objects) -> _Files:
    """Bring what the comparison needs of a training's outputs from DVC's cache, or its remotes."""
    if made.source is None:
        return _Files()
    outs = {path: md5 for each in difference.digests(made.source.lock()).values() for path, md5 in each.items()}

    def path(folder: str, name: str) -> Path | None:
        listed = (store.listing(outs[folder]) if folder in outs else None) or {}
        return store.path(listed[name]) if name in listed else None

    def content(folder: str, name: str) -> Any:
        found = path(folder, name)
        return read_json(found) if found is not None else {}

    columns = store.path(outs.get(f"build/validation/{drift.NAME}", ""))
    predictions, blocks = path("build/evaluation", "predictions.parquet"), path("build/arrays", "test/block.npy")
    return _Files(
        content("build/arrays", "manifest.json"),
        content("build/model", "model.json"),
        content("build/evaluation", "metrics.json"),
        None if predictions is None else pq.read_table(predictions),
        None if blocks is None else np.load(blocks),
        {} if columns is None else read_json(columns),
    )


def _told(old: Made, new: Made, store: Objects) -> list[str]:
    before, now = _files(old, store), _files(new, store)
    settings = [_settings(made) for made in (old, new)]
    if not all(whole for _, whole in settings):  # a run has not all of params.yaml
        usual = _usual(old, new)
        settings = [(_of_training(values if whole else usual | values), False) for values, whole in settings]
    one, two = (
        _side(made, files, values) for made, files, (values, _) in zip((old, new), (before, now), settings, strict=True)
    )
    pairs = _paired(old, new, before, now)
    shown = metrics.of(targets.of(now.model["target"])).SHOWN if now.model else tuple(two.metrics)
    return comparison.text(one, two, pairs, shown)


def _settings(made: Made) -> tuple[dict[str, Any], bool]:
    """Return all settings of a training, and whether these are those of params.yaml and not of MLflow's run."""
    if made.source is not None and (content := made.source.yaml("params.yaml")):
        try:
            every = _checked(content).model_dump(mode="json", by_alias=True)
        except SlipwayError:  # of another version of Slipway: as it was written
            return runs.flat({name: content[name] for name in content if name not in NOT_COMPARED}), True
        task, recipe = every.pop("task"), str(every["recipe"])
        kept = {name: value for name, value in every.items() if name not in NOT_COMPARED}
        return runs.flat(kept | {recipe: task}), True
    return {name: _plain(text) for name, text in made.run.data.params.items()} if made.run else {}, False


def _usual(*every: Made) -> dict[str, Any]:
    """Return the defaults, which a run does not log; of one whose params.yaml is there, for some depend on others."""
    for made in every:
        if made.source is not None and (content := made.source.yaml("params.yaml")):
            with suppress(SlipwayError):  # of another version of Slipway
                return {name: _plain(text) for name, text in runs.usual(_checked(content)).items()}
    return {}


def _checked(content: dict[str, Any]) -> Params:
    return params.check(dict(content), Path("params.yaml"))


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _of_training(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a run has too."""
    others = ("costs", "evaluate.", "register.", "validate.")
    return {name: value for name, value in settings.items() if not name.startswith(others)}


def _side(made: Made, files: _Files, settings: dict[str, Any]) -> Side:
    stages = made.source.lock() if made.source else {}
    deps = {dep["path"]: str(dep.get("md5", "")) for stage in stages.values() for dep in stage.get("deps", [])}
    code = {path: md5 for path, md5 in deps.items() if path.startswith(("components/", "expectations/"))}
    packages: dict[str, str] = {}
    for stage in stages.values():
        for file, versions in stage.get("params", {}).items():
            if Path(file).stem == "versions":  # requirements/versions.json, in older versions .yaml
                packages |= versions
    logged = dict(made.run.data.metrics) if made.run else {}
    candidates = files.model.get("candidates", {})
    data = deps.get("data", "") or (made.run.data.tags.get("slipway.data", "") if made.run else "")
    return Side(
        title=made.title,
        settings=settings,
        data=data,
        rows=files.manifest.get("rows", {}),
        split=files.manifest.get("split", {}),
        code=code,
        folder=_folder(made.model),
        packages=packages,
        metrics=results.of_test(logged) | files.metrics,
        costs=results.of_cost(logged) | {name: files.metrics[name] for name in results.SIZES if name in files.metrics},
        ships=candidates.get("names", {}).get(candidates.get("shipped"), ""),
        columns=files.columns,
    )


def _folder(model: str) -> str:
    """Return the folder in which a model has its own expectations; empty for the root's model."""
    if model in models.names() or model in models.examples():
        return models.find(model).folder.as_posix()
    return ""


def _paired(old: Made, new: Made, before: _Files, now: _Files) -> Pairs:
    """Compare the predictions of both on the examples that are test for both, as a promotion does."""
    for made, files in ((old, before), (new, now)):
        if files.predictions is None or not files.model:
            why = made.why or f"its predictions are neither in DVC's cache nor in its remotes: {made.title}"
            return Pairs(problem=why.splitlines()[0])
    assert before.predictions is not None and now.predictions is not None  # noqa: S101 - for the type checker
    assert new.source is not None  # noqa: S101
    target = targets.of(now.model["target"])
    if targets.of(before.model["target"]).kind != target.kind:
        return Pairs(problem="they predict answers of different kinds")
    ids = {key: row for row, key in enumerate(before.predictions["id"].to_pylist())}
    common = [(row, ids[key]) for row, key in enumerate(now.predictions["id"].to_pylist()) if key in ids]
    of = len(now.predictions)
    if len(common) < min(MIN_COMMON_ROWS, of):
        why = f"only {len(common):,} of {of:,} test examples are test for both, and {MIN_COMMON_ROWS} are needed"
        return Pairs(problem=why, rows=len(common), of=of)
    try:
        settings = _checked(new.source.yaml("params.yaml"))
    except SlipwayError as error:
        return Pairs(problem=f"the settings of {new.title} are of another Slipway ({str(error).splitlines()[0]})")
    names = len(target.names)
    per_group = isinstance(now.model["state"].get("mase_scale"), dict)  # whose groups the predictions do not name
    ours, theirs = (np.array([pair[side] for pair in common]) for side in (0, 1))
    truth = now.predictions["actual"].to_pylist()
    examples = Examples(
        actual=target.encode(truth),
        outputs=np.full((of, *target.shape), np.nan, np.float32),
        target=target,
        costs=settings.cost_matrix(),
        scale=None if per_group else tested.scale(now.model["state"], names, [None] * of),
        deviation=None if target.classes else np.array(now.model["state"]["target"]["deviation"]),
        bins=settings.evaluate.calibration_bins,
        blocks=now.blocks,
    ).take(ours)
    tables = [(now.predictions.take(ours), now), (before.predictions.take(theirs), before)]
    kind, own = metrics.of(target), settings.evaluate
    wanted = dict.fromkeys([*kind.SHOWN, kind.score(names, settings.costs)])
    for name in bootstrap.BIASED:  # two estimates of it say little of each other
        wanted.pop(name, None)
    found: dict[str, bootstrap.Difference] = {}
    # probabilities for the metrics of these, what was decided for all others
    for some in ([n for n in wanted if n in kind.OF_OUTPUTS], [n for n in wanted if n not in kind.OF_OUTPUTS]):
        if some:
            one, two = (
                tested.answered(examples, table, some[0], targets.of(files.model["target"]).names)
                for table, files in tables
            )
            found |= bootstrap.differences(some, one, two, settings.seed, own.resamples, own.confidence)
    return Pairs({name: found[name] for name in wanted if name in found}, len(common), of, own.confidence)
