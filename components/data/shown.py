"""Examples as a page shows them: images made small, recordings that can be played, the start of texts."""

import base64
import io
from typing import Any

SIDE = 96  # pixels of an image shown
WIDE = 340  # of one in which there is something to find
MAX_CHARACTERS = 400  # of a text shown
MAX_SOUND = 200_000  # bytes of a recording that can be played


def example(value: Any, side: int = SIDE) -> dict[str, str]:
    """Return a value as a page shows it: `image` or `sound`, as data of its own, or `text`; or nothing.

    Images are turned as a viewer shows them, and made small; recordings of more than MAX_SOUND bytes are left out.
    """
    if isinstance(value, str):
        return {"text": value[:MAX_CHARACTERS] + ("..." if len(value) > MAX_CHARACTERS else "")}
    if not isinstance(value, bytes) or not value:
        return {}
    if value[:4] in (b"RIFF", b"fLaC"):
        kind = "wav" if value[:4] == b"RIFF" else "flac"
        return {"sound": _data(f"audio/{kind}", value)} if len(value) <= MAX_SOUND else {}
    from PIL import Image, ImageOps

    small = io.BytesIO()
    kind = "png" if side <= SIDE else "jpeg"
    try:
        with Image.open(io.BytesIO(value)) as image:
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail((side, side))
            upright.convert("RGB" if upright.mode not in ("L", "1") else "L").save(small, kind)
    except Exception:  # noqa: BLE001 - Pillow's plugins raise anything on a hostile file
        return {}
    return {"image": _data(f"image/{kind}", small.getvalue())}


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
