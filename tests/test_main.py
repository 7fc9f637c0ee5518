import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components import __main__, closest, nearest, recipes
from flows import __main__ as flows
from slipway import __main__ as slipway
from slipway import completion
from tests.conftest import ROOT, Make
from tests.flowing import initialised

HEAVY = [
    "tensorflow",
    "keras",
    "great_expectations",
    "mlflow",
    "prefect",
    "dvc",
    "sklearn",
    "matplotlib",
    "pandas",
    "onnx",
]


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)


def loaded(code: str) -> list[str]:
    done = python(f"import sys\n{code}\nprint(*[name for name in {HEAVY} if name in sys.modules])")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("asked", "known", "meant"),
    [
        ("tittanic", ["houses", "titanic"], "titanic"),
        ("incom", ["income", "mnist"], "income"),
        ("hovses", ["income", "houses"], "houses"),
        ("cta", ["dog", "cat"], "cat"),  # swapped
        ("cut", ["dog", "cat"], "cat"),
        ("TITANIC", ["titanic"], "titanic"),
        ("temp", ["income", "temperatures"], "temperatures"),  # cut short
        ("nope", ["income", "houses", "mnist", "hitters", "houses@champion"], ""),
        ("maybe", ["no", "yes"], ""),
        ("1", ["10", "2"], ""),
        ("te", ["temperatures"], ""),
    ],
)
def test_what_is_near_is_a_slip_or_cut_short(asked: str, known: list[str], meant: str) -> None:
    assert closest(asked, known) == meant
    assert nearest(asked, known) == (f"did you mean {meant}?" if meant else f"there are: {', '.join(known)}")


def test_the_command_line_loads_nothing_heavy() -> None:
    assert loaded("from components import __main__\n__main__.parser()") == []


def test_the_flows_commands_know_their_server_before_they_import_prefect() -> None:
    """Prefect reads its settings once: a command that imported it before would start a server that nobody asked for."""
    names = "__main__, doctor, example, ingest, lineage, moves, schedule, search, ui, units, up"
    assert "prefect" not in loaded(f"from flows import {names}")


# A child for each recipe: as fresh as a process, and cheaper.
SERVE = """
import os
from components import recipes, params
for name in recipes.names():
    if (pid := os.fork()) == 0:
        module = recipes.load(name)
        section, sample = module.sample(5, 1)
        settings = module.Params.model_validate(section)
        module.facts(sample, settings)
        module.encode(sample, settings, module.fit([sample], settings))
        print(name, *sys.modules, flush=True)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0, name
"""


@pytest.fixture(scope="module")
def served() -> dict[str, set[str]]:
    """The modules that are loaded when examples of a recipe have been encoded."""
    done = python(f"import sys\n{SERVE}")
    assert done.returncode == 0, done.stderr
    return {name: {*modules} for name, *modules in map(str.split, done.stdout.splitlines())}


@pytest.mark.parametrize("recipe", recipes.names())
def test_a_recipe_serves_without_anything_heavy(recipe: str, served: dict[str, set[str]]) -> None:
    assert "numpy" in served[recipe]
    assert served[recipe] & {*HEAVY} <= {"pandas"}  # pyarrow takes it along where it is installed


def test_evaluate_does_not_need_tensorflow() -> None:
    assert not {"tensorflow", "keras"} & set(
        loaded("from components.stages import evaluate, register; from components.tracking import runs")
    )


PREPOSITIONS = {"of", "between", "from", "in", "for", "at", "with", "by", "to", "as", "that", "on"}


@pytest.mark.parametrize("parser", [slipway.parser, __main__.parser])
def test_every_option_and_command_has_a_help_that_can_be_read_by_itself(parser) -> None:
    seen = 0
    for action in completion.actions(parser()):
        told = {"/".join(action.option_strings) or action.dest: action.help}
        if isinstance(action, argparse._SubParsersAction):
            told = dict.fromkeys(action.choices) | {entry.dest: entry.help for entry in action._choices_actions}
        for name, text in told.items():
            seen += 1
            assert text, f"{name} has no help"
            assert text.split()[0].lower() not in PREPOSITIONS, f"{name}: {text}"
    assert seen > 50


def test_help_is_there_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for stage in [*__main__.STAGES, "find-lr", "ingest", "predict"]:
        with pytest.raises(SystemExit) as caught:
            __main__.main([stage, "--help"])
        assert caught.value.code == 0
        assert "usage: python -m components" in capsys.readouterr().out


def test_a_mistake_of_the_users_is_one_line_and_exit_1(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    make()
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "trian: {}\n")
    arguments = ["preprocess", "--data", "data", "--quarantine", "q", "--out", "build/arrays"]
    assert __main__.main(arguments) == 1
    assert capsys.readouterr().err == "error: params.yaml: trian: unknown key; did you mean train?\n"


