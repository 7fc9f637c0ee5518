import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from components import SlipwayError
from components.params import Augment
from components.recipes import Input
from components.training import augment

IMAGE, SOUND = {"x": Input("image")}, {"x": Input("spectrogram")}
NONE = np.zeros(0)


def change(settings: Augment, x: np.ndarray, inputs: dict[str, Input], labels: np.ndarray | None = None, seed: int = 1):
    changes = augment.changes(settings, inputs)
    assert changes is not None
    labels = np.zeros(len(x), np.float32) if labels is None else labels
    arrays, labels = changes({"x": x}, labels, np.random.default_rng(seed))
    assert arrays["x"].dtype == x.dtype
    assert arrays["x"].shape == x.shape
    return arrays["x"], labels


def pictures(n: int = 64, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 9, 9, channels)).astype(np.uint8)


def test_without_a_setting_nothing_is_changed() -> None:
    assert augment.changes(Augment(), IMAGE) is None


@pytest.mark.parametrize(("flip", "axes"), [("horizontal", [2]), ("vertical", [1]), ("both", [1, 2])])
def test_every_second_picture_is_flipped(flip: str, axes: list[int]) -> None:
    x = pictures()
    new, _ = change(Augment.model_validate({"flip": flip}), x, IMAGE)
    kinds = [x, *(np.flip(x, axis) for axis in axes)] + ([np.flip(x, (1, 2))] if len(axes) == 2 else [])
    which = [[bool((picture == kind[at]).all()) for kind in kinds] for at, picture in enumerate(new)]
    assert all(sum(row) == 1 for row in which)
    assert all(0.5 < sum(column) / (len(x) / len(kinds)) < 1.5 for column in zip(*which, strict=True))


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    x = pictures(3)
    turn = np.array([[0.0, -1, 8], [1, 0, 0]])
    assert np.array_equal(augment._warped(x, np.stack([turn] * 3)), np.rot90(x, 1, (1, 2)))


def test_a_shift_moves_and_repeats_the_edge() -> None:
    x = pictures(2)
    moved = augment._warped(x, np.stack([np.array([[1.0, 0, -2], [0, 1, 0]])] * 2))
    assert np.array_equal(moved[:, :, 2:], x[:, :, :-2])
    assert np.array_equal(moved[:, :, 0], x[:, :, 0])


@given(st.integers(0, 2**32 - 1))
def test_a_box_moves_with_what_is_in_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = 60, 80
    image = np.zeros((1, height, width, 1), np.uint8)
    left, top = int(random.integers(25, 40)), int(random.integers(20, 30))
    right, bottom = left + int(random.integers(8, 20)), top + int(random.integers(8, 15))
    image[:, top:bottom, left:right] = 255
    boxes = np.zeros((1, 3, 5), np.float32)
    boxes[:, :, 4] = -1
    boxes[0, 1] = left / width, top / height, right / width, bottom / height, 2
    settings = Augment(flip="both", crop=0.1, shift=0.05, zoom=0.1)
    maps = augment.warps(settings, image.shape, random)
    new = augment.moved(boxes, maps, image.shape)
    rows, columns = np.nonzero(augment._warped(image, maps)[0, :, :, 0] > 127)
    wanted = np.array(
        [columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height]
    )
    assert new[0, 0, 4] == 2  # the kept one comes first
    assert np.abs(new[0, 0, :4] - wanted).max() < 1.01 / height
    assert (new[0, 1:, 4] == -1).all()


def test_boxes_that_leave_the_image_are_left_out_and_others_end_at_its_edge() -> None:
    boxes = np.array([[(0.0, 0.2, 0.2, 0.4, 0), (0.1, 0.5, 0.5, 0.9, 1), (0, 0, 0, 0, -1)]], np.float32)
    by_30_percent = np.array([[[1.0, 0, 30], [0, 1, 0]]])  # a pixel shows what was 30 to its right
    new = augment.moved(boxes, by_30_percent, (1, 100, 100, 1))
    assert new[0, :, 4].tolist() == [1, -1, -1]
    assert new[0, 0, :4] == pytest.approx([0, 0.5, 0.2, 0.9])


def test_images_and_boxes_are_changed_by_the_same_map() -> None:
    x = np.zeros((8, 30, 40, 3), np.uint8)
    x[:, 5:10, 4:12] = 200
    boxes = np.full((8, 2, 5), -1, np.float32)
    boxes[:, 0] = 4 / 40, 5 / 30, 12 / 40, 10 / 30, 0
    new, moved = change(Augment(flip="both"), x, IMAGE, boxes)
    for image, (left, top, right, bottom, _) in zip(new, moved[:, 0], strict=True):
        inside = image[round(top * 30) : round(bottom * 30), round(left * 40) : round(right * 40)]
        assert inside.shape[:2] == (5, 8)
        assert (inside == 200).all()
    assert {tuple(box) for box in moved[:, 0].round(3).tolist()} > {tuple(boxes[0, 0].round(3).tolist())}


