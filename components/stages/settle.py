"""Set the record of a model's moves right as a run begins, so that it is known what was moved before it."""

import argparse


def arguments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the sub-parser `settle`."""
    text = "write down what was moved outside Slipway, or cut short, before a run; the flow calls this"
    command = commands.add_parser("settle", help=text, description=text)
    command.add_argument("--began", type=float, required=True, metavar="SECONDS", help="when the run began, since 1970")


def run(began: float) -> None:
    """Look at the model of params.yaml, as of the moment `began`, as time.time() has it; one not registered is fine."""
    from datetime import UTC, datetime

    from components import params
    from components.tracking import connection, moving, record

    name = params.load().name
    connection.check()
    with connection.plainly(f"read the moves of {name}"):
        if record.find(name) is not None:
            moving.look(name, record.spelled(datetime.fromtimestamp(began, UTC)))
