"""Child processes, each in a session of its own: their lines as they come, and their certain end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from components import SlipwayError, surroundings, temporary
from components.masking import plain

# What a group of processes is sent when it must end, and how many seconds it then has. SIGINT comes first
# because that is what Ctrl-C sends: a training notes that it was interrupted.
END_SIGNALS = ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 1.0))


Running = subprocess.Popen[str]
GUARDED = Path(__file__).with_name("guarded.py")


def guarded(*words: str) -> list[str]:
    """Return the command that runs `-m MODULE ...` or a file with this Python and ends when this process has ended."""
    return [sys.executable, "-P", str(GUARDED), str(os.getpid()), *words]


class Children:
    """The running children of one flow; leaving the context ends all that still run, from then on `ended` is true.

    Within the context their temporary files go into a folder of it: what any library leaves there goes with it.
    """

    def __init__(self) -> None:
        self._running: dict[int, Running] = {}
        self._prepared: dict[str, Running] = {}
        self._environment: dict[str, str] = {}
        self._lock = threading.Lock()
        self.ended = False

    def __enter__(self) -> "Children":
        self._room = temporary.folder()
        room = self._room.__enter__()
        self._environment = {"TMPDIR": str(room)}
        if not surroundings.home_is_writable():  # it would make a folder, and say so, in each process
            self._environment["MPLCONFIGDIR"] = os.environ.get("MPLCONFIGDIR") or str(room / "matplotlib")
        return self

    def __exit__(self, *error: Any) -> None:
        self.end()
        self._room.__exit__(*error)

    def prepare(self, modules: str) -> None:
        """Start a process that imports modules, which takes seconds, and waits for a command that names them, too.

        Without a module it does nothing.
        """
        with self._lock:
            if modules and not self.ended and modules not in self._prepared:
                command = guarded("--prepared", modules)
                self._prepared[modules] = self._open(command, self._surroundings(), subprocess.PIPE)

    def start(
        self, command: list[str], env: Mapping[str, str] | None = None, modules: str = "", *, told: bool = False
    ) -> Running:
        """Start a command whose output `follow` reads; its stdin is empty: nobody could answer a question.

        If it is to be `told` something later, with `tell`, its stdin stays open. A guarded one is given to the process
        that was prepared with the same `modules`, where there is one.
        """
        with self._lock:
            if self.ended:
                raise SlipwayError("interrupted")
            around, process = self._surroundings(env), self._prepared.pop(modules, None)
            if process is not None and _given(process, command[len(guarded()) :], around, told=told):
                return process
            return self._open(command, around, subprocess.PIPE if told else subprocess.DEVNULL)

    def _surroundings(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        return environment({**self._environment, **(env or {})})

    def _open(self, command: list[str], env: Mapping[str, str], stdin: int) -> Running:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=env,
            start_new_session=True,  # its process id is also that of its group
        )
        self._running[process.pid] = process
        return process

    def follow(self, process: Running, line: Callable[[str], Any]) -> int:
        """Hand each line of a child's output to `line` as it comes, see masking.plain; return its exit code.

        The code is negative where a signal ended it. What a child leaves running ends a second after it.
        """
        threading.Thread(target=self._clear, args=(process,), daemon=True).start()
        try:
            for text in process.stdout or ():
                line(plain(text.rstrip()))
            return process.wait()
        finally:
            if process.stdout:
                process.stdout.close()
            with self._lock:
                self._running.pop(process.pid, None)

    def _clear(self, process: Running) -> None:
        process.wait()
        time.sleep(1)
        if process.pid in self._running:  # still followed: something else holds its output open
            _signal(process, signal.SIGKILL)

    def end(self) -> None:
        """End every child with all that it started, and let none start any more."""
        with self._lock:
            self.ended = True
            processes = list(self._running.values())
        try:
            for number, seconds in END_SIGNALS:
                processes = [process for process in processes if _signal(process, number)]
                until = time.monotonic() + seconds
                while processes and time.monotonic() < until:
                    time.sleep(0.05)
                    processes = [process for process in processes if _signal(process, 0)]
        finally:  # also for a second Ctrl-C
            for process in processes:
                _signal(process, signal.SIGKILL)


def _given(process: Running, words: list[str], env: Mapping[str, str], *, told: bool) -> bool:
    """Give a command to a process that waits for one; return whether it takes it. If `told`, its stdin stays open."""
    if process.poll() is not None:
        return False
    return tell(process, json.dumps({"words": words, "environment": dict(env), "told": told}), last=not told)


def tell(process: Running, line: str, *, last: bool = True) -> bool:
    """Write a line to a process's stdin, the `last` one closes it; return whether there was somebody to take it."""
    if process.stdin is None or process.stdin.closed:
        return False
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        if last:
            process.stdin.close()
    except OSError:
        return False
    return True


def _signal(process: Running, number: int) -> bool:
    """Signal a process's whole group; return whether there still is one."""
    process.poll()  # a zombie would count as alive
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS: EPERM where only zombies are left
        return False
    return True


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for children: this Python first on PATH, output unbuffered, `extra`."""
    path = os.pathsep.join(filter(None, (str(Path(sys.executable).parent), os.environ.get("PATH"))))
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **(extra or {})}


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block like any exception, so that what it opened is closed."""

    def leave(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
