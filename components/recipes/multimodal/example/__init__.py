"""Images, texts, recordings and columns of a table in one example, any of them missing: a class, or numbers.

Each modality is what the recipe of its kind makes of it; this one joins them, and says which are there.
"""

import io
import wave
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, Field, model_validator

from components.recipes import Arrays, Input, State
from components.recipes.audio import example as audio_example
from components.recipes.images import example as images_example
from components.recipes.tabular import example as tabular_example
from components.recipes.text import example as text_example

requirements = tuple(
    dict.fromkeys((*images_example.requirements, *text_example.requirements, *audio_example.requirements))
)
TABLE = "table"  # the modality that the columns of `tabular` are
PRESENT = "present"  # the input that says which modalities are there
MISSING, THERE = 1, 2  # its codes
FACTS = ("modalities", "absent", "unreadable")
NONE = "none"  # of absent and unreadable
UNSEEN = "never there in training"  # of the state: modalities that count as missing
NAME = "[A-Za-z][A-Za-z0-9_]*"  # of a modality
RESERVED = (TABLE, PRESENT, *FACTS, "id", "label", "split", "row", "block", "row_key")


def _name(name: str) -> str:
    if name in RESERVED or name in tabular_example.FACTS:
        raise ValueError(f"a modality cannot be named {name}: the name is taken, choose another")
    return name


Name = Annotated[str, Field(pattern=f"^{NAME}$"), AfterValidator(_name)]


class Params(tabular_example.Answers, BaseModel):
    """The section `multimodal` of params.yaml: the settings of each modality, by the column that holds it."""

    images: dict[Name, images_example.Settings] = {}
    text: dict[Name, text_example.Settings] = {}
    audio: dict[Name, audio_example.Settings] = {}
    tabular: tabular_example.Settings | None = None  # all of these columns are one modality

    @model_validator(mode="after")
    def _modalities(self) -> "Params":
        names = [*self.images, *self.text, *self.audio]
        if within := sorted((short, name) for short in names for name in names if name.startswith(f"{short}_")):
            raise ValueError(f"{within[0][1]}: begins like {within[0][0]}, and their inputs could be taken for others'")
        taken = tabular_example.columns(self.tabular).names if self.tabular else []
        if twice := sorted({name for name in names if names.count(name) > 1} | {*names} & {*taken}):
            raise ValueError(f"named twice: {', '.join(twice)}")
        sections = ((images_example, self.images), (text_example, self.text), (audio_example, self.audio))
        facts = {f"{name}_{fact}" for recipe, section in sections for name in section for fact in recipe.FACTS}
        if hidden := sorted({*taken} & {*FACTS, *facts}):
            raise ValueError(f"a column cannot be named {hidden[0]}: a fact has that name; rename it")
        if len(names) + bool(taken) < 2:
            raise ValueError("fewer than two modalities: list columns under images, text, audio or tabular")
        return self


@dataclass(frozen=True)
class Modality:
    """A modality of an example: its name, the part `example` of the recipe that reads it, and its settings there."""

    name: str
    recipe: ModuleType
    params: Any
    columns: pa.Schema  # as that recipe calls them

    @property
    def column(self) -> str | None:
        """The column that holds it; None: the columns of the table."""
        return None if self.name == TABLE else self.name

    def table(self, examples: pa.Table) -> pa.Table:
        """Return the columns as the recipe calls them, and the label where it is there."""
        found = {name: examples[self.column or name] for name in self.columns.names}
        return pa.table(found | ({"label": examples["label"]} if "label" in examples.column_names else {}))

    def there(self, examples: pa.Table) -> np.ndarray:
        """Tell in which examples the modality is there, `(n,)`: of a table, any column."""
        found = np.zeros(len(examples), bool)
        for name in self.columns.names:
            found |= examples[self.column or name].is_valid().to_numpy()
        return found

    def called(self, name: str) -> str:
        """Return what an input of the recipe is called here: as the modality, where it is the only one."""
        return self.name if name in ("image", "spectrogram", "tokens") else f"{self.name}_{name}"


def modalities(params: Params) -> list[Modality]:
    """Return the modalities of an example, in their order."""
    sections = (
        (images_example, params.images, pa.schema({"image": pa.binary()})),
        (text_example, params.text, pa.schema({"text": pa.string()})),
        (audio_example, params.audio, pa.schema({"audio": pa.binary()})),
    )
    found = [
        Modality(name, recipe, own, columns) for recipe, section, columns in sections for name, own in section.items()
    ]
    if params.tabular:
        found.append(Modality(TABLE, tabular_example, params.tabular, tabular_example.columns(params.tabular)))
    return found


