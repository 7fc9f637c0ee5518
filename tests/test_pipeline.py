"""dvc.yaml, params.yaml, the command line and the documents hold together."""

import argparse
import ast
import contextlib
import json
import re
import runpy
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from components import __main__, params, recipes, reuse, shipped
from components.data import versions
from components.recipes import networks, source
from tests.conftest import BACK, FRONT, LONGEST, ROOT
from tests.flowing import initialised, status

PIPELINE: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")
STAGES: dict[str, Any] = PIPELINE["stages"]
VERSIONS = runpy.run_path(str(ROOT / "requirements/versions.py"))
SETTINGS = params.load(ROOT / "params.yaml")


def filled(text: str) -> str:
    return text.replace("${recipe}", SETTINGS.recipe)


def paths(entries: list[Any]) -> list[str]:
    return [filled(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries]


def outs(stage: dict[str, Any]) -> list[str]:
    return [path for kind in ("outs", "metrics", "plots") for path in paths(stage.get(kind, []))]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_calls_itself_with_paths_it_depends_on(name: str) -> None:
    stage = STAGES[name]
    words = shlex.split(filled(stage["cmd"]))
    assert words[:4] == ["python", "-m", "components", name]
    options = __main__.parser().parse_args(words[3:])
    given = {str(value) for key, value in vars(options).items() if key not in ("stage", "params")}
    known = [*paths(stage["deps"]), *outs(stage)]
    for path in given:
        assert any(entry == path or entry.startswith(f"{path}/") for entry in known), path


@pytest.mark.parametrize("name", STAGES)
def test_code_and_data_of_a_stage_are_there_or_made_before(name: str) -> None:
    made = {"data"}
    for other, stage in STAGES.items():
        if other == name:
            break
        made.update(outs(stage))
    for path in paths(STAGES[name]["deps"]):
        assert path in made or (ROOT / path).exists(), f"{name} depends on {path}"
    assert f"components/stages/{name}.py" in paths(STAGES[name]["deps"])


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_names_real_parameters(name: str) -> None:
    known = {"task" if key == "task" else key for key in SETTINGS.model_dump(by_alias=True)} | {SETTINGS.recipe}
    for key in STAGES[name]["params"]:
        if isinstance(key, str):
            assert filled(key).split(".")[0] in known


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_versions_of_packages_that_the_lock_has(name: str) -> None:
    (found,) = (entry for entry in STAGES[name]["params"] if isinstance(entry, dict))
    ((file, packages),) = found.items()
    assert file == "requirements/versions.json"
    written = (ROOT / file).read_text()
    assert written == VERSIONS["text"]((ROOT / "requirements/lock.txt").read_text())  # make lock
    assert {*packages} <= json.loads(written).keys()
    assert packages == sorted(packages)


def test_what_is_reused_depends_on_the_same_versions() -> None:
    listed = [STAGES[stage]["params"][-1]["requirements/versions.json"] for stage in ("validate", "preprocess")]
    assert list(reuse.PACKAGES) == sorted({*listed[0], *listed[1]})


def test_a_version_that_depends_on_the_python_is_written_with_it() -> None:
    lock = "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:0\n"
    lock += "numpy==2.5.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:1\n"
    assert VERSIONS["versions"](lock + "keras==3.15.1 \\\n    --hash=sha256:1\n") == {
        "keras": "3.15.1",
        "numpy": "2.4.6 (python_full_version < '3.12') / 2.5.5 (python_full_version >= '3.12')",
    }


@pytest.mark.parametrize(
    "path", ["params.yaml", *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("examples/*/params.yaml"))]
)
def test_every_params_yaml_has_the_keys_that_stages_depend_on(path: str) -> None:
    """DVC stops at a key that is not there, though we have a default for it."""
    written = YAML(typ="safe").load(ROOT / path)
    for stage in STAGES.values():
        for key in filter(lambda entry: isinstance(entry, str), stage["params"]):
            found: Any = written
            for part in key.replace("${recipe}", written["recipe"]).split("."):
                assert part in found, f"{path}: write out {key}"
                found = found[part]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_the_modules_of_the_project_that_shape_its_outputs(name: str) -> None:
    """What a stage imports from components at its top must be a dependency, or a change would go unseen."""
    free = {
        "components/__init__.py",
        "components/params/__init__.py",  # params.yaml is a dependency by its keys
        "components/files.py",
        "components/shipped.py",
        "components/surroundings.py",
        "components/temporary.py",
        "components/tracking/apart.py",
    }  # they do not shape what is written
    declared = [path for path in paths(STAGES[name]["deps"]) if path.startswith("components/")]
    queue, seen = [ROOT / "components/stages" / f"{name}.py"], set()
    while queue:
        path = queue.pop()
        module = path.relative_to(ROOT).as_posix()
        if module in seen or module in free or path.read_text().count("\n") <= 1:  # of a package: its docstring alone
            continue
        seen.add(module)
        assert any(module == entry or module.startswith(f"{entry}/") for entry in declared), f"{name} imports {module}"
        queue += imported(path)


