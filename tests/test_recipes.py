import io
import re
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from components import recipes
from components.recipes import images
from tests.conftest import ROOT


def picture(size: tuple[int, int], mode: str, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes whose header claims 60,000 x 60,000 pixels."""
    content = bytearray(picture((1, 1), "L"))
    import struct
    import zlib

    header = struct.pack(">II", 60_000, 60_000) + bytes(content[24:29])
    content[16:29] = header
    content[29:33] = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return bytes(content)


HOSTILE = [b"", b"no picture", picture((6, 6), "L")[:40], bomb(), b"\x89PNG\r\n\x1a\n" + bytes(50), b"GIF89a"]


@pytest.mark.parametrize("recipe", recipes.names())
def test_a_sample_is_the_same_for_the_same_seed(recipe: str) -> None:
    module = recipes.load(recipe)
    assert module.sample(50, 1)[1].equals(module.sample(50, 1)[1])
    assert not module.sample(50, 1)[1].equals(module.sample(50, 2)[1])


@pytest.mark.parametrize("recipe", recipes.names())
def test_one_example_is_encoded_as_among_many(recipe: str) -> None:
    module = recipes.load(recipe)
    section, sample = module.sample(30, 1)
    params = module.Params.model_validate(section)
    state = module.fit([sample], params)
    many = module.encode(sample, params, state)
    for row in range(30):
        one = module.encode(sample.slice(row, 1), params, state)
        assert all(np.array_equal(one[name][0], many[name][row]) for name in many)


def test_answers_name_the_likeliest_label() -> None:
    found = recipes.answers(
        np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]], np.float32), recipes.Target("label", ("a", "b", "c"))
    )
    assert found["label"].to_pylist() == ["b", "a"]
    assert found["probability"].to_pylist() == pytest.approx([0.7, 0.5])
    assert found["probabilities"].to_pylist()[1] == pytest.approx([0.5, 0.2, 0.3])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_mode_and_size_become_arrays(mode: str, channels: int) -> None:
    kind = "tiff" if mode == "CMYK" else "png"
    params = images.Params.model_validate({"height": 5, "width": 7, "channels": channels})
    table = pa.table({"image": [picture((7, 5), mode, kind), picture((31, 17), mode, kind)]})
    found = images.encode(table, params, {})["image"]
    assert found.shape == (2, 5, 7, channels)
    assert found.dtype == np.uint8


def test_pixels_are_kept_where_nothing_has_to_be_converted() -> None:
    pixels = np.arange(30, dtype=np.uint8).reshape(5, 6)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    found = images.encode(pa.table({"image": [buffer.getvalue()]}), images.Params(height=5, width=6), {})
    assert np.array_equal(found["image"][0, :, :, 0], pixels)


@pytest.mark.parametrize("data", HOSTILE)
def test_a_hostile_picture_is_a_fact_or_an_error_never_a_crash(data: bytes) -> None:
    table = pa.table({"image": pa.array([data], pa.binary())})
    assert images.facts(table, images.Params())["decodable"].to_pylist() == [False]
    with pytest.raises(ValueError, match="image"):
        images.encode(table, images.Params(), {})


def test_facts_of_a_picture() -> None:
    table = pa.table({"image": pa.array([picture((7, 5), "RGB", "jpeg"), None], pa.binary())})
    first, second = images.facts(table, images.Params()).to_pylist()
    assert first == {"width": 7, "height": 5, "pixels": 35, "mode": "RGB", "format": "JPEG", "decodable": True}
    assert second["decodable"] is False
    assert images.facts(pa.table({"image": [bomb()]}), images.Params()).to_pylist()[0]["pixels"] == 3_600_000_000


def test_several_labels_and_numbers_are_answered_too() -> None:
    outputs = np.array([[0.6, 0.4], [0.2, 0.3]], np.float32)
    several = recipes.Target("labels", ("a", "b"))
    assert recipes.answers(outputs, several)["labels"].to_pylist() == [["a"], []]
    assert recipes.answers(outputs, several, [0.7, 0.25])["labels"].to_pylist() == [["b"], ["b"]]
    assert recipes.answers(outputs[:, :1], recipes.Target("values", ("x",)))["value"].to_pylist() == [
        pytest.approx(0.6),
        pytest.approx(0.2),
    ]
    assert recipes.answers(outputs, recipes.Target("values", ("x", "y"))).column_names == ["values"]


def test_a_decision_weighs_mistakes() -> None:
    one = recipes.Target("label", ("good", "bad"))
    outputs = np.array([[0.8, 0.2], [0.9, 0.1]], np.float32)
    dear = [[0.0, -1.0], [-5.0, 0.0]]  # minus the costs: to take a bad one for good costs five
    assert recipes.answers(outputs, one)["label"].to_pylist() == ["good", "good"]
    assert recipes.answers(outputs, one, dear)["label"].to_pylist() == ["bad", "good"]


@pytest.mark.parametrize(
    ("target", "fit", "unfit"),
    [
        (recipes.Target("label", ("a", "b")), ["a", "b"], [None, "c"]),
        (recipes.Target("labels", ("a", "b")), [[], ["b", "a"]], [None, ["a", "c"]]),
        (recipes.Target("values", ("x",)), [1.0, -2.5], [None, float("nan"), float("inf")]),
        (recipes.Target("values", ("x", "y")), [[1.0, 2.0]], [None, [1.0], [1.0, None], [float("nan"), 1.0]]),
    ],
)
def test_labels_that_fit_become_arrays(target: recipes.Target, fit: list[Any], unfit: list[Any]) -> None:
    assert recipes.unfit([*fit, *unfit], target) == [False] * len(fit) + [True] * len(unfit)
    found = recipes.encoded(fit, target)
    assert found.shape == ((len(fit),) if target.kind == "label" else (len(fit), len(target.names)))
    outputs = np.eye(len(target.names))[found] if target.kind == "label" else found
    answer = recipes.answers(np.asarray(outputs, np.float32), target).columns[0].to_pylist()
    assert [sorted(a) if target.kind == "labels" else a for a in answer] == [
        sorted(f) if target.kind == "labels" else f for f in fit
    ]


def test_the_recipe_of_the_docs_works() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    points: Any = ModuleType("points")
    exec(compile(code, "docs/recipes.md", "exec"), points.__dict__)  # noqa: S102 - it is ours
    section, sample = points.sample(200, 1)
    settings = points.Params.model_validate(section)
    state = points.fit([sample.slice(0, 150), sample.slice(150)], settings)
    found = points.encode(sample, settings, state)
    assert found.keys() == points.inputs(settings, state).keys()
    assert np.abs(found["point"]).max() == pytest.approx(1)
    assert points.facts(sample, settings)["distance"].null_count == 0
    outputs = points.build(settings, state, 0.1).predict(found, verbose=0)
    assert outputs.shape == (200, 2)
    assert set(recipes.answers(outputs, points.target(settings))["label"].to_pylist()) <= {"in", "out"}
    with pytest.raises(ValueError, match="missing or infinite"):
        points.encode(pa.table({"x": [float("inf")], "y": [1.0]}), settings, state)
