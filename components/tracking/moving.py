"""Moves of the champion's alias: each is one step, made in turn, written down first, of a version that works.

The commands promote, rollback, approve and refuse; `register` promotes by the same step.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import SlipwayError, temporary
from components.params import Aliases
from components.tracking import connection, isolated, record, registry, shown, trusted
from components.tracking.record import Entry, Record

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

NO_EXAMPLE = "has no input example, so it cannot be tried; --trust does without"
PROVED_TAG = "slipway.proved"  # of a version: it was loaded back, and predicted what was evaluated


def look(name: str, moment: str = "") -> Record:
    """Return a model's record, first setting right what a killed process left or somebody moved outside Slipway.

    Says what that is. Nothing is written where all is well. `moment` is when what is found was so, as a text of
    record.now; else now.
    """
    found = record.read(name)
    settled = record.settled(found, moment or record.now())
    if not settled and not _left_staged(found) and not registry.left_behind(name):
        return found
    with registry.turn(name):
        return settle(name, moment)


def settle(name: str, moment: str = "") -> Record:
    """Set a model's record right, see record.settled; the caller has the turn."""
    found = record.read(name)
    for entry in record.settled(found, moment or record.now()):
        written = entry
        if entry.state == "done" and entry.number:
            _refer(found, entry.reference)
        elif entry.kind == "timed out" and entry.version:
            record.note(name, entry)  # first: killed before it is written, it is found and noted again
            _unstage(found, entry.version, f"refused: {entry.why}")
        elif entry.kind == "moved outside Slipway" and entry.version:
            written = replace(entry, model=connection.version(name, entry.version).tags.get("slipway.model", ""))
        print(record.told(name, record.write(name, written)), flush=True)
    if _left_staged(record.read(name)):
        connection.client().delete_registered_model_alias(name, found.names["staging"])
    connection.client().set_registered_model_tag(name, record.SEEN_TAG, record.now())
    return record.read(name)


def _left_staged(found: Record) -> bool:
    """Tell whether a version that waited, and waits no more, has the alias of those that do; else it is a person's."""
    holder = found.holders.get(found.names["staging"])
    waited = any(entry.kind == "waiting" and entry.version == holder for entry in found.entries)
    return waited and holder not in found.standing().waiting


def rename(name: str, aliases: Aliases) -> None:
    """Give the aliases of a model the names that params.yaml has for them; the caller has the turn.

    Versions keep their roles: a champion whose alias had another name would not be found, and not compared with.
    """
    wanted, found = aliases.model_dump(), record.read(name)
    if found.names == wanted:
        return
    client = connection.client()
    for role, old in found.names.items():
        if wanted[role] != old and old in found.holders and wanted[role] not in found.holders:
            client.set_registered_model_alias(name, wanted[role], found.holders[old])
    connection.client().set_registered_model_tag(name, record.ALIASES_TAG, json.dumps(wanted))
    for old in set(found.names.values()) - set(wanted.values()):
        client.delete_registered_model_alias(name, old)
    print(f"{name}: the aliases are called {', '.join(wanted.values())} from now on", flush=True)


def move(found: Record, entry: Entry) -> Entry:
    """Make one move of the champion's alias, and of the reference's where it says so; the caller has the turn.

    Written as begun, then moved, then written as done: whoever looks after a process died in between knows which.
    """
    client, name = connection.client(), found.name
    begun = record.write(name, replace(entry, state="begun"))
    client.set_registered_model_alias(name, found.names["champion"], str(entry.version))
    _refer(found, entry.reference)
    if found.holders.get(found.names["staging"]) == entry.version:
        client.delete_registered_model_alias(name, found.names["staging"])
    return record.write(name, replace(begun, state="done"))


def ask(found: Record, entry: Entry, hours: float) -> None:
    """Let a version wait for an approval, in the place of others that waited; the caller has the turn."""
    version = str(entry.version)
    waiting = found.standing().waiting
    drop(found, [other for other in waiting if other != version], f"version {version} waits in its place")
    if version not in waiting or waiting[version].before != entry.before:
        until = record.spelled(datetime.now(UTC) + timedelta(hours=hours))
        record.write(found.name, replace(entry, kind="waiting", since=until))
    if found.holders.get(found.names["staging"]) != version:
        connection.client().set_registered_model_alias(found.name, found.names["staging"], version)


def drop(found: Record, versions: Iterable[str], why: str) -> None:
    """Let versions wait no more, without a person's word; the caller has the turn."""
    for number in versions:
        record.write(found.name, Entry("dropped", number, found.champion, who=record.who(), why=why))
        _unstage(found, number, why)


def objection(found: Record, version: str, model: str, began: str) -> str:
    """Say why a version may not become the champion by itself: a person has said otherwise. Empty where none has."""
    standing = found.standing()
    for other, entry in standing.withdrawn.items():
        if other == version or (model and standing.models.get(other) == model):
            same = "" if other == version else f" (the same model as version {other})"
            return (
                f"it{same} {withdrawn(entry)}: only a person promotes it again, with "
                f"`slipway promote {found.name} {version}`"
            )
    for entry in reversed(found.entries):
        if entry.state == "done" and entry.kind in record.PERSONS and entry.kind != "approved" and entry.when > began:
            return (
                f"while this run was under way, version {entry.version or 'none'} was made the champion ({entry.kind} "
                f"{_by(entry)}), and a run that began before that does not overrule it: "
                f"`slipway promote {found.name} {version}` does"
            )
    return ""


