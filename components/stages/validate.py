"""Stage validate: check the dataset against its expectations; set bad rows aside.

File by file and chunk by chunk: memory holds plain columns and facts of a quarter of a million rows of a file, and the
ids and labels of all files as numbers, but never the raw bytes of more than a chunk. The facts of each chunk, what came
of them when they were held against the expectations, and what they say of the columns are kept (components/reuse.py,
components/validation/profile.py): only ids and labels of a known file are read.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components import SlipwayError, recipes, reuse
from components.data import dataset, shown
from components.data.dataset import Chunk
from components.files import replacing, write_json
from components.params import Params
from components.reuse import Slot, Source
from components.targets import Target
from components.validation import drift, repeats, report, suite
from components.validation import profile as profiles
from components.validation.profile import FILE, ROW, Profile
from components.validation.repeats import Everywhere
from components.validation.report import Found
from components.validation.suite import Entry, Result

# Facts beside the recipe's. `copy`: 0 for the first example with an id, then 1, 2, ...; `conflict`: another
# example has this id and another label; `id_matches`: the id is the hash of the content, and of a copy that was kept
# (components/data/copies.py), which is neither copy nor conflict, its number; `label_known`: the label
# is one that params.yaml names, or all of several are, or it is as many finite numbers as are predicted (or null).
COMMON_FACTS = ("copy", "conflict", "id_matches", "label_known")
CLASSES_SCHEMA = pa.schema({"label": pa.string(), "rows": pa.int64(), "fraction": pa.float64()})
DATASET_SCHEMA = pa.schema({"rows": pa.int64(), "files": pa.int64(), "classes": pa.int64(), "columns": pa.string()})
ASIDE_SCHEMA = pa.schema({"file": pa.string(), "row": pa.int64(), "reasons": pa.string()})
UNPROFILED = ("id", "split", "id_matches", "label_known")  # facts that say nothing of a column as a whole
SHOWN = ("text",)  # columns of which the report shows examples, beside those of files
MAX_SHOWN = 24  # examples
COLUMNS_NAMED = 5  # of a file, in a message
ROWS_CHECKED = 250_000  # rows of a file that are held against the expectations at once: fewer take longer
Bad = dict[str, dict[str, np.ndarray]]  # name of a file -> what is wrong -> rows of the file


def run(params: Params, data: Path, expectations: Path, out: Path) -> None:
    """Write report.html, summary.json, columns.json and, unless the dataset fails, quarantine.parquet to `out`.

    Raises SlipwayError with a short table where more than `validate.max_bad_fraction` of the rows break an
    expectation, or what remains of the dataset breaks one.
    """
    (out / "quarantine.parquet").unlink(missing_ok=True)  # a former run's must not outlive a failure
    # Its import takes seconds; meanwhile the workers derive facts.
    importing = threading.Thread(target=__import__, args=("great_expectations.expectations",), daemon=True)
    importing.start()
    recipe = recipes.load(params.recipe)
    columns, target = recipes.schema(recipe, params.task), recipe.target(params.task)
    files = dataset.files(data)
    chunks = [chunk for chunk in dataset.chunks(data, columns) if chunk.rows]
    total = sum(chunk.rows for chunk in chunks)
    everywhere, results, profile, told = _examples_held(params, expectations, files, chunks, importing)
    sections = {name: [r for r in results if r.entry.section == name] for name in suite.SECTIONS}
    bad = _bad(sections["examples"])
    if sections["columns"]:
        suite.hold("the columns", profile.sample, sections["columns"])
    classes = _classes(chunks, everywhere, bad, target)
    suite.hold("the classes", classes, sections["classes"])
    rows = classes["rows"].to_pylist()
    row = {
        "rows": [total - sum(len(_rows(reasons)) for reasons in bad.values())],
        "files": [len(files)],
        "classes": [sum(n > 0 for n in rows)],
        "columns": [", ".join(columns.names)],
    }
    suite.hold("the dataset", pa.table(row, DATASET_SCHEMA), sections["dataset"])

    counts: Counter[str] = Counter()
    for reasons in bad.values():
        counts.update({reason: len(rows) for reason, rows in reasons.items()})
    own = _own(expectations, params.name)
    found = Found(
        name=params.name,
        suite=own.as_posix() if own else expectations.name,
        rows=total,
        files=len(files),
        set_aside=sum(len(_rows(reasons)) for reasons in bad.values()),
        max_bad_fraction=params.validate_.max_bad_fraction,
        reasons=dict(counts),
        results=results,
        classes=classes.to_pylist(),
        profile=profile,
        own=[name for name, kind in zip(columns.names, columns.types, strict=True) if not _raw(kind)],
        label=target.names[0] if pa.types.is_floating(target.type) else "label",
        repeats=everywhere.repeats,
    )
    if found.passed:
        with replacing(out / "quarantine.parquet") as aside:
            schema = pa.schema([*ASIDE_SCHEMA, *dataset.stored(columns)])
            with pq.ParquetWriter(aside, schema, compression="zstd") as writer:
                for table in _set_aside(chunks, columns, bad):
                    writer.write_table(table.cast(schema))
    samples = _samples(chunks, columns, profile)
    report.write(out / "report.html", found, _set_aside(chunks, columns, bad), samples)
    write_json(out / "summary.json", found.summary())
    write_json(out / drift.NAME, drift.described(profile, COMMON_FACTS))
    print(found.text(out / "report.html"))
    if told:
        print(told)
    if not found.passed:
        hints = _other_columns(files, columns, results) or _read_otherwise(found)
        raise SlipwayError("\n".join([found.complaint(data, own or expectations), *hints]))


def _own(expectations: Path, name: str) -> Path | None:
    """Return the file of which that of a model in models/ is a copy: there a person changes the expectations."""
    files = (Path(folder, name, "expectations.yaml") for folder in ("models", "examples"))
    return next((own for own in files if own.is_file() and own.read_bytes() == expectations.read_bytes()), None)


def _examples_held(
    params: Params, expectations: Path, files: list[Path], chunks: list[Chunk], importing: threading.Thread
) -> tuple[Everywhere, list[Result], Profile, str]:
    """Hold the examples of all files against the expectations of the section `examples`.

    Returns what all files tell together, the results of all expectations, what the columns are like, and for how many
    files nothing had to be done again.
    """
    recipe = recipes.load(params.recipe)
    columns, settings = recipes.schema(recipe, params.task), params.task.model_dump(mode="json")
    parameters = settings | {"classes": len(params.target().names)}
    job = partial(_kept_facts, params.recipe, params.task)
    shared = (params.recipe, params.name, settings, params.clean.keep_gb, recipe.requirements)
    with reuse.store("validate", *shared) as kept:
        sources = reuse.sources(kept, files)
        slots = {c: reuse.slot(kept, sources.get(c.path), "facts", c.group, c.skip, c.rows) for c in chunks}
        fresh = {chunk: place for chunk, place in slots.items() if not reuse.has(place)}
        work = reuse.workload(sum(chunk.rows for chunk in fresh), (chunk.path for chunk in fresh))
        with closing(dataset.parallel(job, list(fresh.items()), work)) as facts:
            first = list(islice(facts, 1))  # asking for it starts the workers
            keys = (dataset.read(chunk, columns, only=["id", "label"]) for chunk in chunks)
            known_by = ((key["id"], _text(key["label"])) for key in keys)
            everywhere = repeats.across(known_by, sum(chunk.rows for chunk in chunks))
            own = _facts(params.recipe, params.task, dataset.stored(columns).empty_table())
            known = {"examples": [*own.column_names, "copy", "conflict"], "columns": _profiled(own).column_names}
            known |= {"classes": CLASSES_SCHEMA.names, "dataset": DATASET_SCHEMA.names}
            importing.join()
            results = [Result(entry) for entry in suite.read(expectations, known, parameters)]
            made = zip(fresh, chain(first, facts), strict=True)

            def read(chunk: Chunk) -> pa.Table:
                if chunk not in fresh:
                    return job((chunk, slots[chunk]))
                return next(table for other, table in made if other == chunk)

            examples = [result for result in results if result.entry.section == "examples"]
            anew, profile = _hold_examples(chunks, read, everywhere, examples, partial(_slot, kept, sources))
    unread = len({chunk.path for chunk in fresh})
    return everywhere, results, profile, _as_before(len(files), len(files) - len(anew), len(files) - unread)


def _kept_facts(recipe_name: str, task: Any, item: tuple[Chunk, Slot | None]) -> pa.Table:
    """Read the facts of a chunk if they are kept; else derive and keep them. Runs in a worker process.

    Of the facts only what the dataset's file does not have is kept.
    """
    chunk, place = item
    columns = recipes.schema(recipes.load(recipe_name), task)
    if (known := reuse.get(place)) is not None:
        kept = pa.ipc.open_stream(known).read_all()
        names, own = json.loads(kept.schema.metadata[b"columns"]), {*kept.column_names}
        stored = dataset.read(chunk, columns, only=[name for name in names if name not in own])
        return pa.table({name: kept[name] if name in own else stored[name] for name in names})
    table = dataset.read(chunk, columns)
    facts = _facts(recipe_name, task, table)
    if place is not None:
        there = {*table.column_names}
        made = [name for name in facts.column_names if name not in there or not facts[name].equals(table[name])]
        kept = facts.select(made).replace_schema_metadata({"columns": json.dumps(facts.column_names)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, kept.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
            stream.write_table(kept)
        reuse.put(place, sink.getvalue())
    return facts


def _facts(recipe_name: str, task: Any, table: pa.Table) -> pa.Table:
    """Derive what expectations can be written on from a chunk: plain columns, a row per example."""
    recipe = recipes.load(recipe_name)
    columns, target = recipes.schema(recipe, task), recipe.target(task)
    facts = recipe.facts(table, task)
    for name in {*COMMON_FACTS, "id", "label", "split"} & {*recipe.columns(task).names, *facts.column_names}:
        raise SlipwayError(
            f"recipe {recipe_name}: a column cannot be named {name}: the stage validate uses that name; rename it"
        )
    plain = [name for name, kind in zip(columns.names, columns.types, strict=True) if not _raw(kind)]
    number = pa.types.is_floating(table["label"].type)
    found = {"id": table["id"], "label": table["label"] if number else _text(table["label"]), "split": table["split"]}
    found |= {name: table[name] for name in plain if name not in found}
    found |= dict(zip(facts.column_names, facts.columns, strict=True))  # at once: a table may have thousands
    ids = table["id"].combine_chunks()
    same = pc.equal(
        pa.array(dataset.ids(table, columns), pa.string()), pc.utf8_slice_codeunits(ids, 0, dataset.KEY_DIGITS)
    )
    same = pc.and_(same, pc.match_substring_regex(ids, dataset.ID))
    found["id_matches"] = same.fill_null(fill_value=False)
    return pa.table(found | {"label_known": _known(table["label"].combine_chunks(), target)})


def _known(label: pa.Array, target: Target) -> pa.Array:
    """Tell of each label whether it is valid, null where it is missing; what repeats, as text does, is seen once."""
    text = pa.types.is_string(label.type)
    encoded = label.dictionary_encode() if text else label
    labels = (encoded.dictionary if text else label).to_pylist()
    fit = [None if each is None else not bad for each, bad in zip(labels, target.invalid(labels), strict=True)]
    known = pa.array(fit, pa.bool_())
    return known.take(encoded.indices) if text else known


def _raw(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_list(kind))


def _text(label: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels as text: that itself, or JSON for numbers and for several, whose order means nothing."""
    if pa.types.is_string(label.type):
        return label
    values = label.to_pylist()
    if pa.types.is_list(label.type) and not pa.types.is_floating(label.type.value_type):
        values = [None if value is None else sorted(value, key=lambda item: json.dumps(item or "")) for value in values]
    texts = [None if value is None else json.dumps(value) for value in values]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _hold_examples(
    chunks: list[Chunk],
    read: Callable[[Chunk], pa.Table],
    everywhere: Everywhere,
    results: list[Result],
    place: Callable[..., Slot | None],
) -> tuple[set[Path], Profile]:
    """Check one file after another, a large one in parts, against the expectations of the section `examples`.

    `read` gives a chunk's facts, `place` where what came of a part is kept. Returns the files of which something had to
    be checked, and what the columns of all are like.
    """
    start = 0
    checked = set()
    profile = Profile()
    entries = [result.entry for result in results]
    judged: dict[tuple[str, bool], suite.Judged] = {}
    for (path, _), group in groupby(chunks, key=lambda chunk: (chunk.path, chunk.start // ROWS_CHECKED)):
        mine = list(group)
        rows = slice(start, start + sum(chunk.rows for chunk in mine))
        copy, conflict = everywhere.copy[rows].astype(np.int64), everywhere.conflict[rows]
        slot, known_slot = place(mine, (copy, conflict), entries), place(mine, (), None)
        known, known_profile = reuse.get(slot), reuse.get(known_slot)
        own = profiles.unpacked(known_profile) if known_profile is not None else Profile()
        parts = []
        for chunk in mine if known is None or known_profile is None else ():
            part = read(chunk)
            if known_profile is None:
                own.add(_profiled(part), path.name, chunk.start)
            if known is None:
                parts.append(part)
        if known_profile is None:
            reuse.put(known_slot, own.packed())
        profile.merge(own)
        if known is not None:
            outcomes = json.loads(known)
        else:
            table = pa.concat_tables(parts)
            table = table.append_column("copy", pa.array(copy)).append_column("conflict", pa.array(conflict))
            outcomes = suite.outcomes(path.name, table, entries, judged)
            reuse.put(slot, json.dumps(outcomes).encode())
            checked.add(path)
            del parts, part, table  # before the next ones are read
        suite.add(path.name, outcomes, results, mine[0].start)
        start = rows.stop
    return checked, profile


def _profiled(facts: pa.Table) -> pa.Table:
    return facts.select([name for name in facts.column_names if name not in UNPROFILED])


def _slot(
    kept: reuse.Store,
    sources: dict[Path, Source],
    part: list[Chunk],
    shared: tuple[np.ndarray, ...],
    entries: list[Entry] | None,
) -> Slot | None:
    """Return where that is kept which came of holding chunks of a file; `shared` is what all files together tell.

    Without expectations: where that is kept which the chunks say of the columns.
    """
    first = part[0]
    if entries is None:
        return reuse.slot(kept, sources.get(first.path), "profile", first.path.name, first.start)
    held = [(entry.type, entry.kwargs) for entry in entries]
    return reuse.slot(kept, sources.get(first.path), "held", first.start, held, *shared)


def _as_before(files: int, held: int, read: int) -> str:
    """Say for how many files nothing had to be done again; nothing where there are none."""
    if not max(held, read):
        return ""
    more = f"; what was read of {read:,} is reused" if read > held else ""
    return f"as before     {held:,} of {report.files(files)}{more}"


def _samples(chunks: list[Chunk], columns: pa.Schema, profile: Profile) -> list[tuple[str, dict[str, str]]]:
    """Return examples of images, texts or recordings with their labels, of each label as many; nothing of others."""
    files = [field.name for field in columns if field.type == pa.binary()]  # of several the first
    name = next((name for name in (*files, *SHOWN) if name in columns.names), None)
    label = profile.columns.get("label")
    if name is None or label is None:
        return []
    sample = profile.sample.select(["label", FILE, ROW]).to_pylist()
    each = max(1, MAX_SHOWN // max(len(label.counts), 1))
    wanted: dict[tuple[str, int], str] = {}
    had: Counter[str] = Counter()
    for row in sample:
        if row["label"] is not None and had[row["label"]] < each and len(wanted) < MAX_SHOWN:
            had[row["label"]] += 1
            wanted[row[FILE], row[ROW]] = row["label"]
    found = []
    for chunk in chunks:
        rows = {row: text for (file, row), text in wanted.items() if file == chunk.path.name}
        here = [row for row in rows if chunk.start <= row < chunk.start + chunk.rows]
        if here:
            values = dataset.read(chunk, columns, only=[name])[name].take(pa.array([row - chunk.start for row in here]))
            found += [(rows[row], shown.example(value)) for row, value in zip(here, values.to_pylist(), strict=True)]
    return sorted(((text, what) for text, what in found if what), key=lambda pair: pair[0])


def _bad(results: list[Result]) -> Bad:
    """Collect the rows that break an expectation which does not hold."""
    bad: Bad = {}
    for result in results:
        for name, rows in ({} if result.held else result.rows).items():
            reasons = bad.setdefault(name, {})
            before = reasons.get(result.entry.reason, rows)
            reasons[result.entry.reason] = np.union1d(before, rows)
    return bad


def _other_columns(files: list[Path], columns: pa.Schema, results: list[Result]) -> list[str]:
    """Say where the ids of whole files are of other columns than params.yaml names now, and which these are."""
    known = {*dataset.stored(columns).names, "row_key"}
    broken = [result.rows for result in results if "id_matches" in result.entry.columns]
    for path in files:
        about, rows = pq.read_metadata(path), max((len(rows.get(path.name, ())) for rows in broken), default=0)
        if (others := [name for name in about.schema.to_arrow_schema().names if name not in known]) and (
            rows == about.num_rows > 0
        ):
            more = f" and {len(others) - COLUMNS_NAMED:,} more" if len(others) > COLUMNS_NAMED else ""
            return [
                f"{path} also has {', '.join(others[:COLUMNS_NAMED])}{more}, which params.yaml does not name: its ids "
                "were made of all columns of an ingest. Name them again; to train without a column, ingest the files "
                "anew with --replace and --drop COLUMN"
            ]
    return []


def _read_otherwise(found: Found) -> list[str]:
    """Say so where a setting may have changed that an ingest has read the files by, such as the labels."""
    labels = any({"label", "label_known"} & {*result.entry.columns} for result in found.failed)
    if not found.too_many or not (labels or found.rows in found.reasons.values()):
        return []
    return [
        "if a setting has changed by which an ingest read the files, such as labels, history or horizon: put it back, "
        "or ingest the files anew, with --replace"
    ]


def _rows(reasons: dict[str, np.ndarray]) -> np.ndarray:
    """All bad rows of a file, in order."""
    return np.unique(np.concatenate([np.empty(0, np.int64), *reasons.values()]))


def _classes(chunks: list[Chunk], everywhere: Everywhere, bad: Bad, target: Target) -> pa.Table:
    """Count the rows of each label, those set aside left out; a label of params.yaml may have none.

    Where numbers are predicted there are no classes.
    """
    if not target.classes:
        return CLASSES_SCHEMA.empty_table()
    kept = everywhere.label >= 0
    start = 0
    for chunk in chunks:
        if chunk.start == 0:
            kept[start + _rows(bad.get(chunk.path.name, {}))] = False
        start += chunk.rows
    counts = np.bincount(everywhere.label[kept], minlength=len(everywhere.labels))
    rows = dict.fromkeys(target.classes, 0)
    for text, count in sorted(zip(everywhere.labels.to_pylist(), counts, strict=True)):
        # once for an example that has several of it
        for name in dict.fromkeys(target.held(text if pa.types.is_string(target.type) else json.loads(text))):
            if count or name in rows:
                rows[name] = rows.get(name, 0) + int(count)
    fractions = [count / max(int(kept.sum()), 1) for count in rows.values()]
    return pa.table({"label": list(rows), "rows": list(rows.values()), "fraction": fractions}, CLASSES_SCHEMA)


def _set_aside(chunks: list[Chunk], columns: pa.Schema, bad: Bad) -> Iterator[pa.Table]:
    """Yield the bad rows chunk by chunk: file, row, reasons, then all columns."""
    names = [field.name for field in dataset.stored(columns)]
    for path, group in groupby(chunks, key=lambda chunk: chunk.path):
        reasons = bad.get(path.name, {})
        all_rows = _rows(reasons)
        for chunk in group:
            rows = all_rows[(all_rows >= chunk.start) & (all_rows < chunk.start + chunk.rows)]
            if len(rows):
                table = dataset.read(chunk, columns).select(names).take(rows - chunk.start)
                broken = [np.where(np.isin(rows, found), reason, "") for reason, found in reasons.items()]
                words = ["; ".join(filter(None, each)) for each in zip(*broken, strict=True)]
                front: list[Any] = [[path.name] * len(rows), rows, words]
                for at, (field, values) in enumerate(zip(ASIDE_SCHEMA, front, strict=True)):
                    table = table.add_column(at, field, pa.array(values, field.type))
                yield table
