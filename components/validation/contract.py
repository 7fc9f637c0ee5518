"""A model's file of expectations with drafted ones in it: what a person wrote there stays, byte for byte.

A drafted entry carries `drafted`, a digest of its own text, in its meta. One that is as it was drafted is drafted anew;
one that somebody has changed stays. So does one that is commented out, and one that somebody has written of the same
kind about the same column.
"""

import difflib
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from components import SlipwayError, recipes
from components.data import dataset
from components.recipes import contract as quick
from components.validation import advice
from components.validation.drafting import Draft, drafts
from components.validation.profile import Profile

WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # of YAML 1.1 or 1.2, in any case
PLAIN = re.compile(
    r"[^\W\d_]([^,:?#\[\]{}]*[^\s,:?#\[\]{}])?"
)  # what begins with a letter, and has nothing that ends it
MARK = re.compile(r", drafted: ([0-9a-f]{8})\}")
HEAD = (
    "Drafted from the data, to be reviewed: `slipway expect` drafts these anew (with --write). Change one, and it is",
    "yours and stays; comment it out, and it stays out.",
)
ABOUT = {  # of a section that the file does not have yet
    "examples": "Each row: those that break one of these are set aside, up to validate.max_bad_fraction of all rows.",
    "columns": "Each column as a whole: all rows, or a random sample of 20,000. One that is broken stops the run.",
    "classes": "One row per label: label, rows, fraction. One that breaks an expectation stops the run.",
}
MOST_LOOKS = 10  # remarks on the data at an ingest
MOST_TOLD = 5  # of what was left as it is
CONTEXT = 1  # lines around what differs
Key = tuple[str, str, str, str]  # section, type, column, condition


@dataclass(frozen=True)
class Change:
    """A file of expectations with drafted ones in it."""

    path: Path
    before: str
    after: str
    looks: list[str]  # what looks wrong in the data
    written: int  # drafted entries that it has then
    kept: int  # entries that somebody wrote or changed
    passed: list[str]  # columns and kinds that were left to what somebody wrote or commented out

    def diff(self, called: str) -> str:
        """Return what differs, line by line; `called` is what people know the file as."""
        pair = (self.before.splitlines(), self.after.splitlines())
        return "\n".join(difflib.unified_diff(*pair, f"{called} now", f"{called} drafted", lineterm="", n=CONTEXT))


def place(params: Path, recipe: str) -> Path:
    """Return where the expectations of a model are: in its own folder, or those of the root's."""
    own = params.with_name("expectations.yaml")
    return own if own.is_file() else params.with_name("expectations") / f"{recipe}.yaml"


def known(data: Path, recipe_name: str, task: Any) -> tuple[Profile, dict[str, int], int]:
    """Look at all rows of a dataset once: what their columns are like, how many rows each label has, how many any.

    Of images and recordings, which would have to be decoded, it is only the labels.
    """
    recipe = recipes.load(recipe_name)
    columns = recipes.schema(recipe, task)
    own = quick.load(recipe_name)
    needed = [field.name for field in recipe.columns(task)] if own else []
    target = recipe.target(task)
    labels = dict.fromkeys(target.classes, 0)
    found, labelled = Profile(), 0
    for chunk in dataset.chunks(data, columns):
        table = dataset.read(chunk, columns, only=[*needed, "label"])
        facts = own.facts(table, task) if own else pa.table({})
        label = table["label"]
        labelled += len(label) - label.null_count
        if pa.types.is_floating(label.type) or (facts.column_names and pa.types.is_string(label.type) and target.named):
            facts = facts.append_column("label", label)
        if target.classes:
            values = label.combine_chunks()
            if pa.types.is_list(values.type) or not target.named:
                held = (target.held(each or []) for each in values.to_pylist())
                values = pa.array(chain.from_iterable(held), pa.string())
            for item in values.drop_null().value_counts().to_pylist():
                labels[item["values"]] = labels.get(item["values"], 0) + item["counts"]
        if facts.column_names:
            found.add(facts, chunk.path.name, chunk.start)
        else:
            found.rows += chunk.rows
    return found, labels, labelled