def withdrawn(entry: Entry) -> str:
    """Say who took a version back, when and why."""
    told = {"refused": "was refused", "rolled back": "was rolled back from"}.get(entry.kind, "was moved back from")
    return f"{told} {_by(entry)}"


def _by(entry: Entry) -> str:
    if entry.kind == "moved outside Slipway":
        return f"outside Slipway, between {record.shown(entry.since)} and {record.shown(entry.when)}"
    return f"by {entry.who} on {record.shown(entry.when)}{f' ({entry.why})' if entry.why else ''}"


def promote(name: str, number: str, *, why: str, trust: bool = False) -> Entry | None:
    """Make a version the champion by hand; None where it is already.

    Raises SlipwayError where there is no such version, it does not work, or the champion changed meanwhile.
    """
    found = look(name)
    connection.version(name, number)
    if found.champion == number:
        return None
    entry = Entry("by hand", number, found.champion, who=record.who(), why=why)
    done = _moved(found, entry, trust=trust)
    _redecide(name, number, shown.PROMOTED, f"made the champion {_by(done)}")
    return done


def rollback(name: str, *, to: str | None = None, why: str, trust: bool = False) -> Entry:
    """Make the version the champion that was it before the present one, or `to`.

    By the record, and never one that was rolled back from itself. Raises SlipwayError as `promote` does, and where
    there is no version to go back to.
    """
    found = look(name)
    standing = found.standing()
    if found.champion is None:
        raise SlipwayError(f"{name} has no champion to roll back from; `slipway promote {name} VERSION` makes one")
    if to is None:
        earlier = [v for v in reversed(standing.champions[:-1]) if v not in (None, found.champion)]
        to = next((v for v in earlier if v and v not in standing.withdrawn and _exists(name, v)), None)
        if to is None:
            raise SlipwayError(
                f"{name}: no version was the champion before version {found.champion} that is still there and was not "
                f"rolled back from itself (see `slipway history {name}`); `slipway promote {name} VERSION` makes any "
                "version the champion"
            )
    connection.version(name, to)
    if to == found.champion:
        raise SlipwayError(f"{name}: version {to} is the champion now")
    if to in standing.withdrawn:
        told = withdrawn(standing.withdrawn[to])
        raise SlipwayError(f"{name}: version {to} {told}; `slipway promote {name} {to}` makes it the champion anyway")
    entry = Entry("rolled back", to, found.champion, who=record.who(), why=why, reference=_reference(found, to))
    done = _moved(found, entry, trust=trust)
    _redecide(name, to, shown.PROMOTED, f"gone back to {_by(done)}")
    if _exists(name, found.champion):
        _redecide(name, found.champion, shown.REFUSED, f"rolled back from {_by(done)}")
    return done


def _redecide(name: str, number: str, decision: str, why: str) -> None:
    """Write down what a person decided, with what was decided before: lists show it, as `slipway history` does."""
    before, reason = shown.decided(connection.version(name, number).tags)
    last = reason.partition("; before: ")[0].replace(shown.anyway(name, number), "")  # `slipway history` has all of it
    shown.decide(name, number, decision, f"{why}; before: {before}, {last}" if before else why)


def _reference(found: Record, to: str) -> str | None:
    """Return what the best version so far is after a rollback: one that is rolled back from counts no more."""
    after = record.replay([*found.entries, Entry("rolled back", to, found.champion)])
    if found.reference is None or found.reference not in after.withdrawn:
        return found.reference
    then = [e.reference for e in found.entries if e.kind in record.MOVES and e.state == "done" and e.version == to]
    best = next((v for v in reversed(then) if v and v not in after.withdrawn and _exists(found.name, v)), None)
    return best or to


def approve(name: str, number: str, *, why: str = "", who: str = "", trust: bool = False) -> Entry:
    """Make a version that waits for it the champion.

    Raises SlipwayError where it does not wait, the champion is not the one that it was compared with, or as `promote`.
    """
    found = look(name)
    asked = _asked(found, number)
    if asked.before != found.champion:
        raise SlipwayError(
            f"{name}: the champion changed since version {number} was compared with it: expected "
            f"{_spelled(asked.before)}, found {_spelled(found.champion)}. `slipway run` compares anew; "
            f"`slipway promote {name} {number}` makes it the champion without that"
        )
    done = _moved(found, replace(_again(asked), kind="approved", who=who or record.who(), why=why), trust=trust)
    reason = shown.decided(connection.version(name, number).tags)[1]
    shown.decide(name, number, shown.PROMOTED, f"{reason}; approved {_by(done)}")
    return done


