"""The record of a model's champions: each move of the alias, and each decision about one, with who, when and why.

It lies where the alias lies, in MLflow: a tag `slipway.move.000012` of the registered model for each entry. A move is
written down as begun before the alias moves, and as done after it; whoever looks next sets right what a killed process
left, and writes down what was moved past Slipway, in MLflow's page.
"""

import getpass
import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from components import SlipwayError, nearest
from components.files import write_json
from components.masking import mask
from components.tracking import connection

PREFIX = "slipway.move."
ALIASES_TAG = "slipway.aliases"  # of the registered model: the aliases' names, where they are not the roles'
SEEN_TAG = "slipway.seen"  # of the registered model: when the alias was last found to be where the record says
ROLES = ("challenger", "staging", "champion", "reference")
TIMED_OUT = Path(".dvc/tmp/slipway-timed-out")  # a file for each wait that is over, until people are told
MAX_TAG = 4900  # characters that MLflow keeps of a tag: 5,000

Kind = Literal[
    "promoted",
    "approved",
    "by hand",
    "rolled back",
    "moved outside Slipway",
    "waiting",
    "refused",
    "timed out",
    "dropped",
]
MOVES = ("promoted", "approved", "by hand", "rolled back", "moved outside Slipway")  # the rest moves nothing
PERSONS = ("approved", "by hand", "rolled back", "moved outside Slipway")  # moves that a person decided on


@dataclass(frozen=True)
class Entry:
    """A move of the champion's alias from version `before` to `version`, or a decision about `version`."""

    kind: Kind
    version: str | None  # the champion from then on, or the version that was decided about; None: no champion
    before: str | None  # the champion until then
    when: str = ""  # UTC, to the millisecond
    who: str = ""  # user@host
    why: str = ""
    run: dict[str, str] = field(default_factory=dict)  # mlflow and prefect -> id; empty: by hand
    model: str = ""  # digest of the version's model
    reference: str | None = None  # the best version so far, from then on
    since: str = ""  # of what was moved outside: it stood otherwise then; of a wait: until when it lasts
    state: Literal["done", "begun", "lost"] = "done"  # lost: begun by a process that ended before the alias moved
    number: int = 0


@dataclass
class Standing:
    """What follows from a record: who is, was, and may not become the champion by itself."""

    champions: list[str | None] = field(default_factory=list)  # the present one last; those rolled back from are gone
    withdrawn: dict[str, Entry] = field(default_factory=dict)  # version -> who rolled back from it or refused it
    waiting: dict[str, Entry] = field(default_factory=dict)  # version -> since when it waits for an approval
    models: dict[str, str] = field(default_factory=dict)  # version -> digest of its model

    @property
    def champion(self) -> str | None:
        """The present champion, as the record has it."""
        return self.champions[-1] if self.champions else None


@dataclass(frozen=True)
class Record:
    """A registered model as it is now."""

    name: str
    entries: list[Entry]
    holders: dict[str, str]  # alias -> version
    names: dict[str, str]  # role -> alias
    seen: str  # when the record and the alias were last found to agree
    created: str

    @property
    def champion(self) -> str | None:
        """The version that has the champion's alias now."""
        return self.holders.get(self.names["champion"])

    @property
    def reference(self) -> str | None:
        """The version that has the reference's alias now."""
        return self.holders.get(self.names["reference"])

    def last_move(self) -> Entry | None:
        """Return the move that made the present champion; None where there has been none."""
        return next((e for e in reversed(self.entries) if e.kind in MOVES and e.state == "done"), None)

    def standing(self) -> Standing:
        """Return what follows from the entries."""
        return replay(self.entries)


def now() -> str:
    """Return this moment as entries have it; texts of this form are ordered as the moments are."""
    return spelled(datetime.now(UTC))


def spelled(moment: datetime) -> str:
    """Return a moment as entries have it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def shown(when: str) -> str:
    """Spell an entry's moment for people."""
    return f"{when[:10]} {when[11:19]} UTC"


