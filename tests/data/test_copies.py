"""Which examples of a source are new, and their ids: nothing is lost, nothing is doubled, copies stay together."""

import re
from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from components.data import copies, dataset, splits
from components.data.copies import HAD, REPEATED, Known

Row = tuple[str, str, str | None]  # key, label, split
KEYS = [f"{n:032x}" for n in range(4)]
rows = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from("ab"), st.none()), max_size=30)
official = st.sampled_from([None, "train", "test"])
of_splits = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from("ab"), official), max_size=30)


def ingest(had: list[Row], source: list[Row], *, keep: bool = True) -> tuple[list[Row], Known]:
    """The rows of a dataset, with ids in place of keys, after a source was added to it."""
    known = Known(keep=keep)
    known.have(*(zip(*had, strict=True) if had else ([], [], [])))
    keys, labels, parts = zip(*source, strict=True) if source else ([], [], [])
    ids = known.ids(keys, labels, parts)
    new = [(name, label, split) for name, (_, label, split) in zip(ids, source, strict=True) if name]
    return had + new, known


def contents(held: list[Row]) -> Counter[tuple[str, str]]:
    return Counter((copies.key(name), label) for name, label, _ in held)


@given(rows)
def test_a_new_dataset_has_every_row_and_each_has_an_id_of_its_own(source: list[Row]) -> None:
    held, known = ingest([], source)
    assert [(copies.key(name), label, split) for name, label, split in held] == source
    names = [name for name, _, _ in held]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(dataset.ID, name) for name in names)
    for key in KEYS:  # the first copy has the id that it always had
        assert [copies.number(name) for name in names if copies.key(name) == key] == list(
            range(1, 1 + sum(name.startswith(key) for name in names))
        )
    assert known.copies == len(source) - len({key for key, _, _ in source})


@given(rows, rows)
def test_a_dataset_has_each_content_as_often_as_the_source_that_has_it_most(one: list[Row], two: list[Row]) -> None:
    held, _ = ingest(ingest([], one)[0], two)
    assert contents(held) == contents(one) | contents(two)  # Counter's union: the larger count
    names = [name for name, _, _ in held]
    assert len(set(names)) == len(names)


@given(of_splits, of_splits)
def test_a_file_that_has_grown_adds_what_it_has_grown_by(old: list[Row], more: list[Row]) -> None:
    before, _ = ingest([], old)
    again, known = ingest(before, old)
    assert again == before  # the same file once more changes nothing
    assert known.counts == Counter({HAD: len(old)} if old else {})
    after, known = ingest(before, old + more)
    assert after[: len(before)] == before  # old examples keep ids and labels
    grown = Counter(old + more) - Counter(old)
    assert known.counts["new"] <= grown.total()
    if all(split is None for _, _, split in old + more):
        assert known.counts["new"] == grown.total()


@given(of_splits)
def test_a_source_without_its_official_split_is_known_all_the_same(source: list[Row]) -> None:
    before, _ = ingest([], source)
    assert ingest(before, [(key, label, None) for key, label, _ in source])[0] == before


def test_rows_of_an_official_test_set_are_no_copies_of_training_rows() -> None:
    key = KEYS[0]
    source: list[Row] = [(key, "a", "train"), (key, "a", "train"), (key, "a", "test")]
    held, _ = ingest([], source)
    assert held == [(key, "a", "train"), (f"{key}-2", "a", "train"), (f"{key}-3", "a", "test")]
    held, known = ingest(held, [source[0], *source])  # one more training row, and it comes before the test row
    assert held[3:] == [(f"{key}-4", "a", "train")]
    assert known.counts == Counter({HAD: 3, "new": 1})


@given(rows, rows)
def test_where_copies_are_dropped_there_is_one_of_each_label_and_conflicts_share_an_id(
    one: list[Row], two: list[Row]
) -> None:
    held, known = ingest(ingest([], one, keep=False)[0], two, keep=False)
    assert contents(held) == Counter({(key, label) for key, label, _ in one + two})
    assert all(name in KEYS for name, _, _ in held)
    assert known.counts.total() == len(two)
    assert known.counts[HAD] == sum((key, label) in contents(one) for key, label, _ in two)


def test_copies_in_an_official_test_split_that_are_dropped_are_counted() -> None:
    _, known = ingest([], [(KEYS[0], "a", "train"), (KEYS[0], "a", "test"), (KEYS[0], "b", "test")], keep=False)
    assert (known.counts[REPEATED], known.tests, known.contradictions) == (1, 1, 1)


@given(rows, rows, st.integers(0, 2**31 - 1))
def test_copies_stand_on_one_side_and_old_examples_keep_theirs(one: list[Row], two: list[Row], seed: int) -> None:
    def sides(held: list[Row]) -> np.ndarray:
        names = [name for name, _, _ in held]
        table = pa.table({"id": pa.array(names, pa.string()), "split": pa.nulls(len(names), pa.string())})
        rule = splits.make("id", None, (0.3, 0.3), seed, [table])
        return splits.assigned(rule, table)

    before, _ = ingest([], one)
    after, _ = ingest(before, two)
    found = sides(after)
    assert np.array_equal(found[: len(before)], sides(before))
    for key in KEYS:
        assert len({found[at] for at, (name, _, _) in enumerate(after) if copies.key(name) == key}) <= 1
