"""What expectations on series are drafted from: when the windows are, and between which values they move."""

import pyarrow as pa

from components.recipes.series import example


def facts(table: pa.Table, params: example.Params) -> pa.Table:
    """Return the time of each window, and the smallest and the largest value of its history."""
    found = example.facts(table, params).select(["minimum", "maximum"])
    return found.add_column(0, "time", table["time"])