def columns(params: Params) -> pa.Schema:
    """A column per image, text and recording, and those of the table."""
    return pa.schema([(each.column or field.name, field.type) for each in modalities(params) for field in each.columns])


target = tabular_example.target


def facts(table: pa.Table, params: Params) -> pa.Table:
    """The facts of each modality, null where it is missing, and three of all.

    Those of an image, a text or a recording begin with its name, as `photo_width`; those of the table are called as the
    recipe tabular calls them. modalities: how many are there, int64. absent, unreadable: the names of those that are
    missing, and of those that `encode` refuses; `none` where there is none.
    """
    found: dict[str, Any] = {}
    counted = np.zeros(len(table), np.int64)
    absent, unreadable = ([""] * len(table) for _ in range(2))
    for modality in modalities(params):
        there = modality.there(table)
        part = modality.recipe.facts(modality.table(table), modality.params)
        for name, column in zip(part.column_names, part.columns, strict=True):
            if modality.column is None:
                found[name] = column
            else:
                found[f"{modality.name}_{name}"] = pc.if_else(pa.array(there), column, pa.scalar(None, column.type))
        counted += there
        for names, rows in ((absent, ~there), (unreadable, there & ~_readable(part, modality))):
            for row in np.flatnonzero(rows):
                names[row] = f"{names[row]} {modality.name}".lstrip()
    listed = (pa.array([names or NONE for names in each], pa.string()) for each in (absent, unreadable))
    return pa.table(found | dict(zip(FACTS, (pa.array(counted), *listed), strict=True)))


def _readable(facts: pa.Table, modality: Modality) -> np.ndarray:
    """Tell by the facts of a modality which examples its recipe encodes."""
    if modality.recipe is text_example:
        fine = pc.and_(pc.invert(facts["blank"]), pc.less_equal(facts["characters"], modality.params.max_chars))
    elif modality.recipe is tabular_example:
        fine = pc.and_(facts["finite"], facts["dates_valid"])
    else:
        fine = facts["decodable"]
    found: np.ndarray = fine.fill_null(fill_value=False).to_numpy()
    return found


def fit(tables: Iterable[pa.Table], params: Params) -> State:
    """Fit what each modality's recipe fits, on the training examples that have it; `tables` are read once for each.

    One that no training example has is told, and counts as missing wherever it is: nothing was learned of it.
    """
    seen: set[str] = set()

    def parts(modality: Modality) -> Iterator[pa.Table]:
        for table in tables:
            there = modality.there(table)
            seen.update([modality.name] if there.any() else [])
            yield modality.table(table).filter(pa.array(there))

    state: State = {}
    for modality in modalities(params):
        if modality.recipe is text_example:
            state[modality.name] = text_example.fit_for(parts(modality), modality.params, params.labels or None)
        else:
            state[modality.name] = modality.recipe.fit(parts(modality), modality.params)
        for _ in parts(modality) if modality.name not in seen else ():  # a recipe need not have looked
            if modality.name in seen:
                break
    state[UNSEEN] = [modality.name for modality in modalities(params) if modality.name not in seen]
    for name in state[UNSEEN]:
        print(f"{name}: no training example has it: it counts as missing in all others, too", flush=True)
    return state


def encode(table: pa.Table, params: Params, state: State) -> Arrays:
    """The arrays of each modality, zeros where it is missing, and `present` `(n, modalities)` int32.

    A code of `present` is 1 where the modality is missing, 2 where it is there. Raises ValueError for an example
    without any, and for one that a modality's recipe refuses; it begins with the modality's name.
    """
    arrays: Arrays = {}
    present = np.full((len(table), len(modalities(params))), MISSING, np.int32)
    empty = np.ones(len(table), bool)
    for at, modality in enumerate(modalities(params)):
        there = modality.there(table)
        empty &= ~there
        if modality.name in state[UNSEEN]:
            there = np.zeros(len(table), bool)
        present[there, at] = THERE
        examples = modality.table(table).filter(pa.array(there)) if len(table) else modality.table(table)
        try:
            found = modality.recipe.encode(examples, modality.params, state[modality.name])
        except ValueError as error:
            raise ValueError(f"{modality.name}: {error}") from None
        for name, array in found.items():
            whole = np.zeros((len(table), *array.shape[1:]), array.dtype)
            whole[there] = array
            arrays[modality.called(name)] = whole
    if empty.any():
        raise ValueError(
            f"the example is empty: none of {', '.join(each.name for each in modalities(params))} is there"
        )
    return arrays | {PRESENT: present}


