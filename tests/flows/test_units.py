import configparser
import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows import units


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / 'a "project" #1 (50%) $ü'
    path.mkdir()
    monkeypatch.chdir(path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(units, "manager_runs", lambda: False)
    monkeypatch.setattr(sys, "platform", "linux")
    return path


def test_a_unit_is_written_told_and_removed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert units.install() == 0
    said = capsys.readouterr().out
    path = units.place()
    assert path.name.startswith("slipway-a-project-1-50-") and str(path) in said
    assert f"systemctl --user enable --now {path.name}" in said and "loginctl enable-linger" in said
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(path)
    assert unit["Service"]["WorkingDirectory"] == str(project).replace("%", "%%")
    assert unit["Service"]["ExecStart"].endswith('"-m" "flows" "up" "--foreground"')
    assert units.uninstall() == 0
    assert not path.exists() and f"systemctl --user disable {path.name}" in capsys.readouterr().out
    assert units.uninstall() == 0


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_understands_the_unit(project: Path) -> None:
    units.install()
    words = ["systemd-analyze", "verify", "--user", str(units.place())]
    runtime = project.parent / "run"
    runtime.mkdir()
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    )
    ours = [line for line in done.stderr.splitlines() if units.name() in line]
    assert not ours, done.stderr


def test_two_projects_have_a_unit_each(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = units.place()
    other = tmp_path / "other" / project.name
    other.mkdir(parents=True)
    monkeypatch.chdir(other)
    assert units.place() != first


def test_where_the_manager_runs_it_is_called(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(units, "manager_runs", lambda: True)

    def done(words: list[str]) -> bool:
        called.append(words)
        return True

    monkeypatch.setattr(units, "_done", done)
    assert units.install() == 0
    assert ["systemctl", "--user", "enable", "--now", units.place().name] in called
    monkeypatch.setattr(units, "_done", lambda words: False)
    assert units.uninstall() == 1


def test_launchd_understands_the_agent(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    agent = plistlib.loads(units.content())
    assert agent["ProgramArguments"][1:] == ["-m", "flows", "up", "--foreground"]
    assert agent["WorkingDirectory"] == str(project) and agent["RunAtLoad"]
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert units.place().suffix == ".plist"
