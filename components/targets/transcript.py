"""The text of what is said in a recording: the model gives the probability of each symbol in each of many frames."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from components import targets
from components.targets import Decision, _ctc

FRAMES = 100  # of an output
APOSTROPHES = frozenset("'`\u00b4\u02bc\u2018\u2019\u201b\u2032\uff07")  # what is typed for one
JOINERS = frozenset("\u200c\u200d")
FORMS = frozenset(map(chr, range(0xFE00, 0xFE10)))  # of the character before: an emoji in colour
SPOKEN = "LMN"  # the categories of Unicode that words consist of: letters, marks on them, numbers
LEAST = 1e-7  # probability that counts in the loss


@dataclass(frozen=True)
class Target(targets.Target):
    """A label is a text; encoded: `(n, frames)` int32, the number of each symbol plus 1, and 0 behind the text.

    `names` are the symbols, single characters of the text in plain form (see `plain`). Outputs are `(n, frames, names +
    1)`: the probabilities in each frame of no symbol, the blank, and of each name (components/targets/_ctc.py). Without
    a decision the likeliest symbols of the frames are the text; one is `[weight, bonus, counts]` of a language model.
    """

    frames: int = FRAMES  # of an output: the steps in which a symbol can stand
    lower: bool = True  # if texts are compared in lower case
    punctuation: bool = False  # if it is kept

    kind = "transcript"
    examples = "transcripts"
    exclusive = False
    named = False
    activation = "softmax"
    output = "probabilities"
    rule = "ngram"  # the model hears sounds: which of the spellings of them is a word, other texts know
    losses = ("ctc",)
    metric = "exact"
    refused: ClassVar[Mapping[str, str]] = (
        {"augment.time_shift": "moves what is said out of the recording, but not out of the transcript"}
        | dict.fromkeys(
            ("label_smoothing", "class_weights", "resample", "calibrate", "augment.mixup", "augment.cutmix"),
            "is for classification, but the recipe predicts texts",
        )
        | dict.fromkeys(
            ("threshold: f1", "threshold: youden", "threshold: cost"),
            "is for classes; leave it out: texts are decided by a language model, where validation shows that it helps",
        )
    )

    @property
    def title(self) -> str:
        """The transcriber, and of how many symbols."""
        count = len(self.names)
        return f"a transcriber with {count} symbol{'s' * (count != 1)}"

    @property
    def type(self) -> pa.DataType:
        """A text."""
        return pa.string()

    @property
    def shape(self) -> tuple[int, ...]:
        """In each frame the blank and each name."""
        return self.frames, len(self.names) + 1

    @property
    def answer(self) -> str:
        """The text that was heard."""
        return "text"

    def invalid(self, labels: Iterable[Any]) -> list[bool]:
        """Tell which labels are missing, no text, empty in plain form, too long, or have a symbol that is unknown."""
        known = frozenset(self.names)
        return [bool(self._wrong(label, known)) for label in labels]

    def complaint(self, label: Any) -> str:
        """Say what is wrong with it first."""
        return self._wrong(label, frozenset(self.names))

    def _wrong(self, label: Any, known: frozenset[str]) -> str:
        if label is None:
            return "is missing"
        if not isinstance(label, str):
            return "is not a text"
        text = self._plain(label)
        if not text:
            return (
                f"has nothing that is said: without {'' if self.punctuation else 'punctuation and '}spaces it is empty"
            )
        unknown = next((symbol for symbol in text if symbol not in known), None)
        if unknown is not None:
            # braces would be taken for a place where something is filled in
            shown = unicodedata.name(unknown) if unknown in "{}" else repr(unknown)
            return f"has the symbol {shown}, which is not in {{section}}.symbols of params.yaml"
        if (steps := _steps(text)) > self.frames:
            return (
                f"needs {steps:,} steps, a symbol each and one between two alike, and a recording has {self.frames:,}: "
                "make {section}.seconds longer or {section}.hop_ms shorter"
            )
        return ""

    def _plain(self, text: str) -> str:
        return plain(text, lower=self.lower, punctuation=self.punctuation)

    def held(self, label: Any) -> list[str]:
        """Its symbols, each once."""
        return list(dict.fromkeys(self._plain(label))) if isinstance(label, str) else []

    def encode(self, labels: list[Any]) -> np.ndarray:
        """Return `(n, frames)` int32."""
        return self._codes([self._plain(label) for label in labels])

    def _codes(self, texts: list[str]) -> np.ndarray:
        codes = {name: number for number, name in enumerate(self.names, 1)}
        found = np.zeros((len(texts), self.frames), np.int32)
        for row, text in enumerate(texts):
            found[row, : len(text)] = [codes[symbol] for symbol in text]
        return found

    def decode(self, actual: np.ndarray) -> list[Any]:
        """Return texts in plain form."""
        symbols = ("", *self.names)
        return ["".join([symbols[code] for code in row if code]) for row in actual.tolist()]

    def chosen(self, outputs: np.ndarray, decision: Decision | None = None) -> np.ndarray:
        """Decide: texts, encoded as labels are, in plain form like these: one space between words, none at the ends."""
        codes = _ctc.beam(outputs, self.names, decision) if decision else _ctc.greedy(outputs)
        if " " not in self.names:
            return codes
        space = self.names.index(" ") + 1
        said = (codes > 0) & (codes != space)
        behind_one = np.pad(said[:, :-1], ((0, 0), (1, 0)))
        before_any = said[:, ::-1].cumsum(axis=1)[:, ::-1] > 0
        kept = said | ((codes == space) & behind_one & before_any)
        order = np.argsort(~kept, axis=1, kind="stable")
        found: np.ndarray = np.take_along_axis(np.where(kept, codes, 0), order, axis=1)
        return found

    def answers(self, outputs: np.ndarray, decision: Decision | None = None) -> pa.Table:
        """Return `text`, and its `probability`: of all ways to say it in these frames."""
        codes = self.chosen(outputs, decision)
        probability = np.exp(_ctc.log_probability(outputs, codes))
        return pa.table(
            {"text": pa.array(self.decode(codes), pa.string()), "probability": pa.array(probability, pa.float32())}
        )

    def outputs(self, answers: pa.Table) -> np.ndarray:
        """Return outputs of a model that is sure of the texts: which others it heard they do not tell."""
        return self.restored(answers["text"].to_pylist())[1]

    def counted(self, actual: np.ndarray) -> np.ndarray:
        """Count the texts that have each symbol."""
        row, at = np.nonzero(actual)
        pairs = np.unique(np.stack([row, actual[row, at]], axis=1), axis=0)
        return np.bincount(pairs[:, 1] - 1, minlength=len(self.names))

    def loss(self, outputs: np.ndarray, actual: np.ndarray) -> np.ndarray:
        """Minus the logarithm of the label's probability; that of each symbol counts as 1e-7 at least."""
        found: np.ndarray = np.maximum(-_ctc.log_probability(np.maximum(outputs, LEAST), actual), 0.0)
        return found

    def settled(self, outputs: np.ndarray, decision: Decision | None, tolerance: float) -> np.ndarray:
        """Tell where in no frame another symbol comes near the likeliest; with a language model nowhere."""
        if decision:
            return np.zeros(len(outputs), bool)
        top = np.partition(outputs, -2, axis=2)[:, :, -2:]
        apart = top[:, :, 1] - top[:, :, 0]
        found: np.ndarray = apart.min(axis=1) > 2 * tolerance
        return found

    def decided(self, outputs: np.ndarray, actual: np.ndarray, state: Mapping[str, Any]) -> Decision | None:
        """Choose how much the recipe's `ngrams` count; None, nothing, unless that is surely better."""
        return _ctc.choose(outputs, actual, self, state["ngrams"])

    def certain(self, actual: np.ndarray) -> np.ndarray:
        """Return outputs in which each symbol has a frame, from the first one on, and a blank stands between two alike.

        Texts that need more frames than there are must be cut before.
        """
        return _ctc.certain(actual, len(self.names))

    def restored(self, answers: list[Any]) -> tuple[np.ndarray, np.ndarray, Decision | None]:
        """Return the texts, also empty ones, for certain; unknown symbols are left out, and what is too long is cut."""
        known = frozenset(self.names)
        texts = []
        for answer in answers:
            if answer is not None:
                text = "".join(symbol for symbol in self._plain(answer) if symbol in known)[: self.frames]
                while _steps(text) > self.frames:
                    text = text[:-1]
                texts.append(text)
        return np.array([answer is not None for answer in answers], bool), self.certain(self._codes(texts)), None

    def trivial(self, truth: np.ndarray) -> tuple[str, np.ndarray]:
        """The text that most labels have."""
        texts, counts = np.unique(truth, axis=0, return_counts=True)
        return "the most frequent utterance", self.certain(texts[counts.argmax()][None])[0]

    def described(self) -> dict[str, Any]:
        """Return what `of` reads, as plain JSON."""
        about = {"frames": self.frames, "lower": self.lower, "punctuation": self.punctuation}
        return super().described() | about


