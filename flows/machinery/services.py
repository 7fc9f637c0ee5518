"""Servers that are kept alive: one that dies or hangs is started again, after a pause that grows, up to a limit."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from components import SlipwayError
from flows.machinery import logs, server
from flows.machinery.process import Children, Running

STEADY_SECONDS = 600.0  # that one must have lived for its earlier deaths to be forgotten
LONGEST_PAUSE = 60.0
MANY = 12  # deaths in a row: a quarter of an hour of attempts
HANGING_SECONDS = 120.0  # without an answer, after which one that has answered is killed
STARTING_SECONDS = 600.0  # at a boot much else starts, too
LEFT_SECONDS = 10.0  # that the rest of a server that died may hold its port
LOOK_SECONDS = 0.5
Say = Callable[[str], None]


@dataclass
class Service:
    """A server or worker: how it is started, and how it is.

    `health` is the address that answers when it is well, at its `port`, if it has one; `ready` says whether it may be
    started. `taken` is set where another program has its port.
    """

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    health: str = ""
    port: int = 0
    ready: Callable[[], bool] = lambda: True
    process: Running | None = None
    deaths: int = 0
    given_up: bool = False
    taken: bool = False
    answered: bool = False
    heard: float = 0.0  # when it last answered

    def alive(self) -> bool:
        """Return whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def well(self) -> bool:
        """Return whether it runs and has answered."""
        return self.alive() and (self.answered or not self.health)


def keep(service: Service, children: Children, over: threading.Event, say: Say, changed: Callable[[], None]) -> None:
    """Start a service, again and again, until `over`; call `changed` after each start."""
    tell = logs.teller(service.name)
    while not over.is_set():
        if not service.ready():
            over.wait(LOOK_SECONDS)
            continue
        if service.port and not _free(service.port, over):
            service.taken = True
            return
        began = time.monotonic()
        service.answered, service.heard = False, began
        try:
            service.process = children.start(service.command, service.environment)
        except SlipwayError:  # all is being ended
            return
        changed()
        code = children.follow(service.process, lambda line: tell(line, quiet=over.is_set()))
        if over.is_set():
            return
        service.deaths = 1 if time.monotonic() - began > STEADY_SECONDS else service.deaths + 1
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if service.deaths >= MANY:
            service.given_up = True
            say(
                f"ERROR: {service.name} {how}: {service.deaths} deaths in a row, it is not started any more, the "
                f"others go on. See {logs.path(service.name)}; after the repair: `slipway down`, then `slipway up`"
            )
            return
        pause = min(2.0 ** (service.deaths - 1), LONGEST_PAUSE)
        say(f"{service.name} {how}; it is started again in {pause:.0f} s (its log: {logs.path(service.name)})")
        over.wait(pause)


def _free(port: int, over: threading.Event) -> bool:
    """Return whether a port is free, or becomes so once what is left of a server that died has ended, too."""
    until = time.monotonic() + LEFT_SECONDS
    while server.free_port(port) != port:
        if time.monotonic() > until or over.wait(LOOK_SECONDS):
            return False
    return True


def _listens(process: Running, port: int) -> bool:
    """Return whether it is this process, or one that it started, that answers at a port: another program could."""
    with suppress(psutil.Error):
        first = psutil.Process(process.pid)
        for each in (first, *first.children(recursive=True)):
            for one in each.net_connections():
                if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port:
                    return True
    return False


def look(service: Service, say: Say) -> None:
    """Note whether a service answers; kill one that has not for long."""
    if not service.health or not service.alive() or service.process is None:
        return
    if server.answers(service.health) and (service.answered or _listens(service.process, service.port)):
        service.answered, service.heard = True, time.monotonic()
    elif time.monotonic() - service.heard > (HANGING_SECONDS if service.answered else STARTING_SECONDS):
        say(f"{service.name} runs but does not answer: it is killed")
        service.heard = time.monotonic()
        with suppress(ProcessLookupError):
            os.killpg(service.process.pid, signal.SIGKILL)
