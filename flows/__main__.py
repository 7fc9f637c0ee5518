"""The flows' commands: python -m flows FLOW ...; `slipway` has them too."""

import argparse
import logging
import os
import signal
import sys
import textwrap
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from components import SlipwayError, conflicts, masking, sources, surroundings
from flows import moves
from flows.machinery import checkout, models, register, server, stages, update, workspace
from flows.machinery.process import terminable

# Prefect's settings for a run at a terminal, where the user has set nothing else. What a run says, it prints;
# Prefect's console would say it twice. A server that is lost is waited for some seconds, not minutes.
PREFECT = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_CLIENT_MAX_RETRIES": "2",
}

EXIT_CODES = """\
exit codes:
  0    the model is the champion, or nothing has changed
  1    something failed, and the output says what
  2    the command line is wrong
  3    the model is registered, and was not promoted: another one stays the champion
  4    the model is registered, and waits for approval
  130  interrupted, or cancelled in Prefect
"""

KEPT = "finished stages are kept, and the next run resumes from there"


def arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add a sub-parser for each flow."""
    text = (
        "Bring data and stages up to date as `dvc repro` would, save the result as a DVC experiment, and register "
        "the model. The run is reported to the Prefect server at PREFECT_API_URL; if that is not set, to the one "
        "that `make ui` runs; if none is running, to a temporary one with the same database. One that finds nothing "
        "to do says so, and is not reported."
    )
    once = commands.add_parser(
        "run",
        help="bring data and stages up to date, then register the model",
        description=textwrap.fill(text, 80),
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    help_text = "name of a model in models/, or of an example; several run one after the other (default: the root's)"
    once.add_argument("models", nargs="*", metavar="NAME", help=help_text)
    help_text = "run the committed files of this revision, such as HEAD, in a workspace: the checkout is not touched"
    once.add_argument("--revision", default="", metavar="REVISION", help=help_text)
    text = (
        "Do what `run` does on schedule, on what is committed, in a workspace of its own. While `slipway up` runs, "
        "this sets or replaces the schedule of a model and returns; else it stays in the foreground until Ctrl-C. "
        "Without SCHEDULE: list the schedules."
    )
    schedule = commands.add_parser("schedule", help="run on a schedule", description=text)
    help_text = 'cron expression: "0 3 * * *" is every night at 03:00, "0 3 * * 1" every Monday at 03:00'
    schedule.add_argument("cron", nargs="?", metavar="SCHEDULE", help=help_text)
    help_text = "name of the model; without it, that of this folder"
    schedule.add_argument("model", nargs="?", default="", metavar="NAME", help=help_text)
    help_text = "time zone that the schedule is in, such as Europe/Berlin (default: this machine's)"
    schedule.add_argument("--time-zone", metavar="ZONE", help=help_text)
    help_text = "remove the schedule of a model (without NAME: of that of this folder)"
    schedule.add_argument("--off", nargs="?", const="", metavar="NAME", help=help_text)
    for command in (once, schedule):
        _in_any_order(command)
        command.add_argument("--force", action="store_true", help="run every stage from nothing, changed or not")
    help_text = "run the code of a champion that is not as Slipway registered it, now and from now on"
    once.add_argument("--trust", action="store_true", help=help_text)
    _upkeep_arguments(commands)
    text = "Run an example from examples/ in a workspace of its own; its model goes into this checkout's registry."
    example = commands.add_parser("example", help="run an example on real data", description=text)
    example.add_argument(
        "name", nargs="?", metavar="NAME", help="name of the example; without it, all examples are listed"
    )
    help_text = "folder that contains its files, for offline use; without it they are downloaded"
    example.add_argument("--from", dest="folder", type=Path, metavar="FOLDER", help=help_text)
    text = (
        "Make a registered version again in a workspace of its own, from nothing but the registry, git and DVC: its "
        "commit, its locked packages, its data by digest, every stage computed. Then compare every output with the "
        "version's. The verdict becomes a tag of the version. Exit code 0: identical, or within tolerance on another "
        "processor; 1: different, or it cannot be made again."
    )
    proof = commands.add_parser("reproduce", help="make a registered version again and compare", description=text)
    proof.add_argument(
        "model", metavar="MODEL", help="NAME for its champion, NAME@ALIAS or NAME/VERSION, such as digits/3"
    )
    proof.add_argument("--keep", action="store_true", help="keep the workspace, in .workspaces/reproduce.NAME-VERSION")
    text = (
        "Show on one page where a registered version comes from: data, settings, code, packages, run, metrics, "
        "decision, moves, cost, reproductions. With --file, --id or --row: list the versions, of a registered model or "
        "of all, whose data holds a file or a row, on which side of the split it was, and whether they were ever the "
        "champion. "
        "Exit code 1: the answer is not complete, for the data of a version is no longer to be had."
    )
    origin = commands.add_parser("lineage", help="show where a registered version comes from", description=text)
    help_text = (
        "NAME for its champion, NAME@ALIAS or NAME/VERSION; with --file, --id or --row the name of a registered model "
        "(default: all)"
    )
    origin.add_argument("model", nargs="?", metavar="MODEL", help=help_text)
    origin.add_argument("--html", dest="page", type=Path, metavar="FILE", help="file for the page as HTML")
    help_text = "name of a file of the dataset, or its digest: which versions were made with it?"
    origin.add_argument("--file", metavar="NAME", help=help_text)
    help_text = "id of an example: which versions were made with it, or with copies of it?"
    origin.add_argument("--id", dest="example", metavar="ID", help=help_text)
    help_text = "value of a column, repeated for several: which versions were made with such rows?"
    origin.add_argument("--row", action="append", metavar="COLUMN=VALUE", help=help_text)
    text = (
        "Show what changed from one training to another (settings, data, code) and what it brought: the metrics of the "
        "test split with the intervals of a paired bootstrap, and costs. Without RUNS the last run and the champion "
        "(or the run before, where there is none); of one RUN it and the champion; of several each and the first."
    )
    beside = commands.add_parser(
        "compare", help="show what changed between trainings, and what it brought", description=text
    )
    help_text = (
        "NAME@ALIAS, NAME/VERSION, a DVC experiment, the id or name of an MLflow run; or NAME alone, for its last run"
    )
    beside.add_argument("runs", nargs="*", metavar="RUNS", help=help_text)
    moves.arguments(commands)
    _service_arguments(commands)
    sources.arguments(commands, model=True)


def _upkeep_arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = (
        "Print which events of a model are sent, and by which ways: a webhook (SLIPWAY_WEBHOOK), e-mail (SLIPWAY_SMTP "
        "and notify.mail in the model's params.yaml), a command (notify.command there). Exits with 1 if none is set "
        "up, or if a test failed."
    )
    notify = commands.add_parser("notify", help="show or test the notifications of a model", description=text)
    help_text = "name of a model in models/; without it, the root's, and which models have settings of their own"
    notify.add_argument("model", nargs="?", default="", metavar="NAME", help=help_text)
    _in_any_order(notify)
    notify.add_argument("--test", action="store_true", help="send a test by each way, and say what became of it")
    text = (
        "Remove what no registered version needs, beyond the last runs and days that `clean` in params.yaml keeps: "
        "runs and artefacts of MLflow, experiments of runs, objects of DVC's cache, checkpoints, flow runs and logs of "
        "Prefect. Waits for the runs that are under way; not to list."
    )
    clean = commands.add_parser("clean", help="remove what no registered version needs", description=text)
    clean.add_argument("--dry-run", action="store_true", help="only list what would be removed, and its bytes")
    text = (
        "Draft expectations from the data as it is now, as an ingest of new data does, and show how they differ from "
        "those of the model. What you wrote, changed or commented out there stays. Writes only with --write."
    )
    expect = commands.add_parser("expect", help="draft expectations from the data, show what differs", description=text)
    help_text = "name of a model in models/ (default: the root's)"
    expect.add_argument("model", nargs="?", default="", metavar="NAME", help=help_text)
    _in_any_order(expect)
    expect.add_argument("--write", action="store_true", help="write them into the model's file of expectations")


def _in_any_order(parser: argparse.ArgumentParser) -> None:
    """Let options stand between words that may be left out: argparse else takes all of these at the first, or none.

    See https://github.com/python/cpython/issues/58399.
    """
    plain, own = parser.parse_known_args, vars(parser)

    def parse(words: Any = None, found: Any = None) -> Any:
        own["parse_known_args"] = plain  # which the next line calls
        try:
            return parser.parse_known_intermixed_args(words, found)
        finally:
            own["parse_known_args"] = parse

    own["parse_known_args"] = parse


def _service_arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    commands.add_parser(
        "ui",
        help="open MLflow, Prefect and the data report in the browser",
        description="Serve MLflow, Prefect and the data report on loopback until Ctrl-C.",
    )
    text = (
        "Start a Prefect server, an MLflow server, the data report and a worker on loopback, and keep them alive in "
        "the background: what dies is started again. Logs: .prefect/logs/. Repeated, it says what runs."
    )
    up = commands.add_parser(
        "up", help="start all that scheduled retraining needs, and keep it alive", description=text
    )
    how = up.add_mutually_exclusive_group()
    how.add_argument("--foreground", action="store_true", help="stay in the foreground, as systemd and launchd want it")
    help_text = "have it started at each boot: a systemd user unit, on macOS a launchd agent"
    how.add_argument("--install", action="store_true", help=help_text)
    how.add_argument("--uninstall", action="store_true", help="undo --install")
    how.add_argument("--supervise", action="store_true", help=argparse.SUPPRESS)
    text = "End what `slipway up` started, and wait until it has ended. Schedules are kept for the next `slipway up`."
    commands.add_parser("down", help="end what `slipway up` started", description=text)
    text = "Say what `slipway up` runs, when the next runs are due, and how the last ones ended."
    commands.add_parser("status", help="what runs, what is due next, how the last runs ended", description=text)
    text = (
        "Look at what Slipway depends on here: packages, GPU, disk, git, data, remotes, servers, schedules, clock, "
        "locks, proxies. Say of each what is wrong and what to do; change nothing. Exits with 1 if anything is."
    )
    commands.add_parser("doctor", help="what is wrong here, and what to do", description=text)


def parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line."""
    from flows import ingest

    main = argparse.ArgumentParser(prog="python -m flows", description="Run a flow in this checkout.")
    commands = main.add_subparsers(dest="flow", metavar="FLOW", required=True)
    arguments(commands)
    ingest.arguments(commands)
    retrain = commands.add_parser("retrain", help="old name of run and, with --cron, of schedule")
    retrain.add_argument("--force", action="store_true", help="run every stage from nothing, changed or not")
    retrain.add_argument("--cron", metavar="SCHEDULE", help="cron expression, in UTC")
    return main


