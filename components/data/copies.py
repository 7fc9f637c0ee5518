"""Which examples of a source a dataset does not have yet, and the ids that they get.

The key of an example is the hash of its content (dataset.ids); it decides the split. Its id is the key. Where
repetition is information, each further copy is an example of its own: its id is the key and its number, KEY-2.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat

from components import SlipwayError, listed
from components.data import spelling
from components.data.dataset import KEY_DIGITS, SPLITS

ALONE = repeat(None)  # in place of groups
HAD, REPEATED = "already in the dataset", "identical to another with the same label"
NUMBER = re.compile(r"\d+(\.0+)?")  # a key that a spreadsheet may write otherwise
LONGEST = 100  # characters of a label in a message: of an image, it may be hundreds of boxes
PAIRS_NAMED = 5  # contradictions that an ingest names
FEW = 100  # examples: of fewer, an accuracy of 0.8 on the fifth that tests is known to 0.18 either way, or less well
RARE = 0.2  # of the share that each label would have were all as frequent: one of two has less than 10 %
SAME_ROW = "already there, of the same key (--key)"


def key(example: str) -> str:
    """Return the key of an id: the part that copies share."""
    return example[:KEY_DIGITS]


def number(example: str) -> int:
    """Return the number of a copy: 1 of the first one, whose id is the key alone."""
    tail = example[KEY_DIGITS + 1 :]
    return int(tail) if tail.isdecimal() else 1


class Known:
    """The examples that there are, of a dataset and of the source that is being read.

    With `keep`, a dataset holds each content under each label as often as it did or as often as one source has it,
    whichever is more: a file that is ingested again, with rows appended, adds only these. Without, it holds it once.
    Where rows have keys of their own (`rows`), the key tells which row is known; other content is a correction.
    """

    def __init__(self, *, keep: bool, fresh: bool = False) -> None:
        self.keep, self.fresh = keep, fresh  # fresh: there is no dataset yet
        self.counts: Counter[str] = Counter()  # new, or why an example is skipped
        self.copies = 0  # new examples with the content of another one
        self.contradictions = 0  # new examples whose content came first with another label
        self.corrected = 0  # new examples of the key of another one that has other content
        self.late = 0  # new examples that are older than the newest of the dataset
        self.labels: Counter[str] = Counter()  # of the new examples, where they have one each
        self.origins: dict[str, Counter[str]] = {}  # where a source names the origin of its examples: counts of each
        self.tests = 0  # examples of the official test split that were skipped though new to the dataset
        self._held: Counter[tuple[str, str, str | None, object]] = Counter()  # examples that the dataset will have
        self._found: Counter[tuple[str, str, str | None, object]] = Counter()  # of these, in this source (or origin)
        self._labelled: dict[tuple[str, str], bool] = {}  # key and label -> of the dataset; where copies are dropped
        self._rows: dict[str, set[tuple[str, str]]] = {}  # key of a row -> contents and labels that it has had
        self._numbers: dict[str, str] = {}  # key of a row that is a number -> as it was written first
        self.respelled: list[str] = []  # keys that are there, but for zeros in front or a point behind: each pair
        self.keyless = 0  # examples without a key, where others have one
        self._first: dict[str, tuple[int, str]] = {}  # key -> highest number of a copy, label of the first
        self._names: dict[str, str] = {}  # key -> what the source calls the first, where it has names, such as of files
        self.pairs: list[str] = []  # contradictions by name, some of them

    @property
    def all_alike(self) -> bool:
        """Tell whether several examples were seen, and all have the same content."""
        return len(self._first) == 1 and self.counts.total() > 1

    def have(
        self,
        ids: Iterable[str | None],
        labels: Iterable[str],
        splits: Iterable[str | None],
        groups: Iterable[object] = ALONE,
        rows: Iterable[str | None] = repeat(None),
    ) -> None:
        """Take in examples of the dataset; `groups`: what it keeps beside them, to split by; `rows`: their keys."""
        for example, label, split, group, row in zip(ids, labels, splits, groups, rows, strict=False):
            if example is None:  # validate sets it aside
                continue
            own = key(example)
            if row is not None:
                self._rows.setdefault(row, set()).add((own, label))
                self._spelled(row)
            last, first = self._first.get(own, (0, label))
            self._first[own] = (max(last, number(example)), first)
            if self.keep:
                self._held[own, label, split, group] += 1
            else:
                self._labelled[own, label] = True

    def ids(
        self,
        keys: Iterable[str],
        labels: Iterable[str],
        splits: Iterable[str | None],
        groups: Iterable[object] = ALONE,
        rows: Iterable[str | None] = repeat(None),
        origin: str = "",
        names: Iterable[str | None] = repeat(None),
    ) -> list[str | None]:
        """Return the id of each example of the source that is new; None for one that the dataset shall not get.

        `names`: what the source calls them, such as files.
        """
        found = []
        if origin not in self.origins:  # a file of several is a source of its own
            self._found.clear()
        counts = self.origins.setdefault(origin, Counter())
        for own, label, split, group, row, name in zip(keys, labels, splits, groups, rows, names, strict=False):
            if row is not None:
                self._spelled(row)
                skipped = self._same_row(row, own, label)
            else:
                skipped = self._had(own, label, split, group) if self.keep else self._repeats(own, label, split)
            self.counts[skipped or "new"] += 1
            counts["new" if not skipped else "known"] += 1
            found.append(None if skipped else self._new(own, label, name))
        return found

    def _spelled(self, row: str) -> None:
        """Note a key that is written otherwise than one that is there: spreadsheets turn 00017 into 17, or 17.0."""
        if NUMBER.fullmatch(row):
            first = self._numbers.setdefault(row.partition(".")[0].lstrip("0"), row)
            if first != row:
                self.respelled.append(f"{row} and {first}")

    def _same_row(self, row: str, own: str, label: str) -> str:
        """Find a row of this key with the same content, whatever other contents it has had."""
        contents = self._rows.setdefault(row, set())
        if (own, label) in contents:
            return SAME_ROW
        self.corrected += bool(contents)
        contents.add((own, label))
        return ""

    def _had(self, own: str, label: str, split: str | None, group: object) -> str:
        """Find an example of this split and group in the dataset that nothing of the source was found to be so far."""
        others: Sequence[str | None] = SPLITS if split is None else (None,)
        for place in (split, *others):
            there = own, label, place, group
            if self._found[there] < self._held[there]:
                self._found[there] += 1
                return HAD
        self._held[own, label, split, group] += 1
        self._found[own, label, split, group] += 1
        return ""

    def _repeats(self, own: str, label: str, split: str | None) -> str:
        """Find an example of this content and label in the dataset, or before it in the source."""
        if (own, label) not in self._labelled:
            self._labelled[own, label] = False
            return ""
        if self._labelled[own, label]:
            return HAD
        self.tests += split == "test"
        return REPEATED

    def _new(self, own: str, label: str, name: str | None) -> str:
        """Number a new example; where copies are dropped, two labels of one content share an id: a conflict."""
        last, first = self._first.get(own, (0, label))
        self._first[own] = (last + 1, first)
        self.copies += last > 0
        self.contradictions += label != first
        if name is not None:
            before = self._names.setdefault(own, f"{name} ({_brief(first)})")
            if label != first and len(self.pairs) < PAIRS_NAMED:
                self.pairs.append(f"{before} and {name} ({_brief(label)})")
        return own if last == 0 or not self.keep else f"{own}-{last + 1}"


def _brief(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[:LONGEST]} ..."


def check_keys(known: Known, column: str | None) -> None:
    """Raise SlipwayError where the column of --key does not tell the rows apart, or a row is there in other spelling.

    Of a dataset that is added to, all rows may have been corrected.
    """
    if known.respelled and not known.fresh:
        raise SlipwayError(
            f"--key {column}: {len(known.respelled):,} keys are there already in another spelling "
            f"({listed(known.respelled, PAIRS_NAMED)}): as they are, their rows would be in the dataset twice. A "
            "spreadsheet may have taken the zeros in front for nothing; write the keys as they were"
        )
    if known.fresh and known.corrected * 2 > known.counts.total():
        raise SlipwayError(
            f"--key {column}: the column does not tell rows apart: {known.corrected:,} of {known.counts.total():,} "
            "have the value of a row before them and other content; name the column in which each row differs, or "
            "leave it out"
        )


def told(known: Known, skipped: Counter[str]) -> list[str]:
    """Say what became of the examples of a source; `skipped`: why it left some out itself."""
    lines = [f"read {known.counts.total():,} examples; {known.counts['new']:,} are new"]
    if known.keep and known.copies:
        lines.append(
            f"{known.copies:,} of these have the same content as another one: kept as examples of their own, together "
            "in one split; --split-by group=COLUMN splits by a column that tells them apart, --copies drop keeps one "
            "of each label"
        )
    if known.contradictions:
        what = (
            "kept"
            if known.keep
            else (
                "validate sets all of them aside; if labels were corrected, ingest all files anew with --replace; "
                "--copies keep keeps them"
            )
        )
        lines.append(f"{known.contradictions:,} have the same content as another one with another label: {what}")
        lines += [f"  {pair}" for pair in known.pairs]
        if known.pairs and known.contradictions > len(known.pairs):
            lines.append(f"  and {known.contradictions - len(known.pairs):,} more")
    if known.late:
        lines.append(f"{known.late:,} are late: older than the newest that the dataset had")
    if known.respelled:
        pairs = listed(known.respelled, PAIRS_NAMED)
        lines.append(f"{len(known.respelled):,} keys differ from another one by zeros alone ({pairs}): other rows")
    if known.keyless:
        lines.append(f"{known.keyless:,} have no value in the column of --key: they are known again by their content")
    if known.corrected:
        what = "rows of their key are there with other content, and stay there"
        lines.append(f"{known.corrected:,} are corrections: {what}")
    for reason, count in (*known.counts.items(), *skipped.items()):
        if reason != "new":
            hint = "; --copies keep keeps them" if reason == REPEATED else ""
            if reason == REPEATED and known.tests:
                hint = f" ({known.tests:,} of them in the official test split){hint}"
            lines.append(f"skipped {count:,}: {reason}{hint}")
    return lines


def rare(known: Known) -> list[str]:
    """Name the labels, the rarest first, that are so rare that a model may learn never to predict them."""
    every, total = sum(n > 0 for n in known.labels.values()), known.labels.total()
    scarce = (
        "some split has none of them, so it is not learned or not measured: collect more, merge it, or leave it out"
    )
    common = "a model may never predict it, whatever its accuracy; train.class_weights or train.threshold help"
    return [
        f"label {spelling.shown(label)}: {n:,} of {total:,} examples ({n / total:.1%}): "
        f"{scarce if n < len(SPLITS) else f'{common}: docs/training.md'}"
        for label, n in sorted(known.labels.items(), key=lambda item: (item[1], item[0]))
        if 0 < n * every < RARE * total or 0 < n < len(SPLITS)
    ]


def few(examples: int) -> list[str]:
    """Tell that a dataset has too few examples to tell a good model from a bad one, if it has."""
    if not 0 < examples < FEW:
        return []
    return [f"{examples:,} examples are few: the share of them that tests a model says little of its worth"]