def refuse(name: str, number: str, *, why: str = "", who: str = "") -> Entry:
    """Let a version that waits for an approval not become the champion; only a person promotes it from then on."""
    found = look(name)
    asked = _asked(found, number)
    with registry.turn(name):
        found = settle(name)
        _asked(found, number)
        entry = replace(_again(asked), kind="refused", before=found.champion, who=who or record.who(), why=why)
        done = record.write(name, entry)
        _unstage(found, number, f"refused {_by(done)}")
    return done


def decided(found: Record, number: str) -> Entry | None:
    """Return what became of a version that waited for an approval; None while it waits, or where it never did."""
    if number in found.standing().waiting:
        return None
    last = [e for e in found.entries if e.version == number and e.state == "done" and e.kind != "waiting"]
    return last[-1] if last else None


def _again(asked: Entry) -> Entry:
    return replace(asked, number=0, when="", since="", state="done")


def _asked(found: Record, number: str) -> Entry:
    """Return since when a version waits; SlipwayError says what became of one that does not."""
    connection.version(found.name, number)
    if entry := found.standing().waiting.get(number):
        return entry
    if found.champion == number:
        raise SlipwayError(
            f"{found.name}: version {number} is the champion already; see `slipway history {found.name}`"
        )
    became = decided(found, number)
    what = f"{became.kind} {_by(became)}" if became and became.who else became.kind if became else ""
    raise SlipwayError(
        f"{found.name}: version {number} does not wait for an approval{f' ({what})' if what else ''}; waiting: "
        f"{', '.join(sorted(found.standing().waiting, key=int)) or 'none'}. `slipway promote {found.name} {number}` "
        "makes it the champion without one"
    )


def _moved(found: Record, entry: Entry, *, trust: bool) -> Entry:
    """Prove a version, then move, unless another one was quicker meanwhile."""
    name, number = found.name, str(entry.version)
    given = connection.version(name, number)
    prove(given, trust=trust)
    entry = replace(entry, model=given.tags.get("slipway.model", ""))
    with registry.turn(name):
        there = settle(name)
        if there.champion != found.champion:
            raise SlipwayError(
                f"{name}: the champion changed meanwhile: expected {_spelled(found.champion)}, found "
                f"{_spelled(there.champion)}; nothing was moved. See `slipway history {name}`, then decide again"
            )
        if entry.kind == "approved":
            _asked(there, number)
        return move(there, replace(entry, reference=entry.reference or there.reference))


def prove(given: "ModelVersion", *, trust: bool = False) -> None:
    """Raise SlipwayError where a version is not as it was registered, does not load, or does not predict.

    It predicts its stored input example in a process of its own; all answers have to be there, and finite.
    """
    uri = f"models:/{given.name}/{given.version}"
    if "slipway.model" in given.tags and PROVED_TAG not in given.tags and not trust:
        raise SlipwayError(
            f"{uri} was registered, but never shown to predict what was evaluated: its registration was cut short. "
            "`slipway run` on its commit completes it, --trust does without"
        )
    with temporary.folder() as folder:
        place = trusted.fetch(uri, folder / "model", trust=trust)
        problem = tried(place, folder)
    if problem and not (trust and problem == NO_EXAMPLE):
        raise SlipwayError(f"{uri} {problem}")


def tried(place: Path, work: Path) -> str:
    """Say what is wrong with what an MLflow model in a folder predicts for its own input example; empty: nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from mlflow.models import Model

    with connection.plainly(f"read the input example of {place.name}"):
        example = Model.load(place).load_input_example(str(place))
    if example is None or not hasattr(example, "columns"):
        return NO_EXAMPLE
    path = work / "example.parquet"
    pq.write_table(pa.Table.from_pandas(example, preserve_index=False), path)
    try:
        answers = isolated.predict(str(place), path).to_pylist()
    except SlipwayError as error:
        return f"cannot predict its own input example: {str(error).partition(': ')[2]}"
    wrong = [row["error"] for row in answers if row.get("error")]
    wrong += [f"{name} is {value}" for row in answers for name, value in row.items() if not _finite(value)]
    if wrong or len(answers) != len(example):
        return f"does not predict its own input example: {(wrong or ['predictions are missing'])[0]}"
    return ""


def _finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _exists(name: str, number: str) -> bool:
    return bool(connection.client().search_model_versions(f"name = '{name}' and version_number = {int(number)}"))


def _refer(found: Record, reference: str | None) -> None:
    if reference is not None and reference != found.reference:
        connection.client().set_registered_model_alias(found.name, found.names["reference"], reference)


def _unstage(found: Record, number: str, reason: str) -> None:
    """Take the alias of those that wait from a version, and write down why it did not become the champion."""
    if found.holders.get(found.names["staging"]) == number:
        connection.client().delete_registered_model_alias(found.name, found.names["staging"])
    if _exists(found.name, number):
        before = shown.decided(connection.version(found.name, number).tags)[1]
        shown.decide(found.name, number, shown.REFUSED, f"{reason}; {before}")


def _spelled(number: str | None) -> str:
    return f"version {number}" if number else "none"
