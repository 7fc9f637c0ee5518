"""What validate found: for the terminal, for build/validation/summary.json and as an HTML page."""

import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from components import brief
from components.files import replacing
from components.validation import advice, drift, portrait
from components.validation.profile import Profile
from components.validation.suite import SECTIONS, Entry, Result

DRAFTED = "; some were drafted: `slipway expect` shows what it would draft from the data as it is now"
GAPS = "expect_column_proportion_of_non_null_values_to_be_between"
FAR = 2  # times as large a share of missing values as of all other files
TITLE_WIDTH, MAX_TITLE = 60, 300  # characters of a line, and of all, of what is expected
MAX_ROWS_SHOWN = 100  # rows set aside that the page lists


@dataclass(frozen=True)
class Found:
    """What came of holding a dataset against its expectations."""

    name: str
    suite: str
    rows: int
    files: int
    set_aside: int
    max_bad_fraction: float
    reasons: dict[str, int]  # what is wrong -> rows, a row counted under each of its reasons
    results: list[Result]
    classes: list[dict[str, Any]]  # label, rows, fraction of what is not set aside
    profile: Profile = field(default_factory=Profile)  # what the columns are like, rows set aside included
    own: Collection[str] = ()  # columns of an example; all others of the profile are facts
    label: str = "label"  # what the user calls it, where that is known
    repeats: tuple[int, int, int] = (0, 0, 0)  # rows, how many contents these have, and the most of one content

    @cached_property
    def looks(self) -> list[str]:
        """What looks wrong, in words; it stops nothing."""
        known = advice.advice(self.profile, {row["label"]: row["rows"] for row in self.classes}, self.own)
        return known + advice.repeated(*self.repeats)

    @property
    def bad_fraction(self) -> float:
        """The share of all rows that break an expectation."""
        return self.set_aside / max(self.rows, 1)

    @property
    def too_many(self) -> bool:
        """If more rows are bad than may be set aside."""
        return self.bad_fraction > self.max_bad_fraction

    @property
    def failed(self) -> list[Result]:
        """The expectations that stop the run."""
        return [r for r in self.results if not r.held and (self.too_many or r.entry.section != "examples")]

    @property
    def passed(self) -> bool:
        """If the dataset, less what is set aside, may be used."""
        return not self.failed

    def summary(self) -> dict[str, Any]:
        """Numbers for `dvc metrics`; an expectation counts as failed also if its rows could be set aside."""
        return {
            "rows": self.rows,
            "files": self.files,
            "set_aside": self.set_aside,
            "bad_fraction": round(self.bad_fraction, 6),
            "expectations": len(self.results),
            "failed_expectations": sum(not result.held for result in self.results),
            "passed": self.passed,
            "reasons": dict(sorted(self.reasons.items())),
            **({"leaks": "; ".join(leaks)} if (leaks := advice.leaks(self.profile, self.own)) else {}),
        }

    def text(self, page: Path) -> str:
        """Summarise it in a few lines for the terminal."""
        told = [r for r in self.results if not self.too_many or r.entry.section == "examples"]
        rest = "" if len(told) == len(self.results) else "; the others are about what is left, which says little"
        remarks = f"{len(self.looks):,} remark{'s' * (len(self.looks) != 1)} on the data, in the report"
        lines = [
            f"rows          {self.rows:,} in {files(self.files)}",
            f"expectations  {sum(r.held for r in told)} of {len(told)} hold{rest}",
            f"{'set aside' if self.passed else 'bad rows':13} {self.share()}",
            *(f"              {rows:,}  {reason}" for reason, rows in self.ranked()),
            *([f"to look at    {remarks}"] if self.looks else []),
            f"report        {page}",
        ]
        return "\n".join(lines)

    def share(self) -> str:
        """How many rows are bad, beside the limit."""
        if not self.set_aside:
            return "none"
        return f"{self.set_aside:,} ({self.bad_fraction:.2%}; at most {self.max_bad_fraction:.2%} allowed)"

    def ranked(self) -> list[tuple[str, int]]:
        """Return the reasons, the most frequent first."""
        return sorted(self.reasons.items(), key=lambda item: (-item[1], item[0]))

    def complaint(self, data: Path, expectations: Path) -> str:
        """Compose the error message: which expectations stop the run, how many rows, three examples of each."""
        lines = [f"{data}: the dataset does not meet {expectations}"]
        if self.too_many:
            lines.append(
                f"rows that break an expectation: {self.share()}; see validate.max_bad_fraction in params.yaml"
            )
        table, notes = [("expectation", "rows", "for example")], [""]
        for result in self.failed:
            if self.too_many and result.entry.section != "examples":
                continue  # about what is left, which then says little
            shown = "; ".join(f"{place}: {value}" for place, value in result.examples)
            if result.observed:
                shown = f"found: {result.observed}{self._most_gaps(result.entry)}"
            title = "".join(text for text, _ in result.entry.words)
            count = "" if result.observed else f"{result.unexpected:,}"
            table.append((_cut(title, MAX_TITLE), count, shown))
            notes.append("" if self.too_many else result.entry.notes)
        titles = [textwrap.wrap(title, TITLE_WIDTH, break_on_hyphens=False) or [""] for title, *_ in table]
        wide, narrow = max(len(line) for title in titles for line in title), max(len(row[1]) for row in table)
        for (first, *more), (_, count, shown), note in zip(titles, table, notes, strict=True):
            lines += [f"  {first:{wide}}  {count:>{narrow}}  {shown}", *(f"  {line}" for line in more)]
            lines += [f"    {note}"] if note else []
        hint = "" if not any(result.entry.drafted for result in self.failed) else DRAFTED
        return "\n".join([*lines, f"fix the data, or change the expectations{hint}"])

    def _most_gaps(self, entry: Entry) -> str:
        """Name the file that lacks most values of a column, where it lacks far more than all others together."""
        name, allowed = entry.kwargs.get("column"), 1 - (entry.kwargs.get("min_value") or 0)
        known = {file: columns[name] for file, columns in self.profile.files.items() if name in columns}
        if entry.type != GAPS or entry.section != "columns" or len(known) < 2:
            return ""
        file, worst = max(known.items(), key=lambda item: item[1].missing - allowed * item[1].rows)
        whole = self.profile.columns[str(name)]
        others = (whole.missing - worst.missing) / max(whole.rows - worst.rows, 1)
        far = worst.gaps > max(allowed, FAR * others)
        return f"; {file}: {100 * worst.gaps:.3g} % missing" if far else ""


