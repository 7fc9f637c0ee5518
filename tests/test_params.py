from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from components import SlipwayError, params, recipes
from components.params import changes
from components.recipes import networks

ROOT = Path(__file__).parent.parent


def load(tmp_path: Path, text: str) -> params.Params:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return params.load(path)


def message(tmp_path: Path, text: str) -> str:
    with pytest.raises(SlipwayError) as caught:
        load(tmp_path, text)
    return str(caught.value)


def test_the_projects_own_params_load_and_short_sections_are_written_out() -> None:
    loaded = params.load(ROOT / "params.yaml")
    from ruamel.yaml import YAML

    written = YAML(typ="safe").load(ROOT / "params.yaml")
    for section in ("split", "validate", "register"):  # the others have many: docs/ lists those
        assert set(written[section]) == set(loaded.model_dump(by_alias=True)[section])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nrecipe: images\ntrain: {epoch: 3}", "train.epoch: unknown key; did you mean train.epochs?"),
        ("name: a\nrecipe: images\nimages: {heigth: 3}", "images.heigth: unknown key; did you mean images.height?"),
        (
            "name: a\nrecipe: images\nregister: {margin: .inf}",
            "register.margin: input should be a finite number (got inf)",
        ),
        (
            "name: a\nrecipe: images\ncosts: {a: {b: .nan}}",
            "costs.a.b: input should be a finite number (got nan)",
        ),
        ("name: a\nrecipe: images\ntrian: {}", "trian: unknown key; did you mean train?"),
        (
            "name: a\nrecipe: images\ntabular: {numerics: []}",
            "tabular.numerics: unknown key; did you mean tabular.numeric?",
        ),
        ("name: a\nrecipe: images\nnetwork: {hiden: [3]}", "network.hiden: unknown key; did you mean network.hidden?"),
        ("name: a\nrecipe: images\nnetwork: {depth: 19}", "network.depth: input should be 20, 18 or 50 (got 19)"),
        ("name: a\nrecipe: images\nsplit: {by: row}", "split.by: expected auto, id, {group: COLUMN} or {time: COLUMN}"),
        ("name: a\nrecipe: images\nsplit: {by: {group: ''}}", "split.by: expected auto, id, {group: COLUMN}"),
        ("name: a\nrecipe: images\nsplit: {by: {group: a, time: b}}", "split.by: expected auto, id, {group: COLUMN}"),
        ("name: a\nrecipe: series\nsplit: {by: id}", "split.by: examples of series that are near in time overlap"),
        ("name: a\nrecipe: images\nnetwork: 3", "network: input should be a valid dictionary"),
        ("name: a\nrecipe: images\nnetwerk: {}", "netwerk: unknown key; did you mean network?"),
        (
            "name: a\nrecipe: images\nimages: {height: 5}\nnetwork: {filters: [1, 1, 1, 1]}",
            "network.filters: 4 blocks halve an image of 28 x 5 until nothing is left; they need 8 pixels per side",
        ),
        (
            "name: a\nrecipe: images\nimages: {height: 5}\nnetwork: {model: vit, patch: 6}",
            "network.patch: 6 is larger than an image of 28 x 5",
        ),
        ("name: a\nrecipe: image", "recipe: no recipe 'image'; did you mean images?"),
        (
            "name: a\nrecipe: images\ntrain: {epochs: many}",
            "train.epochs: input should be a valid integer (got 'many')",
        ),
        ("name: a\nrecipe: images\ntrain: {epochs: 0}", "train.epochs: input should be greater than or equal to 1"),
        (
            "name: a\nrecipe: images\nimages: {labels: [0, 1]}",
            "images.labels.0: expected text, but without quotes YAML reads 0 as a number: write '0'",
        ),
        (
            "name: a\nrecipe: images\ntrain: {schedule: {name: cosine, flor: 0.1}}",
            "train.schedule.flor: unknown key; did you mean train.schedule.floor?",
        ),
        (
            "name: a\nrecipe: images\ntrain: {schedule: {name: one_cycle, x: 1}}",
            "train.schedule.x: unknown key; there are: name, rise, start, end",
        ),
        (
            "name: a\nrecipe: images\ntrain: {schedule: {name: cosine, decay: 0.1}}",
            "train.schedule.decay: cosine has no setting decay; its settings are floor, warmup",
        ),
        (
            "name: a\nrecipe: images\ntrain: {schedule: {floor: 0.1}}",
            "train.schedule.floor: constant has no setting floor; its settings are warmup",
        ),
        (
            "name: a\nrecipe: images\ntrain: {schedule: {name: cosine, floor: 2.0}}",
            "train.schedule.floor: input should be less than or equal to 1 (got 2.0)",
        ),
        (
            "name: a\nrecipe: images\ntrain: {schedule: cosin}",
            "train.schedule: no schedule 'cosin'; did you mean cosine?",
        ),
        (
            "name: a\nrecipe: images\ntrain: {schedule: {name: 3}}",
            "no schedule '3'; there are: constant, inverse_time, exponential, cosine, one_cycle, plateau",
        ),
        ("name: a\nrecipe: images\ntrain: {schedule: 3}", "train.schedule: input should be a valid dictionary"),
        ("recipe: images", "name: field required"),
        ("name: a\nrecipe: images\nname: b", "not valid YAML"),
        ("name: [", "not valid YAML"),
        ("just text", "expected keys and values"),
        ("name: a\nrecipe: images\nsplit: 3", "split: input should be a valid dictionary"),
    ],
)
def test_a_mistake_names_the_file_the_key_and_the_mend(tmp_path: Path, text: str, expected: str) -> None:
    found = message(tmp_path, text)
    assert str(tmp_path / "params.yaml") in found
    assert expected in found


