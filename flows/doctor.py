"""Look at what Slipway depends on here, and say what is wrong and what to do: `slipway doctor`.

Each check returns a line where all is well, and raises SlipwayError, which says what to do, where it is not. Nothing is
changed or started.
"""

import contextlib
import fcntl
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from components import SlipwayError, conflicts, params, surroundings, temporary
from components.masking import address, mask
from components.params import Notify
from components.tracking import connection
from flows import schedule
from flows.machinery import cron, deployments, git, logs, models, notify, packages, server, state, workspace

FREE_BYTES = 2e9  # below which a training, its checkpoints and DVC's copies may not fit
SKEW_SECONDS = 60.0  # between this clock and a server's: runs would be due, and locks old, at other times
ANSWER_SECONDS = 20.0  # that a remote has
HINTS = {"ImportError": "install what it names", "RemoteMissingDepsError": "add what it names to pyproject.toml"}


def run() -> int:
    """Print the result of each check as it comes; return 1 where something is wrong."""
    wrong = 0
    width = max(map(len, CHECKS))
    for name, check in CHECKS.items():
        try:
            print(f"ok     {name:<{width}}  {check()}", flush=True)
        except SlipwayError as error:
            wrong += 1
            print(f"WRONG  {name:<{width}}  {mask(str(error))}", flush=True)
        except Exception as error:  # noqa: BLE001 - the other checks still tell what they see
            wrong += 1
            print(
                f"WRONG  {name:<{width}}  cannot be looked at: {type(error).__name__}: {mask(str(error))}", flush=True
            )
    print(f"\n{wrong} of {len(CHECKS)} checks found something wrong" if wrong else "\nnothing is wrong")
    return int(wrong > 0)


def _machine() -> str:
    import psutil

    memory = psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB"
    return f"Python {platform.python_version()}, {system}"


def _packages() -> str:
    lock = Path("requirements/lock.txt")
    found = packages.unlike(lock.read_text(encoding="utf-8"))
    if found:
        raise SlipwayError(
            f"{len(found)} are not as in {lock}, so results may differ from other machines': {packages.named(found)}; "
            "`make setup` installs them"
        )
    return f"as in {lock}"


def _gpu() -> str:
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    asked = params.section("train", params.Train).device
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        if asked == "gpu":
            raise SlipwayError("params.yaml: train.device: gpu, but there is no nvidia-smi, and so no driver") from None
        return "none (no nvidia-smi): the CPU trains"
    if done.returncode:
        raise SlipwayError(f"nvidia-smi: {(done.stdout + done.stderr).strip()}; the driver does not work")
    names = "; ".join(done.stdout.split("\n")).strip("; ")
    command = [sys.executable, "-c", "import tensorflow as t; print(len(t.config.list_physical_devices('GPU')))"]
    seen = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    if not seen or seen[-1] == "0":
        raise SlipwayError(f"{names}: TensorFlow does not see it; `make setup GPU=1` installs CUDA's libraries")
    return names


def _disk() -> str:
    said = []
    for place in (Path.cwd(), Path(tempfile.gettempdir())):
        free = shutil.disk_usage(place).free
        if free < FREE_BYTES:
            raise SlipwayError(
                f"{place}: only {free / 1e9:.1f} GB are free; `slipway clean --dry-run` lists what could go"
            )
        said.append(f"{free / 1e9:.0f} GB free in {place}")
    return ", ".join(said)


def _git() -> str:
    conflicts.must_be_solved()
    git.commit("HEAD")
    missing = [name for name in ("user.name", "user.email") if not _identity(name)]
    if missing:
        raise SlipwayError(
            f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not set, and experiments are commits: "
            f"`git config --global {missing[0]} ...`"
        )
    changed = git.uncommitted()
    return f"at {git.run('describe', '--always').strip()}" + (
        f"; {len(changed)} changed files, which schedules do not see until they are committed" if changed else ""
    )


def _identity(name: str) -> str:
    variable = name.removeprefix("user.").upper()
    return os.environ.get(f"GIT_AUTHOR_{variable}", "") or git.run("config", name).strip()


def _data() -> str:
    missing = [
        str(found.folder / "data.dvc")
        for found in (models.find(name) for name in ("", *models.names()))
        if not (found.folder / "data.dvc").exists()
    ]
    if missing:
        raise SlipwayError(f"{', '.join(missing)}: a model without data; `slipway ingest --help` makes a dataset")
    if not Path("data").is_dir():
        return "the root's is not here yet: a run pulls it, or `dvc pull data.dvc`"
    from dvc.repo import Repo

    with Repo() as repo:
        changed = repo.status(targets=["data.dvc"])
    if changed:
        return "data/ differs from data.dvc: the next run makes a version of it"
    return "data/ is the version of data.dvc"


def _remotes() -> str:
    from dvc.repo import Repo

    with Repo() as repo:
        names = list(repo.config["remote"])
        if not names:
            return "none: data and results are on this machine alone (`dvc remote add`)"
        for name in names:
            if trouble := _trouble(lambda: repo.cloud.get_remote_odb(name)):  # noqa: B023 - called at once
                raise SlipwayError(f"the DVC remote {name} ({mask(repo.config['remote'][name]['url'])}): {trouble}")
    return f"{', '.join(names)}: there"


