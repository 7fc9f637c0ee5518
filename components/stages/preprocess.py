"""Split the dataset, fit what must be fitted on the training split, and encode all of it to arrays.

The arrays are .npy files that are read memory-mapped; every worker writes its own rows of them, so
neither this stage nor training holds the dataset in memory. What a chunk is encoded to is kept (components/reuse.py),
but where it depends on what the recipe has learned from the whole training split: new data then changes all of it.
"""

import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components import SlipwayError, files, recipes, reuse
from components.data import dataset, splits
from components.files import replacing, write_json
from components.params import Params
from components.reuse import Slot
from components.targets import Target

Encoded = dict[str, recipes.Arrays]  # split -> arrays, those of the label and the id among them
SET_ASIDE = -2  # in place of a split: a row that was set aside
SIZE_BYTES = 8  # in front of what is kept compressed: how long it is


@dataclass(frozen=True)
class Part:
    """A chunk, the split of each of its rows, and how many rows come before it: of each split, and of all."""

    chunk: dataset.Chunk
    splits: np.ndarray
    offsets: tuple[int, ...]
    start: int  # rows of the dataset before this chunk


def run(params: Params, data: Path, quarantine: Path, out: Path) -> dict[str, Any]:
    """Write `out` (manifest.json and, per split, an array per input, label.npy, id.npy and row.npy).

    Where groups are split, or a recipe orders its examples, block.npy of the test split says which of them a bootstrap
    draws as one.

    Raises SlipwayError for an empty split, a label that cannot be and an example that cannot be encoded;
    each names file and row.
    """
    recipe = recipes.load(params.recipe)
    columns = recipes.schema(recipe, params.task)
    target = recipe.target(params.task)
    chunks = dataset.chunks(data, columns)
    rule, keys, sides = _split(params, chunks, columns, dataset.set_aside(quarantine))
    parts = list(_parts(chunks, sides))
    rows = {name: sum(int((part.splits == index).sum()) for part in parts) for index, name in enumerate(dataset.SPLITS)}
    for name, count in rows.items():
        if not count:
            seed = splits.other_seed(rule, keys, [side != SET_ASIDE for side in sides])
            raise SlipwayError(
                f"{data}: the {name} split is empty ({sum(rows.values())} examples in total): add examples, or change "
                "split.* in params.yaml or the column `split`"
                + ("" if seed is None else f"; with `seed: {seed}` under `split:` none is empty")
            )
    for line in splits.told(rule, keys, sides):
        print(line)
    state = _fitted(recipe, params, parts, columns)
    inputs = _inputs(recipe, params, parts, columns, state)
    with replacing(out) as aside:
        specs = {key: (spec["shape"], spec["dtype"]) for key, spec in inputs.items()}
        label = target.encode([])
        specs |= {
            "label": (list(label.shape[1:]), label.dtype.name),
            "id": ([], _ids_dtype(keys)),
            "row": ([], "int64"),
        }
        for name, count in rows.items():
            (aside / name).mkdir(parents=True)
            for key, (shape, dtype) in specs.items():
                _create(aside / name / f"{key}.npy", np.dtype(dtype), (count, *shape))
        job = partial(_written, params.recipe, params.task, state, aside)
        settings = params.task.model_dump(mode="json")
        # what was learned changes with the data: nothing that was made with it is ever made the same way again
        limit = 0.0 if state else params.clean.keep_gb
        with reuse.store("preprocess", params.recipe, params.name, settings, limit, recipe.requirements) as kept:
            sources = reuse.sources(kept, dataset.files(data))
            slots = [_slot(kept, sources, part) for part in parts]
            there = [reuse.has(place) for place in slots]  # asked once: another run may remove one at any moment
            items = list(zip(parts, slots, strict=True))
            fresh = [item for item, known in zip(items, there, strict=True) if not known]
            reused = [item for item, known in zip(items, there, strict=True) if known]
            work = reuse.workload(sum(part.chunk.rows for part, _ in fresh), (part.chunk.path for part, _ in fresh))
            with closing(dataset.parallel(job, fresh, work)) as others:
                deque(chain(map(job, reused), others), maxlen=0)  # all of it
        if (blocks := splits.blocks(rule, keys, np.load(aside / "test" / "row.npy"))) is not None:
            np.save(aside / "test" / "block.npy", blocks)
        if not target.classes:
            state |= {"target": _scale(np.load(aside / "train" / "label.npy", mmap_mode="r"))}
        manifest = {
            "recipe": params.recipe,
            "digest": files.sha256(
                *(aside / name / f"{key}.npy" for name in dataset.SPLITS for key in ("id", "label"))
            ),
            "rows": rows,
            "split": rule,
            "inputs": inputs,
            "target": target.described(),
            "state": state,
            "classes": {name: _counted(target, np.load(aside / name / "label.npy")) for name in dataset.SPLITS},
        }
        write_json(aside / "manifest.json", manifest)
    # a split by id alone goes by the content: what is alike is on one side
    if (rule["by"] != "id" or rule["official"]) and (shared := _shared(out)):
        print(
            f"{shared:,} of {rows['test']:,} test examples have the same content as one of training or validation: "
            "the test results are too good; by id that cannot be: look at the official split, the groups or the times"
        )
    if left_out := sum(part.chunk.rows for part in parts) - sum(rows.values()):
        print(f"left out {left_out:,} examples: set aside by validate, or by the split by time (in a gap, or no time)")
    before = len(sources) - len({part.chunk.path for part, _ in fresh})
    if before > 0:
        print(f"as before: {before:,} of {len(sources):,} files; what they were encoded to is reused")
    shapes = ", ".join(f"{name} {spec['dtype']} {spec['shape']}" for name, spec in inputs.items())
    print(f"{rows['train']:,} train, {rows['validation']:,} validation, {rows['test']:,} test examples; {shapes}")
    return {"rows": sum(rows.values())}


