"""What an example of the recipe speech is."""

import io

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from pydantic import ValidationError

from components.recipes.speech import contract
from components.recipes.speech.example import Params, encode, facts, fit, target

SETTINGS = Params(symbols=" 'abdnot", sample_rate=4000, seconds=1.0, window_ms=32.0, hop_ms=16.0, bands=16)


def recording(seconds: float) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, round(4000 * seconds))
    soundfile.write(buffer, noise, 4000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def table(labels: list[str | None], seconds: float = 1.0) -> pa.Table:
    return pa.table({"audio": pa.array([recording(seconds)] * len(labels)), "label": pa.array(labels, pa.string())})


def test_what_is_longer_than_the_model_hears_is_refused_not_cut() -> None:
    state = fit([table(["a"])], SETTINGS)
    assert encode(table(["a"]), SETTINGS, state)["spectrogram"].shape == (1, SETTINGS.frames, 16)
    with pytest.raises(ValueError, match=r"lasts 1\.5 s, more than speech\.seconds \(1\), and words would be cut off"):
        encode(table(["a"], 1.5), SETTINGS, state)
    with pytest.raises(ValueError, match="cannot be decoded"):
        encode(pa.table({"audio": [b"no recording"]}), SETTINGS, state)


def test_facts_of_transcripts_are_of_their_plain_form() -> None:
    some = table(["Don't!", "a b", "xyz a", "?", None])
    found = facts(some, SETTINGS).select(["words", "symbols", "unknown", "rate"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        (1, 5, 0, 5.0),
        (2, 3, 0, 3.0),
        (2, 5, 3, 5.0),
        (0, 0, 0, 0.0),
        (None, None, None, None),
    ]
    plain = contract.facts(some, SETTINGS)
    assert plain["symbols"].to_pylist() == [5, 3, 5, 0, None]
    assert target(SETTINGS).invalid(some["label"].to_pylist()) == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("symbols", "why"),
    [("aa", "'a' is there twice"), ("aB", "'B' does not occur in transcripts with case: lower"), ("", "at least 1")],
)
def test_symbols_are_those_of_plain_texts(symbols: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Params(symbols=symbols)
    assert Params(symbols="aB?", case="keep", punctuation="keep").symbols == "aB?"


def test_the_steps_are_those_of_the_network() -> None:
    from components.recipes import networks

    for seconds in (0.5, 0.55, 1.0, 1.3):
        settings = SETTINGS.model_copy(update={"seconds": seconds})
        built = networks.load("speech").build(networks.load("speech").Network(model_size="tiny"), settings, {}, 0.0)
        assert built.output_shape == (None, *target(settings).shape)
