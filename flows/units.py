"""Start `slipway up` at each boot: a systemd user unit, or a launchd agent on macOS."""

import getpass
import hashlib
import os
import plistlib
import re
import subprocess
import sys
from pathlib import Path

from components.files import replacing
from flows.machinery import logs, state

# What a service manager's bare environment lacks; all else belongs into the environment file (state.ENVIRONMENT).
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH")


def install() -> int:
    """Write the unit or agent; have it started now and at boot where its service manager runs, else say how."""
    path = place()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as aside:
        aside.write_bytes(content())
    print(f"written: {path}")
    commands = _enable(path, now=not state.running())
    return _call(commands, "to have it started now and at each boot, type:")


def uninstall() -> int:
    """Undo `install`; what runs goes on until `slipway down`."""
    path = place()
    if not path.exists():
        print(f"nothing to undo: there is no {path}")
        return 0
    code = _call(_disable(path), "to have it started at boot no longer, type:")
    path.unlink()
    print(f"removed: {path}")
    return code


def name() -> str:
    """Return the name of this project's unit: several clones on a machine have one each."""
    root = Path.cwd()
    word = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-") or "project"
    return f"slipway-{word}-{hashlib.sha256(str(root).encode()).hexdigest()[:6]}"


def place() -> Path:
    """Return the file of the unit or agent."""
    if sys.platform == "darwin":
        return Path.home() / "Library/LaunchAgents" / f"{name()}.plist"
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "systemd/user" / f"{name()}.service"


def content() -> bytes:
    """Return the unit, or on macOS the agent."""
    return agent() if sys.platform == "darwin" else unit().encode()


def words() -> list[str]:
    """Return the command that the service manager runs."""
    return [sys.executable, "-m", "flows", "up", "--foreground"]


def unit() -> str:
    """Return the systemd unit."""
    root = str(Path.cwd())
    environment = "".join(f'Environment="{key}={_escaped(os.environ[key])}"\n' for key in KEPT if os.environ.get(key))
    command = " ".join(f'"{_escaped(word).replace("$", "$$")}"' for word in words())
    return f"""\
# Written by `slipway up --install` in {root}; `slipway up --uninstall` removes it.
[Unit]
Description=Slipway in {root.replace("%", "%%")}
StartLimitIntervalSec=0

[Service]
Type=exec
WorkingDirectory={root.replace("%", "%%")}
{environment}ExecStart={command}
Restart=on-failure
RestartSec=10
KillMode=mixed
TimeoutStopSec=120

[Install]
WantedBy=default.target
"""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def agent() -> bytes:
    """Return the launchd agent."""
    log = str(Path.cwd() / logs.path("launchd"))
    return plistlib.dumps(
        {
            "Label": name(),
            "ProgramArguments": words(),
            "WorkingDirectory": str(Path.cwd()),
            "EnvironmentVariables": {key: os.environ[key] for key in KEPT if os.environ.get(key)},
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ExitTimeOut": 120,
            "StandardOutPath": log,
            "StandardErrorPath": log,
        }
    )


def manager_runs() -> bool:
    """Return whether the service manager runs here: not in most containers."""
    return sys.platform == "darwin" or Path("/run/systemd/system").is_dir()


def _enable(path: Path, *, now: bool) -> list[list[str]]:
    if sys.platform == "darwin":
        return [["launchctl", "bootstrap", f"gui/{os.getuid()}", str(path)]]
    return [
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", *(["--now"] if now else []), path.name],
        ["loginctl", "enable-linger", getpass.getuser()],  # without it, a user's units wait for a login
    ]


def _disable(path: Path) -> list[list[str]]:
    if sys.platform == "darwin":
        return [["launchctl", "bootout", f"gui/{os.getuid()}/{name()}"]]
    return [["systemctl", "--user", "disable", path.name]]


def _call(commands: list[list[str]], otherwise: str) -> int:
    """Run commands where the service manager runs; else, and for those that fail, say what to type."""
    failed = commands
    if manager_runs():
        failed = [words for words in commands if not _done(words)]
    if failed:
        reason = "" if manager_runs() else "systemd does not run here: "
        print("\n".join([f"{reason}{otherwise}", *("  " + " ".join(words) for words in failed)]))
    return 0 if not failed or not manager_runs() else 1


def _done(words: list[str]) -> bool:
    try:
        return subprocess.run(words, check=False).returncode == 0
    except OSError:
        return False
