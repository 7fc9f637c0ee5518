"""Where datasets come from: each source yields tables of examples and the settings that describe them.

components/recipes/NAME/source.py has the commands of `slipway ingest` that make a dataset of that recipe.
"""

import hashlib
import importlib
import importlib.util
import re
import unicodedata
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from components import listed, recipes
from components.recipes.split_by import SplitBy

BATCH_ROWS = 2000  # examples in memory at a time
# What a folder of a split may be called.
SPLIT_FOLDERS = {name: name for name in ("train", "validation", "test")} | dict.fromkeys(
    ("valid", "val", "dev"), "validation"
)
MAX_NAME = 100  # characters of a name that is made of a file's
MAX_LINES = 10  # lines of one kind that an ingest prints
BESIDE = "--replace starts a new dataset in its place, `slipway new NAME ...` makes a model beside it"


KEY = "row_key"  # the column of a dataset that tells rows apart
NAMES = b"slipway.names"  # in the metadata of a table's schema: what its examples are called, such as files, as JSON
ORIGIN = b"slipway.origin"  # in the metadata of a table's schema: where its examples come from, to count them apart


@dataclass
class Source:
    """What an ingest reads: examples, table by table, and what params.yaml has to say of them.

    A table holds the recipe's columns, `label`, where the source has an official one `split`, and the column that
    `split_by` names.
    """

    name: str
    recipe: str
    settings: dict[str, Any]  # of the recipe's section
    tables: Iterator[pa.Table]
    skipped: Counter[str] = field(default_factory=Counter)  # reason -> count; filled while reading
    others: dict[str, Any] = field(default_factory=dict)  # further settings of params.yaml, for a new dataset
    network: dict[str, Any] = field(default_factory=dict)  # of the section `network`, for a new dataset
    copies: Literal["keep", "drop"] = "drop"  # of identical examples: keep, where repetition is information
    split_by: SplitBy | None = None  # the group or the time that an example has
    key: str | None = None  # the column that tells rows apart, which its tables and the dataset have as KEY
    groups: list[str] = field(default_factory=list)  # what is told of columns that look like groups, if none is
    schema: pa.Schema | None = None  # of the dataset that is added to; set before the tables are read
    values: Callable[[str], Iterator[pa.Array]] | None = None  # of a column of that dataset, part by part; set likewise


@dataclass(frozen=True)
class Command:
    """A command `ingest NAME`: its help, its arguments and the function that they are given to."""

    text: str
    read: Callable[..., Source]
    arguments: Callable[[ArgumentParser], object] = lambda parser: parser
    known: str = ""  # the recipe whose section of params.yaml `read` takes as `known`, where a dataset is added to
    groups: str = ""  # and the column of the dataset whose values it takes as `there`, if the dataset has it


def tell(lines: list[str], rest: str) -> None:
    """Print the first lines, and how many more there are of `rest`."""
    for line in lines[:MAX_LINES]:
        print(line)
    if len(lines) > MAX_LINES:
        print(f"... and {len(lines) - MAX_LINES:,} more {rest}")


def official(
    splits: Sequence[str | None], shown: Callable[[int], str], examples: str, *, new: bool
) -> list[str | None]:
    """Return an official split if every example has one; a `new` dataset also needs some to train on, and to test on.

    Where there is none to test on, validation is that, as results on COCO are those of its val2017. What is changed is
    told: of `examples`, by the name that `shown` gives the one in a place.
    """
    found = list(splits)
    named, without = {name for name in found if name}, found.count(None)
    why = ""
    if named and without:
        why = f"{without:,} of {len(found):,} {examples} are in none, such as {shown(found.index(None))}"
    elif named == {"train", "validation"}:
        print("official split train, validation: validation is taken as test; a share of train becomes validation")
        return ["test" if name == "validation" else name for name in found]
    elif new and named and not named >= {"train", "test"}:
        why = f"a new dataset needs {examples} of train and of test"
    if not why:
        return found
    print(f"official split {listed(sorted(named))}: not used, for {why}")
    return [None] * len(found)


def told_missing(name: str, found: Mapping[str, int]) -> str:
    """Say how many values of a column are missing, and what stood there; empty text is an empty cell."""
    total = sum(found.values())
    parts = ", ".join(f"{found[word]:,} {repr(word) if word else 'empty'}" for word in sorted(found))
    return f"{name}: {total:,} missing value{'s' * (total != 1)} ({parts})"


def slug(name: str, joint: str = "-") -> str:
    """Make a name that files, experiments and columns can have: a-z, 0-9 and the joint.

    Other scripts are written in Latin letters, as far as can be. What that may make equal, or has no letters at all, or
    is longer than MAX_NAME, ends in a hash, so that other names stay other ones.
    """
    from text_unidecode import unidecode

    name = unicodedata.normalize("NFKC", name).casefold()
    found = re.sub(r"[^a-z0-9]+", joint, unidecode(name).lower()).strip(joint)
    foreign = any(
        unicodedata.category(char) == "Cs"  # a byte of a file's name that is not UTF-8
        or (not char.isascii() and unicodedata.category(char)[0] in "LNS" and "LATIN" not in unicodedata.name(char, ""))
        for char in name
    )
    if found and not foreign and len(found) <= MAX_NAME:
        return found
    return (
        f"{found[:MAX_NAME] or 'dataset'}{joint}{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
    )


def commands() -> dict[str, Command]:
    """Return every command by its name: the SOURCES of components/recipes/NAME/source.py."""
    found: dict[str, Command] = {}
    for name in recipes.names():
        if importlib.util.find_spec(f"components.recipes.{name}.source"):  # a recipe may do without
            found |= importlib.import_module(f"components.recipes.{name}.source").SOURCES
    return found
