"""Texts: facts, n-grams, tokenizers, both models, hostile inputs, and the sources they are read from."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import SlipwayError, recipes
from components.recipes.text import example as text
from components.recipes.text import networks
from components.recipes.text.example import ngrams
from components.recipes.text.source import text as source
from components.serving import onnx_model
from components.stages import preprocess, train
from tests import fabricate
from tests.conftest import ROOT, Make, no_quarantine

DATASETS = Path(os.environ.get("SLIPWAY_DATASETS", ROOT.parent / "shared" / "datasets"))

READABLE = {
    "emoji": "😀😀👍🏽👨‍👩‍👧",
    "punctuation": "?!... ---",
    "marks from right to left": "\u202e\u05ea\u05d5\u05d3\u05d4\u202c \u200f\u0634\u0643\u0631\u0627",
    "a flood of combining characters": "e" + "\u0316\u0301" * 9_000,
    "HTML": "<p onclick='x()'>&amp;&#x1F600;<!-- [MASK] --></p>",
    "mixed scripts": "酒店 hotel гостиница ホテル 호텔 โรงแรม",
    "characters never seen": "ᚠᛇᚻ᛫ᛒᛦᚦ᛫ᚠᚱᚩᚠᚢᚱ",
    "a tokenizer's own marks": "[CLS] [PAD] [PAD] [SEP] [UNK] ▁▁ ##s",
    "NUL among letters": "good\x00bad",
    "one word of 20,000 letters": "a" * 20_000,
    "a ligature that becomes 18 letters": "\ufdfa" * 500,
}
UNREADABLE = {
    "nothing": "",
    "white space": " \t\r\n\u3000\u2028",
    "control characters": "\x00\x01\x7f\u200b",
    "missing": None,
    "a megabyte": "great film " * 100_000,
    "one character too long": "x" * 20_001,
}


def fitted(extra: dict[str, Any], rows: int = 200) -> tuple[text.Params, recipes.State, pa.Table]:
    section, table = text.sample(rows, 1)
    params = text.Params.model_validate(section | extra)
    return params, text.fit([table.slice(0, 90), table.slice(90)], params), table


def texts(*values: str | None) -> pa.Table:
    return pa.table({"text": pa.array(values, pa.string())})


def bytes_as_text(*values: bytes) -> pa.Table:
    """What a careless writer puts into Parquet: a column of text whose bytes are not UTF-8."""
    raw = pa.array(values, pa.binary())
    return pa.table({"text": pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())})


def test_facts_of_a_text() -> None:
    english, chinese, nothing = text.facts(texts("Good, is it?\n", "酒店很好 OK", None), text.Params()).to_pylist()
    assert english["characters"] == english["bytes"] == 13
    assert (english["words"], english["script"], english["blank"]) == (3, "latin", False)
    assert english["letters"] == pytest.approx(8 / 13)
    assert english["unprintable"] == 0
    assert (chinese["characters"], chinese["bytes"], chinese["script"]) == (7, 15, "han")
    assert nothing["blank"] is True
    assert nothing["characters"] is None


def test_facts_find_binary_content_and_wrong_decoding() -> None:
    rows = text.facts(texts("\x00\x01ab", "caf\ufffd", "\x00 \t", "123"), text.Params()).to_pylist()
    assert [row["unprintable"] for row in rows] == [0.5, 0, pytest.approx(1 / 3), 0]
    assert [row["replaced"] for row in rows] == [0, 1, 0, 0]
    assert [row["blank"] for row in rows] == [False, False, True, False]
    assert [row["script"] for row in rows] == ["latin", "latin", None, None]
    broken = text.facts(bytes_as_text(b"caf\xe9", b"\xed\xa0\x80"), text.Params()).to_pylist()
    assert [row["replaced"] > 0 for row in broken] == [True, True]


@settings(max_examples=100)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=40)), max_size=5))
def test_facts_never_raise_and_have_a_row_an_example(items: list[bytes | None]) -> None:
    raw = pa.array(items, pa.binary())
    table = pa.table({"text": pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())})
    found = text.facts(table, text.Params())
    assert len(found) == len(items)
    assert all(0 <= share <= 1 for share in found["unprintable"].to_pylist() if share is not None)


@pytest.mark.parametrize("encoding", ["ngrams", "pieces"])
@pytest.mark.parametrize("name", READABLE)
def test_a_strange_text_becomes_arrays_like_any_other(encoding: str, name: str) -> None:
    params, state, table = fitted({"encoding": encoding})
    assert text.facts(texts(READABLE[name]), params)["blank"].to_pylist() == [False]
    arrays = text.encode(texts("the room was great", READABLE[name]), params, state)
    usual = text.encode(table.slice(0, 2), params, state)
    for key, array in arrays.items():
        assert (array.shape, array.dtype) == (usual[key].shape, usual[key].dtype)
        assert np.isfinite(array).all()


@pytest.mark.parametrize("encoding", ["ngrams", "pieces"])
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_text_with_nothing_to_read_is_an_error_with_the_reason(encoding: str, name: str) -> None:
    params, state, _ = fitted({"encoding": encoding})
    text.facts(texts(UNREADABLE[name]), params)
    with pytest.raises(
        ValueError, match=r"the text (is empty|is missing|has [\d,]+ (bytes|characters), more than max_chars)"
    ):
        text.encode(texts("the room was great", UNREADABLE[name]), params, state)


def test_bytes_that_are_no_text_are_an_error_with_their_place() -> None:
    params, state, _ = fitted({})
    with pytest.raises(ValueError, match=r"not UTF-8: .* at byte 3"):
        text.encode(bytes_as_text(b"caf\xe9"), params, state)


def test_the_marks_of_a_tokenizer_in_a_text_are_only_text() -> None:
    params, state, _ = fitted({"encoding": "pieces"})
    tokens = text.encode(texts("[MASK] [PAD] [CLS] good"), params, state)["tokens"][0]
    assert tokens[0] == 2
    assert Counter(tokens[tokens != 0].tolist())[2] == 1  # the one [CLS] in front
    assert 4 not in tokens
    assert (tokens[: np.flatnonzero(tokens)[-1]] != 0).all()


def test_word_and_character_ngrams_of_two_languages() -> None:
    assert ngrams.of_words("the hotel, 很好!", [1, 2]) == [
        *["the", "hotel", ",", "很", "好", "!"],
        *["the hotel", "hotel ,", ", 很", "很 好", "好 !"],
    ]
    assert ngrams.of_characters("很好ok", [2, 3]) == ["很好", "好o", "ok", "很好o", "好ok"]


def test_the_vocabulary_holds_the_ngrams_of_most_texts() -> None:
    rows = [("a b", "x"), ("a c", "y"), ("a b d", "y"), ("a a a", "z")]
    state = ngrams.fit(iter(rows), ["x", "y"], [1, 1], None, 10)
    known = ngrams.vocabulary(state["grams"], tuple(state["documents"]))
    assert state["documents"] == [1, 2]  # z is no label: the stage will stop on it
    assert sorted(known.words) == ["a", "b"]  # d and c are in one text only
    assert known.counts[known.words["a"]].tolist() == [1, 2]
    assert ngrams.fit(iter(rows), ["x", "y", "z"], [1, 1], None, 1)["grams"] == "wa\t1\t2\t1"


def test_tf_idf_is_that_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    params, state, table = fitted({"weighting": "tf-idf", "words": None, "vocabulary": 100_000})
    found = text.encode(table, params, state)
    normalise = text._normaliser(params.normalisation)
    cleaned = [normalise.normalize_str(value) for value in table["text"].to_pylist()]
    reference = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2)
    expected = reference.fit_transform(cleaned).toarray()
    names = ngrams.vocabulary(state["grams"], tuple(state["documents"])).names
    columns = [reference.vocabulary_[name] for name in names[1:]]
    assert len(columns) == expected.shape[1]
    ours = np.zeros((len(table), len(names)))
    np.put_along_axis(ours, found["ids"].astype(np.int64), found["weights"].astype(np.float64), axis=1)
    few = (found["ids"] != 0).sum(axis=1) < params.length  # not cut
    assert few.sum() > 50
    assert np.allclose(ours[few][:, 1:], expected[few][:, columns], atol=1e-6)


def test_ratios_are_those_of_the_paper() -> None:
    state = ngrams.fit(iter([("a b", "n"), ("a b", "n"), ("a c", "p"), ("a c", "p")]), ["n", "p"], [1, 1], None, 9)
    known = ngrams.vocabulary(state["grams"], tuple(state["documents"]))
    ratio = ngrams.ratios(known)
    # counts with 1 added: a 3 and 3, b 3 and 1, c 1 and 3, of 7 in each label
    assert ratio[known.words["a"]] == pytest.approx([0, 0], abs=1e-6)
    assert ratio[known.words["b"]] == pytest.approx([np.log(3), -np.log(3)])
    assert ratio[known.words["c"]] == pytest.approx([-np.log(3), np.log(3)])
    assert ratio[0].tolist() == [0, 0]


def test_rare_ngrams_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "MAX_COUNTED", 300)
    rows = [(f"often w{number}", "n" if number % 2 else "p") for number in range(2000)]
    state = ngrams.fit(iter(rows), ["n", "p"], [1, 1], None, 50)
    assert state["grams"].split("\n") == ["woften\t1000\t1000"]
    kept = ngrams._without([Counter({"a": 1, "b": 1}), Counter({"a": 1, "c": 3})], 1)
    assert kept == [Counter({"a": 1}), Counter({"a": 1, "c": 3})]


def test_of_too_many_ngrams_those_of_most_weight_are_kept_in_their_order() -> None:
    params, state, table = fitted({"weighting": "tf-idf"})
    few = params.model_copy(update={"length": 5})
    whole, cut = text.encode(table, params, state), text.encode(table, few, state)
    for row in range(20):
        best = np.sort(np.argsort(-whole["weights"][row], kind="stable")[:5])
        assert cut["ids"][row].tolist() == whole["ids"][row][best].tolist()
        assert np.linalg.norm(cut["weights"][row]) == pytest.approx(1, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_any_text_is_encoded_or_has_nothing_to_read(value: str) -> None:
    for extra in ({}, {"encoding": "pieces"}):
        params, state, _ = CACHED[str(extra)]
        try:
            first = next(iter(text.encode(texts(value), params, state).values()))
        except ValueError as error:
            assert "empty" in str(error)
            assert not any(character.isalnum() and character.isascii() for character in value)
        else:
            assert len(text.spell(first[0], state)) == params.length


CACHED = {str(extra): fitted(extra) for extra in ({}, {"encoding": "pieces"})}


def test_a_text_is_spelled_by_its_tokens() -> None:
    params, state, _ = fitted({"encoding": "pieces"})
    tokens = text.encode(texts("The room was LOVELY:房间很好"), params, state)["tokens"][0]
    assert "".join(text.spell(tokens, state)) == "[CLS] the room was lovely:房间很好[SEP]"
    params, state, _ = fitted({"characters": None})
    ids = text.encode(texts("the room was lovely"), params, state)["ids"][0]
    assert text.spell(ids, state)[:5] == ["the", "room", "was", "lovely", ""]


FIT = """
import hashlib, json, sys
from components.recipes.text import example as text
section, table = text.sample(600, 1)
for extra in json.loads(sys.argv[1]):
    params = text.Params.model_validate(section | extra)
    print(hashlib.sha256(json.dumps(text.fit([table], params)).encode()).hexdigest())
