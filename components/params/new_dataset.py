"""What a new dataset changes in params.yaml: its gates, its network and its training, and what it takes over."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from components import listed, recipes
from components.params.changes import GATES
from components.params.sections import Params, Register, Split, Validate
from components.params.train import Train
from components.recipes import defaults, networks
from components.recipes.source import Source
from components.targets import Target

NAMED = 5  # columns or labels in a message
OF_THE_MACHINE = ("device", "mixed_precision", "log_every")  # settings of `train` that say nothing of the data
CANDIDATES = "the better one on validation ships; in doubt the classical model, which costs less"
UNEVEN = 0.5  # of the share that each label would have if all were as frequent: one that has less is rare


def stays(source: Source, old: Params | None, *, there: bool, updated: bool) -> bool:
    """Return whether network, training and gates stay as params.yaml has them: a person may have chosen them.

    They stay for the same problem. So they do where a dataset is `there` which the new one replaces, and it is of the
    same recipe and kind of answer: always in an update (`updated`), which brings what the model's own source has, and
    in an ingest if it predicts the same (`differs`), as where a label or a column came or went.
    """
    if old is None or same(source, old):
        return old is not None
    if not there or old.recipe != source.recipe:
        return False
    if updated:
        return recipes.load(old.recipe).target(old.task).kind == _target(source).kind
    return not differs(source, old.recipe, old.task.model_dump(mode="json"))


def others(
    source: Source, old: Params | None, is_cost: Callable[[str], bool], *, stays: bool = False
) -> dict[str, Any]:
    """Return the source's further settings for a new dataset, and with them the gates as far as these change.

    Gates on what a model costs stay. Those on how good it is stay if `stays` says so: a number that was right for
    another problem says nothing here. The source's own come in their place. `is_cost` tells a metric of what a model
    costs.
    """
    own = source.others.get("register", {})
    there = old.register_ if old else Register()
    register = {name: value for name, value in own.items() if name not in GATES}
    for side in GATES:
        limits: dict[str, float] = getattr(there, side)
        stay = {name: limit for name, limit in limits.items() if stays or is_cost(name)}
        if (gates := stay if stays else own.get(side, {}) | stay) != limits:
            register[side] = gates
    more = {name: value for name, value in source.others.items() if name != "register"}
    return more | ({"register": register} if register else {})


def split(source: Source, columns: Iterable[str], old: Params | None) -> dict[str, Any]:
    """Return split.by for a new dataset, as far as it changes: the source's, else one that its columns allow."""
    if source.split_by is not None:
        return {"split": {"by": source.split_by.setting}}
    by = old.split.by if old else "auto"
    ordered = recipes.part(recipes.load(source.recipe), "ordered") is not None
    fits = next(iter(by.values())) in columns if isinstance(by, dict) else not (ordered and by == "id")
    return {} if fits else {"split": {"by": "auto"}}


def same(source: Source, old: Params) -> bool:
    """Return whether a source is of the problem that params.yaml is of: the same columns, labels and sizes."""
    if old.recipe != source.recipe:
        return False
    of_problem = {name: value for name, value in source.settings.items() if name != "reading"}
    try:
        settled = recipes.load(source.recipe).Params.model_validate(old.task.model_dump(mode="json") | of_problem)
    except ValidationError:
        return False
    return bool(settled == old.task)


def network(source: Source, old: Params | None, *, stays: bool) -> dict[str, Any]:
    """Return the section `network` of a new dataset, as far as it changes.

    Another recipe has other settings: its network starts from the defaults, the model's name written out, so that
    there is something to change. One of the same recipe is kept, and for another problem the source's own settings
    come on top.
    """
    if old is None or old.recipe != source.recipe:
        model = networks.load(source.recipe).Network.model_fields.get("model")
        return {"network": source.network or ({"model": model.default} if model else {})}
    if stays or not source.network:
        return {}
    return {"network": old.network.model_dump(mode="json", exclude_unset=True) | source.network}