def _shared(arrays: Path) -> int:
    """Count the test examples whose content is in the training or the validation split, too."""
    others, tested = (pa.array(dataset.contents(arrays, *names)) for names in (("train", "validation"), ("test",)))
    return int(pc.sum(pc.is_in(tested, others)).as_py())


def _split(
    params: Params, chunks: list[dataset.Chunk], columns: pa.Schema, aside: dict[str, list[int]]
) -> tuple[splits.Rule, list[pa.Table], list[np.ndarray]]:
    """Make the rule that splits the dataset; return it, what it looks at of each chunk, and each chunk's splits."""
    by, column, gap = params.split_by()
    only = ["id", "split", *([column] if column else [])]
    keys, kept = [], []
    for chunk in chunks:
        keys.append(dataset.read(chunk, columns, only=only))
        keep = np.ones(chunk.rows, bool)
        dropped = np.array(aside.get(chunk.path.name, []), np.int64) - chunk.start
        keep[dropped[(dropped >= 0) & (dropped < chunk.rows)]] = False
        kept.append(keep)
    used = [part.filter(pa.array(keep)) for part, keep in zip(keys, kept, strict=True)]
    rule = splits.make(by, column, (params.split.test, params.split.validation), params.split.seed, used, gap)
    sides = [
        np.where(keep, splits.assigned(rule, part), np.int8(SET_ASIDE)) for part, keep in zip(keys, kept, strict=True)
    ]
    return rule, keys, sides


def _parts(chunks: list[dataset.Chunk], sides: list[np.ndarray]) -> Iterator[Part]:
    offsets = np.zeros(len(dataset.SPLITS), np.int64)
    start = 0
    for chunk, found in zip(chunks, sides, strict=True):
        yield Part(chunk, found, tuple(offsets.tolist()), start)
        offsets += [int((found == index).sum()) for index in range(len(dataset.SPLITS))]
        start += chunk.rows


