"""Examples as a page shows them: images made small, recordings that can be played, the start of texts."""

import base64
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

SIDE = 96  # pixels of an image shown
WIDE = 340  # of one in which there is something to find
GREEN = "#1a7f45"  # of boxes: a label, as on the page of mistakes
MAX_CHARACTERS = 400  # of a text shown
MAX_SOUND = 200_000  # bytes of a recording that can be played
MAX_SAMPLES = 4_000_000  # of a channel of one that is made smaller


def example(value: Any, *, large: bool = False, boxes: list[dict[str, Any]] | None = None) -> dict[str, str]:
    """Return a value as a page shows it: `image` or `sound`, as data of its own, or `text`; or nothing.

    Images are turned as a viewer shows them, and made small, but if they are `large`, or `boxes` are drawn, less so;
    recordings of more than MAX_SOUND bytes are MP3, or where that is as large a text that says so.
    """
    if isinstance(value, str):
        return {"text": value[:MAX_CHARACTERS] + ("..." if len(value) > MAX_CHARACTERS else "")}
    if not isinstance(value, bytes) or not value:
        return {}
    if value[:4] in (b"RIFF", b"fLaC"):
        kind = "wav" if value[:4] == b"RIFF" else "flac"
        return {"sound": _data(f"audio/{kind}", value)} if len(value) <= MAX_SOUND else _smaller(value)
    from PIL import Image, ImageOps

    small = io.BytesIO()
    side, kind = (WIDE, "jpeg") if large or boxes is not None else (SIDE, "png")
    try:
        with Image.open(io.BytesIO(value)) as image:
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail((side, side))
            if boxes is not None:
                upright = _with(boxes, upright.convert("RGB"))
            upright.convert("RGB" if upright.mode not in ("L", "1") else "L").save(small, kind)
    except Exception:  # noqa: BLE001 - Pillow's plugins raise anything on a hostile file
        return {}
    return {"image": _data(f"image/{kind}", small.getvalue())}


def _smaller(recording: bytes) -> dict[str, str]:
    """Return a large recording as MP3 of one channel, whose bytes are the same each time."""
    import soundfile

    small = io.BytesIO()
    try:
        samples, rate = soundfile.read(io.BytesIO(recording), MAX_SAMPLES, dtype="float32", always_2d=True)
        if len(samples) < MAX_SAMPLES:
            soundfile.write(small, samples.mean(axis=1), rate, format="MP3")
    except (soundfile.LibsndfileError, ValueError):  # it is broken, or of a rate that MP3 does not have
        return {"text": "a recording that cannot be played here"}
    if 0 < len(small.getvalue()) <= MAX_SOUND:
        return {"sound": _data("audio/mpeg", small.getvalue())}
    return {"text": "a recording that is too long to be played here"}


def _with(boxes: list[dict[str, Any]], image: "Image.Image") -> "Image.Image":
    """Draw boxes, and what each is, into an image."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(image)
    size = [image.width - 1, image.height - 1]
    for box in boxes:
        left, top, right, bottom = (
            min(max(float(box[edge]), 0), 1) * side
            for edge, side in zip(("left", "top", "right", "bottom"), size * 2, strict=True)
        )
        if left < right and top < bottom:  # not one that validate sets aside
            draw.rectangle((left, top, right, bottom), outline=GREEN, width=2)
            draw.text((left + 3, top + 1), str(box["label"]), GREEN)
    return image


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
