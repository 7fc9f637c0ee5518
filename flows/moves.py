"""The commands about a model's champion: promote, rollback, approve, refuse, history.

Light to import: every command line does.
"""

import argparse
from datetime import UTC, datetime, timedelta

from components import SlipwayError
from components.masking import mask
from components.tracking import connection, record
from components.tracking.record import Entry, Record, Stretch
from flows.machinery import server

COMMANDS = {
    "promote": "make a version the champion",
    "rollback": "go back to the champion before",
    "approve": "approve a version that waits for it",
    "refuse": "refuse a version that waits for an approval",
    "history": "who was the champion when, and why",
}


def arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add a sub-parser for each command."""
    tried = " It is loaded and tried in a process of its own first."
    texts = {
        "promote": f"Make a version the champion, whatever the comparison said.{tried}",
        "rollback": "Make the version the champion that was it before the present one, by the record; never one that "
        f"was rolled back from itself.{tried} No run promotes the version that is left again, only a person does.",
        "approve": "Make a version the champion that waits for it (register.promotion: approve in params.yaml)."
        + tried,
        "refuse": "Let a version that waits for an approval not become the champion.",
        "history": "Show every move of a model's champion: who, when, from, to, why, by which run.",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=COMMANDS[name], description=text)
        command.add_argument("name", metavar="NAME", help="name of the registered model, as in params.yaml")
        if name in ("promote", "approve", "refuse"):
            command.add_argument("version", metavar="VERSION", help="number of the version, or one of its aliases")
        if name == "rollback":
            command.add_argument("--to", metavar="VERSION", help="go back to this version")
        if name == "history":
            help_text = "a day or a moment in UTC, such as 2026-11-03 or 2026-11-03T14:30: who was the champion then?"
            command.add_argument("--on", metavar="DATE", help=help_text)
            continue
        command.add_argument("--why", default="", metavar="TEXT", help="reason, for the record")
        if name != "refuse":
            help_text = "run the version's code even if it is not what Slipway registered"
            command.add_argument("--trust", action="store_true", help=help_text)


def run(
    command: str,
    name: str,
    version: str | None = None,
    to: str | None = None,
    on: str | None = None,
    why: str = "",
    *,
    trust: bool = False,
) -> int:
    """Run one of the commands and say what it did; return 0. Raises SlipwayError where it may not be done."""
    from flows.machinery import notify, state

    try:
        return _run(command, name, version, to, on, why, trust=trust)
    finally:
        if state.running():  # what its runs are told by holds for people's moves
            state.load_environment()
        notify.timed_out()


def _run(command: str, name: str, version: str | None, to: str | None, on: str | None, why: str, *, trust: bool) -> int:
    from components.tracking import moving

    connection.check()
    with connection.plainly(f"{command} {name}"):
        if command == "history":
            print(history(moving.look(name), on))
            return 0
        number = _number(name, version or to)
        if command == "promote":
            before = _not_promoted(name, number)
            done = moving.promote(name, number, why=why, trust=trust)
        elif command == "rollback":
            done = moving.rollback(name, to=number or None, why=why, trust=trust)
        elif command == "approve":
            done = moving.approve(name, number, why=why, trust=trust)
        else:
            done = moving.refuse(name, number, why=why)
    if done is None:
        print(f"{name}: version {number} is the champion already")
        return 0
    print(mask(record.told(name, done)), flush=True)
    if command == "promote" and before:
        print(f"note: {mask(before)}", flush=True)
    if command != "rollback":
        _tell_prefect(name, number, done)
    from flows.machinery import notify, state

    if state.running():
        state.load_environment()
    notify.moved(name, done)
    return 0


def _number(name: str, text: str | None) -> str:
    """Return the number of a version that is given by it or by an alias."""
    if not text or text.isdigit():
        return text or ""
    found = record.read(name)
    if text not in found.holders:
        aliases = ", ".join(sorted(found.holders)) or "none"
        raise SlipwayError(f"{name} has no version and no alias {text!r}; aliases: {aliases}")
    return found.holders[text]


def _not_promoted(name: str, number: str) -> str:
    """Say who did not let a version become the champion, a person or a run, and why; empty where neither did."""
    from components.tracking import moving, shown

    decision, reason = shown.decided(connection.version(name, number).tags)
    if entry := record.read(name).standing().withdrawn.get(number):
        return f"it {moving.withdrawn(entry)}"
    if decision != shown.REFUSED:
        return ""
    return f"the run did not promote it: {reason.replace(shown.anyway(name, number), '')}"


def _tell_prefect(name: str, number: str, done: Entry) -> None:
    """End the flow run that waits for this decision; the registry has it already, so that nothing depends on this."""
    if not (server.configured() or server.served()):
        return
    server.api()
    from flows.machinery import approval

    try:
        ended = approval.close(name, {number: record.told(name, done)})
    except Exception as error:  # noqa: BLE001 - whatever it is, the decision stands
        print(f"note: Prefect was not told ({mask(str(error))[:200]}); the next run does that", flush=True)
        return
    for run in ended:
        print(f"the flow run {run}, which waited for this, is ended in Prefect", flush=True)


def history(found: Record, on: str | None) -> str:
    """Return a record as text: all of it, or who was the champion on a day or at a moment."""
    if on is not None:
        return _on(found, on)
    standing = found.standing()
    lines = []
    for entry in found.entries:
        lines.append(f"{record.shown(entry.when)}  {_headline(entry)}")
        by = [entry.who] if entry.who else []
        by += [f"{which} run {run}" for which, run in entry.run.items()]
        if entry.kind == "moved outside Slipway":
            by = [f"at some time since {record.shown(entry.since)}; Slipway does not know by whom or why"]
        lines += [f"    {text}" for text in ("; ".join(by), entry.why) if text]
    if not found.entries:
        lines.append("no move is on record")
    champion = f"version {found.champion}" if found.champion else "none"
    last = found.last_move()
    lines.append(f"{found.name}: the champion is {champion}{f', since {record.shown(last.when)}' if last else ''}")
    lines += [
        record.how_to_decide(found.name, number, asked.since)
        for number, asked in sorted(standing.waiting.items(), key=lambda item: int(item[0]))
    ]
    if standing.withdrawn:
        numbers = ", ".join(sorted(standing.withdrawn, key=int))
        lines.append(f"only a person promotes these again, a run does not: {numbers}")
    return "\n".join(lines)


def _headline(entry: Entry) -> str:
    if entry.kind not in record.MOVES:
        return f"{entry.kind:<12} version {entry.version}"
    lost = "  (never made: its process ended before the alias moved)" if entry.state == "lost" else ""
    return f"{entry.kind:<12} {entry.before or 'none'} -> {entry.version or 'none'}{lost}"


def _on(found: Record, text: str) -> str:
    begin, end = _span(text)
    if begin > record.now():
        raise SlipwayError(f"--on {text}: that is in the future")
    if begin < found.created and end < found.created:
        return f"{found.name} on {text} (UTC): it was not registered yet; it was on {record.shown(found.created)}"
    parts = record.during(found.entries, begin, end)
    return "\n".join([f"{found.name} on {text} (UTC):", *(f"    {_stretch(part)}" for part in parts)])


def _stretch(part: Stretch) -> str:
    champions = " or ".join(f"version {number}" if number else "no champion" for number in part.versions)
    begin = f" from {record.shown(part.begin)}" if part.begin else ""
    end = f" to {record.shown(part.end)}" if part.end else " up to now" if part.begin else ""
    if len(part.versions) > 1:
        return f"{champions}{begin}{end}: it was moved outside Slipway some time between"
    by = f" ({part.entry.kind}{f' by {part.entry.who}' if part.entry.who else ''})" if part.entry else ""
    return f"{champions}{begin}{end}{by}"


def _span(text: str) -> tuple[str, str]:
    """Return the beginning and the end of a day, or a moment twice, as the record spells them."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SlipwayError(
            f"--on {text}: expected a day such as 2026-11-03, or a moment such as 2026-11-03T14:30, in UTC"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    whole = len(text) <= len("2026-11-03")
    return record.spelled(moment), record.spelled(moment + timedelta(days=1) if whole else moment)
