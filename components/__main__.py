"""The command line: python -m components STAGE ...

Parses, imports the one stage that is asked for, and calls it.
"""

import argparse
import contextlib
import errno
import gc
import importlib
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from components import SlipwayError, conflicts, masking, sources, steady, surroundings, temporary

# Stage -> what it does, and its paths. The paths themselves are written once, in dvc.yaml.
STAGES: dict[str, tuple[str, list[str]]] = {
    "validate": (
        "check the dataset against its expectations; set bad rows aside",
        ["data", "expectations", "out"],
    ),
    "preprocess": ("split, fit on the training split, encode to arrays", ["data", "quarantine", "out"]),
    "baseline": ("fit a trivial and a classical baseline", ["arrays", "out", "classical"]),
    "train": ("fit the network; write the candidate that ships", ["arrays", "classical", "out", "history"]),
    "evaluate": (
        "evaluate the ONNX model on the test split, next to the baselines",
        ["data", "arrays", "model", "baseline", "out"],
    ),
    "register": (
        "register the model in MLflow; promote it if it passes the gates",
        ["build", "data", "out"],
    ),
}
PATHS = {
    "data": "folder of the dataset",
    "expectations": "file with the expectations",
    "quarantine": "Parquet file with the rows that validate set aside",
    "arrays": "folder of the encoded arrays",
    "model": "folder of the model",
    "baseline": "folder of the baselines' outputs",
    "classical": "folder of the classical model",
    "build": "folder with the results of all stages",
    "history": "folder for the training history",
    "out": "folder for the results",
}
FEW_OBJECTS = 5_000  # new ones between two looks for garbage: at Python's 700 that takes a sixth of Keras' import
FOLDER_STAGES = ("preprocess", "train", "baseline", "evaluate")  # --out is a folder that they make as a whole


def parser(command: str = "") -> argparse.ArgumentParser:
    """Build the parser of the whole command line; of a `command` that is a stage of dvc.yaml, of these stages alone.

    A stage then starts without what the arguments of the other commands are made of.
    """
    main = argparse.ArgumentParser(prog="python -m components", description=__doc__.splitlines()[0])
    commands = main.add_subparsers(dest="stage", metavar="STAGE", required=True)
    for stage, (text, paths) in STAGES.items():
        added = commands.add_parser(stage, help=text, description=text)
        for name in paths:
            added.add_argument(f"--{name}", type=Path, required=True, metavar="PATH", help=PATHS[name])
        added.add_argument(
            "--params", type=Path, default=Path("params.yaml"), metavar="PATH", help="settings (default: %(default)s)"
        )
        if stage == "register":
            told = "do not ask DVC again whether the pipeline is up to date: the caller has just done so"
            added.add_argument("--up-to-date", action="store_true", help=told)
            told = "wait for a line on stdin, the id of Prefect's flow run, before anything is decided"
            added.add_argument("--told", action="store_true", help=told)
            told = "run the code of a champion that is not as Slipway registered it, now and from now on"
            added.add_argument("--trust", action="store_true", help=told)
            told = "when the run began that made the model, in seconds since 1970; default: now"
            added.add_argument("--began", type=float, metavar="SECONDS", help=told)
    if command in STAGES:
        return main
    from components.stages import find_lr, ingest, predict, settle  # light: they declare their own arguments

    find_lr.arguments(commands)
    ingest.arguments(commands)
    sources.arguments(commands)
    predict.arguments(commands)
    settle.arguments(commands)
    return main


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; return the exit code as `run` does."""
    try:
        words = sys.argv[1:] if arguments is None else arguments
        options = vars(parser(words[0] if words else "").parse_args(words))
    except KeyboardInterrupt:  # on the way here it imports for a second
        print("interrupted", file=sys.stderr)
        return 130
    return run(options.pop("stage"), options)


def run(stage: str, options: dict[str, Any]) -> int:
    """Run a stage or another command; return the exit code: 0 done, 1 a mistake of the user's, 130 interrupted."""
    started = time.perf_counter()
    gc.set_threshold(FEW_OBJECTS)
    masking.tracebacks()
    surroundings.settle()
    signal.signal(signal.SIGTERM, _interrupt)  # a scheduler's stop is a person's Ctrl-C
    try:
        if stage != "predict":  # that reads none of these files
            conflicts.must_be_solved()
        module = importlib.import_module(f"components.stages.{stage.replace('-', '_')}")
        if stage in ("ingest", "update"):  # all or nothing, whether somebody reads on or not
            with contextlib.redirect_stdout(cast("IO[str]", surroundings.Unheard(sys.stdout))):
                module.run(**options)
            return 0
        if stage not in STAGES:
            return int(module.run(**options) or 0)
        from components import params
        from components.data import versions
        from components.evaluation import promotion

        read = steady.seen(stage)
        if stage in FOLDER_STAGES:
            for name in ("out", *(["classical"] if stage == "baseline" else [])):
                versions.removable(options[name])  # before the work, not after it
        settings = params.load(options.pop("params"))
        promotion.check(settings)
        measured = module.run(settings, **options) or {}
        steady.must_be(stage, read)
        _cost(stage, options["out"], started, measured)
    except SlipwayError as error:
        print(masking.plain(f"error: {error}"), file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{stage}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head`: nobody reads on; https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        told = surroundings.full(error, options.get("out") or options.get("data"))
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.ENOENT):
            told = f"{error.filename or options.get('out')}: {os.strerror(error.errno)}; check it"
        if not told:
            raise
        print(f"error: {told}", file=sys.stderr)
    else:
        return 0
    return 1


def _interrupt(number: int, frame: object) -> None:  # noqa: ARG001
    raise KeyboardInterrupt


def _cost(stage: str, out: Path, started: float, measured: dict[str, Any]) -> None:
    """Write what the stage cost here to build/cost/STAGE.json: seconds, peak memory in MB, and what it measured."""
    from components.files import write_json

    unit = 2**20 if sys.platform == "darwin" else 2**10  # getrusage(2): bytes on macOS, KiB on Linux
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = round(time.perf_counter() - started, 2)
    write_json(
        out.parent / "cost" / f"{stage}.json",
        {"seconds": seconds, "peak_memory_mb": round(peak / unit), **measured},
    )


def _leave(code: int) -> NoReturn:
    """End this process at once: to take apart what Keras and others have loaded takes up to a second a stage."""
    with contextlib.suppress(OSError):  # nobody reads on
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    if not (sys.argv[1:2] and sys.argv[1] in STAGES):
        sys.exit(main())
    with temporary.folder() as room:  # what libraries leave there goes with it: TensorFlow leaves code of each training
        tempfile.tempdir = str(room)
        ended = main()
    _leave(ended)  # results are whole, and no thread has work left