def imported(path: Path) -> list[Path]:
    """The files of components/ that a file imports at its top."""
    found = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "components":
            for name in (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)):
                place = ROOT.joinpath(*name.split("."))
                found += [file for file in (place / "__init__.py", place.with_suffix(".py")) if file.exists()]
    return found


def test_the_starters_dataset_is_known_as_such() -> None:
    assert versions.recorded(ROOT / "data") == versions.STARTER


def test_every_recipe_has_expectations_and_a_section() -> None:
    for recipe in recipes.names():
        assert (ROOT / "expectations" / f"{recipe}.yaml").exists()
        module = recipes.load(recipe)
        section, _ = module.sample(10, 1)
        assert module.target(module.Params.model_validate(section)).names
        assert networks.load(recipe).Network.model_validate(networks.load(recipe).sample)


def test_the_map_names_every_room_and_nothing_that_is_gone() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    rooms = {"/".join(path.split("/")[:2]) for path in listed if re.match(r"components/\w+/\w+|flows/machinery/", path)}
    for room in sorted(rooms):
        assert f"| `{room}/` |" in text, f"docs/architecture.md does not name {room}/"
    for path in re.findall(r"`((?:slipway|components|flows|expectations|tests|dvc)[\w/.]*)`", text):
        assert (ROOT / path).exists(), f"docs/architecture.md names {path}, which is not there"


def test_tests_stand_where_the_code_does() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if (path / "__init__.py").exists()}
    rooms = {path.parent.name for path in (ROOT / "components").glob("*/__init__.py")}
    assert folders <= rooms | {"flows", "slipway", "e2e"}
    assert [name for name in (*LONGEST, *FRONT, *BACK) if not (ROOT / "tests" / name).exists()] == []