"""


@pytest.mark.e2e
def test_what_is_fitted_is_the_same_bytes_in_each_process_and_with_any_number_of_threads() -> None:
    section, table = text.sample(600, 1)
    extras = [{"encoding": encoding, "vocabulary": 300} for encoding in ("ngrams", "pieces")]
    every = [text.Params.model_validate(section | extra) for extra in extras]
    expected = [hashlib.sha256(json.dumps(text.fit([table], params)).encode()).hexdigest() for params in every]
    for number, threads in enumerate(("1", "4")):
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": str(number)}
        command = [sys.executable, "-c", FIT, json.dumps(extras)]
        said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, cwd=ROOT).stdout
        assert said.split() == expected
    chunks = [table.slice(at, 100) for at in range(0, 600, 100)]
    assert [hashlib.sha256(json.dumps(text.fit(chunks, p)).encode()).hexdigest() for p in every] == expected


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"words": None, "characters": None}, "no n-grams"),
        ({"characters": [4, 1]}, "ends before it begins"),
        ({"labels": ["a"]}, "at least 2"),
        ({"labels": ["a", "b", "a"]}, "named twice: a"),
        ({"encoding": "bytes"}, "'ngrams' or 'pieces'"),
    ],
)
def test_settings_that_cannot_be_are_refused(section: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        text.Params.model_validate(section)


def test_logistic_regression_on_ngrams_is_what_the_model_computes() -> None:
    import keras

    params, state, table = fitted({})
    keras.utils.set_random_seed(1)
    model = networks.build(networks.Network(), params, state, 0.0)
    known = ngrams.vocabulary(state["grams"], tuple(state["documents"]))
    random = np.random.default_rng(1)
    coefficients, bias = random.normal(size=(len(known.names), 2)), random.normal(size=2)
    model.get_layer("coefficients").set_weights([coefficients])
    model.get_layer("logits").set_weights([np.eye(2), bias])
    arrays = text.encode(table, params, state)
    dense = np.zeros((len(table), len(known.names)))
    np.put_along_axis(dense, arrays["ids"].astype(np.int64), arrays["weights"].astype(np.float64), axis=1)
    logits = dense[:, 1:] @ (coefficients * ngrams.ratios(known))[1:] + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(fabricate.outputs(model, arrays), expected, atol=1e-5)


def test_an_ngram_left_out_counts_for_nothing() -> None:
    import keras

    keras.utils.set_random_seed(1)
    params, state, table = fitted({})
    model = networks.build(networks.Network(hidden=4), params, state, 0.0)
    for name in ("coefficients", "vectors"):
        layer = model.get_layer(name)
        layer.set_weights([np.random.default_rng(1).normal(size=layer.get_weights()[0].shape)])
    arrays = text.encode(table.slice(0, 1), params, state)
    without = {name: array.copy() for name, array in arrays.items()}
    without["ids"][0, 3] = text.inputs(params, state)["ids"].mask
    gone = {name: np.delete(array, 3, axis=1) for name, array in arrays.items()}
    gone = {name: np.pad(array, ((0, 0), (0, 1))) for name, array in gone.items()}
    assert np.allclose(fabricate.outputs(model, without), fabricate.outputs(model, gone), atol=1e-6)
    assert not np.allclose(fabricate.outputs(model, without), fabricate.outputs(model, arrays), atol=1e-4)


@pytest.mark.parametrize("extra", [{}, {"norm": "pre", "pooling": "cls"}])
def test_padding_says_nothing_to_a_transformer(extra: dict[str, str]) -> None:
    import keras

    keras.utils.set_random_seed(1)
    params, state, table = fitted({"encoding": "pieces", "length": 40})
    network = networks.Network.model_validate(extra)
    model = networks.build(network, params, state, 0.1)
    shorter = params.model_copy(update={"length": 30})
    short = networks.build(network, shorter, state, 0.1)
    weights = [w[:30] if w.shape == (40, 128) else w for w in model.get_weights()]
    short.set_weights(weights)
    one, other = (text.encode(table.slice(0, 8), p, state) for p in (params, shorter))
    assert (one["tokens"][:, 30:] == 0).all()
    assert np.allclose(fabricate.outputs(model, one), fabricate.outputs(short, other), atol=1e-5)
    assert text.encode(texts("a b c d e f g h i j k"), params.model_copy(update={"length": 6}), state)[
        "tokens"
    ].shape == (1, 6)


def test_pretraining_hides_tokens_as_bert_does() -> None:
    pieces, most = 4000, 8
    random = np.random.default_rng(1)
    tokens = random.integers(5, pieces, (3000, 50)).astype(np.int32)
    tokens[:, 0] = 2
    tokens[:1000, 20] = 3
    tokens[:1000, 21:] = 0  # 19 words: 3 are hidden
    tokens[-1, 1:] = 0  # nothing to hide
    before = tokens.copy()
    arrays, told, weights = networks._masked(most, pieces, {"tokens": tokens}, np.random.default_rng(2))
    assert np.array_equal(tokens, before)
    used = weights > 0
    assert used.sum(axis=1).tolist() == [3] * 1000 + [8] * 1999 + [0]
    assert weights.mean() == pytest.approx(1)
    hidden, places = arrays["tokens"], arrays["places"]
    rows = np.repeat(np.arange(3000), most).reshape(places.shape)
    assert np.array_equal(told, tokens[rows, places])
    assert (told[used] >= 5).all()  # no padding, no [CLS]
    others = np.ones_like(tokens, bool)
    others[rows[used], places[used]] = False
    assert np.array_equal(hidden[others], tokens[others])
    now, then = hidden[rows, places][used], told[used]
    shares = [(now == 4).mean(), ((now != 4) & (now != then)).mean(), (now == then).mean()]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.01)
    assert all(len(set(row)) == most for row in places)
    again = networks._masked(most, pieces, {"tokens": tokens}, np.random.default_rng(2))
    assert np.array_equal(again[0]["tokens"], hidden)


@pytest.mark.e2e
def test_pretraining_teaches_the_layers_of_the_model() -> None:
    import keras

    keras.utils.set_random_seed(1)
    params, state, table = fitted({"encoding": "pieces", "length": 24})
    network = networks.Network(pretraining_epochs=3)
    assert networks.pretraining(networks.Network(), params, state, 0.0) is None
    assert networks.pretraining(network, *fitted({})[:2], 0.0) is None
    task = networks.pretraining(network, params, state, 0.0)
    assert task is not None
    assert task.epochs == 3
    arrays = text.encode(table, params, state)
    task.model.compile(optimizer=keras.optimizers.Adam(2e-3), loss=task.loss)
    random = np.random.default_rng(1)
    losses = [task.model.train_on_batch(*task.batch(arrays, random), return_dict=True)["loss"] for _ in range(25)]
    assert float(losses[-1]) < 0.7 * float(losses[0])
    keras.utils.clear_session()
    model = networks.build(network, params, state, 0.0)
    shared = {layer.name: [w.shape for w in layer.weights] for layer in task.model.layers if layer.weights}
    own = {layer.name: [w.shape for w in layer.weights] for layer in model.layers if layer.weights}
    assert {name for name in own if shared.get(name) != own[name]} == {"logits"}


@pytest.mark.e2e
def test_the_same_transformer_is_exported_to_the_same_bytes(tmp_path: Path) -> None:
    import keras

    from components.training import export

    params, state, table = fitted({"encoding": "pieces", "length": 24})
    arrays = text.encode(table.slice(0, 4), params, state)
    written = []
    for _ in range(2):  # the exporter's own order and names differ from call to call
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        model = networks.build(networks.Network(), params, state, 0.1)
        model.predict(arrays, verbose=0)
        export._export(model, tmp_path / "model.onnx", "probabilities")
        written.append((tmp_path / "model.onnx").read_bytes())
    assert written[0] == written[1]


@pytest.mark.e2e
def test_a_pretrained_transformer_is_the_same_bytes_each_time(
    make: Make, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    section = text.sample(1, 1)[0] | {"encoding": "pieces", "length": 24}
    learn = {"epochs": 6, "batch_size": 16, "learning_rate": 0.002, "dropout": 0.1}
    made = make("text", text=section, network={"pretraining_epochs": 2}, train=learn)
    preprocess.run(made, Path("data"), no_quarantine(Path("q.parquet")), Path("arrays"))
    digests = []
    for _ in range(2):
        cost = train.run(made, Path("arrays"), Path("build/classical"), Path("build/model"), Path("build/training"))
        digests.append(cost["model_digest"])
    assert digests[0] == digests[1]
    assert "13 layers start from the pretraining" in capsys.readouterr().out
    loaded = onnx_model.load(Path("build/model"))
    answers = onnx_model.predict(loaded, texts("the room was lovely.", "电影7:服务太脏。"))
    assert answers["label"].to_pylist() == ["positive", "negative"]


@pytest.mark.e2e
def test_sizes_are_those_of_the_paper() -> None:
    import keras

    params, state, _ = fitted({"encoding": "pieces", "length": 512})
    counted = {}
    for size in ("tiny", "mini"):
        keras.utils.clear_session()
        network = networks.Network.model_validate({"model_size": size, "pooling": "cls"})
        model = networks.build(network, params, state, 0.0)
        pieces = model.get_layer("token_embedding").input_dim
        counted[size] = model.count_params() + sum((30522 - pieces + 2) * w for w in [networks.ENCODERS[size][1]])
    # Turc 2019, table 1: 4.4 and 11.3 million with BERT's 30,522 pieces
    assert counted["tiny"] == pytest.approx(4.4e6, rel=0.02)
    assert counted["mini"] == pytest.approx(11.2e6, rel=0.02)


@pytest.fixture(scope="module", params=["ngrams", pytest.param("pieces", marks=pytest.mark.e2e)])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> onnx_model.Model:
    """A model of random weights, exported as the stage train exports one."""
    import keras

    from components.files import write_json
    from components.params import Params
    from components.training import export

    params, state, table = fitted({"encoding": request.param})
    folder = tmp_path_factory.mktemp("text")
    arrays = text.encode(table, params, state)
    (folder / "arrays" / "validation").mkdir(parents=True)
    for name, array in arrays.items():
        np.save(folder / "arrays" / "validation" / f"{name}.npy", array)
    manifest = {
        "rows": {"validation": len(table)},
        "inputs": {name: {} for name in arrays},
        "target": {"kind": "single_label", "names": params.labels},
        "state": state,
    }
    write_json(folder / "arrays" / "manifest.json", manifest)
    keras.utils.set_random_seed(1)
    network = networks.Network()
    whole = Params(name="text", recipe="text", task=params, network=network)
    built = networks.build(network, params, state, 0.1)
    export.write(built, whole, folder / "arrays", manifest, folder / "classical", folder / "model")
    return onnx_model.load(folder / "model")


def test_a_served_model_answers_all_but_what_cannot_be_read(served: onnx_model.Model) -> None:
    good = ["The room was lovely.", "房间很差", *READABLE.values()]
    mixed = [*UNREADABLE.values(), *good]
    answers = onnx_model.predict(served, texts(*mixed)).to_pylist()
    alone = onnx_model.predict(served, texts(*good)).to_pylist()
    for row in answers[: len(UNREADABLE)]:
        assert row["label"] is None
        assert "the text" in row["error"]
    for row, expected in zip(answers[len(UNREADABLE) :], alone, strict=True):
        assert row["error"] is None
        assert row["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)


def test_half_a_surrogate_pair_in_a_frame_costs_only_its_own_answer(served: onnx_model.Model) -> None:
    frame = pd.DataFrame({"text": ["The room was lovely.", "half \ud83d a pair", "房间很差"]}, dtype=object)
    answers = onnx_model.Pyfunc(served).predict(frame)
    assert answers["label"].isna().tolist() == [False, True, False]
    assert "surrogate" in answers["error"][1]


# where texts come from


def read(path: Path, **options: Any) -> tuple[list[dict[str, str | None]], dict[str, Any]]:
    found = source(path, **options)
    return [row for table in found.tables for row in table.to_pylist()], found.settings


COLUMNS = {"text": "review", "label": "stars"}
ROWS = [('good, really\n"good"', "1"), ("坏", "0"), ("café", "1")]


def write_csv(path: Path, mark: str = ",", encoding: str = "utf-8", bom: str = "") -> Path:
    lines = [f"id{mark}review{mark}stars"]
    for number, (value, label) in enumerate(ROWS):
        quoted = '"' + value.replace('"', '""') + '"'
        lines.append(f"{number}{mark}{quoted}{mark}{label}")
    path.write_bytes((bom + "\r\n".join(lines) + "\r\n").encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "mark", "encoding", "bom", "options"),
    [
        ("a.csv", ",", "utf-8", "", {}),
        ("a.csv", ",", "utf-8", "\ufeff", {}),
        ("a.tsv", "\t", "utf-8", "", {}),
        ("a.csv", ";", "gb18030", "", {"delimiter": ";", "encoding": "gb18030"}),
        ("a.csv", ",", "utf-16", "", {"encoding": "utf-16"}),
    ],
)
def test_a_csv_of_any_dialect_is_read(
    tmp_path: Path, name: str, mark: str, encoding: str, bom: str, options: dict[str, str]
) -> None:
    rows, found = read(write_csv(tmp_path / name, mark, encoding, bom), **COLUMNS, **options)
    assert [(row["text"], row["label"]) for row in rows] == ROWS
    assert found == {"labels": ["0", "1"]}


PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(PLAIN, st.sampled_from(["a", "b"])), min_size=1, max_size=8), st.sampled_from(",;\t|"))
def test_whatever_is_written_to_a_csv_is_read_from_it(rows: list[tuple[str, str]], mark: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=mark, quoting=csv.QUOTE_ALL).writerows([("review", "stars"), *rows])
        found, _ = read(path, **COLUMNS, delimiter=mark)
        (Path(folder) / "a.jsonl").write_text(
            "\n".join(json.dumps({"review": value, "stars": label}, ensure_ascii=False) for value, label in rows),
            encoding="utf-8",
        )
        again, _ = read(Path(folder) / "a.jsonl", **COLUMNS)
    assert [(row["text"], row["label"]) for row in found] == rows
    assert again == found


def test_json_lines_and_parquet_are_read_and_labels_renamed(tmp_path: Path) -> None:
    records = [{"review": value, "stars": int(label), "split": "test"} for value, label in ROWS]
    (tmp_path / "a.jsonl").write_text("\n\n".join(json.dumps(record) for record in records), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        rows, found = read(tmp_path / name, **COLUMNS, rename=["1=good", "0=bad"])
        assert [row["text"] for row in rows] == [value for value, _ in ROWS]
        assert [row["label"] for row in rows] == ["good", "bad", "good"]
        assert {row["split"] for row in rows} == {"test"}
        assert found == {"labels": ["bad", "good"]}


@pytest.mark.parametrize(
    ("name", "content", "options", "expected"),
    [
        ("a.csv", "id,review,stars\n1,café,1\n".encode("latin-1"), {}, r"not utf-8: byte 21 \(0xe9\), in line 2"),
        ("a.csv", b"id;review;stars\n1;x;1\n", {}, "no column 'review'.*id;review;stars.*--delimiter"),
        ("a.csv", b"id,review,stars\n1,a,b,1\n", {}, "line 2 has 4 values, the header 3"),
        ("a.csv", b'id,review,stars\n1,"a,1\n2,b,0\n', {}, "line 3: unexpected end of data.*--no-quotes"),
        ("a.csv", b"", {}, "the file is empty"),
        ("a.csv", b"review,stars\n", {}, "no example with a label"),
        ("a.csv", b"review,stars\na,1\n", {"encoding": "klingon"}, "unknown encoding"),
        ("a.csv", b"review,stars\na,1\n", {"rename": ["2=two"]}, "no label '2'"),
        ("a.csv", b"review,stars\na,1\n", {"rename": ["two"]}, "write OLD=NEW"),
        ("a.csv", b"review,stars\na,1\n", {"text": None}, "--text COLUMN"),
        ("a.csv", b"review,stars\na,1\n", {"encoding": "utf-16"}, "not utf-16"),
        ("a.jsonl", b'{"review": "a", "stars": 1}\n{"review": ', {}, "line 2 is not JSON"),
        ("a.jsonl", b'{"review": 3, "stars": 1}', {}, "line 1: 'review' is int, not text"),
        ("a.jsonl", b'{"review": "a"}', {}, "no column 'stars'.*line 1"),
        ("a.jsonl", rb'{"review": "\ud83d", "stars": 1}', {}, "half a surrogate pair"),
        ("a.parquet", b"PAR1 and no more", {}, "cannot be read"),
    ],
)
def test_a_file_that_is_not_what_it_is_said_to_be_is_told_with_its_place(
    tmp_path: Path, name: str, content: bytes, options: dict[str, Any], expected: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SlipwayError, match=expected):
        read(tmp_path / name, **(COLUMNS | options))


def test_a_wrong_byte_is_found_behind_a_megabyte(tmp_path: Path) -> None:
    content = ("review,stars\n" + "好,1\n" * 300_000).encode()
    (tmp_path / "a.csv").write_bytes(content + b"\xff,1\n")
    with pytest.raises(SlipwayError, match=rf"byte {len(content):,} \(0xff\), in line 300,002"):
        read(tmp_path / "a.csv", **COLUMNS)


def test_class_folders_of_files_become_examples(tmp_path: Path) -> None:
    for split, label, number in (("train", "pos", 1), ("train", "neg", 2), ("test", "pos", 3), ("test", "neg", 4)):
        folder = tmp_path / "imdb" / split / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(f"review {number}\n", encoding="utf-8-sig")
        (folder / "urls.html").write_text("no example")
    rows, found = read(tmp_path / "imdb")
    assert [(row["text"], row["label"], row["split"]) for row in rows] == [
        ("review 4", "neg", "test"),
        ("review 3", "pos", "test"),
        ("review 2", "neg", "train"),
        ("review 1", "pos", "train"),
    ]
    assert found == {"labels": ["neg", "pos"]}
    assert source(tmp_path / "imdb").skipped == {"not a text file (.html)": 4}
    with pytest.raises(SlipwayError, match=r"no text files in class folders.*--lines"):
        read(tmp_path / "imdb" / "train" / "pos")


def test_class_files_of_lines_become_examples(tmp_path: Path) -> None:
    (tmp_path / "rt.pos").write_bytes(b"fine \r\n\n quite fine\n")
    (tmp_path / "rt.neg").write_bytes("naïve".encode())
    (tmp_path / "README.md").write_text("no class")
    rows, _ = read(tmp_path, lines=True, rename=["pos=positive"])
    assert [(row["text"], row["label"]) for row in rows] == [
        ("naïve", "neg"),
        ("fine", "positive"),
        ("quite fine", "positive"),
    ]
    assert source(tmp_path, lines=True).skipped == {"not a class file (README.md)": 1}


@pytest.mark.parametrize(
    ("name", "options", "labels", "count"),
    [
        ("rt-polarity", {"lines": True}, ["neg", "pos"], 10_662),
        ("chnsenticorp/ChnSentiCorp_htl_all.csv", {"text": "review", "label": "label"}, ["0", "1"], 7_766),
    ],
)
def test_the_real_data_sets_are_read(name: str, options: dict[str, Any], labels: list[str], count: int) -> None:
    if not (DATASETS / name).exists():
        pytest.skip(f"{DATASETS / name} is not there; SLIPWAY_DATASETS names another folder")
    rows, found = read(DATASETS / name, **options)
    assert len(rows) == count
    assert found == {"labels": labels}
    assert all("\ufffd" not in (row["text"] or "") for row in rows)


def test_words_for_a_missing_value_are_told_where_they_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("NA" if at % 4 == 0 else f"a text {at}", ("pos", "neg", "NULL")[at % 3]) for at in range(12)]
    pd.DataFrame(rows, columns=["t", "l"]).to_csv(tmp_path / "f.csv", index=False)
    assert source(tmp_path / "f.csv", "t", "l").settings["labels"] == ["NULL", "neg", "pos"]
    said = capsys.readouterr().out
    assert "label 'NULL': 4 examples have it, and keep it, though it often means a missing value" in said
    assert "text 'NA': 3 examples have it" in said and said.count("\n") == 2
