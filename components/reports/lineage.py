"""A registered version's origin as one page: blocks of facts, as text for a terminal and as an HTML file of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components import brief

GONE = "no longer known"


@dataclass(frozen=True)
class Block:
    """A titled part of the page: facts (name -> text), a table whose first row is its head, notes below."""

    title: str
    facts: dict[str, str] = field(default_factory=dict)
    table: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    more: dict[str, str] = field(default_factory=dict)  # long facts: folded in HTML, left out on a terminal


@dataclass(frozen=True)
class Page:
    """All of it; `links` lead to other programs' pages: text -> address."""

    title: str
    subtitle: str
    blocks: list[Block]
    links: dict[str, str] = field(default_factory=dict)


def number(value: Any) -> str:
    """Return a number as people read it, and any other value as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else brief(value)


def settings(now: Mapping[str, Any], before: Mapping[str, Any] | None, of: str) -> Block:
    """Return what params.yaml says otherwise than that of the version before, which `of` names; all of it folded."""
    every = {name: str(value) for name, value in now.items()}
    if not now:
        return Block("Settings", notes=[f"params.yaml: {GONE}"])
    if before is None:
        return Block("Settings", notes=[of], more=every)
    names = [name for name in dict.fromkeys([*now, *before]) if now.get(name) != before.get(name)]
    rows = [[name, str(before.get(name, "not set")), str(now.get(name, "not set"))] for name in names]
    if not rows:
        return Block("Settings", notes=[f"the same as those of {of}"], more=every)
    return Block("Settings", table=[["setting", of, "this version"], *rows], more=every)


def measured(metrics: Mapping[str, float], intervals: Sequence[Mapping[str, str]]) -> Block:
    """Return the metrics of the test split, with the interval of each that has one."""
    known = {row["metric"]: row for row in intervals}
    rows, more = [], {}
    for name, value in metrics.items():
        row = known.get(name)
        interval = f"{brief(float(row['low']))} to {brief(float(row['high']))}" if row else ""
        if "_of_" in name:  # of a label or a column, of which there may be thousands
            more[name] = number(value)
        else:
            rows.append([name, number(value), interval])
    notes = [] if intervals else [f"intervals: {GONE} (neither DVC's cache nor its remotes have intervals.csv)"]
    if not metrics:
        return Block("Metrics of the test split", notes=[GONE])
    return Block("Metrics of the test split", table=[["metric", "value", "interval"], *rows], notes=notes, more=more)


def text(page: Page) -> str:
    """Return the page for a terminal."""
    parts = [f"{page.title}\n{page.subtitle}"]
    for block in page.blocks:
        lines = [block.title, "-" * len(block.title)]
        width = max(map(len, block.facts), default=0)
        for name, value in block.facts.items():
            first, *others = str(value).split("\n")
            lines.append(f"{name.ljust(width)}  {first}".rstrip())
            lines += [" " * (width + 2) + other for other in others]
        lines += aligned(block.table)
        parts.append("\n".join([*lines, *block.notes]))
    if page.links:
        width = max(map(len, page.links))
        parts.append("\n".join(f"{name.ljust(width)}  {address}" for name, address in page.links.items()))
    return "\n\n".join(parts)


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines, its columns aligned."""
    if not table:
        return []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def html(page: Page) -> str:
    """Return the page as HTML that needs no other file; all that the data or a person named is escaped."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(Path(__file__).with_name("lineage.html.jinja").read_text(encoding="utf-8"))
    safe = {name: address for name, address in page.links.items() if address.startswith(("http://", "https://"))}
    return template.render(page=page, links=safe)