def who() -> str:
    """Return user@host of this process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without an entry in /etc/passwd
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def names(tags: Mapping[str, str]) -> dict[str, str]:
    """Return role -> alias, from the tags of a registered model."""
    own: dict[str, str] = json.loads(tags.get(ALIASES_TAG, "{}"))
    return {role: role for role in ROLES} | own


def alias(name: str, role: str) -> str:
    """Return what the alias of a role is called on a model."""
    with connection.plainly(f"read the registered model {name}"):
        found = find(name)
    return found.names[role] if found else role


def find(name: str) -> Record | None:
    """Read a registered model's record; None where there is no such model."""
    if "'" in name:  # no model of ours is called so
        return None
    model = next(iter(connection.client().search_registered_models(f"name = '{name}'")), None)
    if model is None:
        return None
    tags: dict[str, str] = dict(model.tags or {})
    entries = []
    for key in sorted(key for key in tags if key.startswith(PREFIX)):
        try:
            entries.append(Entry(**json.loads(tags[key]), number=int(key.removeprefix(PREFIX))))
        except (ValueError, TypeError) as error:
            raise SlipwayError(
                f"{name}: the tag {key} of the registered model is not as Slipway wrote it ({error}); restore it, or "
                "remove it: the move that it stood for is then unknown"
            ) from None
    holders = {alias: str(version) for alias, version in dict(model.aliases).items()}
    created = spelled(datetime.fromtimestamp((model.creation_timestamp or 0) / 1000, UTC))
    return Record(name, entries, holders, names(tags), tags.get(SEEN_TAG, ""), created)


def read(name: str) -> Record:
    """Read a registered model's record; SlipwayError names the models that there are."""
    found = find(name)
    if found is None:
        known = sorted(m.name for m in connection.client().search_registered_models() if not m.name.endswith(".lock"))
        hint = nearest(name, known) if known else "there are none yet: `slipway run` registers one"
        if (connection.root() / "models" / name / "params.yaml").is_file():
            hint = f"`slipway run {name}` registers the first version"
        raise SlipwayError(f"no registered model {name!r} in MLflow at {mask(connection.uri())}; {hint}")
    return found


def replay(entries: Sequence[Entry]) -> Standing:
    """Return what follows from entries, in their order."""
    found = Standing()
    for entry in entries:
        if entry.state != "done":
            continue
        if entry.version is not None and entry.model:
            found.models[entry.version] = entry.model
        if entry.version is not None:
            found.waiting.pop(entry.version, None)
        if entry.kind in MOVES:
            _move(found, entry)
        elif entry.version is not None and entry.kind == "waiting":
            found.waiting[entry.version] = entry
        elif entry.version is not None and entry.kind == "refused":
            found.withdrawn[entry.version] = entry
    return found


def _move(standing: Standing, entry: Entry) -> None:
    """Follow a move. One back to an earlier champion withdraws those since; it may have been made in MLflow's page."""
    stack = standing.champions
    if not stack and entry.before is not None:
        stack.append(entry.before)
    back = entry.kind in ("rolled back", "moved outside Slipway") and entry.version in stack[:-1]
    gone: list[str | None] = []
    if back:
        while stack[-1] != entry.version:
            gone.append(stack.pop())
    elif entry.kind == "rolled back" and stack:
        gone.append(stack.pop())
    if not back:
        stack.append(entry.version)
    standing.withdrawn.update({version: entry for version in gone if version is not None})
    if entry.version is not None and entry.kind != "promoted":  # a person's word
        standing.withdrawn.pop(entry.version, None)


def settled(record: Record, moment: str) -> list[Entry]:
    """Return the entries to be written so that the record is right: changed ones, and new ones with the number 0.

    A move that was begun was made where the alias is at its end; else its process ended before, and it was not. Where
    the alias then is elsewhere than the record says, it was moved outside Slipway. A wait that is over is a refusal.
    """
    found = [
        replace(entry, state="done" if record.champion == entry.version else "lost")
        for entry in record.entries
        if entry.state == "begun"
    ]
    changed = {entry.number: entry for entry in found}
    entries = [changed.get(entry.number, entry) for entry in record.entries]
    standing = replay(entries)
    if standing.champion != record.champion:
        last = max([entry.when for entry in entries if entry.state == "done"], default=record.created)
        found.append(
            Entry(
                "moved outside Slipway",
                record.champion,
                standing.champion,
                when=max(moment, last),
                since=max(record.seen, last) if record.seen < moment else last,
                reference=record.reference,
            )
        )
        standing = replay([*entries, found[-1]])
    for version, asked in standing.waiting.items():
        if asked.since <= moment:
            why = f"nobody approved it until {shown(asked.since)}"
            found.append(Entry("timed out", version, record.champion, when=asked.since, why=why, model=asked.model))
    return found


