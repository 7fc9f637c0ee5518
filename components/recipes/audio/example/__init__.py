"""Recordings, one label each: WAV, FLAC and whatever else libsndfile reads, as log-mel spectrograms."""

import io
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.recipes import Arrays, Input, Labels, State
from components.recipes.audio.example import sound, spectrogram
from components.targets import Target, single_label

requirements = ("scipy", "soundfile")
FACTS = {
    "seconds": pa.float64(),
    "sample_rate": pa.int64(),
    "channels": pa.int64(),
    "format": pa.string(),
    "subtype": pa.string(),
    "peak": pa.float64(),
    "level": pa.float64(),
    "clipped": pa.float64(),
    "silent": pa.bool_(),
    "decodable": pa.bool_(),
}
SILENCE_DB = -80.0  # dB below full scale, the mean taken off


class Settings(BaseModel):
    """All of the section but what is predicted: what the recipe multimodal has of it, too."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    sample_rate: Annotated[int, Field(ge=1_000, le=192_000)] = 16_000  # Hz; other rates are resampled to it
    seconds: Annotated[float, Field(gt=0, le=60)] = 1.0  # cut or padded with silence to it, around the middle
    max_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0  # longer recordings are not even decoded
    window_ms: Annotated[float, Field(gt=0, le=500)] = 25.0  # milliseconds of a frame
    hop_ms: Annotated[float, Field(gt=0, le=500)] = 10.0  # milliseconds from frame to frame
    bands: Annotated[int, Field(ge=8, le=256)] = 64  # of the mel scale
    fmin: Annotated[float, Field(ge=0)] = 20.0  # Hz
    fmax: Annotated[float, Field(gt=0)] | None = None  # Hz; half of the sample rate
    scale: Literal["bands", "recording"] = "bands"  # standardised by the training split, or each by itself

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        if min(spectrogram.lengths(self)) < 1:
            raise ValueError("window_ms and hop_ms must be at least one sample long at this sample_rate")
        if self.frames < 1:
            raise ValueError(f"seconds ({self.seconds:g}) is shorter than window_ms ({self.window_ms:g})")
        if not self.fmin < self.highest <= self.sample_rate / 2:
            raise ValueError(
                f"expected fmin < fmax <= sample_rate / 2, got {self.fmin:g}, {self.highest:g} and "
                f"{self.sample_rate / 2:g} Hz"
            )
        return self

    @property
    def highest(self) -> float:
        """The upper end of the mel scale in Hz."""
        return self.sample_rate / 2 if self.fmax is None else self.fmax

    @property
    def frames(self) -> int:
        """Frames of a spectrogram."""
        length, window, hop = spectrogram.lengths(self)
        return 1 + (length - window) // hop


class Params(Settings):
    """The section `audio` of params.yaml."""

    labels: Labels = ["no", "yes"]
    group: list[str] = []  # columns of text kept beside the recording, to slice the measures by

    @model_validator(mode="after")
    def _groups(self) -> "Params":
        must_be_free(self.group, FACTS)
        return self


def must_be_free(group: list[str], facts: Iterable[str]) -> None:
    """Raise ValueError where a column of `group` has the name of another one, or of a fact."""
    for name in group:
        if name in (*facts, "audio", "id", "label", "split") or group.count(name) > 1:
            raise ValueError(f"group: a column cannot be named {name}; the name is taken, choose another")


class Grouped(Protocol):
    """A section with a setting `group`."""

    @property
    def group(self) -> list[str]:
        """Columns of text kept beside the recording."""


def columns(params: Grouped) -> pa.Schema:
    """The file's bytes; and the columns of `group`, which the model does not see."""
    return pa.schema([("audio", pa.binary()), *((name, pa.string()) for name in params.group)])


def kept(params: Grouped) -> tuple[str, ...]:
    """The columns of `group`."""
    return tuple(params.group)


def target(params: Params) -> Target:
    """One of the labels."""
    return single_label.Target(tuple(params.labels))


