"""What our processes need of the environment they were started in: called first by every command."""

import errno
import getpass
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from components import SlipwayError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Where DVC remembers the digests of files it has read, for all users of a machine.
DVCS_STATE = Path("/Library/Caches/dvc" if sys.platform == "darwin" else "/var/tmp/dvc")  # noqa: S108
FULL: dict[int | None, str] = {  # what a write fails with where there is no room, and what helps
    errno.ENOSPC: "free some space and run it again",
    errno.EDQUOT: "free some space and run it again",
    errno.EFBIG: "raise the limit on the size of a file (`ulimit -f`) and run it again",
}
FULL_SQLITE = ("database or disk is full", "disk I/O error")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
REUSE = "SLIPWAY_REUSE"  # 0: a stage uses nothing that it kept, and keeps nothing (components/reuse.py)


def root() -> Path:
    """Return the project's root, the outer one inside a workspace of `dvc exp run --temp`, `--queue` or an example."""
    here = Path.cwd()
    for parent in Path.cwd().parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            here = parent.parents[2]
        elif parent.name == ".workspaces" and (parent.parent / ".dvc").is_dir():  # see flows/example.py
            here = parent.parent
    return here


def shown(path: Path) -> Path:
    """Return a path as a person finds it who stands in the project's root, though we may stand in a workspace."""
    top, full = root(), path.absolute()
    return full.relative_to(top) if top != Path.cwd() and full.is_relative_to(top) else path


def settle() -> None:
    """Set what is lacking, for this process and those that it starts.

    What is served on loopback is never asked for by way of a proxy; text is UTF-8 in what we start, and what a
    terminal cannot show is written out here.
    """
    pass_proxies_by()
    name_the_user()
    place_dvcs_state()
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime, whose wheels report to Microsoft since 1.29
    os.environ.setdefault("PYTHONUTF8", "1")  # https://peps.python.org/pep-0540/: whatever LANG and LC_ALL say
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class Unheard:
    """A stream of which nobody need read on (`| head`): what is being written to the disk comes to its end."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, as long as somebody reads."""
        return self._tried(lambda: self._stream.write(text)) or len(text)

    def flush(self) -> None:
        """Flush, as long as somebody reads."""
        self._tried(self._stream.flush)

    def _tried(self, do: Callable[[], int | None]) -> int | None:
        try:
            return do()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            return None


def proxies_set() -> list[str]:
    """Return the variables of the environment that name a proxy."""
    return [name for every in PROXIES for name in (every, every.upper()) if os.environ.get(name)]


def pass_proxies_by() -> None:
    """See that no proxy of the environment is asked for what is on loopback; a user's own exceptions stay."""
    if not (proxies := proxies_set()):
        return  # macOS has its own list of what no proxy is asked for, and one of ours would replace it
    known = [host.strip() for name in ("no_proxy", "NO_PROXY") for host in os.environ.get(name, "").split(",")]
    text = ",".join(dict.fromkeys([*filter(None, known), *LOOPBACK]))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = text
    socks = [name for name in proxies if os.environ[name].lower().startswith("socks")]
    if socks and importlib.util.find_spec("socksio") is None:  # Prefect's client fails on its mere mention
        for name in socks:
            del os.environ[name]
        print(
            f"warning: {', '.join(socks)}: a SOCKS proxy needs the package socksio, which is not installed; it is not "
            "used here",
            file=sys.stderr,
        )


def name_the_user() -> None:
    """Give a user whom the system knows by number alone, as in a container, that as a name: DVC asks for one."""
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["LOGNAME"] = str(os.getuid())


def place_dvcs_state() -> None:
    """Let DVC keep its state in the project where another user's folder is in the way: DVC could not even start."""
    here = next(path for path in (DVCS_STATE / "repo", *(DVCS_STATE / "repo").parents) if os.path.lexists(path))
    own = Path(".dvc/tmp/state").absolute()
    if (here.is_dir() and os.access(here, os.W_OK | os.X_OK)) or not os.access(".dvc", os.W_OK):
        return
    if os.environ.setdefault("DVC_SITE_CACHE_DIR", str(own)) == str(own):
        own.mkdir(mode=0o700, parents=True, exist_ok=True)  # in it, DVC lets everybody write


def must_be_writable(root: Path) -> None:
    """Raise SlipwayError where this user may not write to the project: a clone belongs to one user."""
    if os.access(root, os.W_OK):
        return
    try:
        owner = root.owner()
    except (KeyError, OSError):
        owner = f"user {root.stat().st_uid}"
    raise SlipwayError(
        f"{root.absolute()}: you may not write to this folder, which belongs to {owner}; clone the project into a "
        "folder of your own"
    )


def home_is_writable() -> bool:
    """Return whether this user has a HOME to write to."""
    try:
        return os.access(Path.home(), os.W_OK)
    except RuntimeError:  # no HOME, and nobody knows this user
        return False


def full(error: BaseException, place: object = None) -> str:
    """Say that a disk is full, which one, and what to do; empty where that is not what happened."""
    if type(error).__module__ == "sqlite3" and str(error) in FULL_SQLITE:  # such as DVC's, of what it has hashed
        return f"SQLite: {error}; {FULL[errno.ENOSPC]}"
    number = error.errno if isinstance(error, OSError) else None
    if number not in FULL:
        return ""
    where = getattr(error, "filename", None) or place
    return f"{f'{where}: ' if where else ''}{os.strerror(number or 0)}; {FULL[number]}"
