"""What many runs leave, made in milliseconds: DVC's objects, experiments in git, runs in MLflow, versions."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.tracking import connection
from tests.flowing import repository

DAY = 86_400
LOCK = """\
schema: '2.0'
stages:
  train:
    cmd: train
    deps:
    - path: data
      hash: md5
      md5: {data}
    outs:
    - path: build/model
      hash: md5
      md5: {model}
    - path: build/steps.csv
      hash: md5
      md5: {steps}
"""
POINTER = "outs:\n- md5: {data}\n  nfiles: {files}\n  hash: md5\n  path: data\n"


@dataclass(frozen=True)
class Trace:
    """What a run was: its experiment, its run in MLflow, the digests of its data and outputs, its version."""

    experiment: str
    run: str
    data: str
    digests: frozenset[str]
    version: str


class Project:
    """A project in a folder, whose runs are traces. `size` is that of a model in bytes, of which artefacts are made."""

    def __init__(self, root: Path, store: Path, size: int = 100) -> None:
        self.root = repository(root, {})
        (root / "params.yaml").write_text("name: digits\n")
        (root / ".gitignore").write_text("/mlflow.db*\n/mlartifacts/\n/build/\n/data/\n.prefect/\n.workspaces/\n")
        git(root, "add", "--all")
        git(root, "commit", "-qm", "the start")
        shutil.copy(store / "mlflow.db", root / "mlflow.db")
        self.size, self.head = size, git(root, "rev-parse", "HEAD")
        self.experiment = connection.experiment("digits")
        self.rows: list[str] = []

    def run(self, day: float, *, new_rows: bool = True, registers: bool = False, alias: str = "") -> Trace:
        """Leave the traces of a run `day` days ago."""
        client, at = connection.client(), time.time() - day * DAY
        if new_rows or not self.rows:
            self.rows = [*self.rows[-3:], f"rows of {at}"]
        rows = [self.put(text, at) for text in self.rows]
        data = self.put(json.dumps([{"md5": row, "relpath": f"{row}.parquet"} for row in rows]), at, ".dir")
        weights = self.put(f"model of {at} ".ljust(self.size, "x"), at)
        model = self.put(json.dumps([{"md5": weights, "relpath": "model.onnx"}]), at, ".dir")
        steps = self.put(f"steps of {at}", at)
        lock = LOCK.format(data=data, model=model, steps=steps)
        name = f"retrain-{hashlib.sha256(lock.encode()).hexdigest()[:8]}"
        self.commit(name, {"dvc.lock": lock, "data.dvc": POINTER.format(data=data, files=len(self.rows))}, at)
        began = int(at * 1000)
        tags = {"slipway.training": name, "slipway.dvc_experiment": name}
        run = client.create_run(self.experiment, start_time=began, tags=tags)
        client.log_text(run.info.run_id, "x" * self.size, "model.keras")
        client.set_terminated(run.info.run_id, "FINISHED", end_time=began + 1000)
        version = self.register(run.info.run_id, name, data) if registers or alias else ""
        if alias:
            client.set_registered_model_alias("digits", alias, version)
        return Trace(name, run.info.run_id, data, frozenset({data, model, weights, steps, *rows}), version)

    def put(self, content: str, at: float, suffix: str = "") -> str:
        """Put an object into DVC's cache; return its digest."""
        digest = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest() + suffix
        path = self.place(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(content)
            path.chmod(0o444)
        os.utime(path, (at, at))
        return digest

    def place(self, digest: str) -> Path:
        return self.root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]

    def commit(self, name: str, files: dict[str, str], at: float) -> None:
        blobs = {path: git(self.root, "hash-object", "-w", "--stdin", given=text) for path, text in files.items()}
        tree = [line for line in git(self.root, "ls-tree", self.head).splitlines() if line.split("\t")[1] not in files]
        tree += [f"100644 blob {blob}\t{path}" for path, blob in blobs.items()]
        tree_id = git(self.root, "mktree", given="\n".join(tree) + "\n")
        made = git(self.root, "commit-tree", tree_id, "-p", self.head, "-m", name, at=at)
        git(self.root, "update-ref", f"refs/exps/{self.head[:2]}/{self.head[2:]}/{name}", made)

    def register(self, run: str, experiment: str, data: str) -> str:
        client = connection.client()
        if not client.search_registered_models("name = 'digits'"):
            client.create_registered_model("digits")
        logged = client.create_logged_model(self.experiment, "digits", run)
        tags = {
            "slipway.dvc_experiment": experiment,
            "slipway.data": data,
            "slipway.run": run,
            "slipway.decision": "kept",
        }
        source = f"models:/{logged.model_id}"
        return str(client.create_model_version("digits", source, run, tags=tags, model_id=logged.model_id).version)

    def lacking(self, trace: Trace) -> Iterator[str]:
        """Tell what of a trace is no longer here."""
        from mlflow.exceptions import MlflowException

        yield from (digest for digest in trace.digests if not self.place(digest).exists())
        ref = f"refs/exps/{self.head[:2]}/{self.head[2:]}/{trace.experiment}"
        lock = git(self.root, "show", f"{ref}:dvc.lock", fails=True)
        if "md5" not in lock:
            yield trace.experiment
        try:
            found = connection.client().get_run(trace.run)
            artefact = Path(found.info.artifact_uri.removeprefix("file://"), "model.keras")
            if found.info.lifecycle_stage == "deleted" or artefact.stat().st_size != self.size:
                yield trace.run
        except (MlflowException, OSError) as error:
            yield f"{trace.run}: {error}"
        if trace.version:
            client = connection.client()
            client.get_logged_model(str(client.get_model_version("digits", trace.version).source).rpartition("/")[2])


def git(root: Path, *words: str, given: str | None = None, at: float | None = None, fails: bool = False) -> str:
    """Run git; return what it prints."""
    identity: dict[str, Any] = {
        f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    if at is not None:
        identity |= {f"GIT_{who}_DATE": f"{int(at)} +0000" for who in ("AUTHOR", "COMMITTER")}
    done = subprocess.run(
        ["git", *words], cwd=root, input=given, capture_output=True, text=True, check=False, env=os.environ | identity
    )
    assert fails or done.returncode == 0, done.stderr
    return done.stdout.strip()


def disk(root: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())