SHARE = st.floats(0, 0.9)


@given(st.floats(0, 180), SHARE, SHARE, SHARE, st.integers(0, 99))
def test_maps_stay_within_what_is_set(rotate: float, crop: float, shift: float, zoom: float, seed: int) -> None:
    settings = Augment(rotate=rotate, crop=crop, shift=shift, zoom=zoom)
    maps = augment.warps(settings, (50, 20, 40, 3), np.random.default_rng(seed))
    linear, moved = maps[:, :, :2], maps[:, :, 2]
    size = np.sqrt(np.linalg.det(linear))  # how much of the old image the new one shows
    assert size.min() >= (1 - crop) / (1 + zoom) - 1e-9
    assert size.max() <= 1 / (1 - zoom) + 1e-9
    angle = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    assert np.abs(angle).max() <= rotate + 1e-6
    centre = np.array([39, 19]) / 2  # (x, y)
    off = np.abs(linear @ centre + moved - centre) / np.array([40, 20])
    assert off.max() <= crop / 2 + shift + 1e-9
    if shift > 0.2:
        assert off.max() > shift / 2
    if rotate > 1:
        assert np.abs(angle).max() > rotate / 2


def test_brightness_adds_the_same_to_a_whole_picture() -> None:
    x = np.full((200, 4, 4, 1), 128, np.uint8)
    new, _ = change(Augment(brightness=0.2), x, IMAGE)
    by = new[:, 0, 0, 0].astype(int) - 128
    assert (new == new[:, :1, :1]).all()
    assert -51 <= by.min() < -40
    assert 40 < by.max() <= 51


@pytest.mark.parametrize("channels", [1, 3])
def test_rand_augment_changes_more_the_stronger_it_is(channels: int) -> None:
    x = np.repeat(np.repeat(pictures(64, channels), 3, 1), 3, 2)
    weak, strong = (change(Augment(rand_augment=s), x, IMAGE)[0].astype(int) for s in (0.1, 1.0))
    assert np.abs(weak - x).mean() < 0.8 * np.abs(strong - x).mean()
    assert len(np.unique([int((new != old).sum()) for new, old in zip(strong, x, strict=True)])) > 20


@pytest.mark.parametrize("settings", [Augment(mixup=1.0), Augment(cutmix=1.0), Augment(mixup=1.0, cutmix=1.0)])
def test_labels_are_mixed_as_the_pictures_are(settings: Augment) -> None:
    label = np.random.default_rng(0).integers(0, 2, 200)
    x = np.broadcast_to((label * 255).astype(np.uint8)[:, None, None, None], (200, 10, 10, 1)).copy()
    for seed in range(10):
        new, mixed = change(settings, x, IMAGE, np.eye(2, dtype=np.float32)[label], seed)
        assert mixed.sum(axis=1) == pytest.approx(np.ones(200), abs=1e-6)
        assert new.mean(axis=(1, 2, 3)) / 255 == pytest.approx(mixed[:, 1], abs=0.003)
        if not settings.cutmix:
            assert (np.abs(mixed[:, 1] - 0.5) < 0.45).mean() > 0.2


def test_mixup_of_numbers_mixes_what_is_predicted_too() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    new, mixed = change(Augment(mixup=0.5), x, {"x": Input("numbers", ("a", "b", "c"))}, x[:, :1] * 2 + 1)
    assert mixed[:, 0] == pytest.approx(new[:, 0] * 2 + 1, abs=1e-5)
    assert not np.allclose(new, x)


def sounds() -> np.ndarray:
    return np.random.default_rng(0).normal(5, 1, (100, 40, 16)).astype(np.float32)


def test_a_time_shift_moves_frames_and_leaves_silence() -> None:
    x = sounds()
    new, _ = change(Augment(time_shift=0.25), x, SOUND)
    found = set()
    for old, shifted in zip(x, new, strict=True):
        by = [
            k
            for k in range(-10, 11)
            if np.array_equal(shifted[max(k, 0) : 40 + min(k, 0)], old[max(-k, 0) : 40 - max(k, 0)])
        ]
        assert len(by) == 1
        gap = shifted[: by[0]] if by[0] > 0 else shifted[40 + by[0] :]
        assert (gap == old.min()).all()
        found |= set(by)
    assert min(found) <= -8
    assert max(found) >= 8


