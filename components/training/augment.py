"""Random changes of training examples; never of those that are validated, tested or served.

What can be changed follows from the kind of an input (recipes.Input). All that is random comes of the generator
that is given: a batch of an epoch is changed alike in every run.
"""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from components import SlipwayError
from components.params import Augment
from components.recipes import Arrays, Input

Random = np.random.Generator
Changes = Callable[[Arrays, np.ndarray, Random], tuple[Arrays, np.ndarray]]

MIXABLE_KINDS = ("image", "spectrogram", "numbers", "history")  # kinds of which a mean of two examples makes sense
SETTINGS_OF_KIND: dict[str, tuple[str, ...]] = {
    "image": ("rotate", "flip", "crop", "shift", "zoom", "brightness", "rand_augment", "cutmix"),
    "spectrogram": ("time_shift", "gain", "noise", "time_mask", "frequency_mask"),
    "tokens": ("token_dropout",),
    "numbers": ("feature_noise",),
    "history": ("feature_noise",),
    "codes": (),
    "weights": (),
}
WARPS = ("rotate", "flip", "crop", "shift", "zoom")
LEAST_LEFT = 0.25  # of a box's area that must be left in the image for it to be there


def changes(settings: Augment, inputs: dict[str, Input]) -> Changes | None:
    """Return what changes a batch: arrays by input and labels, new ones; None where nothing is to be changed.

    Mixed labels are float32, `(n, names)`; boxes, `(n, most, 5)`, move with their image. Raises SlipwayError for a
    setting that no input of the recipe takes.
    """
    chosen = settings.chosen()
    _check(chosen, inputs)
    if not chosen:
        return None
    change = {"image": _coloured, "spectrogram": _spectrograms, "tokens": _tokens, "numbers": _noisy, "history": _noisy}

    def apply(arrays: Arrays, labels: np.ndarray, random: Random) -> tuple[Arrays, np.ndarray]:
        for name in [name for name in arrays if inputs[name].kind == "image" and {*chosen}.intersection(WARPS)]:
            maps = warps(settings, arrays[name].shape, random)
            labels = moved(labels, maps, arrays[name].shape) if labels.ndim > 2 else labels
            arrays = {**arrays, name: _warped(arrays[name], maps)}
        arrays = {
            name: change[inputs[name].kind](array, settings, inputs[name], random)
            if set(chosen) & set(SETTINGS_OF_KIND[inputs[name].kind])
            else array
            for name, array in arrays.items()
        }
        mixes = [mix for on, mix in ((settings.mixup, _mixup), (settings.cutmix, _cutmix)) if on]
        if mixes:  # of both, either in every second batch
            mix = mixes[int(random.integers(len(mixes)))]
            arrays, labels = mix(arrays, labels, settings, random)
        return arrays, labels

    return apply


def _check(chosen: list[str], inputs: dict[str, Input]) -> None:
    kinds = {spec.kind for spec in inputs.values()}
    possible = [name for kind in SETTINGS_OF_KIND if kind in kinds for name in SETTINGS_OF_KIND[kind]]
    if all(kind in MIXABLE_KINDS for kind in kinds):
        possible.append("mixup")
    if kinds != {"image"} and "cutmix" in possible:
        possible.remove("cutmix")
    for name in chosen:
        if name not in possible:
            are = ", ".join(f"{key} ({spec.kind})" for key, spec in inputs.items())
            raise SlipwayError(
                f"params.yaml: train.augment.{name}: the recipe's inputs are {are}; "
                f"they support {', '.join(dict.fromkeys(possible)) or 'no augmentation'}"
            )


# --- images: (n, height, width, channels) uint8


def _coloured(images: np.ndarray, settings: Augment, _: Input, random: Random) -> np.ndarray:
    if settings.brightness:
        change = random.uniform(-settings.brightness, settings.brightness, (len(images), 1, 1, 1)) * 255
        images = np.clip(np.rint(images + change), 0, 255).astype(np.uint8)
    if settings.rand_augment:
        images = np.stack([_rand_augment(image, settings.rand_augment, random) for image in images])
    return images


