"""Several modalities in one example: what is missing, what is refused, and where examples come from."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from components import SlipwayError, recipes
from components import params as params_module
from components.params import changes
from components.recipes import networks
from components.recipes.multimodal import contract
from components.recipes.multimodal.source import digits, multimodal
from components.recipes.source import Source
from components.validation import drafting, profile
from tests.flows.test_examples import picture, recording

recipe: Any = recipes.load("multimodal")


@pytest.fixture
def made() -> tuple[Any, pa.Table, Any]:
    """Params, a sample and its state."""
    section, table = recipe.sample(60, 1)
    params = recipe.Params.model_validate(section)
    return params, table, recipe.fit([table], params)


def with_value(table: pa.Table, name: str, value: Any) -> pa.Table:
    """One row in which a column has another value."""
    row = table.slice(0, 1)
    at = row.column_names.index(name)
    return row.set_column(at, name, pa.array([value], row.schema.field(name).type))


def test_what_is_missing_is_zeros_and_said_to_be(made: tuple[Any, pa.Table, Any]) -> None:
    params, table, state = made
    arrays = recipe.encode(table, params, state)
    names = [modality.name for modality in recipe.modalities(params)]
    assert names == ["photo", "note", "sound", "table"]
    for at, (name, column) in enumerate(zip(names, ("photo", "note", "sound", "size"), strict=True)):
        there = table[column].is_valid().to_numpy()
        assert (arrays["present"][:, at] == np.where(there, 2, 1)).all() and 0 < there.sum() < len(there)
        for key in (key for key in arrays if key == name or key.startswith(f"{name}_")):
            assert not arrays[key][~there].any()
            if key != "note_weights":
                assert arrays[key][there].reshape(there.sum(), -1).any(axis=1).all()


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("photo", b"not an image", "photo: the image cannot be decoded"),
        ("note", " \t ", "note: the text is empty"),
        ("sound", b"RIFF", "sound: the recording cannot be decoded"),
        ("size", float("inf"), "table: size is too large: inf"),
    ],
)
def test_a_modality_that_cannot_be_read_is_named_and_does_not_count_as_missing(
    made: tuple[Any, pa.Table, Any], column: str, value: Any, complaint: str
) -> None:
    params, table, state = made
    bad = with_value(table, column, value)
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}"):
        recipe.encode(bad, params, state)
    (unreadable,) = recipe.facts(bad, params)["unreadable"].to_pylist()
    assert unreadable == complaint.partition(":")[0]


def test_an_example_of_nothing_is_refused(made: tuple[Any, pa.Table, Any]) -> None:
    params, table, state = made
    empty = pa.table({name: pa.nulls(1, table.schema.field(name).type) for name in table.column_names})
    with pytest.raises(ValueError, match="none of photo, note, sound, table is there"):
        recipe.encode(empty, params, state)
    facts = recipe.facts(empty, params)
    assert facts["modalities"].to_pylist() == [0]
    assert facts["absent"].to_pylist() == ["photo note sound table"]


def test_facts_tell_what_is_missing_and_of_what_is_not_there_nothing(made: tuple[Any, pa.Table, Any]) -> None:
    params, table, _ = made
    facts = recipe.facts(table, params)
    assert set(facts["unreadable"].to_pylist()) == {"none"}
    for row, absent in enumerate(facts["absent"].to_pylist()):
        assert ("photo" in absent.split()) == (table["photo"][row].as_py() is None)
        assert (facts["photo_decodable"][row].as_py() is None) == ("photo" in absent.split())
        assert facts["modalities"][row].as_py() == 4 - (absent != "none") * len(absent.split())


def test_views_leave_out_what_they_say(made: tuple[Any, pa.Table, Any]) -> None:
    params, table, state = made
    arrays = recipe.encode(table, params, state)
    found = {name: (mask, view) for name, mask, view in recipe.views(arrays, params)}
    assert list(found)[:2] == ["photo alone", "without photo"] and len(found) == 8
    mask, alone = found["photo alone"]
    assert (mask == table["photo"].is_valid().to_numpy()).all()
    assert (alone["present"][mask] == [2, 1, 1, 1]).all()
    assert np.array_equal(alone["photo"], arrays["photo"]) and not alone["sound"].any()
    mask, without = found["without photo"]
    # as if the column had been empty
    emptied = table.set_column(0, "photo", pa.nulls(len(table), pa.binary())).filter(pa.array(mask))
    again = recipe.encode(emptied, params, state)
    assert all(np.array_equal(again[key], without[key][mask]) for key in again)


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"images": {"a": {}}, "labels": ["x", "y"]}, "fewer than two modalities"),
        ({"images": {"a": {}}, "text": {"a": {}}, "labels": ["x", "y"]}, "named twice: a"),
        ({"images": {"a": {}}, "text": {"a_ids": {}}, "labels": ["x", "y"]}, "a_ids: begins like a"),
        ({"images": {"table": {}}, "text": {"b": {}}, "labels": ["x", "y"]}, "cannot be named table"),
        ({"images": {"a": {"labels": ["x", "y"]}}, "text": {"b": {}}, "labels": ["x", "y"]}, "extra_forbidden"),
        ({"images": {"a": {}}, "tabular": {"numeric": ["a_width"]}, "labels": ["x", "y"]}, "named a_width: a fact has"),
        ({"images": {"a": {}}, "tabular": {"numeric": ["absent"]}, "labels": ["x", "y"]}, "named absent: a fact has"),
        ({"images": {"a": {}}, "text": {"b": {}}}, "give either labels"),
        ({"images": {"a": {}}, "text": {"b": {}}, "labels": ["x"]}, "only one class"),
    ],
)
def test_settings_that_cannot_be_are_refused(section: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        recipe.Params.model_validate(section)


@pytest.mark.parametrize("model", ["late_fusion", "attention_fusion"])
@pytest.mark.parametrize("numbers", [False, True])
def test_what_is_missing_does_not_matter_to_the_network(model: str, numbers: bool) -> None:
    section, table = recipe.sample(40, 1)
    if numbers:
        section = {**section, "labels": [], "targets": ["y"]}
        at = table.column_names.index("label")
        table = table.set_column(at, "label", pa.array(np.arange(len(table), dtype=float)))
    params = recipe.Params.model_validate(section)
    state = recipe.fit([table], params) | ({"target": {"mean": [1.0], "deviation": [2.0]}} if numbers else {})
    arrays = recipe.encode(table, params, state)
    module = networks.load("multimodal")
    network = module.Network.model_validate({**module.sample, "model": model})
    built = module.build(network, params, state, 0.1)
    before = built.predict(arrays, verbose=0)
    assert before.shape == (40, 1 if numbers else 2)
    missing = np.asarray(arrays["present"] == 1)[:, 0]
    changed = arrays | {"photo": np.where(missing[:, None, None, None], np.uint8(255), arrays["photo"])}
    after = built.predict(changed, verbose=0)
    assert np.array_equal(before[missing], after[missing])
    there = arrays | {"photo": np.where(missing[:, None, None, None], arrays["photo"], np.uint8(255))}
    assert not np.allclose(before[~missing], built.predict(there, verbose=0)[~missing])


def test_what_is_left_out_in_training_are_whole_modalities() -> None:
    import keras

    section, table = recipe.sample(200, 1)
    params = recipe.Params.model_validate(section)
    state = recipe.fit([table], params)
    module = networks.load("multimodal")
    network = module.Network.model_validate({**module.sample, "modality_dropout": 0.5})
    built = module.build(network, params, state, 0.0)
    names = [modality.name for modality in recipe.modalities(params)]
    layers = [[built.get_layer(f"{name}_{part}").output for part in ("missing", "there")] for name in names]
    arrays = recipe.encode(table, params, state)
    keras.utils.set_random_seed(1)
    watched = keras.Model(built.input, layers)
    trained, served = (watched(arrays, training=training) for training in (True, False))
    for at, ((none, vector), (no, whole)) in enumerate(zip(trained, served, strict=True)):
        there = np.asarray(arrays["present"][:, at] == 2)
        gone = np.asarray(np.asarray(none).any(axis=1))
        assert gone[~there].all() and 0.35 < gone[there].mean() < 0.65
        assert (np.asarray(no).any(axis=1) == ~there).all()  # served, all is there that is there
        assert not np.asarray(vector)[gone].any()
        if names[at] == "table":  # nothing random in it: as large as it is served, not scaled up
            assert np.allclose(np.asarray(vector)[~gone], np.asarray(whole)[~gone], atol=1e-5)


def written(folder: Path, rows: int = 30) -> Path:
    """A CSV that names images and recordings, with gaps."""
    random = np.random.default_rng(1)
    lines = ["photo,call,note,price,kind"]
    for row in range(rows):
        (folder / f"{row}.png").write_bytes(picture(random.integers(0, 256, (12, 10)).astype(np.uint8)))
        (folder / f"{row}.wav").write_bytes(recording(random.normal(0, 0.1, 4000)))
        photo, call = f"{row}.png" if row % 5 else "", f"{row}.wav" if row % 3 else ""
        lines.append(f'{photo},{call},"a note, number {row}",{row + 0.5},{"good" if row % 2 else "bad"}')
    (folder / "reports.csv").write_text("\n".join(lines) + "\n")
    return folder / "reports.csv"


def read(file: Path, **options: Any) -> tuple[Source, pa.Table]:
    given = {"image": ["photo"], "text": ["note"], "audio": ["call"], "label": ["kind"], **options}
    source = multimodal(file, **given)
    return source, pa.concat_tables(source.tables, promote_options="default")


def test_a_table_names_files_and_holds_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, table = read(written(tmp_path))
    params = recipe.Params.model_validate(source.settings)
    assert params.images["photo"].width == 10 and params.images["photo"].height == 12
    assert params.audio["call"].sample_rate == 8000 and params.audio["call"].seconds == 0.5
    assert params.tabular.numeric == ["price"] and params.labels == ["bad", "good"]
    assert table.schema.field("photo").type == pa.binary() and table["photo"].null_count == 6
    assert table["call"][1].as_py() == (tmp_path / "1.wav").read_bytes() and table["call"].null_count == 10
    assert table["note"][0].as_py() == "a note, number 0"
    assert table["price"].to_pylist()[:2] == [0.5, 1.5]
    said = capsys.readouterr().out
    assert "photo: missing in 6 of 30 rows" in said and "to predict: kind, one of 2 classes" in said
    assert source.others["evaluate"] == {"slices": ["absent"]}
    recipe.encode(table, params, recipe.fit([table], params))


def test_files_may_lie_elsewhere_and_one_that_is_gone_is_named_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    file = written(tmp_path / "files").rename(tmp_path / "reports.csv")
    with pytest.raises(SlipwayError, match=r"row 2: photo: .*1\.png cannot be read \(No such file"):
        read(file)
    assert read(file, files=tmp_path / "files")[1]["photo"].null_count == 6
    (tmp_path / "files/7.wav").unlink()
    with pytest.raises(SlipwayError, match=r"row 8: call: .*7\.wav cannot be read"):
        read(file, files=tmp_path / "files")
    with pytest.raises(SlipwayError, match=r"--files .*nowhere: no such folder"):
        read(file, files=tmp_path / "nowhere")


def test_a_parquet_file_holds_bytes_also_beside_their_names(tmp_path: Path) -> None:
    _, table = read(written(tmp_path))
    plain = table.select(["photo", "note", "price"]).append_column("kind", table["label"])
    pq.write_table(plain, tmp_path / "a.parquet")
    _, again = read(tmp_path / "a.parquet", audio=[])
    assert again["photo"].to_pylist() == table["photo"].to_pylist()
    structs = pa.array([each and {"bytes": each, "path": "x.png"} for each in table["photo"].to_pylist()])
    pq.write_table(plain.set_column(0, "photo", structs), tmp_path / "b.parquet")
    _, again = read(tmp_path / "b.parquet", audio=[])
    assert again["photo"].to_pylist() == table["photo"].to_pylist()
    pq.write_table(plain.set_column(0, "photo", pa.array(range(30))), tmp_path / "c.parquet")
    with pytest.raises(SlipwayError, match="column photo is int64: expected the names of files, or their bytes"):
        read(tmp_path / "c.parquet", audio=[])


def test_without_a_table_and_with_one_modality_alone(tmp_path: Path) -> None:
    file = written(tmp_path)
    source, table = read(file, drop=["price"])
    assert source.settings["tabular"] is None and {*table.column_names} == {"label", "photo", "note", "call"}
    recipe.Params.model_validate(source.settings)
    with pytest.raises(SlipwayError, match="note is the only modality"):
        read(file, image=[], audio=[], drop=["price", "photo", "call"])
    with pytest.raises(SlipwayError, match="no column of images, texts or recordings"):
        read(file, image=[], audio=[], text=[])
    with pytest.raises(SlipwayError, match="note: named twice"):
        read(file, image=["note"])
    with pytest.raises(SlipwayError, match="no column 'picture'"):
        read(file, image=["picture"])
    with pytest.raises(SlipwayError, match="--drop note: the column is also named as a modality"):
        read(file, drop=["note"])
    file.write_text(file.read_text().replace("photo,call", "Foto vorne,call"))
    with pytest.raises(SlipwayError, match="column 'Foto vorne' cannot be a modality: expected a name of letters"):
        read(file, image=["Foto vorne"])
    file.write_text(re.sub(r"(?m)^\d+\.png", "", file.read_text()).replace("Foto vorne,", "photo,"))
    with pytest.raises(SlipwayError, match="column photo is empty in all rows; leave it out with --drop photo"):
        read(file)


@pytest.mark.parametrize("drop", [[], ["price"]])
def test_more_of_the_same_is_read_as_the_dataset_is(tmp_path: Path, drop: list[str]) -> None:
    file = written(tmp_path)
    first, table = read(file, drop=drop)
    known = recipe.Params.model_validate(first.settings)
    more = multimodal(file, ["kind"], known=known)
    more.schema = recipes.schema(recipe, known)
    assert recipe.Params.model_validate(more.settings) == known
    again = pa.concat_tables(more.tables)
    assert set(again.column_names) == set(table.column_names)
    assert again.select(table.column_names).cast(table.schema).equals(table)
    with pytest.raises(SlipwayError, match="existing dataset has photo as images, not note; leave the option out"):
        multimodal(file, ["kind"], image=["note"], known=known)


def test_another_dataset_has_other_modalities(tmp_path: Path) -> None:
    """What one had, and the next has not, is written as empty: settings are merged into those that there are."""
    settings = tmp_path / "params.yaml"
    file = written(tmp_path)
    for options in ({}, {"image": [], "drop": ["photo"]}, {"label": ["price"], "task": "number"}, {"drop": ["price"]}):
        given: dict[str, Any] = {"image": ["photo"], "text": ["note"], "audio": ["call"], "label": ["kind"]}
        source = multimodal(file, **{**given, **options})
        made = {"name": "m", "recipe": "multimodal", "multimodal": source.settings}
        text, _ = changes.merged(settings, made, grow=False)
        settings.write_text(text)
        assert params_module.load(settings).task == recipe.Params.model_validate(source.settings)


def test_a_modality_that_training_never_had_counts_as_missing(
    made: tuple[Any, pa.Table, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    params, table, _ = made
    without = table.set_column(0, "photo", pa.nulls(len(table), pa.binary()))
    state = recipe.fit([without], params)
    assert capsys.readouterr().out.startswith("photo: no training example has it")
    arrays = recipe.encode(table, params, state)
    assert (arrays["present"][:, 0] == 1).all() and not arrays["photo"].any()
    alone = table.slice(0, 1)
    for at, name in enumerate(("photo", "note", "sound", "size")):
        kind = table.schema.field(name).type
        alone = alone.set_column(
            at, name, pa.array([picture(np.zeros((6, 6), np.uint8))]) if at == 0 else pa.nulls(1, kind)
        )
    assert (recipe.encode(alone, params, state)["present"] == 1).all()  # not empty: nothing can be told of it


def test_a_text_that_is_missing_is_no_nan_in_training() -> None:
    section, table = recipe.sample(40, 1)
    section = {**section, "text": {"note": {"encoding": "pieces", "vocabulary": 100, "length": 16}}}
    params = recipe.Params.model_validate(section)
    state = recipe.fit([table], params)
    module = networks.load("multimodal")
    built = module.build(module.Network.model_validate(module.sample), params, state, 0.1)
    arrays = recipe.encode(table, params, state)
    assert not arrays["note"].any(axis=1).all()
    built.compile("adam", "sparse_categorical_crossentropy")
    labels = np.array([["dark", "light"].index(label) for label in table["label"].to_pylist()])
    history = built.fit(arrays, labels, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert np.isfinite(built.predict(arrays, verbose=0)).all()


def test_images_that_cannot_be_opened_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path)
    (tmp_path / "1.png").write_bytes(b"no image")
    read(file)
    assert "row 2: photo: cannot be opened as an image" in capsys.readouterr().out
    buffer = io.BytesIO(file.read_bytes())
    for each in tmp_path.glob("*.png"):
        each.write_bytes(b"no image")
    file.write_bytes(buffer.getvalue())
    with pytest.raises(SlipwayError, match="column photo: none of the 24 image files can be read"):
        read(file)


def test_how_many_files_may_be_missing_is_drafted() -> None:
    section, table = recipe.sample(300, 1)
    params = recipe.Params.model_validate(section)
    found = contract.facts(table, params)
    own = recipe.facts(table, params)
    assert set(found.column_names) == {"photo_decodable", "sound_decodable", "note_characters", "size"}
    assert all(found[name].combine_chunks().equals(own[name].combine_chunks()) for name in found.column_names)
    drafted = drafting.drafts(profile.of([(found, "a.parquet", 0)]), {})
    gaps = {draft.kwargs["column"] for draft in drafted if "non_null" in draft.type}
    assert {"photo_decodable", "sound_decodable"} <= gaps


def test_pairs_of_digits_tell_what_was_skipped_and_leave_nothing_of_another_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(1)
    for digit in range(10):
        for index in range(7):
            (tmp_path / f"{digit}_ann_{index}.wav").write_bytes(recording(random.normal(0, 0.1, 4000)))
    (tmp_path / "notes.txt").write_text("no recording")
    rows = [(str(digit), split) for digit in range(10) for split in ("train", "test") for _ in range(9)]
    pixels = [picture(random.integers(0, 256, (28, 28)).astype(np.uint8)) for _ in rows]
    images = pa.table({"image": pixels, "label": [row[0] for row in rows], "split": [row[1] for row in rows]})
    monkeypatch.setattr(digits, "mnist", lambda origin: Source("mnist", "images", {}, iter([images])))
    source = digits.digits("nowhere", tmp_path, 1)
    table = pa.concat_tables(source.tables)
    assert table["split"].to_pylist().count("test") == 50 and len(table) == 70
    assert not (table["image"].is_null().to_numpy() & table["recording"].is_null().to_numpy()).any()
    there = table["image"].drop_null().to_pylist()
    assert len(set(there)) == len(there)  # each once
    labels = dict(zip(pixels, images["label"].to_pylist(), strict=True))
    assert all(labels[row["image"]] == row["label"] for row in table.to_pylist() if row["image"])
    assert source.skipped == {"not a sound file (.txt)": 1}
    settings = tmp_path / "params.yaml"
    before, _ = recipe.sample(9, 1)
    for section in (before, source.settings):
        text, _ = changes.merged(settings, {"name": "m", "recipe": "multimodal", "multimodal": section}, grow=False)
        settings.write_text(text)
    assert params_module.load(settings).task == recipe.Params.model_validate(source.settings)
