"""Why a model predicts what it does, tested on the model that ships by changing its inputs.

The cost is bounded by the number of predictions, so that the same model gives the same bytes: see
MAX_EVALUATED, PATCH_POSITIONS and MAX_TOKEN_GROUPS.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from components.evaluation import metrics, mistakes
from components.evaluation.examples import Examples, rounded
from components.recipes import Arrays, Input, Recipe, State, part
from components.streams import stream

Ask = Callable[[Arrays], np.ndarray]  # encoded examples -> the model's outputs
Places = dict[str, list[tuple[str, int]]]  # the name of a column -> the inputs it stands in, and where
PERMUTATIONS = 5  # permutations of a column
MAX_EVALUATED = 100_000  # examples that the permutations of all columns ask of the model, as far as ...
MIN_PER_PERMUTATION = 200  # ... there are this many a permutation; of more columns than that allows, some are left out
SCREENED = 8  # examples in which each column of so many is shuffled, to find those that move the outputs most
SCREENED_AT_ONCE = 1000  # examples asked at a time for that
PATCH_POSITIONS = 13  # of the patch along a side of an image; 7 on one larger than SMALL_IMAGE_SIDE
SMALL_IMAGE_SIDE = 64
MAX_TOKEN_GROUPS = 128  # of a text that are left out one after the other; a longer one loses several tokens at a time
NAMED_KINDS = ("numbers", "codes", "history")


def importance(
    ask: Ask, arrays: Arrays, inputs: dict[str, Input], examples: Examples, seed: int
) -> list[dict[str, Any]]:
    """Permutation importance of each named column: rows of column, importance and spread, the largest first.

    By how much worse the main metric gets, in its own units, when a column's values are shuffled among the
    examples (Breiman 2001, Random Forests, section 10): mean and standard deviation of five permutations. A
    column that stands in several inputs under the same name is permuted in all of them alike. At most
    MAX_EVALUATED predictions in total, at least MIN_PER_PERMUTATION per permutation: of more columns than that allows
    (100), those that move the outputs most, for a prediction costs the more, the more columns there are.
    """
    columns = named(inputs)
    if not columns:
        return []
    random = stream(seed, "permutation importance")
    n = len(examples.outputs)
    rows = np.sort(random.permutation(n)[: max(MIN_PER_PERMUTATION, MAX_EVALUATED // (PERMUTATIONS * len(columns)))])
    metric = metrics.main(examples.target, examples.costs)
    some = {key: np.asarray(array[rows]) for key, array in arrays.items()}
    most = MAX_EVALUATED // (PERMUTATIONS * MIN_PER_PERMUTATION)
    if len(columns) > most:
        columns = _moving(ask, some, columns, examples, most, stream(seed, "columns that move the outputs"))
        print(f"importance: of the {most:,} columns that move the outputs most", flush=True)
    changed = {key: array.copy() for key, array in some.items()}  # once: a column is changed in it, and put back
    base = examples.take(rows)
    value = metrics.measure(base, ranked=False)[0][metric][0]
    found = []
    for name, places in columns.items():
        drops = []
        for _ in range(PERMUTATIONS):
            order = random.permutation(len(rows))
            for key, index in places:
                changed[key][..., index] = some[key][..., index][order]
            again = metrics.measure(base.answered(ask(changed), base.decision), ranked=False)[0][metric][0]
            drops.append(float(metrics.better(metric, value, again)))
        for key, index in places:
            changed[key][..., index] = some[key][..., index]
        spread = float(np.std(drops, ddof=1))
        found.append(
            {
                "column": name,
                "importance": rounded(float(np.mean(drops))),
                "spread": rounded(spread),
            }
        )
    return sorted(found, key=lambda row: (-row["importance"], row["column"]))


def _moving(
    ask: Ask, some: Arrays, columns: Places, examples: Examples, most: int, random: np.random.Generator
) -> Places:
    """Choose the `most` columns that move the outputs most when they get values of other examples; in their order."""
    n = len(next(iter(some.values())))
    first = min(SCREENED, n)
    before = ask({key: array[:first] for key, array in some.items()})
    # numbers are told in their own spread, probabilities are of one kind
    unit = 1.0 if examples.target.classes else np.maximum(examples.outputs.std(axis=0), np.finfo(np.float32).tiny)
    names, moved = list(columns), np.zeros(len(columns))
    at_once = max(1, SCREENED_AT_ONCE // first)
    for start in range(0, len(names), at_once):
        part = names[start : start + at_once]
        changed = {key: np.concatenate([array[:first]] * len(part)) for key, array in some.items()}
        for at, name in enumerate(part):
            others = random.permutation(n)[:first]
            for key, index in columns[name]:
                changed[key][at * first : (at + 1) * first, ..., index] = some[key][others, ..., index]
        apart = np.abs(ask(changed) - np.concatenate([before] * len(part))) / unit
        moved[start : start + len(part)] = apart.reshape(len(part), -1).mean(axis=1)
    kept = np.sort(np.argsort(-moved, kind="stable")[:most])
    return {names[at]: columns[names[at]] for at in kept}


def chosen(examples: Examples, most: int) -> np.ndarray:
    """Choose examples to explain, `(at most most,)` row numbers: the worst predictions, and as many good ones.

    The worst are those that score lowest, the surest of them first; the good ones stand evenly in the better half.
    """
    order, _ = mistakes.ranked(examples)
    wrong = mistakes.worst(examples, most // 2)
    few = min(most, len(order)) - len(wrong)
    good = np.setdiff1d(order[min(len(order) // 2, len(order) - few) :], wrong)
    return np.concatenate([wrong, good[np.linspace(0, len(good) - 1, few).astype(int)]])


def examples(
    ask: Ask,
    arrays: Arrays,
    inputs: dict[str, Input],
    recipe: Recipe,
    state: State,
    measured: Examples,
    most: int,
) -> list[dict[str, Any]]:
    """Explain up to `most` examples with images, spectrograms or texts among their inputs; plain JSON.

    `drop` tells by how much the output that was answered falls when a part of the example is hidden:
    of the label that was chosen, of the likeliest of several, of the mean of all numbers, of the boxes that were found.
    """
    found = []
    seen = shown(inputs)
    for row in chosen(measured, most).tolist() if seen else []:
        one = {key: np.asarray(array[row]) for key, array in arrays.items()}
        for key, entry in seen.items():
            explained = {"row": row, "input": key, "kind": entry.kind}
            explained |= metrics.of(measured.target).said(measured, row)
            found.append(explained | hidden(ask, one, key, entry, recipe, state, measured, row))
    return found


def shown(inputs: dict[str, Input]) -> dict[str, Input]:
    """Return the inputs that are images, spectrograms or texts, of which a part can be hidden."""
    return {key: entry for key, entry in inputs.items() if entry.kind in ("image", "spectrogram", "tokens")}


def hidden(
    ask: Ask, one: Arrays, key: str, entry: Input, recipe: Recipe, state: State, measured: Examples, row: int
) -> dict[str, Any]:
    """Hide one part of an input of an example after the other, and tell by how much what was answered falls: `drop`.

    `one` is the example, encoded, which is `row` of `measured`. Of an image or a spectrogram there are the patches,
    `patch`, `tops` and `lefts`; of a text its `tokens`.
    """
    if entry.kind != "tokens":
        return _occluded(ask, one, key, measured, row)
    spell = part(recipe, "spell")
    explained = _tokens(ask, one, key, entry, measured, row)
    texts = explained.pop("codes")
    words = spell(np.array(texts, np.int32), state, key) if spell is not None else [str(code) for code in texts]
    return explained | {"tokens": list(words)}


def columns(
    ask: Ask, one: Arrays, inputs: dict[str, Input], others: Arrays, measured: Examples, row: int
) -> dict[str, float]:
    """Give each named column of an example the values of other examples; tell by how much what was answered falls.

    `one` is the example, encoded, which is `row` of `measured`; `others` are `(m, ...)`, and the drop is the mean over
    them: what the example's own value adds to the answer, all other columns being as they are (Robnik-Sikonja and
    Kononenko 2008, doi:10.1109/TKDE.2007.190734).
    """
    places = named(inputs)
    if not places:
        return {}
    m = len(next(iter(others.values())))
    changed = _repeated(one, m * len(places))
    for at, spots in enumerate(places.values()):
        for key, index in spots:
            changed[key][at * m : (at + 1) * m, ..., index] = others[key][..., index]
    drops = _drops(ask, changed, measured, row).reshape(len(places), m).mean(axis=1)
    return {name: rounded(float(drop)) for name, drop in zip(places, drops, strict=True)}


def named(inputs: dict[str, Input]) -> Places:
    """Return the named columns among the inputs, and where each stands."""
    columns: Places = {}
    for key, entry in inputs.items():
        for index, name in enumerate(entry.names if entry.kind in NAMED_KINDS else ()):
            columns.setdefault(name, []).append((key, index))
    return columns


def _drops(ask: Ask, arrays: Arrays, measured: Examples, row: int) -> np.ndarray:
    followed = partial(metrics.of(measured.target).followed, measured, row)
    before, after = measured.outputs[row][None], ask(arrays)
    found: np.ndarray = followed(before.astype(np.float64)) - followed(after.astype(np.float64))
    return found


def _repeated(one: Arrays, times: int) -> Arrays:
    return {key: np.repeat(array[None], times, axis=0) for key, array in one.items()}


def _occluded(ask: Ask, one: Arrays, key: str, measured: Examples, row: int) -> dict[str, Any]:
    """Hide one patch after the other behind the image's own mean (Zeiler and Fergus 2014, section 4.2)."""
    picture = one[key]
    sides = picture.shape[:2]
    steps = [
        min(side, PATCH_POSITIONS if max(sides) <= SMALL_IMAGE_SIDE else PATCH_POSITIONS // 2 + 1) for side in sides
    ]
    patch = [max(1, -(-side // (PATCH_POSITIONS // 2 + 1))) for side in sides]
    tops, lefts = (
        np.unique(np.linspace(0, side - size, count).round().astype(int))
        for side, size, count in zip(sides, patch, steps, strict=True)
    )
    mean = picture.mean(axis=(0, 1))
    changed = _repeated(one, len(tops) * len(lefts))
    for index, (top, left) in enumerate((top, left) for top in tops for left in lefts):
        changed[key][index, top : top + patch[0], left : left + patch[1]] = mean
    drops = _drops(ask, changed, measured, row).reshape(len(tops), len(lefts))
    return {
        "patch": patch,
        "tops": tops.tolist(),
        "lefts": lefts.tolist(),
        "drop": [[rounded(float(v)) for v in line] for line in drops],
    }


def _tokens(ask: Ask, one: Arrays, key: str, entry: Input, measured: Examples, row: int) -> dict[str, Any]:
    """Leave one token after the other out: put the mask in its place (Li, Monroe and Jurafsky 2016, arXiv:1612.08220).

    A text of more than MAX_TOKEN_GROUPS tokens loses several neighbours at a time, which share what that tells.
    """
    codes = one[key]
    length = int(np.flatnonzero(codes)[-1]) + 1 if codes.any() else 0
    if not length:
        return {"codes": [], "drop": []}
    width = -(-length // MAX_TOKEN_GROUPS)
    starts = range(0, length, width)
    changed = _repeated(one, len(starts))
    for index, start in enumerate(starts):
        changed[key][index, start : min(start + width, length)] = entry.mask
    drops = np.repeat(_drops(ask, changed, measured, row), width)[:length]
    return {"codes": codes[:length].tolist(), "drop": [rounded(float(v)) for v in drops]}