def test_a_full_disk_is_said_and_leaves_nothing(make: Make, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    import errno
    import json

    from tests.conftest import no_quarantine

    make()
    no_quarantine(Path("q.parquet"))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "build/arrays")

    monkeypatch.setattr(json, "dumps", full)
    assert __main__.main(["preprocess", "--data", "data", "--quarantine", "q.parquet", "--out", "build/arrays"]) == 1
    assert capsys.readouterr().err == "error: build/arrays: No space left on device; free some space and run it again\n"
    assert list(Path("build").iterdir()) == []


@pytest.mark.e2e
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a small file system of its own (Linux)")
def test_a_disk_that_is_really_full(make: Make, tmp_path: Path) -> None:
    from tests.conftest import no_quarantine

    make(rows=1500)
    no_quarantine(Path("q.parquet"))
    Path("build").mkdir()
    stage = f"{sys.executable} -m components preprocess --data data --quarantine q.parquet --out build/arrays"
    script = f"mount -t tmpfs -o size=64k none build || exit 77; {stage}; code=$?; ls -A build; exit $code"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("user namespaces are not allowed here")
    assert done.returncode == 1
    assert "free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""  # nothing half-written is left


@pytest.mark.parametrize("stage", __main__.FOLDER_STAGES)
def test_a_folder_that_holds_files_of_the_users_is_not_replaced(
    make: Make, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    Path("out/sub").mkdir(parents=True)
    Path("out/sub/mine.txt").write_text("hi")
    paths = [word for name in __main__.STAGES[stage][1] for word in (f"--{name}", "out" if name == "out" else "data")]
    assert __main__.main([stage, *paths]) == 1
    assert "error: out: contains files that DVC does not keep (sub/mine.txt)" in capsys.readouterr().err
    assert Path("out/sub/mine.txt").read_text() == "hi"


def test_every_stage_that_makes_a_folder_is_guarded() -> None:
    makes = {name for name, (_, paths) in __main__.STAGES.items() if "out" in paths}
    assert makes - {*__main__.FOLDER_STAGES} == {"validate", "register"}  # these write file by file


def test_what_dvc_keeps_may_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    from components import SlipwayError
    from components.data import versions

    monkeypatch.chdir(tmp_path)
    Path("out/sub").mkdir(parents=True)
    Path("out/sub/a.txt").write_text("a")
    with pytest.raises(SlipwayError, match=r"does not keep \(sub/a.txt\)"):  # no repository, so nothing is kept
        versions.removable(Path("out"))
    initialised(tmp_path)
    with Repo() as repo:
        repo.add("out")
    versions.removable(Path("out"))
    Path("out/b.txt").write_text("a")  # the same content
    versions.removable(Path("out"))
    Path("out/sub/link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(SlipwayError, match=r"does not keep \(sub/link\)"):
        versions.removable(Path("out"))
    Path("linked").symlink_to("out", target_is_directory=True)
    with pytest.raises(SlipwayError, match="linked is a link"):
        versions.removable(Path("linked"))


def test_every_stage_reports_its_cost(make: Make) -> None:
    from components.files import read_json
    from tests.conftest import no_quarantine

    make()
    no_quarantine(Path("q.parquet"))
    assert __main__.main(["preprocess", "--data", "data", "--quarantine", "q.parquet", "--out", "build/arrays"]) == 0
    cost = read_json(Path("build/cost/preprocess.json"))
    assert cost["seconds"] >= 0
    assert cost["peak_memory_mb"] > 10
    assert cost["rows"] == 200


@pytest.mark.parametrize(
    "words",
    [
        ["schedule", "0 3 * * *", "churn", "--time-zone", "UTC"],
        ["schedule", "0 3 * * *", "--time-zone", "UTC", "churn"],
        ["schedule", "--time-zone", "UTC", "0 3 * * *", "churn"],
    ],
)
def test_options_stand_anywhere_between_words_that_may_be_left_out(words: list[str]) -> None:
    found = vars(flows.parser().parse_args(words))
    assert (found["cron"], found["model"], found["time_zone"]) == ("0 3 * * *", "churn", "UTC")
    parser = flows.parser()
    assert parser.parse_args(["run", "a", "--force", "b"]).models == ["a", "b"]
    assert vars(parser.parse_args(["schedule"])) == vars(flows.parser().parse_args(["schedule"]))
    with pytest.raises(SystemExit):
        parser.parse_args([*words, "more"])


def test_ctrl_c_while_a_stage_starts_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(command: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "parser", interrupted)
    assert __main__.main(["train"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_library_that_stumbles_over_a_signal_is_no_error(
    stop: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DVC, asked to give back a lock that it was just writing, raises an error of its own."""

    def interrupted(_: object) -> int:
        try:
            raise stop
        finally:
            raise ValueError("unable to read the lock")

    monkeypatch.setitem(flows.OTHERS, "status", interrupted)
    try:
        assert flows.run("status", {}) == code
    except SystemExit as left:
        assert left.code == code
    assert ("status: interrupted" in capsys.readouterr().err) == (code == 130)
