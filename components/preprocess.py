"""Split the dataset, fit what must be fitted on the training split, and encode all of it to arrays.

The arrays are .npy files that are read memory-mapped; every worker writes its own rows of them, so
neither this stage nor training holds the dataset in memory.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components import SlipwayError, recipes, table
from components.files import replacing, sha256, write_json
from components.params import Params

SKIP = -1  # in place of a split: a row that was set aside


@dataclass(frozen=True)
class Part:
    """A chunk, the split of each of its rows, and how many rows of each split come before it."""

    chunk: table.Chunk
    splits: np.ndarray
    offsets: tuple[int, ...]


def run(params: Params, data: Path, quarantine: Path, out: Path) -> dict[str, Any]:
    """Write `out` (manifest.json and, per split, an array per input, label.npy and id.npy).

    Raises SlipwayError for an empty split, a label that params.yaml does not name and an example that
    cannot be encoded; each names file and row.
    """
    recipe = recipes.load(params.recipe)
    columns = recipe.columns(params.task)
    parts = list(_parts(params, table.chunks(data, columns), columns, table.set_aside(quarantine)))
    rows = {name: sum(int((part.splits == index).sum()) for part in parts) for index, name in enumerate(table.SPLITS)}
    for name, count in rows.items():
        if not count:
            total = sum(rows.values())
            raise SlipwayError(
                f"{data}: the {name} split is empty ({total} examples in all): add examples, or change split.* in "
                "params.yaml or the column `split`"
            )
    state = recipe.fit(_training(parts, columns), params.task)
    inputs = _inputs(recipe, params, parts, columns, state)
    with replacing(out) as aside:
        specs = {key: (spec["shape"], spec["dtype"]) for key, spec in inputs.items()}
        for name, count in rows.items():
            (aside / name).mkdir(parents=True)
            for key, (shape, dtype) in (specs | {"label": ([], "int32"), "id": ([], "S32")}).items():
                _create(aside / name / f"{key}.npy", np.dtype(dtype), (count, *shape))
        classes: dict[str, Counter[str]] = defaultdict(Counter)
        write = partial(_encode, params.recipe, params.task, state, aside)
        with closing(table.parallel(write, parts, sum(rows.values()))) as results:
            for name, counter in (item for counted in results for item in counted.items()):
                classes[name].update(counter)
        labels = params.task.labels
        manifest = {
            "recipe": params.recipe,
            "digest": sha256(*(aside / name / f"{key}.npy" for name in table.SPLITS for key in ("id", "label"))),
            "rows": rows,
            "inputs": inputs,
            "labels": labels,
            "state": state,
            "classes": {name: {label: classes[name][label] for label in labels} for name in table.SPLITS},
        }
        write_json(aside / "manifest.json", manifest)
    shapes = ", ".join(f"{name} {spec['dtype']} {spec['shape']}" for name, spec in inputs.items())
    print(f"{rows['train']:,} train, {rows['validation']:,} validation, {rows['test']:,} test examples; {shapes}")
    return {"rows": sum(rows.values())}


def _parts(
    params: Params, chunks: list[table.Chunk], columns: pa.Schema, aside: dict[str, list[int]]
) -> Iterator[Part]:
    offsets = np.zeros(len(table.SPLITS), np.int64)
    whole = any("validation" in table.read(c, columns, only=("split",))["split"].to_pylist() for c in chunks)
    for chunk in chunks:
        keys = table.read(chunk, columns, only=("id", "split"))
        found = table.splits(keys, params.split.test, params.split.validation, params.seed, whole_train=whole)
        dropped = np.array(aside.get(chunk.path.name, []), np.int64) - chunk.start
        found[dropped[(dropped >= 0) & (dropped < chunk.rows)]] = SKIP
        yield Part(chunk, found, tuple(offsets.tolist()))
        offsets += [int((found == index).sum()) for index in range(len(table.SPLITS))]


def _training(parts: list[Part], columns: pa.Schema) -> Iterator[pa.Table]:
    for part in parts:
        yield table.read(part.chunk, columns, only=columns.names).filter(pa.array(part.splits == 0))


def _inputs(
    recipe: recipes.Recipe, params: Params, parts: list[Part], columns: pa.Schema, state: Any
) -> dict[str, Any]:
    """Name, shape and dtype of the model's inputs, from the first example that is not set aside."""
    part = next(part for part in parts if (part.splits != SKIP).any())
    first = table.read(part.chunk, columns).filter(pa.array(part.splits != SKIP)).slice(0, 1)
    try:
        arrays = recipe.encode(first, params.task, state)
    except ValueError as error:
        raise SlipwayError(f"{part.chunk.path}: the first example cannot be encoded: {error}") from None
    return {name: {"shape": list(array.shape[1:]), "dtype": array.dtype.name} for name, array in arrays.items()}


def _encode(recipe_name: str, task: Any, state: Any, out: Path, part: Part) -> dict[str, Counter[str]]:
    """Encode one chunk into the arrays; runs in a worker process. Returns the labels counted per split."""
    recipe = recipes.load(recipe_name)
    columns = recipe.columns(task)
    examples = table.read(part.chunk, columns)
    codes = {label: index for index, label in enumerate(task.labels)}
    counted = {}
    for index, name in enumerate(table.SPLITS):
        rows = np.flatnonzero(part.splits == index)
        if not len(rows):
            continue
        chosen = examples.take(pa.array(rows))
        labels = chosen["label"].to_pylist()
        unknown = next((at for at, label in enumerate(labels) if label not in codes), None)
        if unknown is not None:
            raise SlipwayError(
                f"{part.chunk.path}: row {part.chunk.start + rows[unknown]}: label {labels[unknown]!r} is not in "
                f"{recipe_name}.labels of params.yaml; add it there, or have the expectations set such rows aside"
            )
        arrays = _checked(recipe, chosen, task, state, part.chunk, rows)
        arrays |= {"label": np.array([codes[label] for label in labels], np.int32)}
        arrays |= {"id": np.array(chosen["id"].to_pylist(), "S32")}
        at = part.offsets[index]
        for key, array in arrays.items():
            _write(out / name / f"{key}.npy", at, array)
        counted[name] = Counter(labels)
    return counted


def _create(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Make an .npy file of zeros, sparse where the file system can (NEP 1)."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + int(np.prod(shape)) * dtype.itemsize)


def _write(path: Path, at: int, array: np.ndarray) -> None:
    """Write rows from row `at` on. Not through a memory map: on a full disk that ends in SIGBUS."""
    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        file.seek(at * int(np.prod(shape[1:])) * dtype.itemsize, os.SEEK_CUR)
        file.write(array.astype(dtype, order="C").tobytes())


def _checked(
    recipe: recipes.Recipe, examples: pa.Table, task: Any, state: Any, chunk: table.Chunk, rows: np.ndarray
) -> recipes.Arrays:
    try:
        return recipe.encode(examples, task, state)
    except ValueError as error:
        for at, row in enumerate(rows):  # one by one, to name the row
            try:
                recipe.encode(examples.slice(at, 1), task, state)
            except ValueError as own:
                where = f"{chunk.path}: row {chunk.start + row}"
                raise SlipwayError(f"{where}: {own}; have the expectations set such rows aside") from None
        raise SlipwayError(f"{chunk.path}: {error}") from None
