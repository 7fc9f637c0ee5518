"""The command `slipway` as a person meets it: in processes of their own, wherever they stand."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from slipway import __version__
from slipway.__main__ import COMMANDS, MODULES, main, parser
from tests.conftest import ROOT
from tests.flowing import repository
from tests.test_main import HEAVY

SLIPWAY = Path(sys.executable).parent / "slipway"
STAGES = {"first": {"cmd": "cat data/* > first", "deps": ["data"], "outs": ["first"]}}


def run(
    *words: str | Path, at: Path = ROOT, code: int = 0, environment: dict[str, str] | None = None
) -> tuple[str, str]:
    """Run `slipway ...` in a folder; what it said on both outputs."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [SLIPWAY, *words], cwd=at, env=kept | (environment or {}), capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Call `slipway ...` in this process; what it printed."""
    assert main([*words]) == 0
    return capsys.readouterr().out


@pytest.fixture
def below(tmp_path: Path) -> Path:
    """A folder in a small project."""
    path = repository(tmp_path / "repo", STAGES, data="1") / "sub"
    path.mkdir()
    return path


def test_the_help_names_every_command_and_where_it_acts(tmp_path: Path) -> None:
    out, _ = run("--help", at=tmp_path)
    for name, (text, _) in (entry for group in COMMANDS.values() for entry in group.items()):
        assert f"  {name:<12}{text}\n" in out
    assert max(map(len, out.splitlines())) <= 120
    assert run("-h") == (out, "")
    assert run(code=2) == ("", out)


def test_the_version_is_that_of_pyproject() -> None:
    assert run("--version") == (f"slipway {__version__}\n", "")
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()