def plain(text: str, *, lower: bool, punctuation: bool) -> str:
    """Bring a text into the form that is learned and measured.

    Composed (Unicode's NFC), in lower case with `lower`, white space one space and none at the ends. Without
    `punctuation` what Unicode calls punctuation or a symbol counts as a space, or as nothing where it is as wide as a
    Chinese character, but an apostrophe inside a word stays, all kinds of it as "'". What is not seen is left out:
    control characters, marks of direction and of an emoji's form; but within a word (non-)joiners stay, which some
    scripts need.
    """
    text = unicodedata.normalize("NFC", text)
    if lower:
        text = text.lower()
    spoken = [character not in APOSTROPHES and unicodedata.category(character)[0] in SPOKEN for character in text]
    kept = []
    for at, character in enumerate(text):
        category = unicodedata.category(character)
        within = 0 < at < len(text) - 1 and spoken[at - 1] and spoken[at + 1]
        if character.isspace():
            kept.append(" ")
        elif category in ("Cc", "Cf") or character in FORMS:
            kept.append(character * (character in JOINERS and within))
        elif punctuation:
            kept.append(character)
        elif character in APOSTROPHES:
            kept.append("'" if within else " ")
        else:
            parts = unicodedata.east_asian_width(character) not in "WF"  # words of the other scripts have no spaces
            kept.append((" " if parts else "") if category[0] in "PS" else character)
    return " ".join(unicodedata.normalize("NFC", "".join(kept)).split())


def _steps(text: str) -> int:
    """Return how many frames a text needs: one for each symbol, and one for the blank between two alike."""
    return len(text) + sum(one == other for one, other in pairwise(text))