def facts(table: pa.Table, params: Settings) -> pa.Table:
    """What the header says (seconds, sample_rate, channels, format, subtype) and what is to be heard.

    peak: the largest sample, 1 is full scale; level: root mean square around the mean, in dB below full scale,
    at least -120; clipped: the share of samples at 0.99 of full scale or beyond; silent: level under -80 dB;
    decodable: encode takes it.
    """
    rows = [_facts(data, params) for data in table["audio"].to_pylist()]
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in FACTS.items()})


def _facts(data: bytes | None, params: Settings) -> dict[str, Any]:
    known: dict[str, Any] = dict.fromkeys(FACTS) | {"decodable": False}
    try:
        samples = sound.decoded(data, params, known)
    except ValueError:
        return known
    rms = float(np.sqrt(np.mean((samples - samples.mean(dtype=np.float64)) ** 2)))
    level = 20 * np.log10(max(rms, 1e-6))
    return known | {"level": float(level), "silent": bool(level < SILENCE_DB), "decodable": True}


def fit(tables: Iterable[pa.Table], params: Settings) -> State:
    """Mean and standard deviation of each band in dB, over all frames; nothing for `scale: recording`.

    One pass, merged by Chan, Golub and LeVeque's update (1979), so that memory does not grow.
    """
    if params.scale == "recording":
        return {}
    count, mean, square = 0, np.zeros(params.bands), np.zeros(params.bands)
    for table in tables:
        for data in table["audio"].to_pylist():
            decibels = spectrogram.decibels(data, params).astype(np.float64)
            n, m = len(decibels), decibels.mean(axis=0)
            square += ((decibels - m) ** 2).sum(axis=0) + (m - mean) ** 2 * (count * n / (count + n))
            mean += (m - mean) * (n / (count + n))
            count += n
    deviation = np.sqrt(square / max(count, 1))
    return {"mean": mean.tolist(), "deviation": np.where(deviation > 1e-6, deviation, 1.0).tolist()}


def encode(table: pa.Table, params: Settings, state: State) -> Arrays:
    """Log-mel spectrograms `(n, frames, bands)` float32, standardised."""
    data = table["audio"].to_pylist()
    spectrograms = np.empty((len(data), params.frames, params.bands), np.float32)
    if params.scale == "bands":
        mean, deviation = (np.array(state[name], np.float32) for name in ("mean", "deviation"))
    for row, item in enumerate(data):  # one by one: a recording's bits must not depend on its neighbours
        decibels = spectrogram.decibels(item, params)
        if params.scale == "recording":
            mean, deviation = decibels.mean(), np.maximum(decibels.std(), np.float32(1e-6))
        spectrograms[row] = (decibels - mean) / deviation
    return {"spectrogram": spectrograms}


def inputs(params: Settings, state: State) -> dict[str, Input]:  # noqa: ARG001
    """One spectrogram."""
    return {"spectrogram": Input("spectrogram")}


def sample(rows: int, seed: int) -> tuple[dict[str, Any], pa.Table]:
    """A quarter of a second of noise at 4 kHz with, in 16-bit WAV, two steady tones or one that rises or falls."""
    import soundfile

    random = np.random.default_rng(seed)
    time = np.arange(1000) / 4000
    labels = random.choice(["sweep", "tone"], rows)
    recordings = []
    for label in labels:
        low, high = random.uniform(200, 700), random.uniform(1000, 1800)
        if label == "tone":
            sound = np.sin(2 * np.pi * low * time) + np.sin(2 * np.pi * high * time)
        else:
            start, end = random.permutation([low, high])
            sound = 2 * np.sin(2 * np.pi * (start + (end - start) / (2 * time[-1]) * time) * time)
        sound = 0.2 * sound + random.normal(0, 0.02, len(time))
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, 4000, format="WAV", subtype="PCM_16")
        recordings.append(buffer.getvalue())
    section: dict[str, Any] = {"sample_rate": 4000, "seconds": 0.25, "window_ms": 32.0, "hop_ms": 16.0, "bands": 16}
    section["labels"] = ["sweep", "tone"]
    return section, pa.table({"audio": pa.array(recordings, pa.binary()), "label": list(labels)})