def _cut(text: str, length: int) -> str:
    """Shorten a text in its middle: a column stands at the beginning of what is expected, and a limit at the end."""
    return text if len(text) <= length else f"{text[: length // 2]} ... {text[-length // 2 :]}"


def files(number: int) -> str:
    """Say how many files."""
    return "1 file" if number == 1 else f"{number:,} files"


def rendered(template: Path, **values: Any) -> str:
    """Return a page of a template, in the style that all pages have; what the data names is escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["brief"] = lambda value: brief(float(value))
    style = Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))  # noqa: S704 - ours
    return environment.from_string(template.read_text(encoding="utf-8")).render(style=style, **values)


def write(
    page: Path,
    found: Found,
    set_aside: Iterator[pa.Table],
    samples: Sequence[tuple[str, dict[str, str]]] = (),
) -> None:
    """Write a page that needs no network; the same bytes for the same findings.

    `samples` are examples with their labels.
    """
    rows: list[dict[str, Any]] = []
    for table in set_aside:
        rows += table.select(["file", "row", "id", "label", "split", "reasons"]).to_pylist()
        if len(rows) >= MAX_ROWS_SHOWN:
            break
    sections = [
        (name, text, [result for result in found.results if result.entry.section == name])
        for name, text in SECTIONS.items()
    ]
    label = found.profile.columns.get("label")
    alone = label is not None and any(row["label"] in label.counts for row in found.classes)  # not several, or boxes
    colours = portrait.coloured(row["label"] for row in found.classes) if alone else []
    seen = portrait.views(found.profile, colours)
    html = rendered(
        Path(__file__).with_name("report.html"),
        found=found,
        files=files(found.files),
        sections=sections,
        rows=rows[:MAX_ROWS_SHOWN],
        columns=[
            view if view.name != "label" else replace(view, name=found.label, kind=f"{view.kind}, the label")
            for view in seen
            if view.name in found.own or view.name == "label"
        ],
        facts=[
            view
            for view in seen
            if view.name not in found.own and view.name != "label" and view.more + len(view.bars) != 1
        ],
        more=max(len(found.profile.columns) - portrait.MAX_COLUMNS, 0),
        colours=colours,
        drift=drift.of_files(found.profile),
        sampled=len(found.profile.sample),
        samples=samples,
        size=(portrait.WIDE, portrait.HIGH),
        gx=version("great-expectations"),
    )
    with replacing(page) as aside:
        aside.write_text(html, encoding="utf-8")


def _varies(view: portrait.View) -> bool:
    """Tell whether a fact says more than that all examples are alike."""
    return bool(view.histogram) or len(view.bars) > 1 or view.gaps > 0
