"""Measure the ONNX model, the one that ships, on the test split; no TensorFlow is imported."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components import SlipwayError, nearest, recipes
from components.data import raw_rows, shown, splits
from components.evaluation import bootstrap, explain, metrics, mistakes, promotion, slices, tested
from components.evaluation.examples import Examples, Measures, rounded
from components.files import model_digest, read_json, replacing, write_csv, write_json
from components.params import Params
from components.serving import onnx_model
from components.streams import stream
from components.tracking import apart

MAX_COLUMNS = 60  # of an example that the page shows
WITH = ("low", "high", "whole")  # columns of views.csv behind the main metric
MAX_HISTORY = 400  # steps of a series, the last ones


def run(params: Params, data: Path, arrays: Path, model: Path, baseline: Path, out: Path) -> dict[str, Any]:
    """Write `out`, all of it; docs/evaluation.md lists its files.

    Returns the latency, which is measured and so no part of the pipeline's outputs: the median of
    single examples, in milliseconds; and the digest of the model that it is of. Raises SlipwayError for a slice that
    is no column or fact.
    """
    with apart.opened(draws=True) as tracking:
        cost = _measured(params, data, arrays, model, baseline, out, partial(apart.draw, tracking, out.parent))
        tracking.evaluated(params, cost["model_digest"], out.parent, cost)
    return cost


def _measured(
    params: Params,
    data: Path,
    arrays: Path,
    model: Path,
    baseline: Path,
    out: Path,
    draw: Callable[[Path], None],
) -> dict[str, Any]:
    """Write the files; return what it costs. `draw` gets the folder when all is there that figures tell."""
    settings = params.evaluate
    manifest = read_json(arrays / "manifest.json")
    loaded = onnx_model.load(model)
    inputs_of = onnx_model.inputs(loaded)
    inputs = {name: np.load(arrays / "test" / f"{name}.npy", mmap_mode="r") for name in inputs_of}
    examples = tested.split(params, data, arrays).answered(onnx_model.outputs(loaded, inputs), loaded.decision)
    ask = partial(onnx_model.outputs, loaded)
    found, by_name = metrics.measure(examples)
    samples, by_name_samples = bootstrap.resampled(examples, params.seed, settings.resamples)
    estimates = bootstrap.estimates(examples, found, samples, params.seed, settings.confidence)
    columns = _columns(params, data, arrays)
    cut = slices.measured(columns, examples, params.seed, settings.resamples, settings.confidence)
    with replacing(out) as aside:
        aside.mkdir(parents=True)
        write_csv(
            aside / "intervals.csv",
            (
                {"metric": name} | dict(zip(("value", "low", "high"), map(rounded, estimate), strict=True))
                for name, estimate in estimates.items()
            ),
            ["metric", "value", "low", "high"],
        )
        _write_by_name(aside, examples, by_name, by_name_samples, settings.confidence)
        if cut:
            write_csv(aside / "slices.csv", cut, list(cut[0]))
        if (views := recipes.part(loaded.recipe, "views")) is not None:
            every = views(inputs, loaded.params)
            seen = slices.views(every, ask, examples, params.seed, settings.resamples, settings.confidence)
            write_csv(aside / "views.csv", seen, ["view", "rows", metrics.main(loaded.target, examples.costs), *WITH])
        _write_predictions(aside, arrays, examples)
        if settings.mistakes:
            write_json(aside / "mistakes.json", _mistakes(params, data, arrays, examples))
        if settings.explain:
            if important := explain.importance(ask, inputs, inputs_of, examples, params.seed):
                write_csv(aside / "importance.csv", important, list(important[0]))
            if why := explain.examples(ask, inputs, inputs_of, loaded.recipe, loaded.state, examples, settings.explain):
                write_json(aside / "explanations.json", why)
        draw(aside)
        beside = _beside(params, examples, (found, samples), baseline, _shipped(model))
        if beside:
            write_csv(aside / "baselines.csv", beside, list(beside[0]))
        numbers = {name: value for name, (value, _, _) in estimates.items()}
        numbers |= _extra(metrics.main(loaded.target, examples.costs), beside, cut)
        numbers |= {"size_mb": (model / "model.onnx").stat().st_size / 1e6, "rows": manifest["rows"]["test"]}
        defined = {name: rounded(value) for name, value in numbers.items() if np.isfinite(value)}
        write_json(aside / "metrics.json", defined)
    cost: dict[str, Any] = {"model_digest": model_digest(model), **onnx_model.latency(loaded, inputs)}
    _tell(params, out, cost["latency_ms"])
    if examples.blocks is not None and manifest["split"]["by"] == "group":
        for line in splits.too_few(len(np.unique(examples.blocks))):
            print(line)
    return cost


def _columns(params: Params, data: Path, arrays: Path) -> dict[str, pa.ChunkedArray]:
    """Read the columns and facts that evaluate.slices names, of the test examples, chunk by chunk."""
    wanted = params.evaluate.slices
    if not wanted:
        return {}
    recipe = recipes.load(params.recipe)
    columns = recipes.schema(recipe, params.task)
    own = recipe.columns(params.task).names
    found: dict[str, list[pa.ChunkedArray]] = {name: [] for name in wanted}
    alone = {*own, "label"}.issuperset(wanted)  # no facts, which need every column
    for part in raw_rows.read(data, arrays, "test", columns, only=wanted if alone else None):
        plain = {name: part[name] for name in (wanted if alone else [*own, "label"])}
        if not alone:
            facts = recipe.facts(part.select([*own, "label"]), params.task)  # some are of the label
            plain |= {name: facts[name] for name in facts.column_names if name not in plain}
        for name in wanted:
            if name not in plain:
                raise SlipwayError(f"params.yaml: evaluate.slices: no column or fact {name!r}; {nearest(name, plain)}")
            found[name].append(plain[name])
    return {
        name: pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)
        for name, parts in found.items()
    }


def _shipped(model: Path) -> str:
    """Return which candidate ships."""
    return str(read_json(model / "model.json").get("candidates", {}).get("shipped", "network"))


def _beside(
    params: Params, examples: Examples, measured: tuple[Measures, Measures], baseline: Path, shipped: str
) -> list[dict[str, Any]]:
    """Measure the baselines as the model was, `measured`: rows of baselines.csv, one a baseline and metric.

    `better` is by how much the model is better, with the interval of a paired bootstrap: the same examples are
    drawn for both. `chance` are the model's own answers, dealt out at random: what it predicts without knowing which
    example it is of (Ojala and Garriga 2010, Permutation Tests for Studying Classifier Performance).
    Where mistakes have costs and the model weighs its answers (train.threshold), the baselines give the answer that is
    expected to cost least; where it does not, the likeliest one, as it does. Of texts the classical one decides as the
    stage `baseline` has found to be best for it.
    """
    about = read_json(baseline / "baseline.json")
    costs = examples.costs if examples.decision is not None else None
    decision = None if costs is None else (-costs).tolist()
    dealt = stream(params.seed, "chance").permutation(len(examples.outputs))
    others = {
        "trivial": about["trivial"],
        "classical": about["classical"] + (promotion.ITSELF if shipped == "classical" else ""),
        "chance": "its own answers, dealt at random",
    }
    answered = {"chance": examples.answered(examples.outputs[dealt], examples.decision)}
    for name in ("trivial", "classical"):
        outputs = np.load(baseline / f"{name}.npy")
        if outputs.shape != examples.outputs.shape:
            raise SlipwayError(f"{baseline}: not fitted for these examples; fit the baselines again with `dvc repro`")
        own = about.get("decision") if name == "classical" else None
        answered[name] = examples.answered(outputs, decision or own)
    answered.pop(shipped, None)  # that one is the model itself
    drawn = _drawn(params, answered)
    rows = []
    for name, text in others.items():
        theirs = drawn.get(name, measured)
        for metric in theirs[0]:
            if name == "chance" and metric in metrics.of(examples.target).OF_OUTPUTS:
                continue
            if found := bootstrap.difference(metric, measured, theirs, params.evaluate.confidence):
                numbers = {"value": found.other, "better": found.better, "low": found.low, "high": found.high}
                row = {"baseline": name, "name": text, "metric": metric}
                rows.append(row | {key: rounded(number) for key, number in numbers.items()})
    return rows


def _drawn(params: Params, others: dict[str, Examples]) -> dict[str, tuple[Measures, Measures]]:
    """Measure the baselines, and resamples of them; without areas by chance, which are known."""
    ranked = [name != "chance" for name in others]
    samples = bootstrap.together(list(others.values()), params.seed, params.evaluate.resamples, ranked)
    return {
        name: (metrics.measure(examples, ranked=areas)[0], drawn)
        for (name, examples), areas, (drawn, _) in zip(others.items(), ranked, samples, strict=True)
    }


def _extra(main: str, beside: list[dict[str, Any]], cut: list[dict[str, Any]]) -> dict[str, float]:
    """Return the main metric of the baselines and of the worst slice, for people and for gates."""
    short = {"trivial": "baseline", "classical": "classical"}
    found = {
        f"{short[row['baseline']]}_{main}": row["value"]
        for row in beside
        if row["metric"] == main and row["baseline"] in short
    }
    if (worst := slices.worst(cut)) is not None:
        found[f"worst_slice_{main}"] = worst[main]
    return found


def _write_by_name(out: Path, examples: Examples, by_name: Measures, samples: Measures, confidence: float) -> None:
    """Write a table with a row per name, and what else the kind of target has."""
    kind, target = metrics.of(examples.target), examples.target
    low, high = bootstrap.around(by_name[kind.BY_NAME][0], samples[kind.BY_NAME], confidence)
    columns = {name: values[0] for name, values in by_name.items()}
    columns |= {f"{kind.BY_NAME}_low": low, f"{kind.BY_NAME}_high": high}
    if target.classes:
        columns["rows"] = target.counted(examples.actual)
    rows = [
        {kind.TITLE: name}
        | {
            key: int(column[index]) if key == "rows" else rounded(float(column[index]))
            for key, column in columns.items()
            if np.isfinite(column[index])
        }
        for index, name in enumerate(target.names)
    ]
    write_csv(out / kind.TABLE, rows, [kind.TITLE, *columns])
    for name, titles, more in kind.files(examples):
        write_csv(out / name, more, titles)


def _write_predictions(out: Path, arrays: Path, examples: Examples) -> None:
    """Write predictions.parquet: id, `actual`, as the dataset has it, and the columns of the target's answers."""
    target = examples.target
    ids = pa.array(np.load(arrays / "test" / "id.npy").astype(str), pa.string())
    actual = pa.array(target.decode(examples.actual), target.type)
    answers = target.answers(examples.outputs, examples.decision)
    answers = answers.add_column(0, "id", ids).add_column(1, "actual", actual)
    pq.write_table(answers, out / "predictions.parquet", compression="zstd")


