"""A program that ends, with all that it started, when the process that started it has ended, however it did.

    python -P guarded.py PARENT -m MODULE ARGUMENT ...
    python -P guarded.py PARENT FILE ARGUMENT ...
    python -P guarded.py PARENT --prepared MODULES

The last imports what is named, separated by commas (with `:FUNCTION` after a module it calls that, too), and then
waits for a line that says what to run: JSON with `words`, as above, `environment`, and whether more is `told` to it on
stdin. Where no line comes it ends.

So nothing trains or serves on for a run that was killed. To look for the parent now and then works on every Unix and
whichever thread started us, unlike a parent-death signal (prctl(2)). It imports nothing of ours: it is ready at once.
"""

import _thread
import contextlib
import importlib
import json
import os
import runpy
import signal
import sys
import threading
import time

LOOK_SECONDS = 0.5
# What the others of the group are sent, and how many seconds they then have. SIGINT: a training notes an interruption.
END_SIGNALS = ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 0.0))
_orphaned = threading.Event()


def main(parent: str, *words: str) -> None:
    """Run a module or a file as Python would, and watch the parent meanwhile."""
    watch = threading.Thread(target=_watch, args=(int(parent),), daemon=True)
    watch.start()
    if words[0] == "--prepared":
        words = _told(words[1].split(","))
    os.environ["SLIPWAY_STARTER"] = str(os.getpid())  # a flow that we start may find us dead already: runs.py
    try:
        if words[0] == "-m":
            if words[1] == "components":  # of the project, which is the current folder
                sys.path.insert(0, os.getcwd())  # noqa: PTH109 - pathlib costs a stage's start 10 ms
            sys.argv = list(words[1:])
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = list(words)
            runpy.run_path(words[0], run_name="__main__")
    finally:
        if _orphaned.is_set():
            watch.join()  # until all others have ended


def _told(modules: list[str]) -> tuple[str, ...]:
    """Import modules, then return the words of the command that comes."""
    for each in modules:
        name, _, function = each.partition(":")
        ours = [os.getcwd()] if name.startswith("components.") else []  # noqa: PTH109 - as above
        sys.path[:0] = ours
        with contextlib.suppress(Exception):  # the command says it better
            module = importlib.import_module(name)
            if function:
                getattr(module, function)()
        for folder in ours:  # what a module has put before it stays
            sys.path.remove(folder)
    line = sys.stdin.readline()
    if not line:  # nobody needs it
        os._exit(0)
    told = json.loads(line)
    if not told["told"]:  # no more comes, and nobody could answer a question
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    os.environ.update(told["environment"])
    return tuple(told["words"])


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    _orphaned.set()
    _thread.interrupt_main()
    for number, seconds in END_SIGNALS:
        until = time.monotonic() + seconds
        for pid in _others():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        while _others() and time.monotonic() < until:
            time.sleep(0.1)
    os._exit(1)


def _others() -> list[int]:
    """List what we started, directly or not, and what else is in our group where that is our own."""
    import psutil

    group, own, found = os.getpgrp(), os.getpid(), set()
    if group == own:
        for pid in psutil.pids():
            with contextlib.suppress(OSError):
                if os.getpgid(pid) == group:
                    found.add(pid)
    found |= {child.pid for child in psutil.Process().children(recursive=True)}
    found.discard(own)
    return [pid for pid in found if _lives(pid)]


def _lives(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
