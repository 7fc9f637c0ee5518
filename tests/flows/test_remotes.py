"""Remotes and sources over SSH and S3, against real servers on loopback.

They need drivers, and for S3 a server, which the locked packages have not: `uv pip install dvc-ssh dvc-s3
moto[server]`. Without them, these tests are skipped. A real sshd is used where there is one (SSHD may name it), beside
the server of asyncssh.
"""

import asyncio
import getpass
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from components.data import versions
from components.stages import update
from flows.machinery import checkout, experiment, upload
from tests import fabricate
from tests.flowing import GIT, ROOT, command, repository

pytestmark = pytest.mark.e2e
no_ssh = pytest.mark.skipif(not find_spec("dvc_ssh"), reason="dvc-ssh is not installed")
no_s3 = pytest.mark.skipif(not (find_spec("dvc_s3") and find_spec("moto")), reason="dvc-s3 or moto is not installed")
SSHD = next(filter(None, (os.environ.get("SSHD"), shutil.which("sshd"), shutil.which("sshd", path="/usr/sbin"))), None)
STAGES: dict[str, dict[str, Any]] = {"out": {"cmd": "cat data/* > big", "deps": ["data"], "outs": ["big"]}}
SIZE = 3_000_000  # of a file: several writes of SFTP
PARAMS = "name: sales\nrecipe: images\nimages:\n  height: 8\n  width: 8\n"


@dataclass
class Place:
    """A server: the address of a folder on it, DVC's options for it, and the folder where that lies."""

    url: str
    options: dict[str, str]
    folder: Path | None
    resets: list[int]  # the numbers of the writes at which the connection breaks


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a key for SSH."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / ".ssh/id_ed25519")], check=True)
    shutil.copy(home / ".ssh/id_ed25519.pub", home / ".ssh/authorized_keys")
    monkeypatch.setenv("HOME", str(home))
    return home / ".ssh"


@pytest.fixture
def ssh(request: pytest.FixtureRequest, keys: Path, tmp_path: Path) -> Iterator[Place]:
    """The server of asyncssh, whose connections may break, or a real sshd."""
    folder, port = tmp_path / "server", fabricate.free_port()
    folder.mkdir()
    options = {"keyfile": str(keys / "id_ed25519")}
    place = Place(f"ssh://{getpass.getuser()}@127.0.0.1:{port}{folder}", options, folder, [])
    if getattr(request, "param", "asyncssh") == "sshd":
        if SSHD is None:
            pytest.skip("no sshd is installed")
        settings = f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys}/id_ed25519\nStrictModes no\nUsePAM no\n"
        settings += f"AuthorizedKeysFile {keys}/authorized_keys\nSubsystem sftp internal-sftp\nPidFile none\n"
        (tmp_path / "sshd_config").write_text(settings)
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(tmp_path / "sshd_config")])
        try:
            if not _answers(port, process):
                pytest.skip(f"{SSHD} does not start here (exit code {process.returncode})")
            yield place
        finally:
            process.kill()
            process.wait()
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(_listen(port, keys, place.resets), loop).result(30)
    yield place
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


async def _listen(port: int, keys: Path, resets: list[int]) -> None:
    import asyncssh

    class Server(asyncssh.SFTPServer):  # one for each connection
        broken = False

        def write(self, file_obj: object, offset: int, data: bytes) -> Any:
            if self.broken:  # writes that had come before it broke
                raise ConnectionResetError
            if resets:
                resets[0] -= 1
                if resets[0] == 0:
                    resets.pop(0)
                    self.broken = True
                    self.connection.abort()
                    raise ConnectionResetError
            return super().write(file_obj, offset, data)

    await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[str(keys / "id_ed25519")],
        authorized_client_keys=str(keys / "authorized_keys"),
        sftp_factory=Server,
    )


def _answers(port: int, process: "subprocess.Popen[bytes]") -> bool:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            time.sleep(0.1)
    return False


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    import boto3  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from moto.server import ThreadedMotoServer  # type: ignore[import-not-found,unused-ignore]

    port = fabricate.free_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    boto3.client("s3").create_bucket(Bucket="team")
    yield Place("s3://team/slipway", {}, None, [])
    server.stop()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from dvc.repo import Repo

    path = repository(tmp_path / "project", STAGES, data="1")
    (path / "data/b.txt").write_bytes(os.urandom(SIZE))
    monkeypatch.chdir(path)
    monkeypatch.setattr(upload, "PAUSES", (0.1, 0.1))
    with Repo() as repo:
        repo.reproduce()
    command(path, "git", "commit", "-qam", "more", env=GIT)
    command(tmp_path, "git", "init", "-q", "--bare", "hub.git")
    command(path, "git", "remote", "add", "origin", str(tmp_path / "hub.git"))
    return path


