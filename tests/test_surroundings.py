"""What the environment of a stranger may hold: proxies, a locale of ASCII, a HOME that cannot be written, no locks."""

import errno
import fcntl
import getpass
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components import SlipwayError, locks, surroundings
from tests.conftest import ROOT

PROXY = "http://127.0.0.1:9"


def clean(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    for name in (*surroundings.PROXIES, "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_loopback_never_goes_through_a_proxy_and_a_users_exceptions_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    clean(monkeypatch, ALL_PROXY=PROXY, NO_PROXY="example.org, .local", no_proxy="other.org")
    surroundings.pass_proxies_by()
    expected = "other.org,example.org,.local,127.0.0.1,localhost,::1"
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == expected
    surroundings.pass_proxies_by()
    assert os.environ["NO_PROXY"] == expected
    import requests.utils

    assert requests.utils.should_bypass_proxies("http://127.0.0.1:5000/api", None)
    assert not requests.utils.should_bypass_proxies("http://elsewhere.org/", None)


def test_without_a_proxy_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS a list of ours would take the place of the system's own settings."""
    clean(monkeypatch)
    surroundings.pass_proxies_by()
    assert "NO_PROXY" not in os.environ and "no_proxy" not in os.environ


def test_a_socks_proxy_that_nothing_here_can_use_is_told_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clean(monkeypatch, ALL_PROXY="socks5://user:secret@127.0.0.1:9", http_proxy=PROXY)
    surroundings.pass_proxies_by()
    said = capsys.readouterr().err
    assert "ALL_PROXY" in said and "socksio" in said and "secret" not in said
    import httpx

    httpx.Client().close()  # fails where a SOCKS proxy is named
    assert os.environ["http_proxy"] == PROXY


def test_a_terminal_of_ascii_gets_letters_written_out() -> None:
    code = "from components import surroundings; surroundings.settle(); import os; print('ü', os.environ['PYTHONUTF8'])"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUTF8"}
    environment |= {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT), "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "\\xfc 1\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    with locks.alone(tmp_path / "a.lock", "waiting for {holder}") as held:
        assert not held
    assert f"{tmp_path}: its file system has no locks ({os.strerror(number)})" in capsys.readouterr().err


def test_a_run_on_a_file_system_without_locks_says_what_dvc_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.machinery import checkout, step
    from tests.flowing import initialised

    initialised(tmp_path)
    monkeypatch.chdir(tmp_path)

    def refused(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(SlipwayError, match=r"dvc config --local core\.hardlink_lock true`"), checkout.opened():
        pass
    with (tmp_path / ".dvc/config.local").open("a") as config:
        config.write("[core]\n    hardlink_lock = true\n")
    with checkout.opened() as work:
        assert (tmp_path / ".dvc/tmp/slipway.lock").exists()
        assert step._holder(work.repo) == ""
        (tmp_path / ".dvc/tmp/lock").touch()  # of a DVC that was killed
        assert f"{tmp_path}/.dvc/tmp/lock; if no other DVC is running, remove it" in step._holder(work.repo)


def test_no_lock_lies_where_others_could_make_it_first(tmp_path: Path) -> None:
    assert locks.place(tmp_path, "register").parent == tmp_path
    (tmp_path / ".dvc").mkdir()
    assert locks.place(tmp_path, "register") == tmp_path / ".dvc/tmp/slipway-register.lock"
    code = [path for room in ("components", "flows", "slipway") for path in (ROOT / room).rglob("*.py")]
    shared = [path.name for path in code if "gettempdir" in path.read_text() or '"/tmp' in path.read_text()]
    # the folders of the one have random names, the other asks how full the disk is
    assert sorted(shared) == ["doctor.py", "temporary.py"]


def test_where_home_cannot_be_written_matplotlib_gets_the_folder_of_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flows.machinery.process import Children

    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    show = "import os; print(os.environ.get('MPLCONFIGDIR'), os.environ['TMPDIR'])"
    for writable in (True, False):
        monkeypatch.setattr(surroundings, "home_is_writable", lambda writable=writable: writable)
        said: list[str] = []
        with Children() as children:
            assert children.follow(children.start([sys.executable, "-c", show]), said.append) == 0
        place, room = said[0].split()
        assert place == ("None" if writable else f"{room}/matplotlib")
        assert not Path(room).exists()


@pytest.mark.e2e
def test_what_a_users_keras_json_says_changes_no_model(tmp_path: Path) -> None:
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras/keras.json").write_text('{"floatx": "float16", "epsilon": 0.1}')
    code = "from components import params; from components.training import device; import sys\n"
    code += "device.start(params.load()); import keras; print(keras.config.floatx(), keras.config.epsilon())"
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_HOME"} | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["float32", "1e-07"]


def test_a_user_whom_the_system_knows_by_number_alone_has_that_as_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container; DVC fails with a KeyError without a name."""
    for name in ("USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    monkeypatch.setenv("LOGNAME", "")  # so that what is set is undone
    surroundings.name_the_user()
    assert getpass.getuser() == "54321"
    monkeypatch.setenv("LOGNAME", "ann")
    surroundings.name_the_user()
    assert getpass.getuser() == "ann"


def test_a_clone_of_another_user_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert main(["run"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path}: you may not write to this folder, which belongs to ")
    assert "clone the project into a folder of your own" in said
    assert list(tmp_path.iterdir()) == []


def test_where_another_users_folder_is_in_dvcs_way_its_state_is_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC keeps it at a place that anybody can compute, and make first: a folder of theirs, a file, a link."""
    monkeypatch.setattr(surroundings, "DVCS_STATE", tmp_path / "shared" / "dvc")
    (tmp_path / "project/.dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    (tmp_path / "shared").mkdir()

    def place() -> str | None:
        surroundings.place_dvcs_state()
        found = os.environ.get("DVC_SITE_CACHE_DIR")
        monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
        return found

    own = str(tmp_path / "project/.dvc/tmp/state")
    assert place() is None  # DVC makes it
    (tmp_path / "shared/dvc").symlink_to(tmp_path / "nowhere")
    assert place() == own
    assert Path(own).stat().st_mode & 0o777 == 0o700
    (tmp_path / "shared/dvc").unlink()
    (tmp_path / "shared/dvc/repo").mkdir(parents=True)
    assert place() is None
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "repo")  # tests may run as root
    assert place() == own
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", "elsewhere")
    assert place() == "elsewhere"


@pytest.mark.parametrize("command", ["up", "ui", "update", "clean"])
def test_a_second_user_is_told_to_make_a_clone_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    from flows import __main__ as flows

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root
    monkeypatch.setattr(surroundings, "settle", lambda: None)
    assert flows.run(command, {}) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path}: you may not write to this folder") and "of your own" in said


def test_a_file_of_another_user_in_a_clone_is_told_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows import __main__ as flows

    def refused(options: dict[str, Any]) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", options["file"])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(surroundings, "settle", lambda: None)
    monkeypatch.setitem(flows.OTHERS, "clean", refused)
    for file, hint in ((".dvc/tmp/slipway.lock", "a clone belongs to one user"), ("/elsewhere/x", "check it")):
        assert flows.run("clean", {"file": file}) == 1
        assert capsys.readouterr().err.startswith(f"error: {tmp_path / file}: Permission denied; {hint}")