def warps(settings: Augment, shape: tuple[int, ...], random: Random) -> np.ndarray:
    """Return an affine map for each image of a batch of that shape: `(n, 2, 3)`.

    It leads from a pixel (x, y, 1) of the new image to where it comes from in the old. One map for all of rotation,
    flips, crop, zoom and shift, so that an image is interpolated once.
    """
    n, height, width = shape[:3]
    angle = np.deg2rad(random.uniform(-settings.rotate, settings.rotate, n))
    scale = 1 / (1 + random.uniform(-settings.zoom, settings.zoom, n))
    window = 1 - random.uniform(0, settings.crop, n)
    size = np.array([width, height])
    offset = random.uniform(-1, 1, (n, 2)) * (1 - window[:, None]) / 2 * size
    offset += random.uniform(-settings.shift, settings.shift, (n, 2)) * size
    turned = random.random((n, 2)) < 0.5
    x_sign = np.where(turned[:, 0] & (settings.flip in ("horizontal", "both")), -1, 1)
    y_sign = np.where(turned[:, 1] & (settings.flip in ("vertical", "both")), -1, 1)
    linear = np.empty((n, 2, 2))
    linear[:, 0, 0], linear[:, 0, 1] = np.cos(angle) * x_sign, -np.sin(angle) * y_sign
    linear[:, 1, 0], linear[:, 1, 1] = np.sin(angle) * x_sign, np.cos(angle) * y_sign
    linear *= (scale * window)[:, None, None]
    centre = (size - 1) / 2
    moved: np.ndarray = centre + offset - linear @ centre
    return np.concatenate([linear, moved[:, :, None]], axis=2)


