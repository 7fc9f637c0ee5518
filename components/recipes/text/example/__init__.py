"""Texts of any language, one label each: as weighted n-grams, or as pieces of words."""

from collections import Counter
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.recipes import Arrays, Input, Labels, State
from components.recipes.text.example import ngrams
from components.targets import Target, single_label

requirements = ("tokenizers",)
Lengths = Annotated[list[Annotated[int, Field(ge=1, le=10)]], Field(min_length=2, max_length=2)]
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # their tokens are 0 to 4


class Normalisation(BaseModel):
    """What is done to every text first; control characters go and runs of spaces become one in any case."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    form: Literal["NFC", "NFKC"] = "NFKC"  # NFKC makes full-width letters and ligatures plain ones (UAX 15)
    lower: bool = True
    strip_accents: bool = False


class Settings(BaseModel):
    """All of the section but what is predicted: what the recipe multimodal has of it, too."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    max_chars: Annotated[int, Field(ge=1)] = 20_000  # a longer text is refused
    normalisation: Normalisation = Normalisation()
    encoding: Literal["ngrams", "pieces"] = "ngrams"
    vocabulary: Annotated[int, Field(ge=10, le=2_000_000)] = 30_000  # n-grams or pieces, the most frequent
    length: Annotated[int, Field(ge=4, le=16_384)] = 512  # n-grams (those of most weight) or pieces (the first) kept
    # ngrams
    words: Lengths | None = [1, 2]  # shortest and longest n-gram of words; a Han character is a word
    characters: Lengths | None = [1, 4]
    weighting: Literal["presence", "tf-idf"] = "presence"

    @model_validator(mode="after")
    def _ranges(self) -> "Settings":
        if self.words is None and self.characters is None:
            raise ValueError("no n-grams: set words or characters to a range such as [1, 2]")
        for name, lengths in (("words", self.words), ("characters", self.characters)):
            if lengths and lengths[0] > lengths[1]:
                raise ValueError(f"{name}: {lengths} ends before it begins")
        return self


class Params(Settings):
    """The section `text` of params.yaml."""

    labels: Labels = ["negative", "positive"]


def columns(params: Settings) -> pa.Schema:  # noqa: ARG001
    """One column: the text."""
    return pa.schema({"text": pa.string()})


def target(params: Params) -> Target:
    """One of the labels."""
    return single_label.Target(tuple(params.labels))


FACTS = {
    "characters": pa.int64(),
    "words": pa.int64(),
    "bytes": pa.int64(),
    "letters": pa.float64(),
    "unprintable": pa.float64(),
    "replaced": pa.int64(),
    "script": pa.string(),
    "blank": pa.bool_(),
}


def facts(table: pa.Table, params: Settings) -> pa.Table:  # noqa: ARG001
    """Facts of each text; all but `blank` are missing where the text is.

    characters (Unicode code points), words (runs between spaces), bytes (of UTF-8), letters and unprintable
    (shares of the characters; spaces and line ends count as printable), replaced (U+FFFD: what a wrong decoding
    leaves; bytes that are no UTF-8 count as such), script (of most letters, from their Unicode names: latin,
    han, cyrillic, hiragana, ...; missing where there are no letters), blank (nothing but spaces and
    unprintable characters).
    """
    data = table["text"].cast(pa.large_binary()).to_pylist()  # text may hold bytes that are no UTF-8
    rows = [_facts(item) for item in data]
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in FACTS.items()})


def _facts(data: bytes | None) -> dict[str, Any]:
    if data is None:
        return dict.fromkeys(FACTS) | {"blank": True}
    text = data.decode("utf-8", "replace")
    counts = Counter(text)  # of each different character: 10 MB take a second
    total = max(len(text), 1)
    letters: Counter[str] = Counter()
    unprintable = seen = 0
    for character, count in counts.items():
        if character.isalpha():
            letters[_script(character)] += count
        if character.isprintable():
            seen += count * (not character.isspace())
        elif not character.isspace():
            unprintable += count
    return {
        "characters": len(text),
        "words": len(text.split()),
        "bytes": len(data),
        "letters": sum(letters.values()) / total,
        "unprintable": unprintable / total,
        "replaced": counts["\ufffd"],
        "script": min(letters, key=lambda name: (-letters[name], name)) if letters else None,
        "blank": seen == 0,
    }


@lru_cache(maxsize=65_536)
def _script(letter: str) -> str:
    """The first word of a letter's Unicode name: `latin`, `cyrillic`; `han` for CJK ideographs."""
    import unicodedata

    first = unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0].lower()
    return "han" if first == "cjk" else first


def fit(tables: Iterable[pa.Table], params: Params) -> State:
    """Fit the vocabulary: n-grams by document frequency and their counts by label, or a tokenizer's pieces."""
    return fit_for(tables, params, params.labels)


def fit_for(tables: Iterable[pa.Table], params: Settings, labels: list[str] | None) -> State:
    """Fit the vocabulary for these labels; None: the column is of numbers, and n-grams are counted once."""
    if params.encoding == "pieces":
        return {"tokenizer": _train(tables, params)}
    normalise = _normaliser(params.normalisation)
    texts = (
        (_cleaned(text, normalise), "" if labels is None else label)
        for table in tables
        for text, label in zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True)
        if text is not None and len(text) <= params.max_chars
    )
    return ngrams.fit(texts, [""] if labels is None else labels, params.words, params.characters, params.vocabulary)


