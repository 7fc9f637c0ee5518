"""Make a dataset, or add to it: read a source, write Parquet, version it with DVC.

Identical examples are kept once; the settings that describe the data go into params.yaml.
"""

import argparse
import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ValidationError
from tqdm import tqdm

from components import SlipwayError, recipes
from components import params as params_module
from components.data import dataset, versions
from components.files import beside, replacing, sync
from components.params import changes
from components.recipes import networks
from components.recipes.source import Source, commands, slug
from components.reports import results


def arguments(stages: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `ingest SOURCE ...` to the command line."""
    text = "make a dataset from a source, or add to the existing one; version it with DVC"
    ingest = stages.add_parser("ingest", help=text, description=text)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--data", type=Path, default=Path("data"), metavar="FOLDER", help="folder of the dataset (default: data)"
    )
    common.add_argument(
        "--params", type=Path, default=Path("params.yaml"), metavar="FILE", help="settings (default: params.yaml)"
    )
    common.add_argument("--name", help="name for the file, the experiment and the model (default: the source's name)")
    common.add_argument(
        "--replace", action="store_true", help="start a new dataset instead of adding to the existing one"
    )
    common.add_argument("--keep-params", action="store_true", help="do not change params.yaml")
    listed = ingest.add_subparsers(dest="source", metavar="SOURCE", required=True)

    for name, command in commands().items():
        command.arguments(listed.add_parser(name, help=command.text, description=command.text, parents=[common]))


def run(
    source: str,
    data: Path = Path("data"),
    params: Path = Path("params.yaml"),
    name: str | None = None,
    *,
    replace: bool = False,
    keep_params: bool = False,
    **options: Any,
) -> None:
    """Ingest a source into the folder `data`; all of it or nothing.

    Raises SlipwayError for a source that cannot be read, a dataset of another kind, a file of that name
    with other content, a dataset to be replaced that DVC does not keep, and settings that do not fit the new one.
    """
    current = params_module.load(params) if params.exists() else None  # a mistake there stops us before anything
    versions.versionable(data)
    found = commands()[source].read(**options)
    name = slug(name) if name else found.name
    with _alone(data):
        old = [] if replace or not data.exists() else [path for path in data.iterdir() if path.suffix == ".parquet"]
        columns = _columns(found, current if old else None)
        found.schema = columns if old else None
        if not old:
            versions.replaceable(data)
        settings = {"recipe": found.recipe, found.recipe: found.settings}
        inherited: list[str] = []
        if not old:
            network = _network(found, current)
            settings = {"name": name, **settings, **network, **_others(found, current)}
            if current is not None and not (keep_params or _same(found, current)):
                inherited = _inherited(current, found, name)
        settle = partial(changes.merged, params, {} if keep_params else settings, grow=bool(old))
        settle()  # what does not fit stops us before the data is read
        known = _known(data, old, columns)
        before = versions.recorded(data) if not old else ""
        counts: Counter[str] = Counter()
        tables = _new(found, columns, known, counts)
        with ExitStack() as undo:
            with _adding(data) if old else replacing(data) as aside:
                pieces = dataset.write(tables, aside, name)
                text, changed = settle()
                if not old:
                    versions.replaceable(data)  # again: somebody may have put a file there meanwhile
                if changed:  # params.yaml first: killed before the data is renamed, DVC still keeps all of data/
                    old_params = params.read_bytes() if params.exists() else None
                    changes.put(params, text.encode())
                    undo.callback(changes.put, params, old_params)
            undo.pop_all()
    print(f"read {sum(counts.values()):,} examples; {counts['new']:,} are new")
    for reason, count in (*counts.items(), *found.skipped.items()):
        if reason != "new":
            print(f"skipped {count:,}: {reason}")
    for piece in pieces:
        print(f"wrote {data / piece.name}")
    for line in changed:
        print(f"{params}: {line}")
    for line in inherited:
        print(f"{params}: {line}")
    versions.record(data)
    if before and before != versions.recorded(data):
        print(f"it replaces version {before} of {data}, which DVC keeps: restore the old {data}.dvc to get it back")


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Let one ingest at a time work beside a dataset; others wait."""
    place = os.open(data.resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _columns(source: Source, current: params_module.Params | None) -> pa.Schema:
    """Return the columns of the dataset: those that it has, or those of the source for a new one."""
    recipe = recipes.load(source.recipe)
    if current is not None:
        if current.recipe != source.recipe:
            raise SlipwayError(
                f"the dataset in data/ belongs to the recipe {current.recipe}, this source to {source.recipe}; to "
                "start a new dataset instead of adding to this one, use --replace"
            )
        return recipes.schema(recipe, current.task)
    if len(labels := source.settings.get("labels", ())) == 1:
        raise SlipwayError(f"{source.name}: only one class ({labels[0]}); a dataset needs at least two")
    try:
        return recipes.schema(recipe, recipe.Params.model_validate(source.settings))
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(map(str, (source.recipe, *detail["loc"])))
        raise SlipwayError(f"{source.name}: {key}: {detail['msg']}") from None


@contextmanager
def _adding(data: Path) -> Iterator[Path]:
    """Yield a folder; move the files that are written there into the dataset: all of them or none."""
    with beside(data.resolve()) as aside:
        aside.mkdir()
        yield aside
        sync(aside)
        pieces = sorted(aside.iterdir())
        for piece in pieces:
            if (data / piece.name).exists():
                raise SlipwayError(
                    f"{data / piece.name} already exists with other examples; choose another --name, or use --replace"
                )
        moved: list[Path] = []
        try:
            moved.extend(piece.rename(data / piece.name) for piece in pieces)
        except BaseException:
            for path in moved:
                path.unlink()
            raise


def _known(data: Path, files: list[Path], columns: pa.Schema) -> set[tuple[str, str]]:
    """Return id and label of the examples that the dataset has."""
    listed = dataset.chunks(data, columns) if files else []
    known: set[tuple[str, str]] = set()
    for chunk in listed:
        part = dataset.read(chunk, columns, only=("id", "label"))
        known.update(zip(part["id"].to_pylist(), map(str, part["label"].to_pylist()), strict=True))
    return known


def _new(source: Source, columns: pa.Schema, known: set[tuple[str, str]], counts: Counter[str]) -> Iterator[pa.Table]:
    """Give examples their id; leave out those that the dataset has already.

    Raises SlipwayError for a source that lacks a column of the dataset.
    """
    with tqdm(desc=f"ingest {source.name}", unit=" examples", disable=None) as progress:
        for part in source.tables:
            if lacking := [column for column in columns.names if column not in part.column_names]:
                raise SlipwayError(
                    f"{source.name}: column {lacking[0]} is missing, but the dataset has it; add it, "
                    "or start a new dataset with --replace"
                )
            own, wanted = part.schema.field("label").type, columns.field("label").type
            if pa.types.is_list(own) != pa.types.is_list(wanted):
                raise SlipwayError(
                    f"{source.name}: its label is {own}, but the dataset's is {wanted}; "
                    "change it, or start a new dataset with --replace"
                )
            try:
                keys = dataset.ids(part, columns)
            except UnicodeDecodeError as error:  # Parquet does not check its text
                bad = error.object[max(0, error.start - 10) : error.end + 10]
                raise SlipwayError(f"{source.name}: text that is not UTF-8 ({bad!r}); write the file again") from None
            keep = []
            for row, key in enumerate(zip(keys, map(str, part["label"].to_pylist()), strict=True)):
                counts["identical to another with the same label" if key in known else "new"] += 1
                if key not in known:
                    known.add(key)
                    keep.append(row)
            rows = part.select([*columns.names, *(["split"] if "split" in part.column_names else [])])
            yield rows.add_column(0, "id", pa.array(keys, pa.string())).take(pa.array(keep, pa.int64()))
            progress.update(len(part))


def _others(source: Source, old: params_module.Params | None) -> dict[str, Any]:
    """Return the source's further settings for a new dataset, and with them the gates as far as these change.

    Gates on what a model costs stay. Those on how good it is stay where the dataset is of the same problem: a number
    that was right for another one says nothing here. The source's own come in their place.
    """
    own, same = source.others.get("register", {}), old is not None and _same(source, old)
    there = old.register_ if old else params_module.Register()
    register = {name: value for name, value in own.items() if name not in changes.GATES}
    for side in changes.GATES:
        limits: dict[str, float] = getattr(there, side)
        stay = {name: limit for name, limit in limits.items() if same or results.measures_cost(name)}
        if (gates := stay if same else own.get(side, {}) | stay) != limits:
            register[side] = gates
    others = {name: value for name, value in source.others.items() if name != "register"}
    return others | ({"register": register} if register else {})


def _same(source: Source, old: params_module.Params) -> bool:
    """Return whether a source is of the problem that params.yaml is of: the same columns, labels and sizes."""
    if old.recipe != source.recipe:
        return False
    try:
        settled = recipes.load(source.recipe).Params.model_validate(old.task.model_dump(mode="json") | source.settings)
    except ValidationError:
        return False
    return bool(settled == old.task)


def _network(source: Source, old: params_module.Params | None) -> dict[str, Any]:
    """Return the section `network` of a new dataset, as far as it changes.

    Another recipe has other settings: its network starts from the defaults, the model's name written out, so that
    there is something to change. One of the same recipe is kept, and for another problem the source's own settings
    come on top.
    """
    if old is None or old.recipe != source.recipe:
        model = networks.load(source.recipe).Network.model_fields.get("model")
        return {"network": source.network or ({"model": model.default} if model else {})}
    if _same(source, old) or not source.network:
        return {}
    return {"network": old.network.model_dump(mode="json", exclude_unset=True) | source.network}


def _inherited(old: params_module.Params, source: Source, name: str) -> list[str]:
    """Tell the settings of network and training that a new dataset takes over from another one, if any were chosen."""
    lines = []
    for section, where, given in (("network", "", source.network), ("train", ", docs/training.md", {})):
        settings = getattr(old, section)
        default = type(settings)()
        chosen = [f"{key}: {_plain(v)}" for key, v in settings if key not in given and v != getattr(default, key)]
        if chosen and (section == "train" or old.recipe == source.recipe):  # the network of another recipe is gone
            lines.append(
                f"{section} keeps the settings chosen for {old.name} ({', '.join(chosen)}), which may not suit {name}: "
                f"review them{where}"
            )
    return lines


def _plain(value: Any) -> str:
    if not isinstance(value, BaseModel):
        return str(value)
    named = {"name": value.name} if hasattr(value, "name") else {}  # of one of several, the default of its own
    return str(named | value.model_dump(exclude_defaults=True))