def _fitted(recipe: recipes.Recipe, params: Params, parts: list[Part], columns: pa.Schema) -> recipes.State:
    """Fit what the recipe learns from the training split; SlipwayError names the row of one that cannot be read."""
    at: Part | None = None

    def training(part: Part) -> pa.Table:
        return dataset.read(part.chunk, columns, only=columns.names).filter(pa.array(part.splits == 0))

    class Tables:  # read anew as often as the recipe goes through them
        def __iter__(self) -> Iterator[pa.Table]:
            nonlocal at
            for at in parts:
                yield training(at)

    try:
        return recipe.fit(Tables(), params.task)
    except ValueError as error:
        if at is None:
            raise
        examples = training(at)
        for index, row in enumerate(np.flatnonzero(at.splits == 0)):  # one by one, to name the row
            try:
                recipe.fit([examples.slice(index, 1)], params.task)
            except ValueError as own:
                if str(own) == str(error):
                    raise _unreadable(at.chunk, row, own) from None
        raise SlipwayError(f"{at.chunk.path}: {error}") from None


def _unreadable(chunk: dataset.Chunk, row: Any, error: ValueError) -> SlipwayError:
    return SlipwayError(f"{chunk.path}: row {chunk.start + row}: {error}; add an expectation that sets such rows aside")


def _inputs(
    recipe: recipes.Recipe, params: Params, parts: list[Part], columns: pa.Schema, state: Any
) -> dict[str, Any]:
    """Name, shape and dtype of the model's inputs, from the first example that is in a split."""
    part = next(part for part in parts if (part.splits >= 0).any())
    first = dataset.read(part.chunk, columns).filter(pa.array(part.splits >= 0)).slice(0, 1)
    try:
        arrays = recipe.encode(first, params.task, state)
    except ValueError as error:
        raise SlipwayError(f"{part.chunk.path}: the first example cannot be encoded: {error}") from None
    return {name: {"shape": list(array.shape[1:]), "dtype": array.dtype.name} for name, array in arrays.items()}


def _written(recipe_name: str, task: Any, state: Any, out: Path, item: tuple[Part, Slot | None]) -> None:
    """Write what a chunk is encoded to into the arrays; runs in a worker process."""
    part, place = item
    if (known := reuse.get(place)) is not None:
        encoded = _unpacked(known)
    else:
        encoded = _encode(recipe_name, task, state, part)
        if place is not None:
            reuse.put(place, _packed(encoded))
    for name, arrays in encoded.items():
        index = dataset.SPLITS.index(name)
        rows = part.start + np.flatnonzero(part.splits == index)
        for key, array in {**arrays, "row": rows}.items():
            _write(out / name / f"{key}.npy", part.offsets[index], array)


def _encode(recipe_name: str, task: Any, state: Any, part: Part) -> Encoded:
    """Encode the rows of one chunk that are in a split, all in one go: each split's arrays are views of the whole."""
    recipe = recipes.load(recipe_name)
    columns, target = recipes.schema(recipe, task), recipe.target(task)
    each = [np.flatnonzero(part.splits == index) for index in range(len(dataset.SPLITS))]
    rows = np.concatenate(each)
    if not len(rows):
        return {}
    chosen = dataset.read(part.chunk, columns).take(pa.array(rows))
    arrays = {"label": _labels(recipe_name, target, chosen["label"], part.chunk, rows), "id": _ids(chosen["id"])}
    arrays |= _checked(recipe, chosen, task, state, part.chunk, rows)
    ends = np.cumsum([len(found) for found in each]).tolist()
    places = dict(zip(dataset.SPLITS, map(slice, [0, *ends], ends), strict=False))
    return {
        name: {key: array[here] for key, array in arrays.items()}
        for name, here in places.items()
        if here.start < here.stop
    }


def _slot(kept: reuse.Store, sources: dict[Path, reuse.Source], part: Part) -> Slot | None:
    chunk = part.chunk
    return reuse.slot(kept, sources.get(chunk.path), chunk.group, chunk.skip, chunk.rows, part.splits)