@pytest.mark.parametrize("recipe", recipes.names())
def test_a_setting_that_is_the_networks_now_is_told_where_it_went(tmp_path: Path, recipe: str) -> None:
    """All of an old section at once, and whatever else is wrong with it."""
    own = recipes.load(recipe).Params.model_fields
    fields = [name for name in networks.load(recipe).Network.model_fields if name not in own]
    assert fields
    old = "\n".join(f"  {name}: 1" for name in ("labels", *fields))
    expected = [f"{tmp_path}/params.yaml: {recipe}.{name}: this key has moved to network.{name}" for name in fields]
    assert message(tmp_path, f"name: a\nrecipe: {recipe}\n{recipe}:\n{old}\n").split("\n") == expected
    other = next(name for name in recipes.names() if name != recipe)
    expected = [f"{line}, for the chosen recipe ({other}): remove it here" for line in expected]
    assert message(tmp_path, f"name: a\nrecipe: {other}\n{recipe}:\n{old}\n").split("\n") == expected


@pytest.mark.parametrize(("old", "new"), [("ngrams", "ngrams"), ("transformer", "pieces")])
def test_the_old_choice_of_a_network_for_texts_is_one_of_their_encoding(tmp_path: Path, old: str, new: str) -> None:
    found = message(tmp_path, f"name: a\nrecipe: text\ntext: {{model: {old}, hidden: 3}}").split("\n")
    where = tmp_path / "params.yaml"
    assert found == [
        f"{where}: text.model: this key has moved to text.encoding: {new}",
        f"{where}: text.hidden: this key has moved to network.hidden",
    ]
    assert "text.model: unknown key" in message(tmp_path, "name: a\nrecipe: text\ntext: {model: other}")


def settings(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    """All names of settings of a section, and of the sections in it."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        yield field.alias or name
        inner = [field.annotation]
        while inner:
            kind = inner.pop()
            inner += get_args(kind)
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from settings(kind, seen)


def test_no_setting_has_a_name_that_dvcs_run_cache_overlooks(tmp_path: Path) -> None:
    from dvc.stage.cache import _get_cache_hash

    models: list[type[BaseModel]] = [params.Params, *(recipes.load(name).Params for name in recipes.names())]
    models += [networks.load(name).Network for name in recipes.names()]
    names = {name for model in models for name in settings(model, set())}
    assert {"model_size", "learning_rate", "seconds", "encoding"} <= names
    none = _get_cache_hash({"params": {"params.yaml": {"network": {}}}})
    assert none == _get_cache_hash({"params": {"params.yaml": {"network": {"size": 1}}}})  # else the name may be used
    for name in names:
        assert none != _get_cache_hash({"params": {"params.yaml": {"network": {name: 1}}}}), name
    two = "recipe: multimodal\nmultimodal: {labels: [a, b], images: {x: {}}, audio: {y: {}}}"
    two += "\nnetwork: {audio: {size: tiny}}"
    for section in ("recipe: audio\nnetwork: {size: small}", two):
        assert "size: this key is called model_size now" in message(tmp_path, f"name: a\n{section}")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match="no such file"):
        params.load(tmp_path / "params.yaml")


def test_small_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    assert load(tmp_path, "name: a\nrecipe: images\ntrain: {learning_rate: 1e-3}").train.learning_rate == 0.001


def test_the_digest_is_of_the_values_not_of_the_text(tmp_path: Path) -> None:
    plain = load(tmp_path, "name: a\nrecipe: images\n").digest()
    assert load(tmp_path, "# a comment\nrecipe: images\nname: a\ntrain: {epochs: 20}").digest() == plain
    assert load(tmp_path, "name: a\nrecipe: images\nnetwork: {model: cnn}").digest() == plain
    assert load(tmp_path, "name: a\nrecipe: images\ntrain: {epochs: 21}").digest() != plain
    assert load(tmp_path, "name: a\nrecipe: images\nnetwork: {model: mlp}").digest() != plain


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_words(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(text, encoding="utf-8", errors="ignore")
    with pytest.raises(SlipwayError):
        params.load(path)


def test_a_model_of_its_own_has_no_section_of_another_recipe(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    own = (ROOT / "params.yaml").read_text().replace("recipe: images", "recipe: tabular") + "\ntabular:\n  label: y\n"
    path.write_text(own)
    lines = changes.own(path).decode().splitlines()
    section = own.splitlines()
    at = section.index("images:")
    assert lines == section[:at] + section[at + section[at:].index("") + 1 :]  # comments and all