# A child for each module that declares commands, forked before one is imported: as fresh as a process, and cheaper.
HELP = """
import contextlib, io, json, os, sys
from slipway.__main__ import main
for group in json.loads(sys.argv[1]):
    if (pid := os.fork()) == 0:
        said = {}
        for words in group:
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
                main([*words.split(), "--help"])
            said[words] = out.getvalue()
        print(json.dumps([said, [*sys.modules]]), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""
HELPED = ["", *MODULES, "ingest table"]


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, set[str]]]:
    """What `slipway COMMAND --help` prints outside of a project, and the modules that it has loaded then."""
    groups: dict[str, list[str]] = {}
    for words in HELPED:
        groups.setdefault(MODULES[words.split()[0]] if words else "", []).append(words)
    command = [sys.executable, "-c", HELP, json.dumps([*groups.values()])]
    place, environment = tmp_path_factory.mktemp("help"), os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=True)
    children = [json.loads(line) for line in done.stdout.splitlines()]
    return {words: (out, {*modules}) for said, modules in children for words, out in said.items()}


@pytest.mark.parametrize("words", HELPED[1:])
def test_every_command_has_help_that_is_called_by_its_name(words: str, helped: dict[str, tuple[str, set[str]]]) -> None:
    out, _ = helped[words]
    assert out.startswith(f"usage: slipway {words} ")
    assert "python -m" not in out


def test_every_command_that_is_declared_is_listed() -> None:
    (choices,) = (action.choices for action in parser()._actions if isinstance(action.choices, dict))
    assert set(choices) == {*MODULES}


@pytest.mark.parametrize("words", HELPED)
def test_help_loads_nothing_heavy(words: str, helped: dict[str, tuple[str, set[str]]]) -> None:
    out, modules = helped[words]
    assert out and "argparse" in modules
    light = set() if words.split()[:1] in (["ingest"], ["new"], ["predict"]) else {"pyarrow", "numpy"}
    assert modules & ({*HEAVY} | light) == set()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("rum", "unknown command 'rum'; did you mean run?"),
        ("xyz", "there are: run, schedule, ui, "),
        ("train", "`dvc repro train` runs it"),
        ("register", "`slipway run` runs it"),
    ],
)
def test_an_unknown_command_says_what_may_be_meant(word: str, said: str, tmp_path: Path) -> None:
    assert said in run(word, at=tmp_path, code=2)[1]


@pytest.mark.parametrize("words", [("run", "-S", "train.epochs=3"), ("run", "digits", "-Strain.epochs=3")])
def test_a_setting_is_tried_with_dvc(words: tuple[str, ...], tmp_path: Path) -> None:
    said = run(*words, at=tmp_path, code=2)[1]
    assert "`dvc exp run -S train.epochs=3`, with + before a key that params.yaml lacks" in said


def test_outside_of_a_project_it_says_so(tmp_path: Path) -> None:
    for words in (["run"], ["predict", "a.csv"], ["example"]):
        out, error = run(*words, at=tmp_path, code=1)
        assert error.startswith(f"error: {tmp_path} is not inside a Slipway project")
        assert out == ""


def test_odd_words_and_places_are_a_mistake_too(tmp_path: Path) -> None:
    assert "required: COMMAND" in run("--", at=tmp_path, code=2)[1]
    assert "unrecognized arguments: --forse" in run("run", "--forse", at=tmp_path, code=2)[1]
    code = f"mkdir gone; cd gone; rmdir ../gone; {SLIPWAY} run"
    done = subprocess.run(["sh", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: the current folder no longer exists: change to another one"
    head = f"{SLIPWAY} example | head -1"  # nobody reads on
    done = subprocess.run(["sh", "-c", head], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("examples") and done.stderr == ""


@pytest.mark.e2e
def test_the_nearest_project_is_the_one_that_is_acted_on(tmp_path: Path) -> None:
    """Its code and its files: here an ingest in a clone that says something else, asked from a folder of it."""
    for path in ("components", "dvc.yaml", "params.yaml"):
        (shutil.copytree if (ROOT / path).is_dir() else shutil.copy)(ROOT / path, tmp_path / path)
    code = tmp_path / "components/stages/find_lr.py"
    code.write_text(code.read_text().replace("at least 20 are needed", "at least twenty are needed"))
    below = tmp_path / "docs/more"
    below.mkdir(parents=True)
    assert "at least twenty" in run("find-lr", "--steps", "3", at=below, code=1)[1]
    elsewhere = {"PYTHONPATH": str(ROOT)}  # another checkout's code may be importable: it is not taken
    assert "at least twenty" in run("find-lr", "--steps", "3", at=below, code=1, environment=elsewhere)[1]
    assert "build/arrays: no arrays here" in run("find-lr", at=below, code=1)[1]  # defaults are those of the root
    given = run("find-lr", "--arrays", "../mine", at=below, code=1)[1]
    assert given.startswith(f"error: {tmp_path.resolve()}/docs/mine: no arrays here")


@pytest.mark.e2e
def test_files_are_given_from_where_one_stands(tmp_path: Path) -> None:
    from dvc.repo import Repo

    from components import params

    for path in ("components", "flows", "dvc.yaml"):
        (shutil.copytree if (ROOT / path).is_dir() else shutil.copy)(ROOT / path, tmp_path / path)
    Repo.init(str(tmp_path), no_scm=True).close()
    below = tmp_path / "raw/deep"
    below.mkdir(parents=True)
    rows = "".join(f"{number * 7 % 40 / 4},{'ab'[number % 2]}\n" for number in range(40))
    (below.parent / "mine.csv").write_text(rows)
    (below / "names").write_text("x\ny\n")  # what --columns may be: a file, where one stands
    out, _ = run("ingest", "table", "../mine.csv", "--columns", "names", "--label", "y", at=below)
    assert "read 40 examples" in out
    assert (tmp_path / "data/mine.parquet").exists()
    assert params.load(tmp_path / "params.yaml").name == "mine"
    run(
        "ingest", "table", "mine.csv", "--columns", "x,y", "--label", "y", "--replace", "--keep-params", at=below.parent
    )


@pytest.mark.e2e
def test_a_flow_is_run_in_the_project_from_a_folder_below(below: Path, prefect_server: str) -> None:
    environment = {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": prefect_server}  # the small project has no flows
    out, _ = run("run", at=below, code=3, environment=environment)
    assert "registered as" in out
    assert (below.parent / "first").read_text() == "1"
    assert not list(below.iterdir())
    assert run("schedule", "whenever", at=below, code=1, environment=environment)[1].startswith(
        'error: "whenever" is not a valid cron expression'
    )


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script for bash, as the command prints it."""
    return run("completion", "bash", at=tmp_path_factory.mktemp("bash"))[0]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_each_shell(
    shell: str, bash: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out = bash if shell == "bash" else printed(capsys, "completion", shell)
    for word in ("ingest", "table", "label", "income", "force"):
        assert word in out
    if shutil.which(shell):
        (tmp_path / "script").write_text(out)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_commands_options_sources_and_files(bash: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(bash)
    (tmp_path / "people.csv").touch()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "try").write_text(
        'source ./script\nCOMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _shtab_slipway; echo ${COMPREPLY[@]}\n'
    )

    def completed(*words: str) -> set[str]:
        command = ["bash", "try", "slipway", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    assert completed("in") == {"ingest"}
    assert completed("") == {*MODULES}
    assert completed("ingest", "ta") == {"table"}
    assert "--label" in completed("ingest", "table", "--l")
    assert completed("ingest", "table", "--task", "") == {"class", "number"}
    assert completed("ingest", "table", "--label", "y", "pe") == {"people.csv"}
    assert completed("ingest", "images", "p") == {"pictures"}  # a folder
    assert completed("predict", "pe") == {"people.csv"}
    assert completed("predict", "--out", "pe") == {"people.csv"}
    assert completed("example", "inc") == {"income"}
    assert completed("run", "inc") == {"income"}  # models, and the examples are some


def test_the_environment_has_slipway_and_nothing_else_of_the_checkout(tmp_path: Path) -> None:
    """A registered model answers in such a process: `components` must be what was shipped with it."""
    assert SLIPWAY.read_text() == (ROOT / "slipway/start.sh").read_text()  # make setup
    assert Path(sysconfig.get_path("purelib"), "slipway").resolve() == ROOT / "slipway"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import importlib.util, sys; print(getattr(importlib.util.find_spec(sys.argv[1]), 'origin', None))"
    for folder in sorted(path.parent for path in ROOT.glob("*/__init__.py")):
        command = [sys.executable, "-c", code, folder.name]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        found = Path(done.stdout.strip()).resolve()  # a library may have a package `tests` of its own
        assert (found == folder / "__init__.py") == (folder.name == "slipway"), found
    linked = tmp_path / "bin/slipway"  # as people put it on their path
    linked.parent.mkdir()
    linked.symlink_to(SLIPWAY)
    done = subprocess.run(
        [linked, "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"slipway {__version__}\n"


def test_nobody_need_read_to_the_end() -> None:
    """As with `slipway lineage NAME | head -3`."""
    code = (
        "import sys; import flows.__main__ as flows; flows.OTHERS['status'] = lambda _: print('x' * 99_999) or 0; "
        "sys.exit(flows.run('status', {}))"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1