def main(words: list[str] | None = None) -> int:
    """Run one flow; return the exit code as `run` does."""
    options = vars(parser().parse_args(words))
    return run(options.pop("flow"), options)


def run(flow: str, options: dict[str, Any]) -> int:
    """Run a flow; return its exit code: see EXIT_CODES."""
    surroundings.settle()
    # Where no server is named, Prefect would start one of its own, unasked, which outlives a kill.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_ENABLED", "false")
    for name, value in () if flow == "up" else PREFECT.items():
        os.environ.setdefault(name, value)
    logging.raiseExceptions = False
    masking.tracebacks()
    try:
        with terminable():
            if flow not in READING:
                surroundings.must_be_writable(Path.cwd())
            if flow in OTHERS:
                return OTHERS[flow](options)
            conflicts.must_be_solved()
            if flow == "schedule" or options.get("cron") is not None:
                return _schedule(flow, options)
            return _each(options)
    except SlipwayError as error:
        print(masking.plain(f"error: {error}"), file=sys.stderr, flush=True)
        if isinstance(error, server.LostError):
            server.stop()
            os._exit(1)  # Prefect would try for minutes to send what it has left
    except PermissionError as error:
        where = Path(str(error.filename)).absolute()
        hint = "a clone belongs to one user: clone the project into a folder of your own"
        print(
            f"error: {where}: {error.strerror}; {hint if where.is_relative_to(Path.cwd()) else 'check it'}",
            file=sys.stderr,
        )
    except BrokenPipeError:  # `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # noqa: BLE001 - raised again where nothing is known about it
        return _failed(flow, error)
    except KeyboardInterrupt as stop:
        return _interrupted(flow, stop)
    except SystemExit as stop:
        _ended(flow, stop)
        raise
    return 1