def _warped(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Bilinear; beyond the edge its pixels are repeated."""
    import keras
    import tensorflow as tf

    flat = np.concatenate([maps.reshape(len(maps), 6), np.zeros((len(maps), 2))], axis=1)
    with tf.device("CPU"):
        new = keras.ops.image.affine_transform(
            images.astype(np.float32), flat.astype(np.float32), fill_mode="nearest", data_format="channels_last"
        )
        rounded: np.ndarray = np.clip(np.rint(np.asarray(new)), 0, 255).astype(np.uint8)
    return rounded


def moved(boxes: np.ndarray, maps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return boxes `(n, most, 5)` where the maps of `warps` bring them in images of that shape; the kept ones first.

    A map leads from a new pixel to an old one, so a box's corners go through its inverse, and the new box is drawn
    around them. One of which less than LEAST_LEFT of the area is left in the image is left out.
    """
    size = np.array([shape[2], shape[1]], np.float64)
    corners = (
        boxes[:, :, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(*boxes.shape[:2], 4, 2) * size - 0.5
    )  # a pixel's middle is 0
    corners = corners - maps[:, None, None, :, 2]
    corners = (np.einsum("nij,nbcj->nbci", np.linalg.inv(maps[:, :, :2]), corners) + 0.5) / size
    whole = np.concatenate([corners.min(axis=2), corners.max(axis=2)], axis=2)
    seen = np.clip(whole, 0, 1)
    before, after = ((edges[..., 2:] - edges[..., :2]).prod(axis=-1) for edges in (whole, seen))
    kept = (boxes[:, :, 4] >= 0) & (after > 0) & (after >= LEAST_LEFT * before)
    new = np.concatenate([np.where(kept[:, :, None], seen, 0), np.where(kept, boxes[:, :, 4], -1)[:, :, None]], axis=2)
    found: np.ndarray = np.take_along_axis(new, np.argsort(~kept, axis=1, kind="stable")[:, :, None], axis=1)
    return found.astype(boxes.dtype)


def _rand_augment(image: np.ndarray, strength: float, random: Random) -> np.ndarray:
    """RandAugment with two operations: Cubuk et al., arXiv:1909.13719.

    The operations and their ranges are AutoAugment's (arXiv:1805.09501, table 6); strength 0 to 1 is their magnitude.
    """
    from PIL import Image, ImageEnhance, ImageOps

    height, width, channels = image.shape
    picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)

    def affine(p: Any, a: float, b: float, c: float, d: float, e: float, f: float) -> Any:
        return p.transform(p.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)

    def enhanced(kind: Any, p: Any, s: float) -> Any:
        return kind(p).enhance(1 + 0.9 * s)

    operations: list[Callable[[Any, float], Any]] = [  # of the image and a strength from -1 to 1
        lambda p, s: p,  # noqa: ARG005
        lambda p, s: ImageOps.autocontrast(p),  # noqa: ARG005
        lambda p, s: ImageOps.equalize(p),  # noqa: ARG005
        lambda p, s: p.rotate(30 * s, Image.Resampling.BILINEAR),
        lambda p, s: ImageOps.solarize(p, round(256 * (1 - abs(s)))),
        lambda p, s: ImageOps.posterize(p, 8 - round(4 * abs(s))),
        partial(enhanced, ImageEnhance.Contrast),
        partial(enhanced, ImageEnhance.Brightness),
        partial(enhanced, ImageEnhance.Sharpness),
        lambda p, s: affine(p, 1, 0.3 * s, -0.3 * s * height / 2, 0, 1, 0),
        lambda p, s: affine(p, 1, 0, 0, 0.3 * s, 1, -0.3 * s * width / 2),
        lambda p, s: affine(p, 1, 0, 0.45 * s * width, 0, 1, 0),
        lambda p, s: affine(p, 1, 0, 0, 0, 1, 0.45 * s * height),
    ]
    if channels == 3:
        operations.append(partial(enhanced, ImageEnhance.Color))
    for operation in random.integers(len(operations), size=2):
        picture = operations[operation](picture, strength if random.random() < 0.5 else -strength)
    return np.asarray(picture).reshape(image.shape)


# --- spectrograms: (n, frames, bands) float32


def _spectrograms(spectrograms: np.ndarray, settings: Augment, _: Input, random: Random) -> np.ndarray:
    """Shift, gain and noise, then SpecAugment's masks, filled with the mean: Park et al., arXiv:1904.08779."""
    new = np.array(spectrograms, np.float32)
    n, frames, bands = new.shape
    if settings.time_shift:
        most = int(settings.time_shift * frames)
        for row, by in enumerate(random.integers(-most, most + 1, (n,))):
            silence = new[row].min()
            new[row] = np.roll(new[row], by, axis=0)
            new[row, : max(by, 0)] = silence
            new[row, frames + min(by, 0) :] = silence
    if settings.gain:
        new += random.uniform(-settings.gain, settings.gain, (n, 1, 1)).astype(np.float32)
    if settings.noise:
        new += random.normal(0, settings.noise, new.shape).astype(np.float32)
    for share, size, axis in ((settings.time_mask, frames, 0), (settings.frequency_mask, bands, 1)):
        widths = random.integers(0, int(share * size) + 1, (n,))
        starts = random.integers(0, size - widths + 1)
        for row, (start, width) in enumerate(zip(starts, widths, strict=True)):
            piece = new[row, start : start + width] if axis == 0 else new[row, :, start : start + width]
            piece[...] = new[row].mean()
    return new


# --- tokens: (n, length) int32; numbers: (n, columns) and history: (n, steps, columns) float32


def _tokens(tokens: np.ndarray, settings: Augment, spec: Input, random: Random) -> np.ndarray:
    dropped = (random.random(tokens.shape) < settings.token_dropout) & (tokens != 0)
    new: np.ndarray = np.where(dropped, np.int32(spec.mask), tokens)
    return new


def _noisy(numbers: np.ndarray, settings: Augment, _: Input, random: Random) -> np.ndarray:
    new: np.ndarray = numbers + random.normal(0, settings.feature_noise, numbers.shape).astype(np.float32)
    return new


# --- two examples made one


def _mixup(arrays: Arrays, labels: np.ndarray, settings: Augment, random: Random) -> tuple[Arrays, np.ndarray]:
    """Weighted means of two examples and of their labels: Zhang et al., arXiv:1710.09412; a weight an example."""
    order = random.permutation(len(labels))
    share = random.beta(settings.mixup, settings.mixup, len(labels)).astype(np.float32)

    def mixed(array: np.ndarray) -> np.ndarray:
        weight = share.reshape(-1, *[1] * (array.ndim - 1))
        new = weight * array + (1 - weight) * array[order]
        found: np.ndarray = np.rint(new).astype(np.uint8) if array.dtype == np.uint8 else new.astype(np.float32)
        return found

    return {name: mixed(array) for name, array in arrays.items()}, mixed(labels.astype(np.float32))


def _cutmix(arrays: Arrays, labels: np.ndarray, settings: Augment, random: Random) -> tuple[Arrays, np.ndarray]:
    """A box of another image in each, its label by the box's area: Yun et al., arXiv:1905.04899; a box a batch."""
    order = random.permutation(len(labels))
    height, width = next(iter(arrays.values())).shape[1:3]
    side = np.sqrt(1 - random.beta(settings.cutmix, settings.cutmix))
    y, x = random.integers(height), random.integers(width)
    half = side * np.array([height, width]) / 2
    top, bottom = (int(np.clip(round(y + sign * half[0]), 0, height)) for sign in (-1, 1))
    left, right = (int(np.clip(round(x + sign * half[1]), 0, width)) for sign in (-1, 1))
    new = {}
    for name, images in arrays.items():
        new[name] = images.copy()
        new[name][:, top:bottom, left:right] = images[order, top:bottom, left:right]
    share = np.float32((bottom - top) * (right - left) / (height * width))
    return new, (1 - share) * labels.astype(np.float32) + share * labels[order].astype(np.float32)


# --- what it looks like


def shown(
    before: Arrays, after: Arrays, inputs: dict[str, Input], labels: tuple[np.ndarray, np.ndarray]
) -> tuple[str, bytes]:
    """Draw examples before and after: (augmented.png, its bytes) for images and spectrograms, else augmented.csv.

    An image has a pair per example: above as it is, below changed; `labels` of both, if they are boxes, are drawn.
    """
    from PIL import Image

    name = next((key for key, spec in inputs.items() if spec.kind in ("image", "spectrogram")), None)
    if name is None:
        return "augmented.csv", _table(before, after, inputs)
    pairs = [
        np.concatenate([_tile(old, old, own), _tile(new, old, others)])
        for old, new, own, others in zip(
            before[name][:32], after[name][:32], labels[0][:32], labels[1][:32], strict=True
        )
    ]
    pairs += [np.zeros_like(pairs[0])] * (-len(pairs) % 8)
    grid = np.concatenate([np.concatenate(pairs[at : at + 8], axis=1) for at in range(0, len(pairs), 8)])
    picture = Image.fromarray(grid[:, :, 0] if grid.shape[2] == 1 else grid)
    larger = -(-512 // picture.width)
    picture = picture.resize((picture.width * larger, picture.height * larger), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return "augmented.png", buffer.getvalue()


def _tile(example: np.ndarray, scale: np.ndarray, label: np.ndarray) -> np.ndarray:
    """An image as it is, with its boxes; a spectrogram with time to the right, grey by the range of `scale`."""
    if example.dtype != np.uint8:
        low, high = float(scale.min()), float(scale.max())
        grey = np.clip((example - low) / max(high - low, 1e-9), 0, 1) * 255
        example = grey.astype(np.uint8).T[::-1, :, None]
    if label.ndim > 1:
        from PIL import Image, ImageDraw

        picture = Image.fromarray(example[:, :, 0] if example.shape[2] == 1 else example)
        for box in label[label[:, 4] >= 0]:
            ImageDraw.Draw(picture).rectangle((box[:4] * (2 * picture.size) - [0, 0, 1, 1]).tolist(), outline="white")
        example = np.asarray(picture).reshape(example.shape)
    return np.pad(example, ((1, 1), (1, 1), (0, 0)), constant_values=128)


def _table(before: Arrays, after: Arrays, inputs: dict[str, Input]) -> bytes:
    lines = ["example,input,column,before,after"]
    for name, spec in inputs.items():
        for row, (old, new) in enumerate(zip(before[name][:8], after[name][:8], strict=True)):
            titles = spec.names or tuple(str(at) for at in range(old.shape[-1]))
            for at, (a, b) in enumerate(zip(old.reshape(-1), new.reshape(-1), strict=True)):
                title = titles[at % len(titles)].replace('"', '""')
                lines.append(f'{row},{name},"{title}",{a:.6g},{b:.6g}')
    return ("\n".join(lines) + "\n").encode()
