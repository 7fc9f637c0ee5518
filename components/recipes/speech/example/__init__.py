"""Recordings with transcripts: the encoded bytes of a file, and what is said in it."""

import io
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from components.recipes import Arrays, Input, State
from components.recipes.audio.example import FACTS as FACTS_OF_AUDIO
from components.recipes.audio.example import Settings, columns, kept, must_be_free, requirements
from components.recipes.audio.example import encode as encode_audio
from components.recipes.audio.example import facts as facts_of_audio
from components.recipes.audio.example import fit as fit_audio
from components.targets import Target, _ctc, transcript

__all__ = ["columns", "kept", "requirements"]  # as in the recipe audio

FACTS = {"words": pa.int64(), "symbols": pa.int64(), "unknown": pa.int64(), "rate": pa.float64()}
STEP = 4  # frames of a spectrogram in which at most one symbol can be heard: the network halves them twice
SLACK = 0.01  # seconds by which a recording may be longer, after rounding


class Params(Settings):
    """The section `speech` of params.yaml."""

    seconds: Annotated[float, Field(gt=0, le=60)] = 10.0  # of what is longer, words would be cut off
    symbols: Annotated[str, Field(min_length=1)] = "abc"  # what transcripts consist of, each character once
    case: Literal["lower", "keep"] = "lower"  # of transcripts, as they are learned and measured
    punctuation: Literal["drop", "keep"] = "drop"
    group: list[str] = Field(default=[])  # columns of text kept beside the recording, to slice the measures by

    @model_validator(mode="after")
    def _usable(self) -> "Params":
        must_be_free(self.group, (*FACTS_OF_AUDIO, *FACTS))
        for symbol in self.symbols:
            if self.symbols.count(symbol) > 1:
                raise ValueError(f"symbols: {symbol!r} is there twice")
            within = f"中{symbol}中"  # an apostrophe is within a word; and marks do not change this character
            if symbol != " " and plain(within, self) != within:
                raise ValueError(
                    f"symbols: {symbol!r} does not occur in transcripts with case: {self.case} and punctuation: "
                    f"{self.punctuation}; leave it out"
                )
        return self

    @property
    def steps(self) -> int:
        """Steps of an output."""
        return -(-self.frames // STEP)


def target(params: Params) -> Target:
    """A text of the symbols."""
    return transcript.Target(
        tuple(params.symbols), params.steps, lower=params.case == "lower", punctuation=params.punctuation == "keep"
    )


def facts(table: pa.Table, params: Params) -> pa.Table:
    """What the recipe audio says of a recording, and of its transcript, null where there is none.

    words and symbols, how many it has, in the form that is learned; unknown, how many of its symbols are not in
    speech.symbols; rate, its symbols per second of the recording.
    """
    found = facts_of_audio(table, params)
    labels = table["label"].to_pylist() if "label" in table.column_names else [None] * len(table)
    rows = [
        {} if label is None else facts_of(label, seconds, params)
        for label, seconds in zip(labels, found["seconds"].to_pylist(), strict=True)
    ]
    for name, kind in FACTS.items():
        found = found.append_column(name, pa.array([row.get(name) for row in rows], kind))
    return found


def facts_of(label: str, seconds: float | None, params: Params) -> dict[str, Any]:
    """Return the facts of a transcript; no rate where the length of its recording is not known."""
    text = plain(label, params)
    known = frozenset(params.symbols)
    return {
        "words": len(text.split()),
        "symbols": len(text),
        "unknown": sum(symbol not in known for symbol in text),
        "rate": len(text) / seconds if seconds else None,
    }


def plain(label: str, params: Params) -> str:
    """Return a transcript in the form that is learned and measured."""
    return transcript.plain(label, lower=params.case == "lower", punctuation=params.punctuation == "keep")


def fit(tables: Iterable[pa.Table], params: Params) -> State:
    """What the recipe audio fits, and `ngrams`: how often which symbol follows which others in the transcripts."""
    texts = (plain(label, params) for table in tables for label in table["label"].to_pylist())
    return fit_audio(tables, params) | {"ngrams": _ctc.counted(texts)}


def encode(table: pa.Table, params: Params, state: State) -> Arrays:
    """Log-mel spectrograms as of the recipe audio; ValueError for what is longer than `seconds`: words would be cut."""
    import soundfile

    for data in table["audio"].to_pylist():
        try:
            lasts = soundfile.info(io.BytesIO(data or b"")).duration
        except soundfile.LibsndfileError:
            continue  # what is wrong with it is said below
        if lasts > params.seconds + SLACK:
            raise ValueError(
                f"the recording lasts {lasts:.1f} s, more than speech.seconds ({params.seconds:g}), and words would be "
                "cut off: cut it into shorter utterances"
            )
    return encode_audio(table, params, state)


def inputs(params: Params, state: State) -> dict[str, Input]:  # noqa: ARG001
    """One spectrogram."""
    return {"spectrogram": Input("spectrogram")}


def sample(rows: int, seed: int) -> tuple[dict[str, Any], pa.Table]:
    """Up to four letters, a tone of its own each, in a second of noise at 4 kHz, in 16-bit WAV."""
    import soundfile

    random = np.random.default_rng(seed)
    tones = {"a": 400.0, "b": 800.0, "c": 1500.0}
    recordings, labels = [], []
    for _ in range(rows):
        label = "".join(random.choice([*tones], int(random.integers(1, 5))))
        sound = random.normal(0, 0.01, 4000)
        at = int(random.integers(0, 400))
        for letter in label:
            time = np.arange(int(random.integers(500, 700)))
            sound[at : at + len(time)] += 0.3 * np.sin(2 * np.pi * tones[letter] * time / 4000) * np.hanning(len(time))
            at += len(time) + int(random.integers(100, 200))
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, 4000, format="WAV", subtype="PCM_16")
        recordings.append(buffer.getvalue())
        labels.append(label)
    section: dict[str, Any] = {"sample_rate": 4000, "seconds": 1.0, "window_ms": 32.0, "hop_ms": 16.0, "bands": 16}
    section["symbols"] = "".join(tones)
    return section, pa.table({"audio": pa.array(recordings, pa.binary()), "label": labels})