def training(
    source: Source, old: Params | None, rows: int, labels: Mapping[str, int]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the section `train` of a new dataset, and of each setting a word why.

    `rows` are all of its examples, `labels` how many have each label, where they have one each. Empty for a recipe that
    has no defaults (components/recipes/defaults.py).
    """
    module = defaults.load(source.recipe)
    if module is None:
        return {}, {}
    target = _target(source)
    shares = old.split if old is not None else Split()
    train = max(1, round(rows * (1 - shares.test) * (1 - shares.validation)))
    chosen = {"candidates": (["network", "classical"], CANDIDATES), **module.training(train, target.kind)}
    if target.classes and "calibrate" not in target.refused:
        chosen["calibrate"] = (True, "probabilities by a temperature, where validation shows that it helps")
    if target.exclusive and labels and min(labels.values()) * len(labels) < UNEVEN * sum(labels.values()):
        rarest = min(labels, key=lambda name: (labels[name], name))
        share = labels[rarest] / sum(labels.values())
        chosen["threshold"] = ("f1", f"{share:.1%} of the examples are {rarest}: predict it before it is likelier")
    machine = old.train.model_dump(mode="json", include={*OF_THE_MACHINE}, exclude_unset=True) if old else {}
    values = {name: value for name, (value, _) in chosen.items()}
    return values | machine, {name: why for name, (_, why) in chosen.items()}


def kept(source: Source, old: Params, rows: int, labels: Mapping[str, int]) -> list[str]:
    """Tell which settings of `train` would be others, had they been drafted and not stayed; as `training` has them."""
    drafted, _ = training(source, old, rows, labels)
    settings = Train.model_validate(drafted)
    other = [
        f"{name}: {_plain(getattr(settings, name))}"
        for name in drafted
        if getattr(settings, name) != getattr(old.train, name)
    ]
    return [f"train stays as it is; drafted from these examples, it would have {', '.join(other)}"] if other else []


def validate(old: Params | None, rows: int, unlabelled: int, *, stays: bool) -> tuple[dict[str, Any], list[str]]:
    """Return the section `validate` of a new dataset, as far as it changes, and what to tell of it.

    Rows without a label are set aside: where there are more than a run allows, it allows these, a twentieth of all
    rows at a time. A limit that another dataset needed does not stay; with `stays`, it stays unless it is too low.
    """
    usual, share = Validate().max_bad_fraction, unlabelled / max(rows, 1)
    there = old.validate_.max_bad_fraction if old is not None else usual
    if share > usual:
        limit = min(1.0, math.ceil(20 * (share + usual)) / 20)
        limit = there if stays and there >= share else limit
        told = (
            f"{unlabelled:,} of {rows:,} rows ({share:.1%}) have no label: nothing is learnt from them, they are set "
        )
        told += f"aside; that is more than {usual:.0%} bad rows, so validate.max_bad_fraction is {limit:g}"
        return {"validate": {"max_bad_fraction": limit}}, [told]
    if not stays and there > usual:
        return {"validate": {"max_bad_fraction": usual}}, []
    return {}, []


def _target(source: Source) -> Target:
    recipe = recipes.load(source.recipe)
    return recipe.target(recipe.Params.model_validate(source.settings))


def inherited(old: Params, source: Source, name: str) -> list[str]:
    """Tell the settings of network and training that a new dataset takes over from another one, if any were chosen."""
    lines = []
    for section, where, given in (("network", "", source.network), ("train", ", docs/training.md", {})):
        if section == "train" and defaults.load(source.recipe) is not None:  # they are chosen anew
            continue
        settings = getattr(old, section)
        default = type(settings)()
        chosen = [f"{key}: {_plain(v)}" for key, v in settings if key not in given and v != getattr(default, key)]
        if chosen and (section == "train" or old.recipe == source.recipe):  # the network of another recipe is gone
            before, this = (old.name, name) if old.name != name else ("the dataset before", "this one")
            lines.append(
                f"{section} keeps the settings chosen for {before} ({', '.join(chosen)}), which may not suit {this}: "
                f"review them{where}"
            )
    return lines


def _plain(value: Any) -> str:
    if not isinstance(value, BaseModel):
        return str(value)
    named = {"name": value.name} if hasattr(value, "name") else {}  # of one of several, the default of its own
    return str(named | value.model_dump(exclude_defaults=True))


def differs(source: Source, recipe: str, section: dict[str, Any]) -> str:
    """Tell how a registered model, by its recipe and that section, predicts something else than a source has.

    Empty where it is the same problem: the same recipe and kind of answer, at least one column in common, the same
    numbers to predict, or labels of which one side has all of the other's. A class more, or a column less, is a dataset
    that grew or was tidied up.
    """
    if recipe != source.recipe:
        return f"its recipe is {recipe}"
    module, both = recipes.load(recipe), _both(source, section)
    if both is None:
        return ""
    theirs, ours = both
    answers, wanted = module.target(theirs), module.target(ours)
    names, own = set(answers.names), set(wanted.names)
    if answers.kind != wanted.kind or not (names == own or (answers.classes and (names <= own or own <= names))):
        return f"it predicts {listed(answers.names, NAMED)}"
    columns, here = ([field.name for field in module.columns(each)] for each in (theirs, ours))
    return "" if set(columns) & set(here) else f"its columns are {listed(columns, NAMED)}"


def lacking(source: Source, section: dict[str, Any]) -> str:
    """Name the columns that a registered model of the same recipe, by its section, asks for and a source lacks."""
    module, both = recipes.load(source.recipe), _both(source, section)
    if both is None:
        return ""
    theirs, ours = both
    here = module.columns(ours).names
    return listed([name for name in recipes.asked(module, theirs).names if name not in here], NAMED)


def _both(source: Source, section: dict[str, Any]) -> tuple[Any, Any] | None:
    """Return the sections of a registered model and of a source of its recipe; None where one cannot be read now."""
    module = recipes.load(source.recipe)
    known = {name: value for name, value in section.items() if name in module.Params.model_fields}
    try:  # a version of other days may have had its network's settings there, or others than there are now
        return module.Params.model_validate(known), module.Params.model_validate(source.settings)
    except ValidationError:
        return None