def encode(table: pa.Table, params: Settings, state: State) -> Arrays:
    """Tokens `(n, length)` int32, 0 behind the end; for n-grams `ids` and `weights`, float32.

    Raises ValueError for a text that is missing, not UTF-8, longer than max_chars, or has nothing to read.
    """
    texts = [_readable(item, params) for item in table["text"].cast(pa.large_binary()).to_pylist()]
    normalise = _normaliser(params.normalisation)
    if params.encoding == "ngrams":
        vocabulary = ngrams.vocabulary(state["grams"], tuple(state["documents"]))
        cleaned = [_cleaned(text, normalise) for text in texts]
        if "" in cleaned:
            raise ValueError(EMPTY_TEXT)
        presence = params.weighting == "presence"
        found = ngrams.encode(cleaned, vocabulary, params.words, params.characters, params.length, presence=presence)
        return dict(zip(("ids", "weights"), found, strict=True))
    encodings = tokenizer_of(state["tokenizer"], params.length).encode_batch_fast(texts)
    tokens = np.array([encoding.ids for encoding in encodings], np.int32).reshape(len(texts), params.length)
    if texts and (tokens[:, 2] == 0).any():  # [CLS] and [SEP] alone
        raise ValueError(EMPTY_TEXT)
    return {"tokens": tokens}


EMPTY_TEXT = "the text is empty: it contains only spaces and control characters"


def _readable(data: bytes | None, params: Settings) -> str:
    if data is None:
        raise ValueError("the text is missing")
    if len(data) > params.max_chars * 4:  # more than any text of so many characters has: not even decoded
        raise ValueError(
            f"the text has {len(data):,} bytes, more than max_chars allows ({params.max_chars:,} characters)"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the text is not UTF-8: {error.reason} at byte {error.start}") from None
    if len(text) > params.max_chars:
        raise ValueError(f"the text has {len(text):,} characters, more than max_chars ({params.max_chars:,})")
    return text


@cache
def _normaliser(settings: Normalisation) -> Any:
    """The library's, not unicodedata's: that takes time quadratic in a run of combining characters."""
    from tokenizers import Regex, normalizers

    form = {"NFC": normalizers.NFC, "NFKC": normalizers.NFKC}[settings.form]()
    clean = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=False, strip_accents=settings.strip_accents, lowercase=settings.lower
    )
    return normalizers.Sequence([form, clean, normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])


def _cleaned(text: str, normalise: Any) -> str:
    found: str = normalise.normalize_str(text)
    return found


def _train(tables: Iterable[pa.Table], params: Settings) -> str:
    """Train byte-pair encoding (Sennrich 2016) on whole words; returns the tokenizer as JSON.

    Each Han character and each punctuation mark is a word of its own, as in BERT. Of the library's trainers
    only this one gives the same pieces each time: WordPiece's and Unigram's depend on the order of a hash table.
    Every character of the training split is a piece, even above `vocabulary`.
    """
    import json

    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))  # noqa: S106 - not that kind of token
    tokenizer.normalizer = _normaliser(params.normalisation)
    own = Regex(r"▁?(?:\p{Han}|(?!▁)[\p{P}\p{S}])")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Split(own, "isolated")]
    )
    texts = (
        [text for text in table["text"].to_pylist() if text is not None and len(text) <= params.max_chars]
        for table in tables
    )
    trainer = trainers.BpeTrainer(
        vocab_size=params.vocabulary, min_frequency=2, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    marks = [("[CLS]", SPECIAL_TOKENS.index("[CLS]")), ("[SEP]", SPECIAL_TOKENS.index("[SEP]"))]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=marks)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = []  # or a text that says [MASK] or [PAD] would become that token
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=4)
def tokenizer_of(content: str, length: int) -> Any:
    """Return the fitted tokenizer of a state; it cuts and pads to `length` tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(content)
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=length)  # noqa: S106
    return tokenizer


def inputs(params: Settings, state: State) -> dict[str, Input]:  # noqa: ARG001
    """Pieces of words, or n-grams and their weights; the n-gram 0 has no weight."""
    if params.encoding == "pieces":
        return {"tokens": Input("tokens", mask=SPECIAL_TOKENS.index("[MASK]"))}
    return {"ids": Input("tokens"), "weights": Input("weights", ("ids",))}


def spell(tokens: np.ndarray, state: State, name: str = "") -> list[str]:  # noqa: ARG001 - there is one
    """The text of each token of one example `(length,)`; nothing for padding."""
    if "tokenizer" in state:
        tokenizer = tokenizer_of(state["tokenizer"], 4)
        return ["" if token == 0 else str(tokenizer.id_to_token(int(token))).replace("▁", " ") for token in tokens]
    names = ngrams.vocabulary(state["grams"], tuple(state["documents"])).names
    return [names[token] for token in tokens]


def sample(rows: int, seed: int) -> tuple[dict[str, Any], pa.Table]:
    """Short English and Chinese reviews: a word decides, among words that say nothing."""
    random = np.random.default_rng(seed)
    things = (["the room", "this film", "our dinner", "a walk", "the staff"], ["房间", "电影", "早餐", "服务", "位置"])
    good = (["lovely", "great", "a joy", "superb"], ["很好", "喜欢", "干净", "满意"])
    bad = (["awful", "dull", "a mess", "broken"], ["很差", "失望", "太脏", "糟糕"])
    labels = ["negative", "positive"]
    texts, answers = [], []
    for _ in range(rows):
        tongue, answer = int(random.integers(2)), int(random.integers(2))
        first, second = random.choice(things[tongue], 2, replace=False)
        said = random.choice((bad, good)[answer][tongue])
        number = int(random.integers(1000))
        texts.append(f"{second}{number}:{first}{said}。" if tongue else f"{second} {number}, {first} was {said}.")
        answers.append(labels[answer])
    section = {"labels": labels, "vocabulary": 500, "length": 96, "words": [1, 1], "characters": [1, 3]}
    return section, pa.table({"text": texts, "label": answers})
