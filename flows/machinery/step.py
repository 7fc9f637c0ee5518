"""One node of DVC's graph, brought up to date by DVC: python flows/machinery/step.py NODE [--force] [--no-commit].

A process of its own, so that it can be ended with all that it started. It prints the stage's command and
then what the stage prints; its exit code says what DVC did. It imports DVC and nothing of ours, so that it
is ready in 0.4 s.
"""

import logging
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage

# What DVC did -> exit code; any other code is a failure.
CODES = {"ran": 0, "restored": 100, "unchanged": 101, "pulled": 102, "versioned": 103}


def main(name: str, *options: str) -> int:
    """Bring one node up to date; return the code of what was done, or 1."""
    signal.signal(signal.SIGTERM, _leave)  # DVC then gives its locks back
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo
    from dvc.stage.exceptions import StageCmdFailedError

    commands: list[str] = []

    def command(record: logging.LogRecord) -> bool:
        commands.append(record.getMessage())
        return record.getMessage().startswith(">")

    logging.getLogger("dvc").setLevel(logging.WARNING)
    running = logging.getLogger("dvc.stage.run")  # speaks where a command is run, not where one is restored
    running.setLevel(logging.INFO)
    running.addFilter(command)

    repo = Repo(_wait_for_lock=True)
    if told := _holder(repo):
        print(told, flush=True)
    while True:
        try:
            (stage,) = repo.stage.collect(name)
            if stage.is_data_source and not stage.is_import:
                return CODES[_data(repo, stage)]
            options_of_dvc = {"force": "--force" in options, "no_commit": "--no-commit" in options}
            done = repo.reproduce(name, single_item=True, **options_of_dvc)
            return CODES["unchanged" if not done else "ran" if commands else "restored"]
        except KeyboardInterrupt:
            return 130
        except DvcException as error:
            cause: BaseException = error.__cause__ or error
            if isinstance(cause, LockError):  # another DVC works on the same files
                if not told:
                    told = f"waiting: {' '.join(str(cause).split())}"
                    print(told, flush=True)
                time.sleep(1)
            else:
                told = _killed(str(cause)) if isinstance(cause, StageCmdFailedError) else f"error: {cause}"
                if told:  # else the command has said itself what is wrong
                    print(told, flush=True)
                return 1
        except OSError as error:  # such as a disk that is full
            print(f"error: {error.filename or name}: {error.strerror or error}", flush=True)
            return 1


def _killed(failure: str) -> str:
    """Say which signal ended a stage's command, of which DVC says `exited with CODE`; nothing where none did."""
    return killed(int(failure.rpartition("exited with ")[2]) if "exited with " in failure else 0)


def killed(code: int) -> str:
    """Say which signal an exit code tells of; nothing where it tells of none, or the process has spoken itself."""
    number = -code if code < 0 else code - 128  # a shell's word for it
    names = {each.value: each.name for each in signal.Signals if each not in (signal.SIGINT, signal.SIGTERM)}
    if number not in names:  # of the two that are left out, the command has spoken itself
        return ""
    why = ": by the system where memory runs out, or by hand" if number == signal.SIGKILL else ""
    return f"error: it was killed by signal {number} ({names[number]}){why}"


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _holder(repo: "Repo") -> str:
    """Say who holds DVC's lock; nothing where it is free within three seconds."""
    import psutil
    from dvc.lock import Lock, LockError

    if not isinstance(repo.lock, Lock):  # core.hardlink_lock: a file, which a killed process leaves for a year
        path = Path(str(repo.tmp_dir), "lock")
        return f"waiting for DVC's lock {path}; if no other DVC is running, remove it" if path.exists() else ""
    try:
        with Lock(repo.lock.lockfile):
            return ""
    except LockError:
        try:
            process = psutil.Process(int(Path(repo.lock.lockfile).read_text(encoding="utf-8")))
            return f"waiting for DVC's lock, held by process {process.pid}: {' '.join(process.cmdline())}"
        except (OSError, ValueError, psutil.Error):
            return "waiting for DVC's lock"


def _data(repo: "Repo", stage: "Stage") -> str:
    """Bring data that a .dvc file tracks: pull it where it is missing, version it where it was changed."""
    from dvc.exceptions import DvcException

    if not any(out.exists for out in stage.outs):
        print(f"{stage.outs[0]} is missing: run `dvc pull {stage.addressing}`", flush=True)
        _pull(repo, stage.addressing)
        return "pulled"
    for out in stage.outs:  # somebody's new version, of which only the pointer has come
        if out.exists and out.hash_info and out.get_obj() is None and out.changed_checksum():
            raise DvcException(
                f"{out} differs from {stage.addressing}, whose version is not in DVC's cache: `dvc pull "
                f"{stage.addressing}` brings it, `dvc add {out}` records that this is on purpose"
            )
    if lost := [path for out in stage.outs for path in _lost(out)]:
        some = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        raise DvcException(
            f"{some}: missing, though listed in {stage.addressing}; `dvc checkout {stage.addressing}` brings it "
            f"back, `dvc add {stage.outs[0]}` records that it was removed on purpose"
        )
    if strange := [path for out in stage.outs for path in _strange(repo, out)]:
        raise DvcException(f"{strange[0]}: a dataset may contain only Parquet files; move this one elsewhere")
    if not repo.reproduce(stage.addressing, single_item=True):
        return "unchanged"
    (now,) = repo.stage.collect(stage.addressing)
    for before, out in zip(stage.outs, now.outs, strict=True):
        print(f"{out} changed: versioned as {out.hash_info.value} (was {before.hash_info.value})", flush=True)
    return "versioned"


def _pull(repo: "Repo", name: str) -> None:
    """Pull data from the default remote; where it has not got there, say so, and where else it may be."""
    from dvc.exceptions import CheckoutError, DvcException

    try:
        repo.pull(targets=[name])
    except CheckoutError:
        remotes, own = repo.config["remote"], repo.config["core"].get("remote", "")
        others = " or ".join(f"`dvc pull --remote {other} {name}`" for other in sorted(remotes) if other != own)
        where = f"the DVC remote {own} ({remotes.get(own, {}).get('url', '')})" if own else "a DVC remote: none is set"
        raise DvcException(
            f"the data of {name} is not in {where}: `dvc push {name}` in a clone that has it brings it there"
            + (f"; or it is in another remote: {others}" if others else "")
        ) from None


def _lost(out: "Output") -> Iterator[str]:
    """List what an output's last version holds and the workspace does not (as far as the cache knows it)."""
    if not out.exists:
        yield str(out)
    elif out.hash_info.isdir and (tree := out.get_obj()) is not None:
        for key, *_ in tree:
            if not Path(out.fs_path, *key).exists():
                yield str(Path(str(out), *key))


def _strange(repo: "Repo", out: "Output") -> list[str]:
    """List what lies beside Parquet files in a folder of data: no stage would read a version that has it."""
    paths = [Path(folder, name) for folder, _, names in repo.dvcignore.walk(out.fs, out.fs_path) for name in names]
    ours = [path for path in paths if path.name.endswith((".parquet", ".source.json"))]
    return sorted(str(path.relative_to(repo.root_dir)) for path in paths if path not in ours) if ours else []


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
