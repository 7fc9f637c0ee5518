"""The typed params.yaml: the only configuration, read in one place."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components import SlipwayError, nearest, recipes
from components.recipes import networks
from components.targets import Target

Model = TypeVar("Model", bound=BaseModel)
Fraction = Annotated[float, Field(ge=0, lt=1)]
Warmup = Annotated[float, Field(ge=0)]  # epochs in which the learning rate rises from 0, before the rest
Floor = Annotated[float, Field(ge=0, le=1)]  # share of learning_rate that is never gone below


class Section(BaseModel):
    """A part of params.yaml: immutable, exact types, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Split(Section):
    """Shares of the examples; a hash of the id decides, unless the dataset has a `split` column."""

    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of what is not test


class Validate(Section):
    """When bad rows are set aside, and when they stop the run."""

    max_bad_fraction: Fraction = 0.01


class Constant(Section):
    """A learning rate that stays."""

    name: Literal["constant"] = "constant"
    warmup: Warmup = 0.0


class InverseTime(Section):
    """A learning rate that falls as 1 / t."""

    name: Literal["inverse_time"] = "inverse_time"
    decay: Annotated[float, Field(ge=0)] = 0.1
    unit: Literal["epoch", "step"] = "epoch"  # of t
    warmup: Warmup = 0.0


class Exponential(Section):
    """A learning rate that falls by the same share in the same time."""

    name: Literal["exponential"] = "exponential"
    decay: Annotated[float, Field(ge=0)] = 0.1
    unit: Literal["epoch", "step"] = "epoch"  # of t
    warmup: Warmup = 0.0


class Cosine(Section):
    """A learning rate that falls as half a cosine."""

    name: Literal["cosine"] = "cosine"
    floor: Floor = 0.0
    warmup: Warmup = 0.0


class OneCycle(Section):
    """A learning rate that rises and falls once."""

    name: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.3  # share of the training that it rises
    start: Annotated[float, Field(gt=0, le=1)] = 0.04  # share of learning_rate
    end: Annotated[float, Field(ge=0, le=1)] = 4e-6  # share of learning_rate


class Plateau(Section):
    """A learning rate that falls where the validation loss does not."""

    name: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5  # of each reduction
    patience: Annotated[int, Field(ge=1)] = 3  # epochs without a better validation loss before one
    floor: Floor = 0.0


# How the learning rate goes over a training; components/training/schedules.py has the formulas.
Schedule = Annotated[Constant | InverseTime | Exponential | Cosine | OneCycle | Plateau, Field(discriminator="name")]


class Augment(Section):
    """Random changes of training examples, by the kind of the recipe's inputs; see components/training/augment.py."""

    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0  # image: up to so many degrees, either way
    flip: Literal["none", "horizontal", "vertical", "both"] = "none"  # image: every second one
    crop: Fraction = 0.0  # image: a window smaller by up to this share, anywhere, enlarged to the whole
    shift: Fraction = 0.0  # image: by up to this share of its sides
    zoom: Fraction = 0.0  # image: in or out by up to this share
    brightness: Fraction = 0.0  # image: up to this share of white more or less
    rand_augment: Annotated[float, Field(ge=0, le=1)] = 0.0  # image: two operations of this strength
    mixup: Annotated[float, Field(ge=0)] = 0.0  # all inputs numeric: alpha of the Beta distribution
    cutmix: Annotated[float, Field(ge=0)] = 0.0  # image: alpha of the Beta distribution
    time_shift: Fraction = 0.0  # spectrogram: by up to this share of its frames
    gain: Annotated[float, Field(ge=0)] = 0.0  # spectrogram: up to so much added to all of it
    noise: Annotated[float, Field(ge=0)] = 0.0  # spectrogram: deviation of noise added to each value
    time_mask: Fraction = 0.0  # spectrogram: up to this share of its frames, in one piece
    frequency_mask: Fraction = 0.0  # spectrogram: up to this share of its bands, in one piece
    token_dropout: Fraction = 0.0  # tokens: share that the mask token replaces
    feature_noise: Annotated[float, Field(ge=0)] = 0.0  # numbers, history: deviation of noise added to each value

    def chosen(self) -> list[str]:
        """Return the names of the settings that are on."""
        return [name for name, value in self if value not in (0, "none")]


