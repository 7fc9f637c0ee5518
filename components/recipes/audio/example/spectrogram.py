"""Samples as log-mel spectrograms."""

from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from components.recipes.audio.example import sound

if TYPE_CHECKING:
    from components.recipes.audio.example import Settings


MIN_POWER = 1e-10  # power under which the logarithm is cut: -100 dB
RANGE_DB = 80.0  # dB below a recording's loudest band that are kept (as librosa's power_to_db: top_db)


def lengths(params: "Settings") -> tuple[int, int, int]:
    """Length of a recording, of a window and of a hop, in samples."""
    milliseconds = (1000 * params.seconds, params.window_ms, params.hop_ms)
    length, window, hop = (round(params.sample_rate * time / 1000) for time in milliseconds)
    return length, window, hop


def decibels(data: bytes | None, params: "Settings") -> np.ndarray:
    """Power of a recording's mel bands, `(frames, bands)` float32 in dB, at most RANGE_DB below the loudest."""
    from scipy.fft import rfft

    known: dict[str, Any] = {}
    samples = _fitted(sound.decoded(data, params, known), known["sample_rate"], params)
    _, window, hop = lengths(params)
    shape, filters = _filters(params.sample_rate, window, params.bands, params.fmin, params.highest)
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop] * shape
    spectrum = rfft(frames, 2 * (len(filters) - 1))
    power = (spectrum.real**2 + spectrum.imag**2) @ filters
    decibels: np.ndarray = 10 * np.log10(np.maximum(power, np.float32(MIN_POWER)))
    return np.asarray(np.maximum(decibels, decibels.max() - np.float32(RANGE_DB)))


def _fitted(sound: np.ndarray, rate: int, params: "Settings") -> np.ndarray:
    """Cut around the middle, resample, take the mean off and pad with silence: `(length,)` float32."""
    length, _, _ = lengths(params)
    wanted = -(-length * rate // params.sample_rate)
    start = max(0, (len(sound) - wanted) // 2)
    sound = sound[start : start + wanted]
    sound = sound - sound.mean(dtype=np.float64).astype(np.float32)  # else a constant would start and end in a click
    if rate != params.sample_rate:
        from scipy.signal import resample_poly

        # an odd rate such as 44,101 Hz is taken for the nearest simple ratio: a filter of its own would be huge
        ratio = Fraction(params.sample_rate, rate).limit_denominator(1000)
        sound = resample_poly(sound, ratio.numerator, ratio.denominator)[:length]
    before = (length - len(sound)) // 2
    whole = np.zeros(length, np.float32)
    whole[before : before + len(sound)] = sound
    return whole


@lru_cache(maxsize=8)
def _filters(rate: int, window: int, bands: int, fmin: float, fmax: float) -> tuple[np.ndarray, np.ndarray]:
    """A Hann window, and triangles `(bins, bands)` float32 that sum a power spectrum to mel bands.

    The mel scale is HTK's, mel(f) = 2595 log10(1 + f / 700) (Young et al., The HTK Book, 3.4, section 5.4);
    each triangle reaches from the middle of the band below to the middle of the band above, height 1. The FFT is
    of the next power of two, doubled until each band has a bin.
    """
    from scipy.signal import get_window

    lowest, highest = 2595 * np.log10(1 + np.array([fmin, fmax]) / 700)
    edges = 700 * (10 ** (np.linspace(lowest, highest, bands + 2) / 2595) - 1)
    below, middle, above = edges[:-2], edges[1:-1], edges[2:]
    length = 1 << (window - 1).bit_length()
    while True:
        bins = np.linspace(0, rate / 2, length // 2 + 1)[:, None]
        filters = np.minimum((bins - below) / (middle - below), (above - bins) / (above - middle)).clip(0)
        if filters.any(axis=0).all() or length >= 2**17:
            return get_window("hann", window).astype(np.float32), filters.astype(np.float32)
        length *= 2