def test_the_stages_of_the_command_line_are_those_of_dvc_and_register() -> None:
    assert set(__main__.STAGES) == {*STAGES, "register"}
    choices = next(
        action.choices for action in __main__.parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    assert set(choices or ()) == {*STAGES, "register", "find-lr", "ingest", "predict", "update", "settle"}


def test_the_locks_hold_hashes_and_no_address() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        text = path.read_text()
        assert "://" not in text
        packages = re.findall(r"^[A-Za-z0-9][^=\s]*(?:\[.*\])?==", text, re.MULTILINE)
        assert len(packages) == len(re.findall(r"==.*\\\n    --hash=sha256:", text))
    lock, gpu = ((ROOT / "requirements" / f"{name}.txt").read_text() for name in ("lock", "gpu"))
    assert set(re.findall(r"^\S+==\S+", lock, re.MULTILINE)) <= set(re.findall(r"^\S+==\S+", gpu, re.MULTILINE))


def test_no_file_names_a_secret_or_an_address_of_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in listed:
        path = ROOT / name
        if (
            path.suffix in (".py", ".md", ".yaml", ".toml", ".lock", ".txt", "")
            and path.is_file()
            and "starter" not in name
        ):
            assert not re.search(
                r"(?i)(password|token|secret)\s*[=:]\s*['\"][^'\"{}\s]{8,}", path.read_text("utf-8")
            ), name


@pytest.mark.parametrize("recipe", recipes.names())
def test_stages_declare_what_a_recipe_imports(recipe: str) -> None:
    """Its own folder, and nothing that no recipe imports; networks are a matter of train alone."""
    for file in shipped.code(recipe):
        path = file.relative_to(ROOT).as_posix()
        if file.read_text().count("\n") <= 1:
            continue  # of a package: its docstring alone
        for name, stage in STAGES.items():
            declared = [entry.replace("${recipe}", recipe) for entry in stage["deps"]]
            there = any(path == entry or path.startswith(f"{entry}/") for entry in declared)
            assert there == (name == "train" or not path.endswith("networks.py")), f"{name}: {path}"


@pytest.mark.parametrize("recipe", recipes.names())
def test_no_recipe_imports_another(recipe: str) -> None:
    """Not a contract of import-linter: that would have to list them. Some are made of others."""
    if recipe in ("multimodal", "detection", "speech"):
        return
    others = [f"components.recipes.{name}" for name in recipes.names() if name != recipe]
    for path in (ROOT / "components/recipes" / recipe).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                assert not [n for n in names for other in others if f"{n}.".startswith(f"{other}.")], path


def test_a_recipe_may_do_without_a_source_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bare/example").mkdir(parents=True)
    (tmp_path / "bare/__init__.py").write_text('"""No source."""')
    monkeypatch.setattr(recipes, "__path__", [*recipes.__path__, str(tmp_path)])
    assert "bare" in recipes.names()
    assert {"images", "table"} <= source.commands().keys()


MAKE = """
import os, pathlib, sys
for out in sys.argv[2:]:
    path = pathlib.Path(out) if pathlib.Path(out).suffix else pathlib.Path(out, "made")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(pathlib.Path(given).read_bytes() for given in sys.argv[1].split(",")))
"""


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real graph, parameters and code, in a DVC repository where every stage has run; it only writes its outs."""
    folder = tmp_path_factory.mktemp("graph")
    initialised(folder)
    for path in ("components", "expectations"):
        shutil.copytree(ROOT / path, folder / path)
    for path in (".dvcignore", "params.yaml", "requirements/versions.json"):
        (folder / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, folder / path)
    (folder / "data").mkdir()
    (folder / "data/a.parquet").write_bytes(b"examples")
    (folder / "make.py").write_text(MAKE)
    stages = {}
    for name, stage in STAGES.items():  # of train what is made depends on the network
        given = "params.yaml,components/recipes/images/networks.py" if name == "train" else "dvc.yaml"
        stages[name] = stage | {"cmd": f"python make.py {given} {' '.join(outs(stage))}"}
    YAML().dump({"stages": stages}, folder / "dvc.yaml")
    assert changed(folder)[1] == set(STAGES)
    return folder


def changed(folder: Path) -> tuple[set[str], set[str]]:
    """The stages that are out of date, and those that run then."""
    from dvc.repo import Repo

    with contextlib.chdir(folder), Repo() as repo:
        return set(repo.status()), {stage.name for stage in repo.reproduce()}


@pytest.mark.e2e
def test_another_network_trains_and_evaluates_and_nothing_else(reproduced: Path) -> None:
    assert changed(reproduced) == (set(), set())
    written = (reproduced / "params.yaml").read_text()
    assert "  model: cnn" in written
    (reproduced / "params.yaml").write_text(written.replace("  model: cnn", "  model: mlp"))
    assert changed(reproduced) == ({"train"}, {"train", "evaluate"})
    with (reproduced / "components/recipes/images/networks.py").open("a") as file:
        file.write("# another line\n")
    assert changed(reproduced) == ({"train"}, {"train", "evaluate"})
    (reproduced / "params.yaml").write_text(written.replace("  channels: 1", "  channels: 3"))
    assert changed(reproduced)[0] == {*STAGES}


@pytest.mark.e2e
def test_a_section_with_nothing_in_it_is_there_for_dvc(reproduced: Path) -> None:
    written = (reproduced / "params.yaml").read_text()
    (reproduced / "params.yaml").write_text(re.sub(r"network:.*\n  model: .*\n", "network: {}\n", written))
    changed(reproduced)
    assert changed(reproduced) == (set(), set())


def test_bytecode_is_no_dependency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage depends on folders of code, in which Python leaves its bytecode."""
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    initialised(tmp_path)
    (tmp_path / ".dvcignore").write_text((ROOT / ".dvcignore").read_text())
    (tmp_path / "code/sub/__pycache__").mkdir(parents=True)
    (tmp_path / "code/sub/a.py").write_text("x = 1")
    (tmp_path / "dvc.yaml").write_text("stages:\n  s: {cmd: echo 1 > out, deps: [code], outs: [out]}\n")
    with Repo(str(tmp_path)) as repo:
        repo.reproduce()
    (tmp_path / "code/sub/__pycache__/a.cpython-311.pyc").write_bytes(b"bytecode")
    assert status(tmp_path) == {}
    (tmp_path / "code/sub/b.py").write_text("y = 1")
    assert status(tmp_path)