def _failed(flow: str, error: Exception) -> int:
    """Tell of a signal where the error came in handling it, of a full disk, or raise the error again."""
    before = error.__context__
    while before is not None and not isinstance(before, KeyboardInterrupt | SystemExit):
        before = before.__context__
    if isinstance(before, KeyboardInterrupt):  # a library that cleans up may stumble over what is half done
        return _interrupted(flow, before)
    if isinstance(before, SystemExit):
        _ended(flow, before)
        raise before from None
    if not (told := surroundings.full(error)):
        raise error
    print(f"error: {told}", file=sys.stderr, flush=True)
    return 1


def _interrupted(flow: str, stop: KeyboardInterrupt) -> int:
    print(f"{flow}: {str(stop) or 'interrupted'}; {_kept(flow)}", file=sys.stderr)
    return 130


def _ended(flow: str, stop: SystemExit) -> None:
    """Tell of a signal that ends a run, where there is still somebody to read it; servers are ended so as a rule."""
    if flow in RUNS and isinstance(stop.code, int) and stop.code > 128:
        by = signal.Signals(stop.code - 128).name
        with suppress(OSError):
            print(f"{flow}: ended by {by}; {_kept(flow)}", file=sys.stderr, flush=True)


def _kept(flow: str) -> str:
    own = {
        "reproduce": "its workspace is removed",
        "lineage": "it changes nothing",
        "compare": "it changes nothing",
    }
    return own.get(flow, KEPT)


