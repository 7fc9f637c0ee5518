"""How often an equal, a better and a worse model become the champion: a simulation of the decision.

Two classes, half the examples each. Champion and challenger are right at random, on their own mistakes each but for
those that both make: of the harder examples they miss the same. Nothing is trained; the decision is the real one.
"""

import argparse
from typing import Any

import numpy as np

from components import params
from components.evaluation import bootstrap, promotion
from components.evaluation.examples import Examples
from components.targets import single_label

TARGET = single_label.Target(("no", "yes"))
CHAMPION = 0.9  # of its answers are right
SHARED = 0.5  # of its mistakes are made by the challenger too
SIZES, APART = (150, 1_000, 10_000), (-0.04, -0.02, -0.01, 0.0, 0.01, 0.02, 0.04)


def passed(n: int, apart: float, trials: int, seed: int, resamples: int = 400) -> dict[str, float]:
    """Return the share of trials in which a challenger `apart` better in accuracy is promoted: when_unsure -> share."""
    random = np.random.default_rng([seed, n, round((1 + apart) * 1e6)])
    settings = {name: params.Register(when_unsure=name, resamples=resamples) for name in ("keep", "newer")}
    counts = dict.fromkeys(settings, 0)
    for trial in range(trials):
        actual = random.integers(0, 2, n)
        wrong = random.random(n) < 1 - CHAMPION
        both = SHARED * (1 - CHAMPION)
        theirs = np.where(wrong, SHARED, (1 - CHAMPION - apart - both) / CHAMPION) > random.random(n)
        champion, challenger = (TARGET.certain(np.where(off, 1 - actual, actual)) for off in (wrong, theirs))
        examples = Examples(actual, challenger, TARGET)
        found = bootstrap.compared("f1_macro", examples, examples.answered(champion), trial, resamples, 0.95)
        rival = promotion.Rival("1", n, n, found)
        for name, chosen in settings.items():
            counts[name] += promotion.verdict([], rival, None, chosen, newer=True)[0]
    return {name: count / trials for name, count in counts.items()}


def main() -> None:
    """Print the table of docs/evaluation.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400, help="simulated promotions per cell (default: 400)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulation (default: 1)")
    asked: Any = parser.parse_args()
    print("| test examples | when_unsure |" + "".join(f" {apart:+.2f} |" for apart in APART))
    print("| --- | --- |" + " --- |" * len(APART))
    for n in SIZES:
        cells = [passed(n, apart, asked.trials, asked.seed) for apart in APART]
        for name in ("newer", "keep"):
            print(f"| {n:,} | {name} |" + "".join(f" {cell[name]:.0%} |" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
