"""Every use of randomness has a stream of its own."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components import streams
from components.files import read_json
from components.stages import preprocess, train
from components.training import batches
from tests.conftest import ROOT, Make, no_quarantine

OWN = re.compile(r"default_rng|SeedSequence|RandomState|np\.random\.(?!Generator)\w+\(|^import random", re.MULTILINE)
PURPOSE = re.compile(r'stream, [\w.]+, ("[^"]+")|stream\([\w.]+, ("[^"]+")')


def test_a_purpose_and_each_place_in_it_draw_other_numbers() -> None:
    places: list[Any] = [(1, "a"), (1, "b"), (2, "a"), (1, "a", 0), (1, "a", 0, 0), (1, "a", 1), (1, "a", 1, 0)]
    drawn = [streams.stream(*place).integers(2**63, size=4).tolist() for place in places]
    assert len({number for numbers in drawn for number in numbers}) == 4 * len(places)
    assert drawn[0] == streams.stream(1, "a").integers(2**63, size=4).tolist()


def test_all_that_draws_names_its_purpose_and_no_two_the_same() -> None:
    """A recipe's `sample`, which makes examples for tests, may draw as it likes."""
    code = {path: path.read_text() for path in (ROOT / "components").rglob("*.py") if path.name != "streams.py"}
    others = [path for path, text in code.items() if OWN.search(text) and path.parent.name != "example"]
    assert others == []
    purposes = [first or second for text in code.values() for first, second in PURPOSE.findall(text)]
    assert len(purposes) >= 8
    twice = {purpose for purpose in purposes if purposes.count(purpose) > 1}
    assert twice <= {'"order"'}  # of an epoch, with and without resampling: never both


def test_a_training_never_has_one_stream_for_two_things(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of an epoch and the augmentation of its first batch were the same stream."""
    settings = make(rows=120, train={"batch_size": 16, "augment": {"shift": 0.1}})
    arrays = Path("build/arrays")
    preprocess.run(settings, Path("data"), no_quarantine(Path("q.parquet")), arrays)
    asked: list[tuple[Any, ...]] = []

    def noted(seed: int, purpose: str, *at: int) -> np.random.Generator:
        asked.append((seed, purpose, *at))
        return streams.stream(seed, purpose, *at)

    monkeypatch.setattr(batches, "stream", noted)
    monkeypatch.setattr(train, "stream", noted)
    manifest = read_json(arrays / "manifest.json")
    examples = batches.training(settings, arrays, manifest)
    for _ in range(2):
        for index in range(len(examples)):
            examples[index]
        examples.on_epoch_end()
    train._show(settings, arrays, manifest, type("Live", (), {"figure": lambda *_: None})())
    states = [str(streams.stream(*place).bit_generator.state) for place in asked]
    assert len(set(states)) == len(states) > 2 * len(examples)
