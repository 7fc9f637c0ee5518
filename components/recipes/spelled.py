"""Names of labels and of the parts of an official split: in the spelling that the dataset has."""

from collections.abc import Callable, Sequence

import pyarrow as pa

from components import SlipwayError, listed
from components.data import spelling
from components.recipes.source import SPLIT_FOLDERS, Source, tell


def labels(source: Source, there: Sequence[str], *, old: bool) -> Callable[[str], str]:
    """Settle the spelling of a source's labels, and their order; return what spells one. Tells what it changes.

    `there` are the labels that params.yaml has; `old`: of a dataset that the source is added to. Labels that can only
    be one are joined, to one of the dataset where it has such; those that look alike are told.
    """
    if not (found := source.settings.get("labels")):
        return str
    joins = spelling.joined(found, there if old else ())
    tell(
        [f"label {spelling.shown(text)}: read as {spelling.shown(name)}" for text, name in joins.items()], "such labels"
    )
    names = list(dict.fromkeys(joins.get(label, label) for label in found))
    if not old:
        names = list(there) if set(there) == set(names) else spelling.ordered(names)
    source.settings["labels"] = names
    every = list(dict.fromkeys((*(there if old else ()), *names)))
    for group in spelling.alike(every):
        alike = " and ".join(map(spelling.shown, group))
        print(f"labels {alike} look alike, and are {len(group)} classes; to join them, give them one name (--rename)")
    seen: dict[str, str] = {label: label for label in every} | joins

    def spell(label: str) -> str:
        if label not in seen:  # of a test set
            seen.update({label: label} | spelling.joined([label], every))
            if seen[label] != label and seen[label] in every:
                print(f"label {spelling.shown(label)}: read as {spelling.shown(seen[label])}")
            else:
                seen[label] = label
        return seen[label]

    return spell


def with_labels(part: pa.Table, spell: Callable[[str], str]) -> pa.Table:
    """Return a table with its labels spelled, also those of boxes; numbers stay."""
    kind = part.schema.field("label").type
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        boxes = part["label"].to_pylist()
        spelled = [each and [box and {**box, "label": spell(box["label"])} for box in each] for each in boxes]
        return part.set_column(part.column_names.index("label"), "label", pa.array(spelled, kind))
    if not (pa.types.is_string(kind) or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type))):
        return part
    labels = part["label"].to_pylist()
    if pa.types.is_list(kind):
        labels = [each and list(dict.fromkeys(name and spell(name) for name in each)) for each in labels]
    else:
        labels = [label and spell(label) for label in labels]
    return part.set_column(part.column_names.index("label"), "label", pa.array(labels, kind))


def with_splits(part: pa.Table, source: Source, told: set[str]) -> pa.Table:
    """Return a table with the names of its official split as they are here; SlipwayError for one that is none.

    `told` are spellings that have been told.
    """
    if "split" not in part.column_names:
        return part
    values = part["split"].to_pylist()
    names = {text: SPLIT_FOLDERS.get(text.strip().lower()) for text in {*values} - {None}}
    names |= {text: "" for text in names if not text.strip()}
    if unknown := sorted(text for text, name in names.items() if name is None):
        raise SlipwayError(
            f"{source.name}: the column split has {listed(map(repr, unknown))} (the first in "
            f"{values.count(unknown[0]):,} rows), but an official split is "
            f"{', '.join(dict.fromkeys(SPLIT_FOLDERS.values()))} or empty; change it, "
            "or give the column another name if it is no split"
        )
    for text, name in sorted(names.items()):
        if name and text != name and text not in told:
            print(f"split {text!r}: read as {name}")
            told.add(text)
    spelled = pa.array([(value and names[value]) or None for value in values], pa.string())
    return part.set_column(part.column_names.index("split"), "split", spelled)