class Train(Section):
    """How a model is fitted; docs/training.md explains each setting."""

    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    device: Literal["auto", "cpu", "gpu"] = "auto"
    mixed_precision: Literal["auto", "on", "off"] = "auto"  # auto: on a GPU only
    log_every: Annotated[int, Field(ge=1)] = 100  # steps between live metrics
    optimizer: Literal["sgd", "adam", "adamw", "lion", "muon"] = "adam"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of sgd
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] | None = None  # null: the optimizer's own
    clip_norm: Annotated[float, Field(gt=0)] | None = None  # of all gradients together
    accumulate: Annotated[int, Field(ge=1)] = 1  # batches to a step of the optimizer
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # momentum of the weights' average, which then ships
    schedule: Schedule = Constant()
    loss: Literal["auto", "cross_entropy", "binary", "focal", "mse", "mae", "huber"] = "auto"
    label_smoothing: Fraction = 0.0
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(ge=0)]] = "none"
    resample: Literal["none", "balanced"] = "none"
    threshold: Literal["f1", "youden", "cost"] | None = None  # by which answers are decided, chosen on validation
    initialization: (
        Literal[
            "normal",
            "uniform",
            "glorot_normal",
            "glorot_uniform",
            "he_normal",
            "he_uniform",
            "lecun_normal",
            "lecun_uniform",
            "orthogonal",
        ]
        | None
    ) = None  # null: the layers' own
    l1: Annotated[float, Field(ge=0)] = 0.0
    l2: Annotated[float, Field(ge=0)] = 0.0
    dropout: Fraction = 0.0
    early_stopping: Annotated[int, Field(ge=1)] | None = None  # epochs without a better validation loss
    augment: Augment = Augment()
    pretrained: str | None = None  # models:/NAME@ALIAS, models:/NAME/VERSION, FILE.keras or keras_hub:PRESET
    pretrained_part: Literal["whole", "backbone"] = "backbone"
    freeze_epochs: Annotated[int, Field(ge=0)] = 0  # in which what is pretrained stands still

    @field_validator("schedule", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        return {"name": "constant", **value} if isinstance(value, dict) else value

    @field_validator("class_weights", mode="before")
    @classmethod
    def _weights(cls, value: Any) -> Any:
        weights = value.items() if isinstance(value, dict) else ()
        fine = isinstance(value, dict) and all(
            isinstance(k, str) and isinstance(v, int | float) and v >= 0 for k, v in weights
        )
        if not fine and value not in ("none", "balanced"):  # one message instead of one for each type
            raise ValueError('expected none, balanced or {"LABEL": weight, ...}')
        return value

    @model_validator(mode="after")
    def _together(self) -> "Train":
        if self.optimizer != "sgd" and (self.momentum or self.nesterov):
            raise ValueError(f"momentum and nesterov are of the optimizer sgd, not of {self.optimizer}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum, such as 0.9")
        if self.focal_gamma != 2.0 and self.loss != "focal":
            raise ValueError("focal_gamma is of the loss focal")
        if self.class_weights == "balanced" and self.resample == "balanced":
            raise ValueError("class_weights and resample both balanced would count rare labels twice: choose one")
        if self.pretrained is None and (self.freeze_epochs or self.pretrained_part != "backbone"):
            raise ValueError("freeze_epochs and pretrained_part need something pretrained")
        if self.freeze_epochs >= self.epochs:
            raise ValueError(f"freeze_epochs must be less than epochs ({self.epochs})")
        return self

    def suits(self, target: Target) -> None:
        """Raise ValueError for a setting that makes no sense for what is predicted."""
        if self.loss not in ("auto", *target.losses):
            suitable = f"auto, {', '.join(target.losses)} are"
            raise ValueError(f"train.loss: {self.loss} is not for {target.examples}; {suitable}")
        for setting, reason in target.refused.items():
            name, _, only = setting.partition(": ")
            section, key = (self.augment, name.partition(".")[2]) if "." in name else (self, name)
            value, default = getattr(section, key), type(section).model_fields[key].default
            if value == only if only else value != default:
                raise ValueError(f"train.{setting} {reason}")
        if isinstance(self.class_weights, dict) and (unknown := sorted({*self.class_weights} - {*target.names})):
            raise ValueError(f"train.class_weights: no label {unknown[0]!r}; there are: {', '.join(target.names[:20])}")


class Evaluate(Section):
    """How a model is measured."""

    calibration_bins: Annotated[int, Field(ge=2)] = 15
    slices: list[str] = []  # columns and facts by which the test split is cut
    resamples: Annotated[int, Field(ge=100)] = 1000  # of the bootstrap, for the interval of every metric
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    explain: Annotated[int, Field(ge=0, le=100)] = 6  # examples that are explained; 0: nothing is
    baseline_rows: Annotated[int, Field(ge=1)] = 20_000  # training examples that the classical baseline gets


class Register(Section):
    """The gates to the alias `champion`."""

    minimum: dict[str, float] = {}  # a metric of evaluate: at least
    maximum: dict[str, float] = {"latency_ms": 50.0, "size_mb": 100.0}  # at most
    margin: Annotated[float, Field(ge=0)] = 0.02  # score (accuracy) that a challenger may lose, in the worst case
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100)] = 2000


