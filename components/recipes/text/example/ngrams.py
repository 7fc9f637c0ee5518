"""Bags of n-grams: counted over texts, table by table, and turned into arrays of ids and weights."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

MAX_COUNTED = 4_000_000  # different n-grams counted at a time, about 0.5 GB; the rarest go first


@dataclass(frozen=True)
class Vocabulary:
    """What n-grams there are: 0 is none, then those of words, then those of characters."""

    names: list[str]
    words: dict[str, int]
    characters: dict[str, int]
    idf: np.ndarray  # (n,) float64
    counts: np.ndarray  # (n, groups) int64: texts that have it
    documents: tuple[int, ...]  # texts of each group


@lru_cache(maxsize=1)
def _splitter() -> Any:
    """Words and punctuation marks, every Han character alone, as BERT's tokenizer has them."""
    from tokenizers import Regex, pre_tokenizers

    han = pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated")
    return pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), han])


def of_words(text: str, lengths: list[int]) -> list[str]:
    """All n-grams of the text's words, joined by a space, shortest first."""
    words = [word for word, _ in _splitter().pre_tokenize_str(text)]
    return [" ".join(words[at : at + n]) for n in _range(lengths) for at in range(len(words) - n + 1)]


def of_characters(text: str, lengths: list[int]) -> list[str]:
    """All n-grams of the text's characters, spaces included, shortest first."""
    return [text[at : at + n] for n in _range(lengths) for at in range(len(text) - n + 1)]


def _range(lengths: list[int]) -> range:
    return range(lengths[0], lengths[1] + 1)


def fit(
    texts: Iterable[tuple[str, str | None]],
    labels: list[str],
    words: list[int] | None,
    characters: list[int] | None,
    size: int,
) -> dict[str, Any]:
    """Find the `size` n-grams that most texts have, of two texts at least; ties go by the n-gram.

    `texts` are cleaned, with their labels; counts are kept for each of `labels`, whatever the network makes of them.
    Where more than MAX_COUNTED different ones were met, those of the fewest texts are forgotten, as in lossy counting
    (Manku and Motwani 2002): memory does not grow with the data, and the common ones keep their counts but for those
    few. Returns {"documents": texts of each group, "grams": a line each: kind, n-gram, counts}.
    """
    groups = {label: index for index, label in enumerate(labels)}
    counters: list[Counter[str]] = [Counter() for _ in labels]
    documents = [0] * len(counters)
    floor = 0
    for number, (text, label) in enumerate(texts, 1):
        group = groups.get(label or "")
        if group is None:  # a label unknown to params.yaml: the stage stops on it
            continue
        documents[group] += 1
        if words:
            counters[group].update({"w" + gram for gram in of_words(text, words)})
        if characters:
            counters[group].update({"c" + gram for gram in of_characters(text, characters)})
        if number % 256 == 0:
            while sum(map(len, counters)) > MAX_COUNTED:
                floor += 1
                counters = _without(counters, floor)
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    best = sorted((gram for gram, count in total.items() if count > 1), key=lambda gram: (-total[gram], gram))[:size]
    lines = ["\t".join([gram, *(str(counter[gram]) for counter in counters)]) for gram in sorted(best, reverse=True)]
    return {"documents": documents, "grams": "\n".join(lines)}


def _without(counters: list[Counter[str]], floor: int) -> list[Counter[str]]:
    """Leave out n-grams that no more than `floor` texts have."""
    kept = {gram for counter in counters for gram in counter if sum(other.get(gram, 0) for other in counters) > floor}
    return [Counter({gram: count for gram, count in counter.items() if gram in kept}) for counter in counters]


@lru_cache(maxsize=4)
def vocabulary(grams: str, documents: tuple[int, ...]) -> Vocabulary:
    """Read what `fit` wrote; the last few are kept, so that a call does not read them again.

    idf is scikit-learn's smooth one: ln((1 + documents) / (1 + count)) + 1.
    """
    names, tables = [""], {"w": {}, "c": {}}  # type: tuple[list[str], dict[str, dict[str, int]]]
    counts = [[0] * len(documents)]
    for line in grams.split("\n") if grams else []:
        gram, *numbers = line.split("\t")
        tables[gram[0]][gram[1:]] = len(names)
        names.append(gram[1:])
        counts.append([int(number) for number in numbers])
    held = np.array(counts, np.int64)
    idf = np.log((1 + sum(documents)) / (1 + held.sum(axis=1))) + 1
    return Vocabulary(names, tables["w"], tables["c"], idf, held, documents)


def encode(
    texts: list[str],
    known: Vocabulary,
    words: list[int] | None,
    characters: list[int] | None,
    length: int,
    *,
    presence: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids `(n, length)` int32, in the order of the text, and weights float32; 0 behind the end.

    A weight is 1 (`presence`) or the tf-idf, of length 1 over the text. Where a text has more n-grams, those of
    the largest tf-idf are kept.
    """
    ids = np.zeros((len(texts), length), np.int32)
    weights = np.zeros((len(texts), length), np.float32)
    for row, text in enumerate(texts):
        found: Counter[int] = Counter()
        if words:
            found.update(filter(None, map(known.words.get, of_words(text, words))))
        if characters:
            found.update(filter(None, map(known.characters.get, of_characters(text, characters))))
        if not found:
            continue
        numbers = np.fromiter(found, np.int64, len(found))
        values = np.fromiter(found.values(), np.float64, len(found)) * known.idf[numbers]
        if len(numbers) > length:
            kept = np.sort(np.argsort(-values, kind="stable")[:length])
            numbers, values = numbers[kept], values[kept]
        ids[row, : len(numbers)] = numbers
        weights[row, : len(numbers)] = 1 if presence else values / np.sqrt(np.sum(values**2))
    return ids, weights


def ratios(known: Vocabulary) -> np.ndarray:
    """Log-count ratios `(n, labels)` float32: ln of an n-gram's share in the label over that in all others.

    Wang and Manning 2012 (equation 5), one label against the rest, counts of texts smoothed by 1.
    """
    counts = known.counts[1:]
    inside = counts + 1.0
    outside = counts.sum(axis=1, keepdims=True) - counts + 1.0
    ratio = np.log(inside / inside.sum(axis=0)) - np.log(outside / outside.sum(axis=0))
    return np.concatenate([np.zeros((1, counts.shape[1])), ratio]).astype(np.float32)
