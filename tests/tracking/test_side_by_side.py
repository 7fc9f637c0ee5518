"""Models that live beside each other: each answers with its own code, in one process, in any order."""

import ast
import json
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import recipes, shipped
from components.files import model_digest
from components.params import Params
from components.recipes import networks
from components.serving import onnx_model
from components.tracking import registry
from tests import fabricate
from tests.conftest import ROOT

Saved = dict[str, tuple[Path, pandas.DataFrame, list[list[float]]]]  # where, examples, the right probabilities
LINE = 'arrays["numeric"] = scaled'


def saved(folder: Path, recipe: str) -> tuple[Path, pandas.DataFrame, list[list[float]]]:
    """Save a model as `register` does, from the code that shipped.PACKAGE names."""
    from mlflow.models import Model

    section, sample = recipes.load(recipe).sample(60, 3)
    network = networks.load(recipe).Network()
    task = recipes.load(recipe).Params.model_validate(section)
    settings = Params(name="trial", recipe=recipe, task=task, network=network)
    examples = sample.select(recipes.asked(recipes.load(recipe), task).names)
    if recipe == "tabular":
        fabricate.table_model(folder / "model", settings, recipes.load(recipe).fit([sample], task))
    else:
        fabricate.any_model(folder / "model", settings, sample)
    (folder / "out").mkdir()
    registry._save(settings, folder, examples.slice(0, 3), folder / "out", Model())
    right = onnx_model.predict(onnx_model.load(folder / "model"), examples)
    probabilities = right["probabilities"].to_pylist() if "probabilities" in right.column_names else []
    return folder / "out" / "model", examples.to_pandas(), probabilities


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Models of a table, of the same table by code that differs in a line, and of texts."""
    root = tmp_path_factory.mktemp("models")
    found = {"table": saved(root / "table", "tabular"), "text": saved(root / "text", "text")}
    other = root / "another" / "components"
    shutil.copytree(ROOT / "components", other, ignore=shutil.ignore_patterns("__pycache__"))
    encode = other / "recipes/tabular/example/__init__.py"
    source = encode.read_text()
    assert source.count(LINE) == 1
    encode.write_text(source.replace(LINE, LINE.replace("scaled", "-scaled")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "PACKAGE", other)
        place, examples, right = saved(root / "negated", "tabular")
    return found | {"negated": (place, examples, [row[::-1] for row in right])}


def load(place: str) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(place, suppress_warnings=True)


def answered(place: str, examples: pandas.DataFrame) -> list[list[float]]:
    found = load(place).predict(examples)
    assert found["error"].isna().all()
    return [list(row) for row in found["probabilities"]]


def forget() -> None:
    """Let the next load be this process's first."""
    for name in [name for name in sys.modules if name.startswith(shipped.PREFIX)]:
        del sys.modules[name]


def about(rows: list[list[float]]) -> list[Any]:
    return [pytest.approx(row, abs=1e-6) for row in rows]


@pytest.mark.parametrize("order", [("table", "negated", "text"), ("text", "negated", "table")])
def test_each_answers_with_its_own_code(models: Saved, order: tuple[str, ...]) -> None:
    """This process has imported the checkout's `components`, too."""
    assert models["table"][2] != models["negated"][2]
    forget()
    loaded = {name: load(str(models[name][0])) for name in order}
    for name in (*order, *reversed(order)):
        _, examples, right = models[name]
        assert loaded[name].predict(examples)["probabilities"].tolist() == about(right), name


FRESH = """
import sys
if sys.argv[1] == "import first":
    import components.recipes.tabular.example
import json, mlflow.pyfunc, pandas
loaded = [mlflow.pyfunc.load_model(place, suppress_warnings=True) for place in sys.argv[2].split(":")]
given = [pandas.read_pickle(path) for path in sys.argv[3].split(":")]
answers = [model.predict(frame)["probabilities"] for model, frame in zip(loaded, given)]
print(json.dumps([[list(row) for row in rows] for rows in answers]))
ours = [name for name in sys.modules if name.split(".")[0] == "components"]
assert bool(ours) == (sys.argv[1] == "import first"), ours
"""


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("first", "order"), [("import first", ("table", "negated", "text")), ("", ("text", "negated", "table"))]
)
def test_a_notebook_in_another_checkout_gets_the_same_answers(
    models: Saved, tmp_path: Path, order: tuple[str, ...], first: str
) -> None:
    """As a notebook's, its sys.path begins with the current folder, which has a `components` that is broken."""
    for name in order:
        models[name][1].to_pickle(tmp_path / f"{name}.pickle")
    package = tmp_path / "components/recipes/tabular/example"
    package.mkdir(parents=True)
    for folder in (package, *package.parents[:3]):
        (folder / "__init__.py").write_text("" if first else "raise RuntimeError('the checkout was imported')")
    places = ":".join(str(models[name][0]) for name in order)
    given = ":".join(str(tmp_path / f"{name}.pickle") for name in order)
    command = [sys.executable, "-c", FRESH, first, places, given]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [about(models[name][2]) for name in order]


