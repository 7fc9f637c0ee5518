"""Metrics for transcripts, as NIST's sclite and jiwer have them.

wer, the word error rate: how many words are to be changed, left out or put in to turn an answer into its label, per
word of the labels (the least number of them, Levenshtein 1966); it is more than 1 where much is put in. Of these
substitutions, deletions and insertions, per word of the labels, too. cer, the same of characters, the spaces between
words among them; exact, the share of utterances that are all right. Of each
symbol recall, precision and F1: what of those said, and of those answered, stands where it should. Words are
what white space separates in plain form: a language without it is measured by characters.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

import numpy as np

from components import targets
from components.evaluation import rates
from components.evaluation.examples import Examples, Measures, rounded
from components.targets import Decision, _ctc
from components.targets.transcript import Target

LOWER = frozenset({"wer", "cer", "substitutions", "deletions", "insertions"})
IN_UNITS: frozenset[str] = frozenset()
OF_OUTPUTS: frozenset[str] = frozenset()
SHOWN = ("wer", "cer", "exact", "substitutions", "deletions", "insertions")
TABLE, TITLE, BY_NAME = "symbols.csv", "symbol", "recall"
FIRST = "The utterances with the highest word error rate first"
CARD = (("recall", "recall", ".3f"), ("precision", "precision", ".3f"), ("rows", "utterances", ",.0f"))
PAIRS = 1000  # of words, in words.csv
NUMBERS = ("words", "substitutions", "deletions", "insertions", "characters", "errors")  # of an example
KEPT = 8  # sets of answers that stay aligned: resamples come in blocks, of some models in turn
DECODED = 2**16  # examples that stay decoded: slices, and answers that are dealt out at random, have the same ones


@dataclass(frozen=True)
class _Aligned:
    """What is to be done to turn `n` answers into their labels, as numbers of each example, float64."""

    words: np.ndarray  # (n,) of the label
    substitutions: np.ndarray  # (n,) of words
    deletions: np.ndarray
    insertions: np.ndarray
    characters: np.ndarray  # (n,) of the label
    errors: np.ndarray  # (n,) of characters
    hit: Any  # (n, names) sparse: how often each symbol is right,
    said: Any  # answered,
    there: Any  # and in the label
    pairs: Counter[tuple[str, str]]  # words of labels and answers that stand for each other; empty: none does


def main(costs: object) -> str:  # noqa: ARG001
    """Return the word error rate."""
    return "wer"


def measure(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:
    """Return metrics `(b,)`, and those of each symbol `(b, names)`."""
    aligned = _aligned(examples)
    words = aligned.words @ w
    kinds = {name: getattr(aligned, name) @ w / words for name in ("substitutions", "deletions", "insertions")}
    found = {
        "wer": _wrong(aligned) @ w / words,
        "cer": aligned.errors @ w / (aligned.characters @ w),
        "exact": (aligned.errors == 0) @ w / w.sum(axis=0),
        **kinds,
    }
    hit, said, there = ((counts.T @ w).T for counts in (aligned.hit, aligned.said, aligned.there))
    return found, rates.by_name(hit, said, there)


def ranked(examples: Examples, w: np.ndarray) -> tuple[Measures, Measures]:  # noqa: ARG001
    """None: texts are right or wrong."""
    return {}, {}


def score(names: int, costs: object) -> str:  # noqa: ARG001
    """Return the word error rate: a rare word counts in it as others do."""
    return "wer"


def ranks(names: tuple[str, ...]) -> str:  # noqa: ARG001
    """None."""
    return ""


def confidences(examples: Examples) -> np.ndarray:  # noqa: ARG001
    """Texts have no calibration error: that of a long one is never likely to be all right."""
    return np.empty(0)


def scores(examples: Examples) -> np.ndarray:
    """Return minus the word error rate of each utterance."""
    aligned = _aligned(examples)
    found: np.ndarray = -_wrong(aligned) / aligned.words
    return found


def sure(examples: Examples) -> np.ndarray:
    """Return the probability of the answer."""
    found: np.ndarray = np.exp(_ctc.log_probability(examples.outputs, _answered(examples)))
    return found


def missed(actual: np.ndarray, answered: Examples) -> np.ndarray:
    """Return the empty text: all words are left out."""
    return answered.target.certain(np.zeros_like(actual))


def followed(examples: Examples, row: int, outputs: np.ndarray) -> np.ndarray:
    """Return how probable the text is that was answered, of each of its symbols: the geometric mean."""
    text = _answered(examples.take(np.array([row])))
    found: np.ndarray = np.exp(
        _ctc.log_probability(outputs, np.repeat(text, len(outputs), axis=0)) / max(int((text > 0).sum()), 1)
    )
    return found


def said(examples: Examples, row: int) -> dict[str, Any]:
    """Return the label and the answer."""
    target = examples.target
    one = examples.take(np.array([row]))
    (actual,), (answer,) = target.decode(one.actual), target.decode(_answered(one))
    return {"actual": actual, "answer": answer}


def files(examples: Examples) -> Iterable[tuple[str, list[str], Iterable[dict[str, Any]]]]:
    """Yield words.csv, the words that are wrong most often, and lengths.csv, the error rate by words of the label.

    A word that was left out has an empty answer, and one that was put in an empty label.
    """
    aligned = _aligned(examples)
    most = sorted(aligned.pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:PAIRS]
    pairs = [{"said": said, "answered": answered, "count": count} for (said, answered), count in most]
    yield "words.csv", ["said", "answered", "count"], pairs
    wrong, lengths = _wrong(aligned), []
    for words in np.unique(aligned.words):
        rows = aligned.words == words
        rate = wrong[rows].sum() / (words * rows.sum())
        lengths.append({"words": int(words), "utterances": int(rows.sum()), "wer": rounded(float(rate))})
    yield "lengths.csv", ["words", "utterances", "wer"], lengths


def _wrong(aligned: _Aligned) -> np.ndarray:
    found: np.ndarray = aligned.substitutions + aligned.deletions + aligned.insertions
    return found


_DECODED: dict[tuple[int, bytes], tuple[Decision, np.ndarray]] = {}  # the decision, so that its number stays its own


def _answered(examples: Examples) -> np.ndarray:
    """Decide, as the target does: what a language model is asked for once is known, in whatever arrays it stands."""
    target, decision = cast("Target", examples.target), examples.decision
    if not decision:
        return target.chosen(examples.outputs)
    outputs = np.ascontiguousarray(examples.outputs)
    keys = [(id(decision), sha256(row.data).digest()) for row in outputs]
    found = np.empty((len(outputs), target.frames), np.int32)
    for row, key in enumerate(keys):
        known = _DECODED.get(key)
        if known is None or known[0] is not decision:
            while len(_DECODED) >= DECODED:
                _DECODED.pop(next(iter(_DECODED)), None)
            known = _DECODED[key] = decision, target.chosen(outputs[row : row + 1], decision)[0]
        found[row] = known[1]
    return found


_KNOWN: dict[tuple[Any, ...], _Aligned] = {}


def _aligned(examples: Examples) -> _Aligned:
    """Align examples once for all weightings of them: the same texts, in whatever arrays."""
    actual, answered = (np.ascontiguousarray(codes) for codes in (examples.actual, _answered(examples)))
    key = (examples.target, actual.shape, *(sha256(codes.data).digest() for codes in (actual, answered)))
    found = _KNOWN.get(key)
    if found is None:
        while len(_KNOWN) >= KEPT:
            _KNOWN.pop(next(iter(_KNOWN)), None)
        found = _KNOWN[key] = _align(actual, answered, examples.target)
    return found


def _align(actual: np.ndarray, answered: np.ndarray, target: targets.Target) -> _Aligned:
    from rapidfuzz.distance import Levenshtein

    numbers = {name: np.zeros(len(actual)) for name in NUMBERS}
    pairs: Counter[tuple[str, str]] = Counter()
    right: list[np.ndarray] = []
    for row, (said, answer) in enumerate(zip(target.decode(actual), target.decode(answered), strict=True)):
        words, others = said.split(), answer.split()
        edits = list(Levenshtein.editops(words, others))
        kinds = Counter(edit.tag for edit in edits)
        for edit in edits:
            word = "" if edit.tag == "insert" else words[edit.src_pos]
            pairs[word, "" if edit.tag == "delete" else others[edit.dest_pos]] += 1
        changes = list(Levenshtein.editops(said, answer))
        right.append(np.delete(actual[row, : len(said)], [edit.src_pos for edit in changes if edit.tag != "insert"]))
        own = len(words), kinds["replace"], kinds["delete"], kinds["insert"], len(said), len(changes)
        for name, number in zip(NUMBERS, own, strict=True):
            numbers[name][row] = number
    codes: dict[str, Iterable[np.ndarray]] = {"hit": right, "said": answered, "there": actual}
    counts = {name: _counts(rows, len(target.names)) for name, rows in codes.items()}
    return _Aligned(**numbers, **counts, pairs=pairs)


def _counts(codes: Iterable[np.ndarray], names: int) -> Any:
    """Count each symbol in rows of codes, `(n, names)` float64: of thousands of symbols a text has few."""
    from scipy import sparse

    rows = [row[row > 0] for row in codes]
    ends = np.cumsum([0, *map(len, rows)])
    columns = np.concatenate([np.empty(0, np.int32), *rows]) - 1
    found = sparse.csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(rows), names))
    found.sum_duplicates()
    return found
