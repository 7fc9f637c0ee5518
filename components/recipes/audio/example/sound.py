"""Recordings as samples."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from components.recipes.audio.example import Settings


SAMPLE_RATES = (1_000, 768_000)  # Hz; outside of it a header is wrong, and resampling would take for ever
MAX_AMPLITUDE = 1e6  # where 1 is full scale: above it a float file holds no sound
BLOCK_SAMPLES = 2**20  # samples decoded at a time, over all channels
CLIPPED_LEVEL = 0.99  # of full scale: 8 bits end at 0.992


def decoded(data: bytes | None, params: "Settings", known: dict[str, Any]) -> np.ndarray:
    """Decode all of a file and mix it to mono: `(samples,)` float32 at its own rate, 1 is full scale.

    `known` is given the facts as they become known, so that a broken file has those of its header.
    """
    import soundfile

    if not data:
        raise ValueError("the recording is empty")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, frames, channels = file.samplerate, file.frames, file.channels
            known |= {"sample_rate": rate, "channels": channels, "seconds": frames / rate}
            known |= {"format": file.format, "subtype": file.subtype}
            if not SAMPLE_RATES[0] <= rate <= SAMPLE_RATES[1]:
                raise ValueError(
                    f"the recording has {rate:,} samples per second, not {SAMPLE_RATES[0]:,} to {SAMPLE_RATES[1]:,}"
                )
            if frames > params.max_seconds * rate:
                raise ValueError(
                    f"the recording lasts {frames / rate:,.0f} s, more than max_seconds ({params.max_seconds:g})"
                )
            parts = []
            peak, clipped, found = 0.0, 0, 0
            while found < frames and len(
                block := file.read(BLOCK_SAMPLES // channels, dtype="float32", always_2d=True)
            ):
                found += len(block)
                size = np.abs(block)
                peak = float(np.maximum(peak, size.max()))  # unlike max(), keeps a NaN
                clipped += int((size >= CLIPPED_LEVEL).sum())
                parts.append(block[:, 0] if channels == 1 else block.mean(axis=1))
    except ValueError:
        raise
    except soundfile.LibsndfileError as error:  # its str() names an address in memory
        raise ValueError(f"the recording cannot be decoded: {error.error_string}") from None
    except Exception as error:  # noqa: BLE001 - whatever a hostile file brings about
        raise ValueError(f"the recording cannot be decoded: {type(error).__name__}") from None
    if not found:
        raise ValueError("the recording has no samples")
    if found < frames or _cut_off(data):
        raise ValueError("the recording is cut off: its header announces more data than there is")
    if not peak <= MAX_AMPLITUDE:  # NaN and infinity too
        raise ValueError("the recording has samples that are not finite or far beyond full scale")
    known |= {"peak": peak, "clipped": clipped / (found * channels)}
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _cut_off(data: bytes) -> bool:
    """If a WAV file is shorter than its RIFF header says, of which libsndfile makes nothing.

    A pad byte may be missing; a size of about 2**31 and more is what a recorder writes that streams.
    """
    size = int.from_bytes(data[4:8], "little")
    return data[:4] == b"RIFF" and len(data) + 1 < 8 + size < 0x7FFF0000