def test_gain_and_noise_are_as_large_as_they_say() -> None:
    x = sounds()
    by = change(Augment(gain=3.0), x, SOUND)[0] - x
    assert np.ptp(by, axis=(1, 2)).max() < 1e-5
    assert 2.5 < np.abs(by).max() <= 3.0
    noise = change(Augment(noise=0.5), x, SOUND)[0] - x
    assert noise.std() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(("setting", "axis", "most"), [("time_mask", 0, 10), ("frequency_mask", 1, 4)])
def test_a_mask_hides_one_piece_of_frames_or_bands(setting: str, axis: int, most: int) -> None:
    x = sounds()
    new, _ = change(Augment.model_validate({setting: 0.25}), x, SOUND)
    widths = []
    for old, masked in zip(x, new, strict=True):
        hidden = (old != masked).all(axis=1 - axis)
        at = np.flatnonzero(hidden)
        widths.append(len(at))
        assert np.array_equal(at, np.arange(at[0], at[0] + len(at)) if len(at) else at)
        assert ((old == masked) | np.expand_dims(hidden, 1 - axis)).all()
        assert np.allclose(np.take(masked, at, axis), old.mean(), atol=1e-4)
    assert set(widths) == set(range(most + 1))


def test_tokens_are_dropped_at_their_rate_and_padding_never() -> None:
    x = np.random.default_rng(0).integers(2, 99, (200, 50)).astype(np.int32)
    x[:, 40:] = 0
    new, _ = change(Augment(token_dropout=0.3), x, {"x": Input("tokens", mask=1)})
    assert (new[:, 40:] == 0).all()
    assert (new[:, :40] == 1).mean() == pytest.approx(0.3, abs=0.02)
    assert ((new == x) | (new == 1)).all()


def test_feature_noise_has_its_deviation() -> None:
    x = np.zeros((500, 20), np.float32)
    assert change(Augment(feature_noise=0.1), x, {"x": Input("numbers")})[0].std() == pytest.approx(0.1, rel=0.03)


def test_chance_is_the_generators_alone() -> None:
    settings = Augment(rotate=20, flip="both", zoom=0.2, brightness=0.1, rand_augment=0.3, cutmix=1.0)
    x, labels = pictures(), np.eye(8, dtype=np.float32)[np.arange(64) % 8]
    first, second, other = (change(settings, x, IMAGE, labels, seed) for seed in (1, 1, 2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    ("setting", "inputs", "text"),
    [
        (
            {"rotate": 5},
            {"n": Input("numbers")},
            r"train\.augment\.rotate: .*n \(numbers\); they support .*feature_noise, mix",
        ),
        ({"gain": 1}, IMAGE, r"gain: .*x \(image\); they support rotate, .*cutmix, mixup"),
        ({"mixup": 1}, {"t": Input("tokens")}, r"mixup: .*t \(tokens\); they support token_dropout$"),
        (
            {"mixup": 1},
            {"n": Input("numbers"), "c": Input("codes")},
            r"n \(numbers\), c \(codes\); they support feature",
        ),
        ({"feature_noise": 1}, {"c": Input("codes")}, "no augmentation"),
    ],
)
def test_what_no_input_can_take_is_an_error_that_names_what_they_can(setting, inputs, text) -> None:
    with pytest.raises(SlipwayError, match=text):
        augment.changes(Augment.model_validate(setting), inputs)


def test_what_it_looks_like() -> None:
    for x, inputs in ((pictures(10, 3), IMAGE), (sounds()[:3], SOUND)):
        none = np.zeros((len(x), 1))
        name, content = augment.shown({"x": x}, {"x": x}, inputs, (none, none))
        assert name == "augmented.png"
        assert Image.open(io.BytesIO(content)).width >= 512
    numbers = np.array([[1.5, 2.0]], np.float32)
    none = np.zeros((1, 1))
    name, content = augment.shown(
        {"x": numbers}, {"x": numbers + 1}, {"x": Input("numbers", ("a", 'b"'))}, (none, none)
    )
    assert name == "augmented.csv"
    assert content.decode().splitlines()[1:] == ['0,x,"a",1.5,2.5', '0,x,"b""",2,3']


def test_tokens_are_dropped_and_their_weights_left() -> None:
    changes = augment.changes(Augment(token_dropout=0.5), {"ids": Input("tokens"), "weights": Input("weights")})
    assert changes is not None
    arrays = {"ids": np.full((50, 8), 3, np.int32), "weights": np.ones((50, 8), np.float32)}
    new, _ = changes(arrays, np.zeros(50), np.random.default_rng(1))
    assert 0.3 < (new["ids"] == 0).mean() < 0.7
    assert (new["weights"] == 1).all()
