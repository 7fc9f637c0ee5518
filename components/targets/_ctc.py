"""Connectionist temporal classification: texts from probabilities in each frame, and how probable a text is.

Graves and others 2006, doi:10.1145/1143844.1143891. In each frame there is one of the names, or none of them: the
blank, which comes first. A text is what is left of the frames when a symbol that goes on is taken once, and blanks are
left out. `outputs` are such probabilities, `(n, frames, names + 1)`; `codes` are texts, `(n, frames)` int32: the number
of each symbol plus 1, and 0 behind the text.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from components.targets import Decision, Target

Counts = dict[str, dict[str, int]]  # what was before -> what came next -> how often
# of a text: its probabilities of ending in a blank and in its last symbol, and what the language model adds to it
_State = tuple[float, float, float]

ORDER = 6  # characters of the longest n-gram
START, END = "\x02", "\x03"  # of a text, in n-grams
CONTEXTS = 50_000  # of a language model; they are shipped with it
WIDTH = 16  # texts that are followed at a time
LIKELY = 1e-3  # of the likeliest symbol of a frame: what is less probable is not followed
SYMBOLS = 32  # that are followed in a frame at most
APART = 12.0  # in the logarithm of the probability, by which a text that is still followed may be behind the best one
WEIGHTS = (0.3, 0.6, 0.9, 1.2)  # of the language model
BONUSES = (0.0, 0.5, 1.0, 2.0)  # for each symbol: a language model likes short texts best
EXAMPLES = 300  # by which both are chosen at most: decoding takes some ten milliseconds each
CELLS = 2**20  # of an array that is worked with at a time
REMEMBERED = 2**20  # probabilities of the language model
MODELS = 4  # language models that stay built


def greedy(outputs: np.ndarray) -> np.ndarray:
    """Return as codes the symbols that are likeliest in their frames (Graves and others 2006, section 3.2)."""
    best = outputs.argmax(axis=2)
    kept = best > 0
    kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    found = np.zeros(best.shape, np.int32)
    row, frame = np.nonzero(kept)
    found[row, kept.cumsum(axis=1)[row, frame] - 1] = best[row, frame]
    return found


def certain(codes: np.ndarray, names: int) -> np.ndarray:
    """Return outputs, float32, in which these texts are certain.

    They must fit: a text needs a frame for each symbol, and one for the blank between two alike.
    """
    alike = np.zeros(codes.shape, np.int64)
    alike[:, 1:] = (codes[:, 1:] > 0) & (codes[:, 1:] == codes[:, :-1])
    frame = np.arange(codes.shape[1]) + alike.cumsum(axis=1)
    row, at = np.nonzero(codes)
    path = np.zeros(codes.shape, np.int64)
    path[row, frame[row, at]] = codes[row, at]
    return np.eye(names + 1, dtype=np.float32)[path]


def log_probability(outputs: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the logarithm of each text's probability, `(n,)` float64; minus infinity for one that cannot be.

    The forward algorithm (Graves and others 2006, section 4.1), in logarithms.
    """
    length = (codes > 0).sum(axis=1)
    order = np.argsort(length, kind="stable")  # texts of about the same length are worked with together
    found = np.empty(len(codes))
    frames, names = outputs.shape[1:]
    at = 0
    while at < len(order):
        rows = order[at : at + max(1, CELLS // (frames * names))]
        symbols = codes[rows, : max(int(length[rows[-1]]), 1)]
        found[rows] = _forward(outputs[rows].astype(np.float64), symbols, length[rows])
        at += len(rows)
    return found


def _forward(outputs: np.ndarray, codes: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Add up all ways through the states of a text: its symbols, with a blank before, between and behind them."""
    states = np.zeros((len(codes), 2 * codes.shape[1] + 1), np.int64)
    states[:, 1::2] = codes
    jumps = np.zeros(states.shape, bool)  # from a symbol right to the next one, which is another
    jumps[:, 3::2] = codes[:, 1:] != codes[:, :-1]
    never = -np.inf
    with np.errstate(divide="ignore"):
        logs = np.log(outputs)
    alpha = np.full(states.shape, never)
    alpha[:, :2] = np.take_along_axis(logs[:, 0], states[:, :2], axis=1)
    for frame in range(1, outputs.shape[1]):
        before = alpha.copy()
        before[:, 1:] = np.logaddexp(alpha[:, 1:], alpha[:, :-1])
        before[:, 2:] = np.logaddexp(before[:, 2:], np.where(jumps[:, 2:], alpha[:, :-2], never))
        alpha = before + np.take_along_axis(logs[:, frame], states, axis=1)
    row = np.arange(len(codes))
    last = np.where(length > 0, alpha[row, 2 * length - 1], never)
    found: np.ndarray = np.logaddexp(alpha[row, 2 * length], last)
    return found


def counted(texts: Iterable[str], order: int = ORDER) -> Counts:
    """Count which symbol comes how often behind up to `order - 1` others; sorted, as `{context: {symbol: count}}`.

    START stands in contexts before a text, END is the symbol behind it. Of more than CONTEXTS contexts the rarest of
    the longest are left out, so that of one that stays its end stays, too: what is behind them is told by these.
    """
    grams: Counter[str] = Counter()
    for text, times in Counter(texts).items():
        whole = START + text + END
        for at in range(1, len(whole)):
            for start in range(max(at - order + 1, 0), at + 1):
                grams[whole[start : at + 1]] += times
    totals: Counter[str] = Counter()
    for gram, times in grams.items():
        totals[gram[:-1]] += times
    kept = sorted(totals, key=lambda context: (len(context), -totals[context], context))[:CONTEXTS]
    found: Counts = {context: {} for context in sorted(kept)}
    for gram in sorted(grams):
        if gram[:-1] in found:
            found[gram[:-1]][gram[-1]] = grams[gram]
    return found


@dataclass(frozen=True)
class _Model:
    """A language model of symbols: how much a symbol adds to a text's score, behind others."""

    weight: float
    bonus: float
    counts: Counts
    totals: dict[str, int]
    longest: int  # of a context
    symbols: int  # that may come, with END
    known: dict[tuple[str, str], float] = field(default_factory=dict)

    def context(self, text: str) -> str:
        """Return the end of a text that tells what comes next."""
        return text[-self.longest :] if len(text) >= self.longest > 0 else (START + text)[: self.longest]

    def added(self, context: str, symbol: str) -> float:
        """Return the weighed logarithm of the probability of `symbol`, or END, in a context, and the bonus."""
        found = self.known.get((context, symbol))
        if found is None:
            if len(self.known) >= REMEMBERED:
                self.known.clear()
            found = self.weight * math.log(self.probability(context, symbol)) + self.bonus * (symbol != END)
            self.known[context, symbol] = found
        return found

    def probability(self, context: str, symbol: str) -> float:
        """Return the probability of `symbol` in a context, after the shorter ones.

        Interpolated, by method C of Witten and Bell 1991, doi:10.1109/18.87000: the more different symbols came in a
        context, the more counts the next shorter one; the last one are all symbols alike.
        """
        found = 1 / self.symbols
        for start in range(len(context), -1, -1):
            counts = self.counts.get(context[start:])
            if counts is None:
                break
            total = self.totals[context[start:]]
            found = (counts.get(symbol, 0) + len(counts) * found) / (total + len(counts))
        return found


_BUILT: dict[int, tuple[Decision, int, _Model]] = {}  # the decision, too, so that its number stays its own


def _model(decision: Decision, names: int) -> _Model:
    """Return the language model of a decision, built once for the same list: a server asks for one text at a time."""
    known = _BUILT.get(id(decision))
    if known is not None and known[0] is decision and known[1] == names:
        return known[2]
    weight, bonus, counts = decision
    totals = {context: sum(each.values()) for context, each in counts.items()}
    model = _Model(weight, bonus, counts, totals, max(map(len, counts), default=0), names + 1)
    while len(_BUILT) >= MODELS:
        _BUILT.pop(next(iter(_BUILT)), None)
    _BUILT[id(decision)] = decision, names, model
    return model


def beam(outputs: np.ndarray, names: Sequence[str], decision: Decision) -> np.ndarray:
    """Return as codes the texts of the highest score: their probability, that of the language model, and the bonuses.

    Prefix beam search (Hannun and others 2014, arXiv:1408.2873, algorithm 1). A decision is the weight of the language
    model, a bonus for each symbol, and counts as `counted` gives them.
    """
    model = _model(decision, len(names))
    numbers = {name: index for index, name in enumerate(names, 1)}
    found = np.zeros(outputs.shape[:2], np.int32)
    for row, probabilities in enumerate(outputs):
        text = _search(probabilities.astype(np.float64), names, model)
        found[row, : len(text)] = [numbers[symbol] for symbol in text]
    return found


def _search(probabilities: np.ndarray, names: Sequence[str], model: _Model) -> str:
    """Follow the best texts from frame to frame; of equal ones the first in the order of Unicode."""
    texts: dict[str, _State] = {"": (1.0, 0.0, 0.0)}
    least = -APART  # the score from which on a text is among the best
    followed = _followed(probabilities, names)
    for frame, blank in enumerate(probabilities[:, 0].tolist()):
        symbols = followed[frame]
        if not symbols:  # a blank for certain: all texts stay as they are
            if frame == 0 or followed[frame - 1]:
                texts = {text: (ends + goes, 0.0, added) for text, (ends, goes, added) in texts.items()}
            continue
        found: dict[str, _State] = {}
        for text, (ends, goes, added) in texts.items():
            last, shorter = text[-1:], text[:-1]
            comes = _open(texts[shorter], shorter, last) if last and shorter in texts else 0.0
            found[text] = (ends + goes) * blank, (goes + comes) * symbols.get(last, 0.0), added
        for text, state in texts.items():
            ends, goes, added = state
            context = model.context(text)
            # less is behind all texts that stay as they are, even if the language model were sure of it
            enough = blank * math.exp(least - added - model.bonus)
            for symbol, probability in symbols.items():
                if (ends + goes) * probability < enough:
                    break  # as are all others, which are less probable
                gained = _open(state, text, symbol) * probability
                if gained and text + symbol not in texts:
                    found[text + symbol] = 0.0, gained, added + model.added(context, symbol)
        texts, least = _best(found)
    whole = {
        text: math.log(ends + goes) + added + model.added(model.context(text), END)
        for text, (ends, goes, added) in texts.items()
    }
    return min(whole, key=lambda text: (-whole[text], text))


def _open(state: _State, text: str, symbol: str) -> float:
    """Return the probability of ending so that `symbol` can come: behind one alike only after a blank."""
    ends, goes, _ = state
    return ends if text[-1:] == symbol else ends + goes


def _best(texts: dict[str, _State]) -> tuple[dict[str, _State], float]:
    """Return the best texts, and the score that others must have to be among them.

    Their probabilities are scaled so that none gets too small.
    """
    ranked = sorted(
        (-math.log(ends + goes) - added, text) for text, (ends, goes, added) in texts.items() if ends + goes > 0
    )
    most = ranked[0][0] + APART
    kept = [text for behind, text in ranked[:WIDTH] if behind <= most]
    if len(kept) == WIDTH:
        most = ranked[WIDTH - 1][0]
    largest = max(texts[text][0] + texts[text][1] for text in kept)
    scaled = {text: (texts[text][0] / largest, texts[text][1] / largest, texts[text][2]) for text in kept}
    return scaled, -most - math.log(largest)


def _followed(probabilities: np.ndarray, names: Sequence[str]) -> list[dict[str, float]]:
    """Return for each frame the symbols that are followed, the likeliest first; none where the blank is sure."""
    least = LIKELY * probabilities.max(axis=1, keepdims=True)
    likely = (probabilities[:, 1:] >= least) & (probabilities[:, 1:] > 0)
    frame, symbol = np.nonzero(likely)
    probability = probabilities[frame, symbol + 1]
    order = np.lexsort((symbol, -probability, frame))
    found: list[dict[str, float]] = [{} for _ in probabilities]
    for at, name, one in zip(frame[order].tolist(), symbol[order].tolist(), probability[order].tolist(), strict=True):
        if len(found[at]) < SYMBOLS:
            found[at][names[name]] = one
    return found


def choose(outputs: np.ndarray, labels: np.ndarray, target: Target, counts: Counts) -> Decision | None:
    """Return the decision of the fewest wrong characters on these examples, of which at most EXAMPLES are decoded.

    The weight is chosen first, then the bonus. None, the likeliest symbol of each frame, unless another decision is
    better by more than the standard error of the paired difference: of few examples it suits their noise.
    """
    rows = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), EXAMPLES)).astype(np.int64))
    if not len(rows):
        return None
    outputs, labels = outputs[rows], labels[rows]
    plain = _errors(greedy(outputs), labels)
    tried: dict[tuple[float, float], np.ndarray] = {}

    def errors(weight: float, bonus: float) -> int:
        if (weight, bonus) not in tried:
            tried[weight, bonus] = _errors(beam(outputs, target.names, [weight, bonus, counts]), labels)
        return int(tried[weight, bonus].sum())

    weight = min(WEIGHTS, key=lambda weight: errors(weight, 1.0))
    bonus = min(BONUSES, key=lambda bonus: errors(weight, bonus))
    gained = plain - tried[weight, bonus]
    sure = gained.mean() > gained.std() / math.sqrt(len(gained))
    return [weight, bonus, counts] if sure else None


def _errors(codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how many symbols are to be changed, left out or put in, `(n,)` float64 (Levenshtein 1966)."""
    from rapidfuzz.distance import Levenshtein

    texts = ([row[row > 0].tolist() for row in rows] for rows in (codes, labels))
    return np.array([Levenshtein.distance(one, other) for one, other in zip(*texts, strict=True)], np.float64)