def _each(options: dict[str, Any]) -> int:
    """Run each model that is named, whatever becomes of the others; return 1 if one failed, else the first not 0."""
    revision, force, trust = options.get("revision", ""), options["force"], options.get("trust", False)
    codes = []
    for name in (named := options.get("models") or [""]):
        models.find(name)  # before any is run
    for name in named:
        if len(named) > 1:
            print(f"{name}:", flush=True)
        try:
            if name in models.examples():
                codes.append(_example({"name": name, "folder": None}))
            else:
                codes.append(_once(name, revision, force=force, trust=trust))
        except SlipwayError as error:
            if isinstance(error, server.LostError) or len(named) == 1:
                raise
            print(masking.plain(f"error: {name}: {error}"), file=sys.stderr, flush=True)
            codes.append(1)
    return 1 if 1 in codes else next(filter(None, codes), 0)


def _once(model: str = "", revision: str = "", *, force: bool = False, trust: bool = False) -> int:
    with workspace.entered(model, revision), checkout.opened() as work:
        from components import params
        from flows.machinery import idle

        if params.holds("recipe", Path("params.yaml")):  # else a stage tells that it lacks
            params.load()  # a mistake in it is told at once, not behind Prefect's start
        work.trust = trust
        work.children.prepare(register.MODULES)  # while DVC reads its graph
        early = not force and update.origin() is None  # else what is there may change
        if early:
            register.start_early(work)
        if (code := idle.run(work, model)) is not None:
            return code
        ready = server.api()
        if early and server.temporary():  # one that somebody named may not answer
            stages.start_early(work)
        from httpx import HTTPError
        from prefect.exceptions import CancelledRun
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        from flows.retrain import retrain

        ready()
        try:
            # Prefect waits up to a second for its heartbeat's thread, which nobody listens to here.
            with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
                outcomes = retrain(model=model, revision=revision, force=force)
        except CancelledRun:
            raise KeyboardInterrupt("cancelled in Prefect") from None
        except HTTPError as error:
            raise server.LostError(
                f"Prefect's server went away ({type(error).__name__}: {error}); the results of the stages are kept: "
                "start the server again, then repeat this run"
            ) from None
    return max(outcome.code for outcome in outcomes) if isinstance(outcomes, list) else 0


def _schedule(flow: str, options: dict[str, Any]) -> int:
    from flows import schedule

    if flow == "schedule":
        return schedule.command(**options)
    schedule.run(options["cron"], options["force"])  # retrain --cron, the old name
    return 0


