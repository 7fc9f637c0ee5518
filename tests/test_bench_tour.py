"""The pictures of docs/tour.md: that they are there, and small."""

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from bench import tour

ROOT = Path(__file__).parent.parent
MAX_TOTAL = 500_000  # bytes: every clone has them


def test_the_page_shows_every_picture_and_none_is_large() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(tour/([\w-]+\.png)\)", (ROOT / "docs/tour.md").read_text(encoding="utf-8"))
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs/tour").iterdir()}
    assert sorted(shown) == sorted(sizes)
    assert max(sizes.values()) <= tour.MAX_BYTES and sum(sizes.values()) <= MAX_TOTAL


def test_a_picture_is_made_small() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (tour.HEIGHT, tour.WIDTH, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    image = Image.open(io.BytesIO(tour.small(out.getvalue())))
    assert image.mode == "P" and image.width == tour.SHOWN_WIDTH
    assert len(image.getcolors(1000) or ()) <= tour.COLORS
