"""A registered model lent to a store of its own: a training that starts from it finds it there, and nothing else."""

from pathlib import Path

from components import SlipwayError, temporary
from components.tracking import connection

FILES = ("build/model.keras", "build/model.json")  # of a version's run: what a training may start from


def lend(pinned: str, asked: str, store: str, artifacts: Path) -> None:
    """Put models:/NAME/VERSION into an empty store, under that number, and under the alias that `asked` names.

    Its artefacts go to the folder `artifacts`. Raises SlipwayError where the version's run no longer has the model.
    """
    from mlflow import MlflowClient

    _, name, number = pinned.rsplit("/", 2)
    with temporary.folder() as folder, connection.plainly(f"fetch {pinned}"):
        run_id = connection.client().get_model_version(name, number).run_id
        there = [item.path for item in connection.client().list_artifacts(run_id, "build")] if run_id else []
        if run_id is None or FILES[0] not in there:
            raise SlipwayError(f"the training starts from {pinned}, whose run no longer keeps {FILES[0]}")
        client = MlflowClient(store, store)
        experiment = client.create_experiment(name, artifacts.as_uri())
        run = client.create_run(experiment)
        for path in (path for path in FILES if path in there):
            found = connection.client().download_artifacts(run_id, path, str(folder))
            client.log_artifact(run.info.run_id, found, "build")
        client.set_terminated(run.info.run_id)
        client.create_registered_model(name)
        for _ in range(int(number)):  # the registry counts them itself
            client.create_model_version(name, f"runs:/{run.info.run_id}/build", run.info.run_id)
        if "@" in asked:
            client.set_registered_model_alias(name, asked.rpartition("@")[2], number)