def _up(options: dict[str, Any]) -> int:
    from flows import units, up

    if options["install"]:
        return units.install()
    if options["uninstall"]:
        return units.uninstall()
    return up.supervise() if options["supervise"] else up.up(foreground=options["foreground"])


def _down(_: dict[str, Any]) -> int:
    from flows import up

    return up.down()


def _doctor(_: dict[str, Any]) -> int:
    from flows import doctor

    return doctor.run()


def _status(_: dict[str, Any]) -> int:
    from flows import up

    return up.status()


def _ui(_: dict[str, Any]) -> int:
    from flows import ui

    return ui.main()


def _notify(options: dict[str, Any]) -> int:
    from flows.machinery import notify, state

    if state.running():  # its runs have these variables
        state.load_environment()
    return notify.show(options["model"], send=options["test"])


def _reproduce(options: dict[str, Any]) -> int:
    ready = server.api()
    from components.tracking import origin

    origin.find(options["model"])  # a wrong name is said at once
    from httpx import HTTPError
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.reproduce import reproduce

    ready()
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        try:
            state = reproduce(options["model"], options["keep"], return_state=True)
        except HTTPError as error:
            raise server.LostError(
                f"Prefect's server went away ({type(error).__name__}: {error}): repeat this"
            ) from None
    result = state.result(raise_on_failure=False)
    if isinstance(result, HTTPError):
        raise server.LostError(f"Prefect's server went away ({type(result).__name__}: {result}): repeat this") from None
    if state.is_cancelled():
        raise KeyboardInterrupt("cancelled in Prefect")
    if isinstance(result, BaseException):
        raise result
    return 0 if state.is_completed() else 1


def _expect(options: dict[str, Any]) -> int:
    from components.data import versions
    from components.stages import expect

    model, write = options["model"], options["write"]
    found = models.find(model)
    settings = (found.folder / "params.yaml").absolute()
    with workspace.entered(found.name, give_back=False) as place:
        workspace.must_have_data(found.name)
        versions.fetched(Path("data"))
        command = f"slipway expect {model}".strip()
        return expect.run(params=Path(os.path.relpath(settings, place)), write=write, command=command)


def _new(options: dict[str, Any]) -> int:
    from flows import ingest

    return ingest.new(options.pop("new_name"), options)


def _ingest(options: dict[str, Any]) -> int:
    from flows import ingest

    return ingest.add(options.pop("model", ""), options)


def _clean(options: dict[str, Any]) -> int:
    ready = server.api()
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.clean import clean

    ready()
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        clean(dry_run=options["dry_run"])
    return 0


def _moves(command: str, options: dict[str, Any]) -> int:
    return moves.run(command, **options)


def _update(options: dict[str, Any]) -> int:
    from flows import update as flow

    conflicts.must_be_solved()
    flow.run(options.pop("model"), options)
    return 0


def _example(options: dict[str, Any]) -> int:
    from flows import example

    if options["name"] is None:
        print(example.listed())
    else:
        example.run(options["name"], options["folder"], lambda: _once(options["name"]))
    return 0


def _lineage(options: dict[str, Any]) -> int:
    from flows import lineage

    return lineage.run(**options)


def _compare(options: dict[str, Any]) -> int:
    from flows import compare

    return compare.run(options["runs"])


# Command -> what does it; all others retrain, now or on a schedule.
RUNS = ("retrain", "example", "reproduce")  # of stages
OTHERS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "doctor": _doctor,
    "ui": _ui,
    "notify": _notify,
    "new": _new,
    "ingest": _ingest,
    "expect": _expect,
    "clean": _clean,
    "update": _update,
    "example": _example,
    "reproduce": _reproduce,
    "lineage": _lineage,
    "compare": _compare,
}
OTHERS |= {name: partial(_moves, name) for name in moves.COMMANDS}
READING = (
    "status",
    "down",
    "notify",
    "lineage",
    "compare",
    *moves.COMMANDS,
)  # they write nothing to the project's folder


if __name__ == "__main__":
    sys.exit(main())
