"""Examples as a page shows them: images made small, recordings that can be played, the start of texts."""

import base64
import io
from typing import Any

SIDE = 96  # pixels of an image shown
MAX_CHARACTERS = 400  # of a text shown
MAX_SOUND = 200_000  # bytes of a recording that can be played


def example(value: Any) -> dict[str, str]:
    """Return a value as a page shows it: `image` or `sound`, as data of its own, or `text`; or nothing.

    Images are made small, recordings of more than MAX_SOUND bytes are left out.
    """
    if isinstance(value, str):
        return {"text": value[:MAX_CHARACTERS] + ("..." if len(value) > MAX_CHARACTERS else "")}
    if not isinstance(value, bytes) or not value:
        return {}
    if value[:4] in (b"RIFF", b"fLaC"):
        kind = "wav" if value[:4] == b"RIFF" else "flac"
        return {"sound": _data(f"audio/{kind}", value)} if len(value) <= MAX_SOUND else {}
    from PIL import Image

    small = io.BytesIO()
    try:
        with Image.open(io.BytesIO(value)) as image:
            image.thumbnail((SIDE, SIDE))
            image.convert("RGB" if image.mode not in ("L", "1") else "L").save(small, "png")
    except Exception:  # noqa: BLE001 - Pillow's plugins raise anything on a hostile file
        return {}
    return {"image": _data("image/png", small.getvalue())}


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
