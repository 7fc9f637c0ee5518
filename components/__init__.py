"""The stages of the pipeline and what they share; each runs under DVC, Prefect, a test or a notebook alike."""

import difflib
from collections.abc import Iterable

MAX_LISTED = 20  # names in a message
WHOLE, HUGE = 1e4, 1e15  # sizes of numbers that are written without a point, and with an exponent
NEAR = 0.65  # likeness, by difflib, from which a name may be a slip: one letter of three is wrong, or two are swapped
LEAST_BEGUN = 3  # letters that may be the beginning of a name


class SlipwayError(Exception):
    """A mistake that the user can fix; its message says what is wrong, where, and what to do."""


def closest(name: str, known: Iterable[str]) -> str:
    """Return the known name that one with a slip, or one cut short, stands for; empty if none is near."""
    every = {each.casefold(): each for each in reversed(list(known))}
    asked = name.casefold()
    if asked.isdecimal():  # 1 is not a slip of 10
        return ""
    found = difflib.get_close_matches(asked, every, n=1, cutoff=NEAR)
    if not found and len(asked) >= LEAST_BEGUN:
        begun = [each for each in every if each.startswith(asked)]
        found = difflib.get_close_matches(asked, begun, n=1, cutoff=0)
    return every[found[0]] if found else ""


def near(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a hint for a name that is not known: the nearest one that is, after `prefix`; empty if none is near."""
    found = closest(name, known)
    return f"did you mean {prefix}{found}?" if found else ""


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a hint for a name that is not known: as `near` does, else all that there are."""
    every = list(known)
    return near(name, every, prefix) or f"there are: {listed(every)}"


def listed(names: Iterable[str], most: int = MAX_LISTED) -> str:
    """Return names in a line; of many, the first and how many more there are."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most:,} more" if len(every) > most else "")


def brief(value: float, sign: str = "") -> str:
    """Write a number with four significant digits, as people do: 0.7553, 46,740, with `sign` "+" +46,740.

    An exponent comes only below 0.0001, and from HUGE on.
    """
    rounded = float(f"{value:.4g}")
    return f"{rounded:{sign},.0f}" if WHOLE <= abs(rounded) < HUGE else f"{value:{sign}.4g}"