def _mistakes(params: Params, data: Path, arrays: Path, examples: Examples) -> list[dict[str, Any]]:
    """Return the worst predictions, a dict each: the answer, and the example as the dataset has it.

    `shown` is an image, a recording or a text (components/data/shown.py), `columns` are all others as text, and
    `series` histories as numbers. An image of boxes is larger than others.
    """
    recipe, target = recipes.load(params.recipe), examples.target
    worst = mistakes.worst(examples, params.evaluate.mistakes)
    order = np.argsort(worst)
    columns = recipes.schema(recipe, params.task)
    own = [name for name in recipe.columns(params.task).names if name != "label"]
    found: list[dict[str, Any]] = []
    for part in raw_rows.read(data, arrays, "test", columns, rows=worst[order], only=own):
        for example in part.to_pylist():
            entry: dict[str, Any] = {"id": example["id"], "shown": {}, "columns": {}, "series": {}}
            for name in own[:MAX_COLUMNS]:
                value = example[name]
                if isinstance(value, bytes) or (isinstance(value, str) and len(own) == 1):
                    found_here = shown.example(value, large=target.maps)
                    if entry["shown"].keys() & found_here.keys():  # a second image
                        entry.setdefault("beside", []).append({"name": name, **found_here})
                    else:
                        entry["shown"] |= found_here
                elif isinstance(value, list):
                    entry["series"][name] = [None if n is None else rounded(n) for n in value[-MAX_HISTORY:]]
                else:
                    text = f"{value:.6g}" if isinstance(value, float) else str(value).removesuffix(" 00:00:00")
                    entry["columns"][name] = None if value is None else text[: shown.MAX_CHARACTERS]
            found.append(entry)
    some = examples.take(worst[order])
    answers = target.answers(some.outputs, some.decision).to_pylist()
    for entry, actual, answer in zip(found, target.decode(some.actual), answers, strict=True):
        entry |= {"actual": actual, **{name: value for name, value in answer.items() if name != "probabilities"}}
    return [found[at] for at in np.argsort(order)]


def _tell(params: Params, out: Path, latency: float) -> None:
    from components.reports import terminal

    print("\n".join([*terminal.told(params, out), f"latency: {latency:g} ms per example"]), flush=True)