def remote(place: Place) -> str:
    """Make a server DVC's default remote, and save an experiment; return its name."""
    from dvc.repo import Repo

    with Repo() as repo, repo.config.edit("local") as config:
        config["remote"]["team"] = {"url": place.url, **place.options}
        config["core"]["remote"] = "team"
    with checkout.opened() as work:
        return experiment.save(work.repo)


def everything_is_there(project: Path, place: Place, name: str) -> None:
    """Another machine takes the experiment and its data, and has nothing to do."""
    from dvc.repo import Repo

    other = project.parent / "other"
    command(project.parent, "git", "clone", "-q", "hub.git", str(other))
    command(other, "git", "fetch", "-q", "origin", f"refs/exps/*/{name}:refs/exps/*/{name}")
    ref = command(other, "git", "for-each-ref", "--format=%(refname)", "refs/exps").splitlines()[0]
    command(other, "git", "checkout", "-q", "--detach", ref)
    with Repo(str(other)) as repo, repo.config.edit("local") as config:
        config["remote"]["team"] = {"url": place.url, **place.options}
        config["core"]["remote"] = "team"
    with Repo(str(other)) as repo:
        repo.pull()
        assert repo.status() == {}
    assert (other / "big").read_bytes() == (project / "big").read_bytes()
    if place.folder:
        for path in place.folder.rglob("*"):
            if path.is_file() and not path.name.endswith(".tmp"):
                digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
                assert digest == path.parent.name + path.name.removesuffix(".dir")


@no_ssh
@pytest.mark.parametrize("ssh", ["asyncssh", "sshd"], indirect=True)
def test_ssh(project: Path, ssh: Place) -> None:
    name = remote(ssh)
    assert upload.main(name, "origin") == 0
    everything_is_there(project, ssh, name)


@no_ssh
def test_connections_that_break_half_way_are_made_anew(
    project: Path, ssh: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    name = remote(ssh)
    ssh.resets.extend([2, 1])
    assert upload.main(name, "origin") == 0
    assert capsys.readouterr().out.count("; trying again in ") == 2
    everything_is_there(project, ssh, name)


@no_ssh
def test_a_push_over_ssh_that_is_killed_leaves_nothing_half(project: Path, ssh: Place) -> None:
    name = remote(ssh)
    code = f"import sys\nfrom flows.machinery import upload\nsys.exit(upload.main({name!r}, 'origin'))"
    child = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    )
    assert ssh.folder is not None
    while child.poll() is None and not [path for path in ssh.folder.rglob("*") if path.is_file()]:
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert command(project, "git", "ls-remote", "origin", "refs/exps/*") == "" or child.returncode == 0
    assert upload.main(name, "origin") == 0
    everything_is_there(project, ssh, name)


@no_s3
def test_s3(project: Path, s3: Place) -> None:
    name = remote(s3)
    assert upload.main(name, "origin") == 0
    everything_is_there(project, s3, name)


def _rows(start: int) -> str:
    return "\n".join(["x,y", *(f"{n}.5,{'yes' if n % 2 else 'no'}" for n in range(start, start + 6)), ""])


def _brings(path: str, put: Any) -> None:
    content = YAML().load(Path("params.yaml"))
    content["source"] = {"kind": "files", "path": path, "ingest": "table --label y", "settle": 0}
    YAML().dump(content, Path("params.yaml"))
    put("a.csv", _rows(0))
    assert update.run() == 6
    put("b.csv", _rows(6))
    assert update.run() == 6
    assert update.run() == 0
    assert versions.current(Path("data"))


@no_ssh
@pytest.mark.parametrize("ssh", ["asyncssh", "sshd"], indirect=True)
@pytest.mark.usefixtures("repo")
def test_a_source_over_ssh(ssh: Place) -> None:
    assert ssh.folder is not None
    folder = ssh.folder
    _brings(ssh.url.replace("ssh://", "sftp://"), lambda name, text: (folder / name).write_text(text))


@no_s3
@pytest.mark.usefixtures("repo")
def test_a_source_on_s3(s3: Place) -> None:
    import boto3

    client = boto3.client("s3")
    _brings("s3://team/inbox", lambda name, text: client.put_object(Bucket="team", Key=f"inbox/{name}", Body=text))
