"""What is ready for Prefect's own commands, Docker and Kubernetes, checked as far as it can be without an engine."""

import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from flows.machinery import deployments
from flows.retrain import retrain

ROOT = Path(__file__).parent.parent.parent
POOLS = ("docker", "kubernetes")


@pytest.fixture(scope="module")
def deploys() -> dict[str, Any]:
    from prefect.cli.deploy._config import _load_deploy_configs_and_actions
    from rich.console import Console

    said = Console(file=io.StringIO())
    loaded, _ = _load_deploy_configs_and_actions(ROOT / "prefect.yaml", console=said)
    assert isinstance(said.file, io.StringIO) and not said.file.getvalue()
    return {deploy["name"]: deploy for deploy in loaded}


def test_prefect_reads_prefect_yaml(deploys: dict[str, Any]) -> None:
    from prefect.flows import Flow, load_flow_from_entrypoint

    assert set(deploys) == {"retrain", "clean", "reproduce", "retrain-team", "retrain-docker", "retrain-kubernetes"}
    for name, deploy in deploys.items():
        assert deploy["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}, name
        if name.startswith("retrain"):
            assert load_flow_from_entrypoint(f"{ROOT}/{deploy['entrypoint']}").name == "retrain"
            assert retrain.validate_parameters(deploy["parameters"])["revision"] == "HEAD"
    cleans: Flow[..., Any] = load_flow_from_entrypoint(f"{ROOT}/{deploys['clean']['entrypoint']}")
    assert cleans.name == "clean" and cleans.validate_parameters(deploys["clean"]["parameters"]) == {"dry_run": False}
    assert deploys["clean"]["schedules"] == [{"cron": "30 4 * * *", "timezone": "UTC"}]
    assert deploys[deployments.name("")]["work_pool"]["name"] == deployments.POOL
    again = deploys["reproduce"]
    flow: Flow[..., Any] = load_flow_from_entrypoint(f"{ROOT}/{again['entrypoint']}")
    assert flow.name == "reproduce" and flow.validate_parameters(again["parameters"]) == {"model": "", "keep": False}


@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_takes_the_job_template_and_fills_it(kind: str, deploys: dict[str, Any]) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.utilities.schema_tools.validation import is_valid_schema
    from prefect.utilities.templating import apply_values, find_placeholders

    template = json.loads((ROOT / f"deploy/{kind}-pool.json").read_text())
    WorkPoolCreate(name="a", type=kind, base_job_template=template)
    is_valid_schema(template["variables"])
    variables = template["variables"]["properties"]
    placeholders = {found.name for found in find_placeholders(template["job_configuration"])}
    assert placeholders <= set(variables)
    assert set(deploys[f"retrain-{kind}"]["work_pool"]["job_variables"]) <= set(variables)
    values = {name: each["default"] for name, each in variables.items() if "default" in each}
    filled = apply_values(template["job_configuration"], values | {"env": {"A": "b"}})
    assert "slipway:latest" in json.dumps(filled) and '"A": "b"' in json.dumps(filled)


def test_the_pool_of_up_runs_in_this_folder_by_this_python(tmp_path: Path) -> None:
    from prefect.utilities.templating import apply_values
    from prefect.workers.process import ProcessJobConfiguration

    root = tmp_path / "a project (50%)"
    root.mkdir()
    template = deployments.template(root)
    variables = template["variables"]["properties"]
    values = {name: each["default"] for name, each in variables.items() if each.get("default") is not None}
    job = ProcessJobConfiguration.model_validate(apply_values(template["job_configuration"], values))
    assert job.working_dir == root
    assert shlex.split(str(job.command))[1:] == ["-m", "flows.machinery.engine"]


def test_a_deployment_has_the_name_of_its_model() -> None:
    assert [deployments.name(model) for model in ("", "income")] == ["retrain", "retrain-income"]
    assert [deployments.model_of(name) for name in ("retrain", "retrain-income", "clean")] == ["", "income", "clean"]


def test_the_dockerfile_copies_what_there_is_pins_its_base_and_is_no_root() -> None:
    lines = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert copied and all((ROOT / path).is_file() for path in copied)
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(any(Path(path).match(line[1:]) for line in kept if line.startswith("!")) for path in copied)
    (base,) = (line for line in lines if line.startswith("FROM"))
    assert re.fullmatch(r"FROM python:3\.1[123]\.\d+-slim-\w+", base)
    users = [line for line in lines if line.startswith("USER")]
    assert users[-1] != "USER root"
    assert all("--require-hashes" in line for line in lines if "pip" in line and line.startswith("RUN"))
