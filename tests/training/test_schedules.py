import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from components.params import Cosine, Exponential, InverseTime, OneCycle, Plateau, Train
from components.training import schedules

EPOCHS, STEPS = st.integers(1, 50), st.integers(1, 200)
few = hypothesis_settings(max_examples=20)  # of a formula, five points each
PEAK, DECAY = st.floats(1e-5, 1.0), st.floats(0, 2)


def rates(settings: Train, steps: int, at: list[int]) -> list[float]:
    rate = schedules.learning_rate(settings, steps)
    return [rate if isinstance(rate, float) else float(rate(step)) for step in at]


def points(settings: Train, steps: int) -> list[int]:
    total = settings.epochs * steps
    return sorted({0, 1, total // 3, total // 2, total - 1})


@given(EPOCHS, STEPS, PEAK)
def test_constant_is_a_number(epochs: int, steps: int, peak: float) -> None:
    settings = Train(epochs=epochs, learning_rate=peak)
    assert schedules.learning_rate(settings, steps) == peak


@few
@given(EPOCHS, STEPS, PEAK, DECAY, st.sampled_from(["epoch", "step"]))
def test_inverse_time_is_its_formula(epochs: int, steps: int, peak: float, b: float, unit: str) -> None:
    schedule = InverseTime.model_validate({"decay": b, "unit": unit})
    settings = Train(epochs=epochs, learning_rate=peak, schedule=schedule)
    at = points(settings, steps)
    t = [step / steps if unit == "epoch" else step for step in at]
    assert rates(settings, steps, at) == pytest.approx([peak / (1 + b * x) for x in t], rel=1e-4)


@few
@given(EPOCHS, STEPS, PEAK, DECAY)
def test_exponential_is_its_formula(epochs: int, steps: int, peak: float, c: float) -> None:
    schedule = Exponential(decay=c)
    settings = Train(epochs=epochs, learning_rate=peak, schedule=schedule)
    at = points(settings, steps)
    assert rates(settings, steps, at) == pytest.approx(
        [peak * math.exp(-c * step / steps) for step in at], rel=1e-4, abs=1e-30
    )


@few
@given(EPOCHS, STEPS, PEAK, st.floats(0, 1), st.integers(0, 5))
def test_cosine_rises_and_then_falls_by_its_formula(
    epochs: int, steps: int, peak: float, floor: float, warmup: int
) -> None:
    schedule = Cosine(floor=floor, warmup=warmup)
    settings = Train(epochs=epochs, learning_rate=peak, schedule=schedule)
    w, total, at = warmup * steps, epochs * steps, points(settings, steps)
    expected = []
    for step in at:
        if step < w:
            expected.append(peak * (step + 1) / (w + 1))
        else:
            p = min((step - w) / max(total - w, 1), 1)
            expected.append(peak * (floor + (1 - floor) * (1 + math.cos(math.pi * p)) / 2))
    assert rates(settings, steps, at) == pytest.approx(expected, rel=1e-3, abs=peak * 1e-5)


@few
@given(EPOCHS, STEPS, PEAK, st.floats(0.05, 0.95))
def test_one_cycle_goes_up_to_its_peak_and_down(epochs: int, steps: int, peak: float, rise: float) -> None:
    schedule = OneCycle(rise=rise, start=0.1, end=0.001)
    settings = Train(epochs=epochs, learning_rate=peak, schedule=schedule)
    total, at = epochs * steps, points(settings, steps)
    expected = []
    for step in at:
        top = rise * total
        if step < top:
            expected.append(0.1 + 0.9 * (1 - math.cos(math.pi * step / top)) / 2)
        else:
            expected.append(1 - 0.999 * (1 - math.cos(math.pi * (step - top) / (total - top))) / 2)
    assert rates(settings, steps, at) == pytest.approx([peak * e for e in expected], rel=1e-3, abs=peak * 1e-5)


LOSSES = st.lists(st.integers(0, 10).map(float), max_size=30)


@given(LOSSES, st.integers(1, 4), st.floats(0.1, 0.9))
def test_plateau_does_what_keras_does(losses: list[float], patience: int, factor: float) -> None:
    import keras

    ours = schedules.plateau(Plateau(patience=patience, factor=factor), losses)
    model = SimpleNamespace(optimizer=keras.optimizers.SGD(1.0))
    reduce = keras.callbacks.ReduceLROnPlateau("val_loss", factor, patience, mode="min", min_delta=0.0)
    reduce.set_model(model)
    reduce.on_train_begin()
    for epoch, loss in enumerate(losses):
        reduce.on_epoch_end(epoch, {"val_loss": loss})
    assert ours == pytest.approx(float(model.optimizer.learning_rate), rel=1e-4)


@given(LOSSES, st.integers(1, 4))
def test_early_stopping_ends_with_the_first_epoch_that_is_too_late(losses: list[float], patience: int) -> None:
    settings = Train(epochs=100, early_stopping=patience)
    ended = next((n for n in range(1, len(losses) + 1) if schedules.finished(settings, losses[:n])), None)
    seen = losses[: ended or len(losses)]
    if seen:
        best = schedules.best(seen)
        assert seen[best] == min(seen)
        assert np.argmin(seen) == best
        assert (len(seen) - 1 - best >= patience) == (ended is not None)


def test_a_rate_that_is_a_schedule_is_seen_by_an_optimizer_of_many_steps_an_execution() -> None:
    import keras

    settings = Train(epochs=2, learning_rate=0.5, schedule=Exponential(decay=1.0))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(
        optimizer=keras.optimizers.SGD(schedules.learning_rate(settings, 4)), loss=first, steps_per_execution=4
    )
    model.fit(np.ones((4, 1)), np.ones((4, 1)), batch_size=1, epochs=2, shuffle=False, verbose=0)
    # the gradient is 1 in every step, so that the weight is minus the sum of the rates
    expected = sum(0.5 * math.exp(-step / 4) for step in range(8))
    assert float(model.get_weights()[0][0, 0]) == pytest.approx(-expected, rel=1e-5)


def first(actual, predicted):
    return predicted[:, 0]
