"""A command in a process of its own: how long it took, and how much memory it and those that it started had."""

import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
PAUSE = 0.05  # seconds between two looks at the memory
TAIL = 2000  # characters of the output of a command that failed


class FailedError(Exception):
    """A command did not end well; with the end of what it said."""


def run(command: list[str], room: Path, more: dict[str, str] | None = None, most_mb: float = 0) -> dict[str, Any]:
    """Run a command in `room`; return its seconds, processor seconds, peak memory in MB and output.

    Memory is that of all its processes at once, looked at every PAUSE seconds; what they share counts once where the
    system tells it (Linux). A command that takes more than `most_mb` is ended, for the others on this machine.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *_path()])} | (more or {})
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=room, env=environment, stdout=out, stderr=subprocess.STDOUT)
        peak, own = 0.0, psutil.Process(process.pid)
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, _memory(own))
            if most_mb and peak > most_mb:
                process.kill()
            time.sleep(PAUSE)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if most_mb and peak > most_mb:
        raise FailedError(f"took more than {most_mb:,.0f} MB after {seconds:,.0f} s")
    if process.returncode:
        raise FailedError(f"exit code {process.returncode}:\n{text[-TAIL:]}")
    return {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mb": peak, "output": text}


def _path() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def _memory(process: psutil.Process) -> float:
    total = 0
    try:
        every = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0.0
    for each in every:
        try:
            found = each.memory_full_info()
        except psutil.Error:  # it has just ended
            continue
        total += getattr(found, "pss", found.rss)
    return total / 1e6


def medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return the median of each number that all runs have."""
    names = [name for name, value in runs[0].items() if isinstance(value, int | float)]
    return {name: median(run[name] for run in runs) for name in names}