class Params(Section):
    """All of params.yaml."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # the experiment and the registered model
    recipe: str
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    split: Split = Split()
    validate_: Annotated[Validate, Field(alias="validate")] = Validate()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    costs: dict[str, dict[str, float]] | None = None  # actual label -> predicted label -> cost; what is left out is 0
    register_: Annotated[Register, Field(alias="register")] = Register()
    task: Any = None  # the recipe's own section, typed by its `Params`: what an example is
    network: Any = None  # what learns, typed by the `Network` of the recipe's networks

    @model_validator(mode="after")
    def _suited(self) -> "Params":
        if self.task is not None:
            self.train.suits(self.target())
            if self.train.threshold == "cost" and self.costs is None:
                raise ValueError("train.threshold: cost needs the section `costs`: ACTUAL: {PREDICTED: number}")
        return self

    @model_validator(mode="after")
    def _costs(self) -> "Params":
        names = self.target().names if self.costs is not None else ()
        for label in {*(self.costs or {}), *(key for row in (self.costs or {}).values() for key in row)}:
            if label not in names:
                raise ValueError(f"costs: no label {label!r}; {nearest(label, names)}")
        return self

    def target(self) -> Target:
        """Return what is predicted, as the recipe's section says."""
        return recipes.load(self.recipe).target(self.task)

    def cost_matrix(self) -> np.ndarray | None:
        """Return `costs` as `(labels, labels)` float64, by actual and predicted; None where there are none."""
        if self.costs is None:
            return None
        names = self.target().names
        return np.array([[self.costs.get(actual, {}).get(found, 0.0) for found in names] for actual in names])

    def digest(self) -> str:
        """16 hex digits over all values, defaults included."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml; the section named like the recipe is in `task`, its network's in `network`.

    Raises SlipwayError for a file that is missing or no YAML, an unknown key (with the nearest known
    one) and a value of the wrong type.
    """
    try:
        content = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise SlipwayError(f"{path}: no such file; run the command in the project's root") from None
    except YAMLError as error:
        raise SlipwayError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return check(content, path)


def check(content: Any, path: Path) -> Params:
    """Check the plain content of a params.yaml, as `load` does; `path` is what messages call it."""
    if not isinstance(content, dict):
        raise SlipwayError(f"{path}: expected keys and values such as `recipe: images`")
    sections = {key: content.pop(key) for key in recipes.names() if key in content}
    if "task" in content:
        raise SlipwayError(f"{path}: task: unknown key; a recipe's settings stand under its own name")
    _must_be_in_place(path, sections, content.get("recipe"))
    tasks = {}
    for key, section in sections.items():  # also the recipes not chosen: a typo there is a typo
        tasks[key] = _check(path, recipes.load(key).Params, section or {}, key)
    name = content.get("recipe")
    if isinstance(name, str):
        recipe = recipes.load(name, where=f"{path}: recipe")
        if name not in tasks:
            tasks[name] = _check(path, recipe.Params, {}, name)
        content["task"] = tasks[name]
        content["network"] = _network(path, name, content.get("network"), tasks[name])
    return _check(path, Params, content, "")


