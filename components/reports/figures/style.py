"""How all figures look."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f6feb", "#d9730d", "#9aa4b2"


def axes(width: float = 6.4, height: float = 4.4) -> "tuple[Figure, Axes]":
    """Return a figure with one pair of axes, sides in inches."""
    # Figure itself, not pyplot: no global state, no display, works in any thread
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    found = figure.add_subplot()
    found.spines[["top", "right"]].set_visible(False)
    return figure, found