def drafted(path: Path, found: tuple[Profile, dict[str, int], int], *, grown: bool = False) -> Change:
    """Return a file of expectations with those that are drafted from what is known of the data.

    Of data that has `grown`, those that expect the same as before stay, with what was seen then. Raises SlipwayError
    where it is not there, or not as a file of expectations is.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SlipwayError(f"{path}: cannot be read ({error})") from None
    new = drafts(*found)
    entries = list(_entries(path, text))
    hand = {entry.key for entry in entries if not entry.drafted} | set(_commented(text))
    wanted = {_key(draft.section, draft.type, draft.kwargs): draft for draft in new}
    passed = [f"{key[2]}: {key[1]}" for key in wanted if key in hand]
    wanted = {key: draft for key, draft in wanted.items() if key not in hand}
    lines = text.splitlines()
    edits: list[tuple[int, int, list[str]]] = []
    last = {entry.key[0]: entry for entry in entries if entry.drafted}
    ends = {entry.key[0]: entry for entry in entries}
    for entry in entries:
        if entry.drafted:
            again = wanted.pop(entry.key, None)
            if grown and again and _lines(again, 0)[1].strip() in map(str.strip, lines[entry.start : entry.end]):
                continue
            edits.append((entry.start, entry.end, _lines(again, entry.indent) if again else []))
    for section in dict.fromkeys(key[0] for key in wanted):
        mine = [draft for key, draft in wanted.items() if key[0] == section]
        at = last.get(section) or ends.get(section)
        indent = at.indent if at else 2
        body = [line for draft in mine for line in _lines(draft, indent)]
        if section not in last:
            body = [*(f"{' ' * indent}# {line}" for line in HEAD), *body]
        if at is not None:
            edits.append((at.end, at.end, ["", *body] if section not in last else body))
            continue
        empty = re.compile(rf"{section}:\s*(\[\]\s*)?(#.*)?$")
        header = next((row for row, line in enumerate(lines) if empty.match(line)), None)
        if header is not None:
            edits.append((header, header + 1, [f"{section}:", *body]))
        else:
            edits.append((len(lines), len(lines), ["", f"# {ABOUT[section]}", f"{section}:", *body]))
    for start, end, body in sorted(edits, key=lambda edit: edit[:2], reverse=True):
        lines[start:end] = body
    after = "\n".join(lines) + "\n" if lines else text
    written = len(new) - len(passed)
    hand_written = sum(not entry.drafted for entry in entries)
    looks = advice.advice(*found[:2], ingest=True)
    return Change(path, text, after if written else _without_heads(after), looks, written, hand_written, passed)


def told(change: Change | None, folder: str = "") -> list[str]:
    """Say what was drafted into a file of expectations, if anything was; `folder` is that of a model in models/."""
    if change is None:
        return []
    looks = [f"look at {line}" for line in change.looks[:MOST_LOOKS]]
    if left := len(change.looks) - len(looks):
        looks.append(f"... and {left:,} more of the kind, which the data report names")
    if not change.written:
        return looks
    path = Path(folder, "expectations.yaml") if folder else change.path
    counts = f"{change.written:,} expectation{'s' * (change.written != 1)}"
    lines = [f"{path}: {counts} drafted from what the data is like: review them (`slipway expect` drafts them anew)"]
    if change.passed:
        more = f" and {len(change.passed) - MOST_TOLD:,} more" if len(change.passed) > MOST_TOLD else ""
        lines.append(f"{path}: left as you wrote it: {', '.join(change.passed[:MOST_TOLD])}{more}")
    return [*looks, *lines]


@dataclass(frozen=True)
class _Entry:
    key: Key
    start: int  # lines of the file
    end: int
    indent: int
    drafted: bool  # and as it was drafted


def _entries(path: Path, text: str) -> Iterator[_Entry]:
    """Find the entries of a file, each with its lines, without the comments behind it."""
    try:
        content = YAML().load(text) or CommentedMap()
    except YAMLError as error:
        raise SlipwayError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, CommentedMap):
        raise SlipwayError(f"{path}: expected sections with lists of expectations")
    lines = text.splitlines()
    starts = [*sorted(content.lc.key(section)[0] for section in content), len(lines)]
    for section, listed in content.items():
        if not listed or not hasattr(listed, "fa"):
            continue
        if listed.fa.flow_style():
            raise SlipwayError(f"{path}: {section}: to have some drafted, write a line `- type: ...` for each of yours")
        rows = [listed.lc.item(index)[0] for index in range(len(listed))]
        rows = [row - 1 if lines[row - 1].strip() == "-" else row for row in rows]
        stop = next(row for row in starts if row > rows[-1])
        for item, start, end in zip(listed, rows, [*rows[1:], stop], strict=True):
            while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
                end -= 1  # noqa: PLW2901
            body = lines[start:end]
            indent = len(lines[start]) - len(lines[start].lstrip())
            kwargs = item.get("kwargs") if isinstance(item, dict) else None
            key = _key(section, str(item.get("type")) if isinstance(item, dict) else "", kwargs or {})
            yield _Entry(key, start, end, indent, _as_drafted(body))


def _commented(text: str) -> Iterator[Key]:
    """Find drafted entries that somebody has commented out; of which section does not matter."""
    lines = [line.lstrip().removeprefix("#").strip() for line in text.splitlines() if line.lstrip().startswith("#")]
    for first, second, third in zip(lines, lines[1:], lines[2:], strict=False):
        if first.startswith("- type:") and second.startswith("kwargs:") and MARK.search(third):
            try:
                kwargs = YAML(typ="safe").load(second)["kwargs"]
            except (YAMLError, KeyError, TypeError):
                continue
            for section in ABOUT:
                yield _key(section, first.removeprefix("- type:").strip(), kwargs)


def _key(section: str, name: str, kwargs: Any) -> Key:
    return section, name, str(kwargs.get("column", "")), str(kwargs.get("row_condition", ""))


def _as_drafted(body: Iterable[str]) -> bool:
    text = "\n".join(body)
    mark = MARK.search(text)
    return mark is not None and mark[1] == _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(" ".join(MARK.sub("}", text).split()).encode()).hexdigest()[:8]


def _lines(draft: Draft, indent: int) -> list[str]:
    """Write an entry: three lines, the third ends in its own digest."""
    meta = _quoted({"reason": draft.reason} if draft.reason else {})
    front = " " * indent
    lines = [
        f"{front}- type: {draft.type}",
        f"{front}  kwargs: {_flow(_quoted(draft.kwargs))}",
        f"{front}  meta: {_flow(meta | {'notes': draft.notes})}",
    ]
    mark = _digest("\n".join(lines))
    return [*lines[:2], f"{lines[2].removesuffix('}')}, drafted: {mark}}}"]


def _flow(content: dict[str, Any]) -> str:
    """Write a mapping in a line."""
    yaml = YAML()
    yaml.width = 1_000_000
    text = io.StringIO()
    found = CommentedMap(content)
    found.fa.set_flow_style()
    yaml.dump(found, text)
    return " ".join(text.getvalue().split("\n")).strip()


def _quoted(value: Any) -> Any:
    """Have strings quoted that a parser of YAML 1.1 or 1.2 may read as something else, such as `no` as a boolean."""
    if isinstance(value, dict):
        return {key: _quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    if not isinstance(value, str):
        return value
    plain = PLAIN.fullmatch(value) and value.isprintable() and value.lower() not in WORDS
    return value if plain else DoubleQuotedScalarString(value)


def _without_heads(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines() if line.strip().removeprefix("# ") not in HEAD)
