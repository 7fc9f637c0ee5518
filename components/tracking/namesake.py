"""The registered model that already has a name: what it predicts, as far as the registry is near enough to be asked."""

import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from components import SlipwayError
from components.data import versions
from components.masking import mask
from components.params import new_dataset
from components.recipes.source import Source
from components.tracking import connection

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
SECONDS = 1.0  # to wait for a server of this machine


@dataclass(frozen=True)
class Namesake:
    """A version of a registered model, and what it was made for."""

    name: str
    version: str  # the champion, else the latest
    recipe: str
    params: dict[str, Any]  # of the recipe's section
    data: str  # the digest of what it was trained on; empty where it does not say


def must_differ(name: str, source: Source) -> Namesake | None:
    """Raise SlipwayError where a registered model of that name predicts something else than a new dataset has.

    Returns one that does not, and prints that it is there, or why the registry could not be asked.
    """
    try:
        there = find(name)
    except SlipwayError as error:
        print(f"the registry was not asked for a model {name!r} of another problem: {error}")
        return None
    if there is None:
        return None
    model = f"the registered model {name} (version {there.version})"
    if difference := new_dataset.differs(source, there.recipe, there.params):
        raise SlipwayError(f"{model} predicts something else ({difference}): choose another name with --name")
    if lacking := new_dataset.lacking(source, there.params):
        print(
            f"warning: {model} asks for {lacking}, which this dataset does not have: it cannot be compared with the "
            f"next version, which only `slipway promote` makes champion; for another problem, use --name"
        )
    else:
        print(f"{model} is of the same columns and labels, and gets its next version; for another problem, use --name")
    return there


def akin(tables: Iterator[pa.Table], there: Namesake, columns: pa.Schema) -> Iterator[pa.Table]:
    """Pass on the tables of a new dataset that took its name from a file; SlipwayError after them where none is akin.

    That is, where the registered model of the name was trained on the same columns, and on none of these examples: a
    file of that name may well be of another problem. Nothing is asked where its data is not in DVC's cache.
    """
    old = _examples(there, columns)
    common = not old
    for table in tables:
        common = common or not old.isdisjoint(_keys(table))
        yield table
    if not common:
        raise SlipwayError(
            f"the registered model {there.name} (version {there.version}) was trained on none of these examples, so "
            f"they may be of another problem: choose another name with --name, or, if it is the same problem, --name "
            f"{there.name}"
        )


def _examples(there: Namesake, columns: pa.Schema) -> set[tuple[str, str]]:
    """Return id and label of the examples that a version was trained on; none where they are of other columns."""
    found: set[tuple[str, str]] = set()
    for path in versions.kept(there.data) if there.data else ():
        if not set(columns.names) <= set(pq.read_schema(path).names):
            return set()
        found.update(_keys(pq.read_table(path, columns=["id", "label"])))
    return found


def _keys(table: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(table["id"].to_pylist(), map(str, table["label"].to_pylist()), strict=True)


def find(name: str) -> Namesake | None:
    """Return the registered model of that name; None where there is none, or it was not made by Slipway.

    Nothing is made or started for it, and no network is waited for. Raises SlipwayError where the registry is on
    another machine, or does not answer.
    """
    store = os.environ.get("MLFLOW_REGISTRY_URI") or connection.uri()
    if not _is_there(store):
        return None
    connection.check()
    from components.tracking import registry

    with connection.plainly(f"look for a model {name}"):
        found = connection.client().search_model_versions(f"name = '{name}'")
        version = registry.holders(name)["champion"] or max(found, key=lambda entry: int(entry.version), default=None)
    if version is None:
        return None
    about = connection.about(f"models:/{name}/{version.version}")
    if not isinstance(about.get("params"), dict):
        return None
    data = version.tags.get("slipway.data", "")
    return Namesake(name, str(version.version), str(about.get("recipe")), about["params"], data)


def _is_there(store: str) -> bool:
    """Tell whether a registry on this machine has anything in it; SlipwayError where it is not on this machine."""
    if file := re.fullmatch(r"sqlite:///(.*?)(\?.*)?", store):
        return Path(file[1]).is_file()
    if "://" not in store or store.startswith("file:"):
        return Path(store.removeprefix("file://")).is_dir()
    address = urlsplit(store)
    if address.scheme not in ("http", "https") or address.hostname not in LOCAL_HOSTS:
        raise SlipwayError(f"it is on another machine ({mask(store)})")
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), SECONDS).close()
    except OSError:
        raise SlipwayError(f"nothing answers at {mask(store)}") from None
    return True