def _packed(encoded: Encoded) -> bytes:
    """Write arrays as .npy, one after another: first their names, as JSON; compressed, behind its size."""
    names = {name: list(arrays) for name, arrays in encoded.items()}
    file = BytesIO()
    for array in (
        np.frombuffer(json.dumps(names).encode(), np.uint8),
        *(array for arrays in encoded.values() for array in arrays.values()),
    ):
        np.lib.format.write_array(file, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
    whole = file.getbuffer()
    compressed: bytes = pa.compress(whole, "zstd", asbytes=True)
    return whole.nbytes.to_bytes(SIZE_BYTES) + compressed


def _unpacked(content: bytes) -> Encoded:
    size = int.from_bytes(content[:SIZE_BYTES])
    whole = pa.decompress(memoryview(content)[SIZE_BYTES:], size, "zstd", asbytes=True)
    file = BytesIO(whole)  # shares the bytes; its arrays are views of them, where read_array copies twice

    def array() -> np.ndarray:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        found = np.ndarray(shape, dtype, whole, file.tell())
        file.seek(found.nbytes, os.SEEK_CUR)
        return found

    names = json.loads(array().tobytes())
    return {name: {key: array() for key in keys} for name, keys in names.items()}


def _labels(recipe_name: str, target: Target, column: Any, chunk: dataset.Chunk, rows: np.ndarray) -> np.ndarray:
    """Encode labels; SlipwayError names the row of one that cannot be."""
    if (encoded := target.read(column)) is not None:
        return encoded
    labels = column.to_pylist()
    for row, label, is_wrong in zip(rows, labels, target.invalid(labels), strict=True):
        if is_wrong:
            where, why = f"{chunk.path}: row {chunk.start + row}", target.complaint(label).format(section=recipe_name)
            raise SlipwayError(
                f"{where}: label {label!r} {why}: fix it, or add an expectation that sets such rows aside"
            )
    return target.encode(labels)


def _counted(target: Target, labels: np.ndarray) -> dict[str, int]:
    """How often each class is there among encoded labels; nothing where numbers are predicted."""
    if not target.classes:
        return {}
    return dict(zip(target.classes, target.counted(labels).tolist(), strict=True))


def _scale(labels: np.ndarray) -> dict[str, list[float]]:
    """Mean and deviation of each number over the training split `(n, names)`; 1 where it is constant."""
    exact = np.asarray(labels, np.float64)
    deviation = exact.std(axis=0)
    return {"mean": exact.mean(axis=0).tolist(), "deviation": np.where(deviation > 0, deviation, 1.0).tolist()}


def _ids_dtype(keys: list[pa.Table]) -> str:
    """Return the dtype of the ids: as long as the longest, for that of a copy ends in its number."""
    lengths = [pc.max(pc.binary_length(part["id"])).as_py() for part in keys]
    return f"S{max((length or 0 for length in lengths), default=0) or 1}"


def _ids(column: pa.ChunkedArray) -> np.ndarray:
    """Return ids `(n,)` as bytes, each as long as the longest; a missing one is `None`, as when it is split."""
    given = column.fill_null("None")
    size = pc.max(pc.binary_length(given)).as_py() or 1
    padded = pc.ascii_rpad(given, size, "\0").combine_chunks()  # in Arrow's buffer they then lie as NumPy has them
    return np.frombuffer(padded.buffers()[2], f"S{size}", len(padded))


def _create(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Make an .npy file of zeros, sparse where the file system can (NEP 1)."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + int(np.prod(shape)) * dtype.itemsize)


def _write(path: Path, at: int, array: np.ndarray) -> None:
    """Write rows from row `at` on. Not through a memory map: on a full disk that ends in SIGBUS."""
    begin, size, dtype = _layout(path)
    with path.open("r+b") as file:
        file.seek(begin + at * size)
        file.write(np.ascontiguousarray(array, dtype).data)


@lru_cache(maxsize=256)
def _layout(path: Path) -> tuple[int, int, np.dtype[Any]]:
    """Return where the first row of an .npy file begins, the bytes of a row, and the dtype; asked once a process."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return file.tell(), int(np.prod(shape[1:])) * dtype.itemsize, dtype


def _checked(
    recipe: recipes.Recipe, examples: pa.Table, task: Any, state: Any, chunk: dataset.Chunk, rows: np.ndarray
) -> recipes.Arrays:
    try:
        return recipe.encode(examples, task, state)
    except ValueError as error:
        for at, row in enumerate(rows):  # one by one, to name the row
            try:
                recipe.encode(examples.slice(at, 1), task, state)
            except ValueError as own:
                raise _unreadable(chunk, row, own) from None
        raise SlipwayError(f"{chunk.path}: {error}") from None