def inputs(params: Params, state: State) -> dict[str, Input]:
    """The inputs of each modality, and which are there."""
    found = {}
    for modality in modalities(params):
        for name, entry in modality.recipe.inputs(modality.params, state[modality.name]).items():
            own = tuple(map(modality.called, entry.names)) if entry.kind == "weights" else entry.names
            found[modality.called(name)] = Input(entry.kind, own, entry.mask)
    return found | {PRESENT: Input("codes", tuple(f"{each.name} is there" for each in modalities(params)))}


def views(arrays: Arrays, params: Params) -> Iterator[tuple[str, np.ndarray, Arrays]]:
    """Each modality alone, where it is there, and the examples that have it without it, where anything is left.

    What is left out is zeros, as `encode` has what is missing.
    """
    every = modalities(params)
    there = np.asarray(arrays[PRESENT]) == THERE
    for at, modality in enumerate(every):
        others = np.arange(len(every)) != at
        yield f"{modality.name} alone", there[:, at], _hidden(arrays, every, others)
        yield f"without {modality.name}", there[:, at] & there[:, others].any(axis=1), _hidden(arrays, every, ~others)


def _hidden(arrays: Arrays, every: list[Modality], out: np.ndarray) -> Arrays:
    """Leave out modalities."""
    found = dict(arrays)
    for modality in (modality for modality, is_out in zip(every, out, strict=True) if is_out):
        for name in arrays:
            if name == modality.name or (name != PRESENT and name.startswith(f"{modality.name}_")):
                found[name] = np.broadcast_to(np.zeros((), arrays[name].dtype), arrays[name].shape)
    return found | {PRESENT: np.where(out, np.int32(MISSING), arrays[PRESENT])}


def spell(tokens: np.ndarray, state: State, name: str) -> list[str]:
    """The text of each token of one example."""
    own = name if name in state else name.rpartition("_")[0]
    return text_example.spell(tokens, state[own], name)


def sample(rows: int, seed: int) -> tuple[dict[str, Any], pa.Table]:
    """Bright or dark images, words, tones and numbers, each of which tells the label; each is missing now and then."""
    from PIL import Image

    random = np.random.default_rng(seed)
    sides = random.integers(0, 2, rows)
    columns: dict[str, list[Any]] = {"photo": [], "note": [], "sound": [], "size": []}
    time = np.arange(500) / 4000
    for side in sides.tolist():
        picture, recording = io.BytesIO(), io.BytesIO()
        pixels = random.integers(0, 120, (6, 6)).astype(np.uint8) + np.uint8(120 * side)
        Image.fromarray(pixels).save(picture, "png")
        tone = np.sin(2 * np.pi * (300 + 700 * side) * time) * 8000 + random.normal(0, 300, len(time))
        with wave.open(recording, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(4000)
            file.writeframes(tone.astype("<i2").tobytes())
        words = (["dark", "dim"], ["bright", "light"])[side]
        said = f"{random.choice(words)} as seen on {random.choice(['monday', 'tuesday', 'friday'])}"
        row = (picture.getvalue(), said, recording.getvalue(), float(random.normal(2 * side)))
        here = random.random(4) > 0.15
        here[random.integers(4)] = True
        for values, value, is_there in zip(columns.values(), row, here, strict=True):
            values.append(value if is_there else None)
    section: dict[str, Any] = {
        "images": {"photo": {"height": 6, "width": 6}},
        "text": {"note": {"vocabulary": 100, "length": 24, "words": [1, 1], "characters": None}},
        "audio": {"sound": {"sample_rate": 4000, "seconds": 0.125, "window_ms": 32.0, "hop_ms": 16.0, "bands": 8}},
        "tabular": {"numeric": ["size"]},
        "labels": ["dark", "light"],
    }
    types = (pa.binary(), pa.string(), pa.binary(), pa.float64())
    table = {name: pa.array(values, kind) for (name, values), kind in zip(columns.items(), types, strict=True)}
    return section, pa.table(table | {"label": [section["labels"][side] for side in sides]})