def write(name: str, entry: Entry) -> Entry:
    """Write an entry, a new one (number 0) after all others; the caller has the turn (registry.turn)."""
    if not entry.number:
        last = max((other.number for other in read(name).entries), default=0)
        entry = replace(entry, number=last + 1, when=entry.when or now())
    entry = replace(entry, why=mask(entry.why))
    content = {key: value for key, value in asdict(entry).items() if key != "number"}
    text = json.dumps(content, ensure_ascii=False)
    while len(text) > MAX_TAG:
        content["why"] = content["why"][: len(content["why"]) * 3 // 4]
        text = json.dumps(content, ensure_ascii=False)
    connection.client().set_registered_model_tag(name, f"{PREFIX}{entry.number:06d}", text)
    return entry


def note(name: str, over: Entry) -> None:
    """Note in the project that a version's wait was found to be over, for whoever tells people of it."""
    root = connection.root()
    content = {"name": name, "version": over.version, "why": over.why, "until": over.when}
    with suppress(OSError):  # the record does not depend on it
        if (root / ".dvc").is_dir():
            (root / TIMED_OUT).mkdir(parents=True, exist_ok=True)
            write_json(root / TIMED_OUT / f"{name}-{over.version}.json", content)


def told(name: str, entry: Entry) -> str:
    """Say in a line what an entry is about."""
    version, before = (f"version {v}" if v else "no version" for v in (entry.version, entry.before))
    if entry.kind == "moved outside Slipway":
        between = f"between {shown(entry.since)} and {shown(entry.when)}"
        return f"{name}: the champion was moved outside Slipway {between}, from {before} to {version}"
    if entry.kind not in MOVES:
        return f"{name} {version}: {entry.kind}{f': {entry.why}' if entry.why else ''}"
    if entry.state == "lost":
        return (
            f"{name}: the move from {before} to {version} ({entry.kind} by {entry.who}, {shown(entry.when)}) was never "
            "made: its process ended before the alias moved"
        )
    return f"{name}: the champion moved from {before} to {version} ({entry.kind} by {entry.who}, {shown(entry.when)})"


def how_to_decide(name: str, number: str, until: str) -> str:
    """Say what to type about a version that waits."""
    return (
        f"{name} version {number} waits for an approval until {shown(until)}: `slipway approve {name} {number}` "
        f"makes it the champion, `slipway refuse {name} {number}` does not; `--why TEXT` keeps the reason"
    )


@dataclass(frozen=True)
class Stretch:
    """A time in which the champion is known to have been one of some versions; one, but where it moved outside."""

    begin: str  # "" before the record
    end: str  # "" up to now
    versions: tuple[str | None, ...]
    entry: Entry | None  # by which it became so


def stretches(entries: Sequence[Entry]) -> list[Stretch]:
    """Return who was the champion when, without a gap: "" is before the first entry, and after the last one."""
    moves = [entry for entry in entries if entry.kind in MOVES and entry.state == "done"]
    found: list[Stretch] = []
    begin, holder, by = "", moves[0].before if moves else None, None
    for entry in moves:
        if entry.since and entry.since < entry.when:
            found.append(Stretch(begin, entry.since, (holder,), by))
            found.append(Stretch(entry.since, entry.when, (holder, entry.version), entry))
        else:
            found.append(Stretch(begin, entry.when, (holder,), by))
        begin, holder, by = entry.when, entry.version, entry
    found.append(Stretch(begin, "", (holder,), by))
    return [part for part in found if part.begin < part.end or not part.end]


def during(entries: Sequence[Entry], begin: str, end: str) -> list[Stretch]:
    """Return the stretches that touch a time from `begin` to before `end`, or the moment where these are the same."""
    return [
        part
        for part in stretches(entries)
        if (not part.end or part.end > begin) and (part.begin < end or part.begin <= begin == end)
    ]
