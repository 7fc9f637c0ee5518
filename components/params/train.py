"""The section `train` of params.yaml; components/training gives its settings a meaning."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from components.params.base import Section
from components.targets import Target

Fraction = Annotated[float, Field(ge=0, lt=1)]


Candidate = Literal["network", "classical"]


def _once(names: list[Candidate]) -> list[Candidate]:
    if len(set(names)) < len(names):
        raise ValueError("named twice")
    return names


NETWORK: Candidate = "network"
Candidates = Annotated[list[Candidate], Field(min_length=1), AfterValidator(_once)]


Warmup = Annotated[float, Field(ge=0)]  # epochs in which the learning rate rises from 0, before the rest


Floor = Annotated[float, Field(ge=0, le=1)]  # share of learning_rate that is never gone below


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

    candidates: Candidates = Field(default_factory=lambda: [NETWORK])  # the best one on validation ships
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
    loss: Literal["auto", "cross_entropy", "binary", "focal", "mse", "mae", "huber", "detection", "ctc"] = "auto"
    label_smoothing: Fraction = 0.0
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(ge=0)]] = "none"
    resample: Literal["none", "balanced"] = "none"
    threshold: Literal["f1", "youden", "cost"] | None = None  # by which answers are decided, chosen on validation
    calibrate: bool = False  # probabilities by a temperature, where validation shows that it helps
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
            raise ValueError(f"momentum and nesterov apply only to the optimizer sgd, not to {self.optimizer}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov requires a momentum, such as 0.9")
        if self.focal_gamma != 2.0 and self.loss != "focal":
            raise ValueError("focal_gamma applies only to the loss focal")
        if self.class_weights == "balanced" and self.resample == "balanced":
            raise ValueError(
                "class_weights and resample must not both be balanced, or rare labels count twice: choose one"
            )
        if self.pretrained is None and (self.freeze_epochs or self.pretrained_part != "backbone"):
            raise ValueError("freeze_epochs and pretrained_part require train.pretrained")
        if self.freeze_epochs >= self.epochs:
            raise ValueError(f"freeze_epochs must be less than epochs ({self.epochs})")
        return self

    def suits(self, target: Target) -> None:
        """Raise ValueError for a setting that makes no sense for what is predicted."""
        if self.loss not in ("auto", *target.losses):
            suitable = f"choose auto, {', '.join(target.losses)}"
            raise ValueError(f"train.loss: {self.loss} does not suit {target.examples}; {suitable}")
        for setting, reason in target.refused.items():
            name, _, only = setting.partition(": ")
            section, key = (self.augment, name.partition(".")[2]) if "." in name else (self, name)
            value, default = getattr(section, key), type(section).model_fields[key].default
            if value == only if only else value != default:
                raise ValueError(f"train.{setting} {reason}")
        if isinstance(self.class_weights, dict) and (unknown := sorted({*self.class_weights} - {*target.names})):
            raise ValueError(f"train.class_weights: no label {unknown[0]!r}; there are: {', '.join(target.names[:20])}")