def _trouble(get: Callable[[], Any]) -> str:
    """Return why a remote cannot be reached; a store that does not answer is not waited for long."""
    said: list[str] = []

    def look() -> None:
        try:
            odb = get()
            if not odb.fs.exists(odb.path) and odb.fs.protocol == "local":
                said.append(f"there is no folder {odb.path}: mount it, or the first push makes it")
        except Exception as error:  # noqa: BLE001 - of any store's library
            hint = HINTS.get(type(error).__name__, "check its address and the credentials")
            said.append(f"{str(error).splitlines()[0] if str(error) else type(error).__name__}; {hint}")
        said.append("")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    return said[0] if said else f"no answer in {ANSWER_SECONDS:.0f} seconds"


def _mlflow() -> str:
    if connection.uri() == connection.default() and not Path("mlflow.db").exists():
        return "mlflow.db in this folder, which the first run makes"
    connection.check()
    return address(connection.uri())


def _prefect() -> str:
    url = server.shared().get("prefect") or server.served().get("prefect")
    if not url and state.running():
        raise SlipwayError(f"the server that `slipway up` keeps does not answer: see {logs.path('prefect')}")
    if not url:
        return "no server runs: each run starts one for itself; `slipway up` or `slipway ui` serves its pages"
    if not server.answers(f"{url}/api/health", 10.0):
        raise SlipwayError(f"{url} does not answer: start it, or unset PREFECT_API_URL")
    return url


def _schedules() -> str:
    if found := state.running():
        state.use(found)
        if found.get("given_up"):
            raise SlipwayError(
                f"`slipway up` has given up {', '.join(found['given_up'])}: see .prefect/logs/, repair it, then "
                "`slipway down` and `slipway up`"
            )
        if lacking := found.get("waiting"):
            raise SlipwayError(f"`slipway up` still starts {', '.join(lacking)}: see .prefect/logs/up.log")
        failed = [f"{'; '.join(told)}; {logs.path('runs')} has all that it said"] if (told := _failed()) else []
        if wrong := [*_not_running(), *failed]:
            raise SlipwayError("; ".join(wrong))
        return f"`slipway up` runs since {found['since']}; `slipway status` lists them"
    if state.read().get("owner"):
        raise SlipwayError("`slipway up` was killed, or the machine was started anew: `slipway up` starts all again")
    return schedule.foreground() or "`slipway up` does not run, so nothing is retrained by the clock"


def _not_running() -> list[str]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return deployments.not_running(client)


def _failed() -> list[str]:
    """Return what is to be said of each model whose last run that ended, by whomever it was started, failed."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return [
            f"{deployments.spoken(name)}: the last run, {run.name}, {run.state.name.lower()}: {deployments.said(run)}"
            for name, own in sorted(deployments.last_runs(client).items())
            for run in own
            if run.state and run.state.name and (run.state.is_failed() or run.state.is_crashed())
            if not deployments.is_interrupted(run)
        ]


def _clock() -> str:
    for name, url in server.shared().items():
        told = _date(f"{url}{'/health' if name == 'mlflow' else '/api/health'}")
        if told is not None and abs(told - time.time()) > SKEW_SECONDS:
            raise SlipwayError(
                f"this clock is {abs(told - time.time()):.0f} seconds {'behind' if told > time.time() else 'ahead of'} "
                f"that of {url}: set one of them right (NTP)"
            )
    return f"schedules are in the time zone {cron.here()}, unless --time-zone says another"


def _date(url: str) -> float | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        try:
            headers = urlopen(url, timeout=10).headers  # noqa: S310 - an http address: see `shared`
        except HTTPError as error:
            headers = error.headers
        return parsedate_to_datetime(headers["Date"]).timestamp()
    return None


def _locks() -> str:
    held = []
    for path in (
        Path(".dvc/tmp/slipway.lock"),
        Path(".dvc/tmp/lock"),
        *sorted(workspace.WORKSPACES.glob("[!.]*.lock")),
    ):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = file.read().decode(errors="replace").strip()
                held.append(f"{path} is held" + (f" by {holder}" if "process" in holder else ""))
    left = list(temporary.leftovers())
    said = "; ".join(held) + ": another command is at work" if held else "none is held"
    return said + (f"; {len(left)} temporary folders of killed processes, which the next run removes" if left else "")


def _proxies() -> str:
    if not (names := surroundings.proxies_set()):
        return "none"
    return f"{', '.join(f'{name}={address(os.environ[name])}' for name in names)}; not for {os.environ['NO_PROXY']}"


def _secrets() -> str:
    for path in (state.ENVIRONMENT, Path(".dvc/config.local"), Path("deploy/.env")):
        if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SlipwayError(f"{path} can be read by other users of this machine: `chmod 600 {path}`")
    return "no file of secrets that others can read"


def _notifications() -> str:
    found: dict[str, list[str]] = {}  # ways -> the models that are told of by these
    for model in ("", *models.names()):
        path = models.find(model).folder / "params.yaml"
        ways = ", ".join(notify.ways(params.section("notify", Notify, path)))
        found.setdefault(ways, []).append(params.name(path))
    if list(found) == [""]:
        return "none set up: failures are only in pages"
    said = [f"{', '.join(names)}: {f'by {ways}' if ways else 'none set up'}" for ways, names in found.items()]
    return f"{'; '.join(said)}; `slipway notify NAME --test` sends one"


CHECKS: dict[str, Callable[[], str]] = {
    "machine": _machine,
    "packages": _packages,
    "gpu": _gpu,
    "disk": _disk,
    "git": _git,
    "data": _data,
    "dvc remotes": _remotes,
    "mlflow": _mlflow,
    "prefect": _prefect,
    "schedules": _schedules,
    "clock": _clock,
    "locks": _locks,
    "proxies": _proxies,
    "secrets": _secrets,
    "notifications": _notifications,
}