def _network(path: Path, recipe: str, section: Any, task: Any) -> BaseModel:
    """Check the section `network` by itself, and that it suits the recipe's section."""
    found = networks.load(recipe)
    network = _check(path, found.Network, {} if section is None else section, "network")
    if suits := getattr(found, "check", None):
        try:
            suits(network, task)
        except ValueError as error:
            raise SlipwayError(f"{path}: network.{error}") from None
    return network


def _must_be_in_place(path: Path, sections: dict[str, Any], chosen: Any) -> None:
    """Raise SlipwayError for each setting of a recipe's section that stands elsewhere now, and say where."""
    lines = []
    for recipe, section in sections.items():
        module, own = networks.load(recipe), recipes.load(recipe).Params.model_fields
        moved = getattr(module, "moved", {})
        for key, value in section.items() if isinstance(section, dict) else ():
            if key not in own and key in module.Network.model_fields:
                of = "" if chosen in (recipe, None) else f", of the chosen recipe ({chosen}): take it out here"
                lines.append(f"{path}: {recipe}.{key}: moved: it is network.{key} now{of}")
            elif f"{key}: {value}" in moved:
                lines.append(f"{path}: {recipe}.{key}: moved: it is {recipe}.{moved[f'{key}: {value}']} now")
    if lines:
        raise SlipwayError("\n".join(lines))


def _check(path: Path, model: type[Model], values: Any, prefix: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(path, model, prefix, dict(detail)) for detail in error.errors()]
        raise SlipwayError("\n".join(lines)) from None


def _explain(path: Path, model: type[BaseModel], prefix: str, detail: dict[str, Any]) -> str:
    keys, there = _follow(model, detail["loc"])
    key = ".".join(filter(None, (prefix, *keys)))
    where = f"{path}: {key}" if key else f"{path}"
    if detail["type"] == "union_tag_invalid":
        tag = detail["ctx"]["tag"]
        return f"{where}: no {keys[-1]} {tag!r}; {nearest(tag, there)}"
    if detail["type"] != "extra_forbidden":
        of_several = detail["type"] == "value_error" and isinstance(detail["input"], dict)  # our own check of a section
        got = "" if detail["type"] == "missing" or of_several else f" (got {detail['input']!r})"
        text = detail["msg"].removeprefix("Value error, ")
        return f"{where}: {text[:1].lower()}{text[1:]}{got if len(got) < 200 else ''}"
    last = keys[-1]
    (tag, section), *others = _follow(model, detail["loc"][:-1])[1].items()
    fields = section.model_fields.items()
    if any(last in other.model_fields for _, other in others):
        own = ", ".join(name for name, field in fields if field.default != tag)
        return f"{where}: {tag} has no {last}; it has {own}"
    known = [field.alias or name for name, field in fields if name != "task"]
    if section is Params:
        known += recipes.names()
    return f"{where}: unknown key; {nearest(last, known, key.removesuffix(last))}"


def _follow(model: type[BaseModel], place: Iterable[Any]) -> tuple[list[str], dict[str, type[BaseModel]]]:
    """Return the keys that lead to an error's place, and the section there, if it is one.

    Where a union stands, its other members follow, each by its tag: pydantic names the chosen one in the place, as in
    ("train", "schedule", "cosine", "floor"), and it is no key.
    """
    keys: list[str] = []
    there: dict[str, type[BaseModel]] = {"": model}
    parts = iter(place)
    for part in parts:
        keys.append(str(part))
        fields = next(iter(there.values())).model_fields.items() if there else ()
        field = next((field for name, field in fields if part in (name, field.alias)), None)
        members = () if field is None else get_args(field.annotation) or (field.annotation,)
        sections = [item for item in members if isinstance(item, type) and issubclass(item, BaseModel)]
        there = {"": sections[0]} if sections else {}
        if field is not None and isinstance(tag := field.discriminator, str):
            there = {get_args(section.model_fields[tag].annotation)[0]: section for section in sections}
            if (chosen := next(parts, None)) is not None:
                there = {chosen: there[chosen], **there}
    return keys, there