@pytest.mark.e2e
def test_threads_load_and_ask_at_once(models: Saved) -> None:
    forget()
    wanted = [*models] * 6
    with ThreadPoolExecutor(len(wanted)) as pool:
        found = list(pool.map(lambda name: answered(str(models[name][0]), models[name][1]), wanted))
    for name, rows in zip(wanted, found, strict=True):
        assert rows == about(models[name][2]), name


@pytest.mark.e2e
def test_worker_processes_load_them_again(models: Saved) -> None:
    """As Spark's do: a path goes to the worker, which loads what lies there; one worker has all three."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for name in ("negated", "table", "text", "negated"):
            place, examples, right = models[name]
            assert pool.submit(answered, str(place), examples).result() == about(right), name


def test_a_version_that_is_loaded_again_needs_nothing_of_its_first_folder(models: Saved, tmp_path: Path) -> None:
    place, examples, right = models["table"]
    forget()
    for number in ("1", "2"):
        copy = shutil.copytree(place, tmp_path / number)
        assert answered(str(copy), examples) == about(right)
        shutil.rmtree(copy)


def test_the_package_is_named_by_its_code_and_its_model(models: Saved, tmp_path: Path) -> None:
    from mlflow.models import Model

    names = {}
    for name, (place, _, _) in models.items():
        conf = Model.load(place).flavors["python_function"]
        package, _, rest = conf["loader_module"].partition(".")
        assert rest == shipped.LOADER
        assert [path.name for path in (place / "code").iterdir() if path.name != "__pycache__"] == [package]
        names[name] = package
        for path in (place / "code").rglob("*.py"):
            assert "components" not in imported(path.read_text()), path
    assert len(set(names.values())) == 3
    place = models["table"][0]
    digest = model_digest(place / "data" / "onnx")
    assert shipped.write(tmp_path, "tabular", digest) == names["table"]  # the same again
    assert shipped.write(tmp_path, "tabular", "0" * 64) != names["table"]
    for path in (tmp_path / names["table"]).rglob("*.py"):
        assert path.read_bytes() == (place / "code" / path.relative_to(tmp_path)).read_bytes()


def imported(source: str) -> set[str]:
    """The packages that a source imports by name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
    return found


STATEMENTS = st.sampled_from(
    [
        "from components import recipes",
        "from components.recipes import Input as components",
        "from  components.targets import (\n    Target,  # components\n    single_label\n)",
        "from \\\n    components.data import splits",
        "import components",
        "import components.recipes.tabular as tabular, os, components.files",
        "if x:\n    import components.targets.regression; import components as c",
        "def f():\n    é = 'é'; from components.recipes import load; return load",
        "'''from components import recipes'''",
        "import components_of_mine, mycomponents.components",
        "from . import components",
        "from ..components import files",
        "text = 'import components.x'  # from components import y",
    ]
)


@given(st.lists(STATEMENTS, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_only_imports_are_renamed(statements: list[str], newline: str) -> None:
    source = newline.join(statement.replace("\n", newline) for statement in statements)
    found = shipped.renamed(source, "slipway_model_0")
    assert "components" not in imported(found)
    expected = ast.parse(source)
    for node in ast.walk(expected):
        if isinstance(node, ast.ImportFrom) and not node.level and str(node.module).split(".")[0] == "components":
            node.module = str(node.module).replace("components", "slipway_model_0", 1)
        elif isinstance(node, ast.Import):
            names = []
            for alias in node.names:
                if alias.name.split(".")[0] == "components":
                    own = alias.name.replace("components", "slipway_model_0", 1)
                    bound = [] if alias.asname else [ast.alias("slipway_model_0", "components")]
                    names += [ast.alias(own, alias.asname), *bound]
                else:
                    names.append(alias)
            node.names = names
    assert ast.dump(ast.parse(found)) == ast.dump(expected)
    assert shipped.renamed(found, "x") == found


def test_modules_that_a_recipe_imports_relatively_are_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "components"
    for path, source in {
        "__init__.py": "",
        "serving/__init__.py": "",
        "serving/onnx_model.py": "",
        "recipes/__init__.py": "",
        "recipes/points/__init__.py": "",
        "recipes/points/example/__init__.py": "from . import near\nfrom .far.away import f\nfrom ...shared import x",
        "recipes/points/example/near.py": "import components.deep.down",
        "recipes/points/example/far/__init__.py": "",
        "recipes/points/example/far/away.py": "",
        "recipes/shared.py": "",
        "deep/__init__.py": "",
        "deep/down.py": "",
        "alone.py": "",
    }.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(source)
    monkeypatch.setattr(shipped, "PACKAGE", package)
    everything = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    assert {path.relative_to(package).as_posix() for path in shipped.files("points")} == everything - {"alone.py"}
