"""What people read first of a run and of a version in MLflow, in a real store."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.tracking import connection, shown
from tests import fabricate

GATES = "accuracy is 0.8, but the gate is >= 0.9"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    fabricate.store(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    return connection.client()


def made(client: Any, description: str) -> str:
    """Make a run and the version of its model; return the run's id."""
    run = client.create_run("0", run_name="epochs=4", tags=shown.BEGUN)
    client.create_registered_model("sides")
    tags = shown.BEGUN | {shown.DECISION: "none yet", "score": "accuracy 0.8"}
    client.create_model_version("sides", "/nowhere/model", run.info.run_id, tags=tags, description=description)
    return str(run.info.run_id)


def test_a_decision_is_seen_on_the_version_and_on_its_run(client: Any) -> None:
    run_id = made(client, "**sides**: a card\n\n### Data\n")
    assert shown.decided(client.get_model_version("sides", "1").tags) == ("", "")
    for decision, reason, head in (
        (shown.WAITING, "it passes all gates", "Waits for approval, accuracy 0.8: it passes all gates"),
        (shown.REFUSED, GATES, f"Refused, accuracy 0.8: {GATES}"),
    ):
        shown.decide("sides", "1", decision, reason)
        version, run = client.get_model_version("sides", "1"), client.get_run(run_id)
        assert shown.decided(version.tags) == shown.decided(run.data.tags) == (decision, reason)
        assert version.description == f"{head}\n\n**sides**: a card\n\n### Data\n"
        assert run.info.run_name == f"{decision}: epochs=4"


def test_a_version_whose_run_is_gone_is_decided_on(client: Any) -> None:
    made(client, "x" * shown.MAX_DESCRIPTION)  # by an older Slipway, which left no room for a first line
    with pytest.MonkeyPatch.context() as patch:
        from mlflow.exceptions import MlflowException

        def gone(_: str) -> None:
            raise MlflowException("no such run")

        patch.setattr(client, "get_run", gone)
        shown.decide("sides", "1", shown.REFUSED, "it is worse " * 1000)
    version = client.get_model_version("sides", "1")
    assert len(version.tags["reason"]) == shown.MAX_TAG and len(version.description) == shown.MAX_DESCRIPTION
    head = version.description.partition("\n\n")[0]
    assert len(head) <= shown.MAX_HEAD and head.endswith(" ...")


def test_what_an_older_slipway_decided_is_read() -> None:
    old = {"slipway.decision": "kept", "slipway.reason": GATES}
    assert shown.decided(old) == (shown.REFUSED, GATES)
    assert shown.decided(old | {"decision": "promoted", "reason": "by a person"}) == ("promoted", "by a person")
    assert shown.decided({}) == ("", "")


def test_what_a_decision_was_based_on_is_one_tag_and_in_older_versions_three() -> None:
    known = {"gates": [{"metric": "accuracy", "held": True}], "champion": {"version": "1"}, "reference": None}
    assert shown.compared({shown.COMPARED: json.dumps(known)}) == known
    assert shown.compared({f"slipway.{key}": json.dumps(value) for key, value in known.items()}) == known
    assert shown.compared({}) == {"gates": [], "champion": None, "reference": None}


def test_data_and_commit_are_short() -> None:
    manifest = {"rows": {"train": 1000, "test": 88}}
    tags = {"mlflow.source.git.commit": "a" * 40, "slipway.dirty": "true"}
    found = shown.made_of(manifest, tags)
    assert found["data"].startswith("1,088 rows, ") and found["commit"] == f"{'a' * 12} with changes"
    assert "commit" not in shown.made_of(manifest, {})
