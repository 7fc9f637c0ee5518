"""Digits that are seen and heard: MNIST's images with recordings of the Free Spoken Digit Dataset."""

from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from components import SlipwayError
from components.files import folder_or_text
from components.recipes.audio import source as audio
from components.recipes.images.source.known import mnist
from components.recipes.source import Source
from components.streams import stream

TESTED = 5  # recordings of each speaker and digit, the first: the official test split
MISSING = 0.2  # share of the examples that lack the image, and of those that lack the recording
DIGITS = [str(digit) for digit in range(10)]


def digits(origin: str, recordings: Path, seed: int) -> Source:
    """Pair each recording with an image of the same digit, each used once, within the official splits of both.

    The pairs, and which of the two is missing in a fifth of the examples each (never both), follow from the seed. After
    AV-MNIST (Vielzeuf and others 2018, https://arxiv.org/abs/1808.07275), whose files are not to be had any more.
    Raises SlipwayError for files that cannot be read, and for more recordings of a digit than there are images.
    """
    known = audio.audio(recordings, "{label}_{speaker}_{index}", f"index={','.join(map(str, range(TESTED)))}", [])
    settings = {  # all of them, also what is empty: another dataset may have had it
        "images": {"image": {"height": 28, "width": 28, "channels": 1}},
        "text": {},
        "audio": {"recording": {key: known.settings[key] for key in ("sample_rate", "seconds")}},
        "tabular": None,
        "labels": DIGITS,
        "targets": [],
    }
    tables = _pairs(origin, known, seed, recordings)
    return Source("digits-seen-and-heard", "multimodal", settings, tables, known.skipped)


def _pairs(origin: str, known: Source, seed: int, where: Path) -> Iterator[pa.Table]:
    images: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    for table in mnist(origin).tables:
        for image, label, split in zip(*(table[name].to_pylist() for name in ("image", "label", "split")), strict=True):
            images[split, label].append(image)
    random = stream(seed, "pairs of digits that are seen and heard")
    orders = {key: iter(random.permutation(len(images[key])).tolist()) for key in sorted(images)}
    for table in known.tables:
        columns = (table[name].to_pylist() for name in ("audio", "label", "split"))
        rows: dict[str, list[bytes | str | None]] = defaultdict(list)
        for sound, label, split in zip(*columns, strict=True):
            at = next(orders[split, label], None) if (split, label) in orders else None
            if at is None:
                raise SlipwayError(f"{where}: more recordings of {label!r} than there are images for the split {split}")
            draw = random.random()
            rows["image"].append(None if draw < MISSING else images[split, label][at])
            rows["recording"].append(None if draw >= 1 - MISSING else sound)
            rows["label"].append(label)
            rows["split"].append(split)
        kinds = {"image": pa.binary(), "recording": pa.binary(), "label": pa.string(), "split": pa.string()}
        yield pa.table({name: pa.array(rows[name], kind) for name, kind in kinds.items()})


def arguments(parser: ArgumentParser) -> None:
    """Add the arguments of `ingest digits-seen-and-heard`."""
    parser.add_argument("origin", type=folder_or_text, metavar="MNIST", help="folder or URL of MNIST's four files")
    text = "recordings of the Free Spoken Digit Dataset: a folder, or the archive of its repository"
    parser.add_argument("recordings", type=Path, metavar="RECORDINGS", help=text)
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the pairs (default: %(default)s)")
