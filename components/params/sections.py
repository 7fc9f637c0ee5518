"""All of params.yaml, typed."""

import hashlib
import json
import re
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, PlainValidator, model_validator

from components import nearest, recipes
from components.params.base import Section
from components.params.operation import Clean, Notify
from components.params.source import Dvc, Files, Sql
from components.params.train import Fraction, Train
from components.targets import Target


def _by(value: Any) -> "str | dict[str, str]":
    if value in ("auto", "id"):
        return str(value)
    if isinstance(value, dict) and len(value) == 1 and set(value) <= {"group", "time"}:
        (column,) = value.values()
        if isinstance(column, str) and column:
            return dict(value)
    raise ValueError("expected auto, id, {group: COLUMN} or {time: COLUMN}")


class Split(Section):
    """How examples are split; those with a value in the dataset's own column `split` are split by that."""

    # auto: series by their time, all else by id; id: a hash of the content; group: all rows of a value of the column
    # on one side; time: the last values of the column are the test split
    by: Annotated[str | dict[str, str], PlainValidator(_by)] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1  # of the hash: another seed, another split
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of what is not test


class Validate(Section):
    """When bad rows are set aside, and when they stop the run."""

    max_bad_fraction: Fraction = 0.01


class Evaluate(Section):
    """How a model is measured."""

    calibration_bins: Annotated[int, Field(ge=2)] = 15
    slices: list[str] = Field(default=[])  # columns and facts by which the test split is cut
    resamples: Annotated[int, Field(ge=100)] = 1000  # of the bootstrap, for the interval of every metric
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    explain: Annotated[int, Field(ge=0, le=100)] = 6  # examples that are explained; 0: nothing is
    mistakes: Annotated[int, Field(ge=0, le=200)] = 24  # examples that the page of a version shows; 0: none
    baseline_rows: Annotated[int, Field(ge=1)] = 100_000  # examples of a split that the classical model gets


def _alias(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", value) or re.fullmatch(r"latest|v\d+", value, re.IGNORECASE):
        raise ValueError("expected letters, digits, - and _; MLflow keeps `latest` and v1, v2 ... for itself")
    return value


Alias = Annotated[str, AfterValidator(_alias)]


class Aliases(Section):
    """What the aliases of a model's versions are called in MLflow."""

    challenger: Alias = "challenger"  # the version that was registered last
    staging: Alias = "staging"  # the one that waits for an approval
    champion: Alias = "champion"  # the one in production
    reference: Alias = "reference"  # the best one so far

    @model_validator(mode="after")
    def _distinct(self) -> "Aliases":
        names = list(self.model_dump().values())
        if len(set(names)) < len(names):
            raise ValueError("aliases: each has a name of its own")
        return self


class Register(Section):
    """What the alias `champion` asks for: gates, and the comparison with the version that has it."""

    score: str | None = None  # the metric that is compared; null: the one that suits the target (metrics.score)
    above_trivial: bool = True  # the model has to beat the trivial baseline, and its own answers dealt at random
    not_below_classical: bool = True  # the model must not be surely worse than the classical baseline
    unseen_test: bool = True  # the test examples must not be ones that training knows
    minimum: dict[str, float] = Field(default={})  # a metric of evaluate: at least
    maximum: dict[str, float] = Field(default={"latency_ms": 50.0, "size_mb": 100.0})  # at most
    margin: Annotated[float, Field(ge=0)] = 0.02  # that a challenger may lose; of an error or a cost, a share of it
    when_unsure: Literal["newer", "keep"] = "newer"  # what decides where the test split is too small for the margin
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100)] = 2000
    promotion: Literal["auto", "approve"] = "auto"  # approve: a person decides on a version that would be promoted
    approval_hours: Annotated[float, Field(gt=0, le=10_000)] = 72.0  # after which nobody's word is a refusal
    aliases: Aliases = Aliases()


OPERATION = {"clean", "notify"}  # sections of operation.py


class Params(Section):
    """All of params.yaml."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # the experiment and the registered model
    recipe: str
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1  # of all that is random, but for the split
    source: Annotated[Files | Sql | Dvc | None, Field(discriminator="kind")] = None  # where new data comes from
    split: Split = Split()
    validate_: Annotated[Validate, Field(alias="validate")] = Validate()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    costs: dict[str, dict[str, float]] | None = None  # actual label -> predicted label -> cost; what is left out is 0
    register_: Annotated[Register, Field(alias="register")] = Register()
    clean: Clean = Clean()
    notify: Notify = Notify()
    task: Any = None  # the recipe's own section, typed by its `Params`: what an example is
    network: Any = None  # what learns, typed by the `Network` of the recipe's networks

    @model_validator(mode="after")
    def _suited(self) -> "Params":
        if self.task is not None:
            self.split_by()
            self.train.suits(self.target())
            if self.train.threshold == "cost" and self.costs is None:
                raise ValueError("train.threshold: cost requires the section `costs`: {ACTUAL: {PREDICTED: number}}")
        return self

    @model_validator(mode="after")
    def _costs(self) -> "Params":
        names = self.target().names if self.costs is not None else ()
        costs = self.costs or {}
        for label in dict.fromkeys([*costs, *(key for row in costs.values() for key in row)]):  # in the file's order
            if label not in names:
                raise ValueError(f"costs: no label {label!r}; {nearest(label, names)}")
        return self

    def target(self) -> Target:
        """Return what is predicted, as the recipe's section says."""
        return recipes.load(self.recipe).target(self.task)

    def split_by(self) -> tuple[str, str | None, int | None]:
        """Return what examples are split by (id, group or time), the column, and the gap where a recipe orders them."""
        recipe = recipes.load(self.recipe)
        by, column = next(iter(self.split.by.items())) if isinstance(self.split.by, dict) else (self.split.by, None)
        ordered = recipes.part(recipe, "ordered")
        own = ordered(self.task) if ordered else None
        if own is None or by == "group":
            return "id" if by == "auto" else by, column, None
        if by == "id" or column not in (None, own[0]):
            raise ValueError(
                f"split.by: examples of {self.recipe} that are near in {own[0]} overlap: expected auto, "
                f"{{time: {own[0]}}} or {{group: COLUMN}}"
            )
        return "time", *own

    def cost_matrix(self) -> np.ndarray | None:
        """Return `costs` as `(labels, labels)` float64, by actual and predicted; None where there are none."""
        if self.costs is None:
            return None
        names = self.target().names
        return np.array([[self.costs.get(actual, {}).get(found, 0.0) for found in names] for actual in names])

    def digest(self) -> str:
        """16 hex digits over all values, defaults included, but those of how a model is run."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True, exclude=OPERATION), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
