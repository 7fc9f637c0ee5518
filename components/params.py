"""The typed params.yaml: the only configuration, read in one place."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components import SlipwayError, nearest, recipes

Model = TypeVar("Model", bound=BaseModel)
Fraction = Annotated[float, Field(ge=0, lt=1)]


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


class Train(Section):
    """How a model is fitted."""

    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    device: Literal["auto", "cpu", "gpu"] = "auto"
    mixed_precision: Literal["auto", "on", "off"] = "auto"  # auto: on a GPU only
    log_every: Annotated[int, Field(ge=1)] = 100  # steps between live metrics


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

    minimum: dict[str, float] = {"accuracy": 0.9}  # a metric of evaluate: at least
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
    task: Any = None  # the recipe's own section, typed by its `Params`

    @model_validator(mode="after")
    def _costs(self) -> "Params":
        names = recipes.load(self.recipe).target(self.task).names if self.costs is not None else ()
        for label in {*(self.costs or {}), *(key for row in (self.costs or {}).values() for key in row)}:
            if label not in names:
                raise ValueError(f"costs: no label {label!r}; {nearest(label, names)}")
        return self

    def cost_matrix(self) -> np.ndarray | None:
        """Return `costs` as `(labels, labels)` float64, by actual and predicted; None where there are none."""
        if self.costs is None:
            return None
        names = recipes.load(self.recipe).target(self.task).names
        return np.array([[self.costs.get(actual, {}).get(found, 0.0) for found in names] for actual in names])

    def digest(self) -> str:
        """16 hex digits over all values, defaults included."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml; the section named like the recipe is in `task`.

    Raises SlipwayError for a file that is missing or no YAML, an unknown key (with the nearest known
    one) and a value of the wrong type.
    """
    try:
        content = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise SlipwayError(f"{path}: no such file; run the command in the project's root") from None
    except YAMLError as error:
        raise SlipwayError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SlipwayError(f"{path}: expected keys and values such as `recipe: images`")
    sections = {key: content.pop(key) for key in recipes.names() if key in content}
    if "task" in content:
        raise SlipwayError(f"{path}: task: unknown key; a recipe's settings stand under its own name")
    tasks = {}
    for key, section in sections.items():  # also the recipes not chosen: a typo there is a typo
        tasks[key] = _check(path, recipes.load(key).Params, section or {}, key)
    name = content.get("recipe")
    if isinstance(name, str):
        recipe = recipes.load(name, where=f"{path}: recipe")
        if name not in tasks:
            tasks[name] = _check(path, recipe.Params, {}, name)
        content["task"] = tasks[name]
    return _check(path, Params, content, "")


def _check(path: Path, model: type[Model], values: Any, prefix: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(path, model, prefix, dict(detail)) for detail in error.errors()]
        raise SlipwayError("\n".join(lines)) from None


def _explain(path: Path, model: type[BaseModel], prefix: str, detail: dict[str, Any]) -> str:
    *parents, last = detail["loc"] or ("",)
    key = ".".join(str(part) for part in (prefix, *detail["loc"]) if part != "")
    if detail["type"] != "extra_forbidden":
        got = "" if detail["type"] == "missing" else f" (got {detail['input']!r})"
        text = detail["msg"].removeprefix("Value error, ")
        return f"{path}: {key}: {text[:1].lower()}{text[1:]}{got if len(got) < 200 else ''}"
    known = _keys(model, parents)
    if not prefix and not parents:
        known += recipes.names()
    parent = ".".join(str(part) for part in (prefix, *parents) if part != "")
    return f"{path}: {key}: unknown key; {nearest(str(last), known, f'{parent}.' if parent else '')}"


def _keys(model: type[BaseModel], parents: list[Any]) -> list[str]:
    for parent in parents:
        field = next((f for n, f in model.model_fields.items() if parent in (n, f.alias)), None)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return [field.alias or name for name, field in model.model_fields.items() if name != "task"]
