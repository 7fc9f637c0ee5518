"""May a model become the champion? Gates, and what comparisons with other versions say. Numbers only, no MLflow."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from components import SlipwayError, brief, nearest
from components.evaluation import metrics
from components.evaluation.bootstrap import Difference
from components.evaluation.examples import Examples
from components.evaluation.slices import MIN_SLICE_ROWS
from components.params import Params, Register

MAX_KNOWN = 0.1  # share of test examples that training may know, beyond what repeats within training
MIN_COMMON_ROWS = 30  # test examples of both versions under which a comparison says nothing
BASELINE_GATES = {"above_trivial": ("trivial", "chance"), "not_below_classical": ("classical",)}
ITSELF = ": the model itself"  # behind the name of a baseline that is what ships
ENDS = {"above_trivial": ("low", "> 0"), "not_below_classical": ("high", ">= 0")}  # of the interval: what is held


@dataclass(frozen=True)
class Rival:
    """Another version, and by how much the challenger is better on the examples that are test for both."""

    version: str
    rows: int = 0  # test examples that both are compared on
    of: int = 0  # test examples there are
    difference: Difference | None = None
    problem: str = ""  # why there is no difference

    def plain(self) -> dict[str, Any]:
        """Return all of it as plain JSON."""
        found: dict[str, Any] = {"version": self.version, "rows": self.rows, "of": self.of, "problem": self.problem}
        if (apart := self.difference) is not None:
            found |= {"metrics": {apart.metric: apart.other}}
            found |= {"difference": {"mean": apart.better, "low": apart.low, "high": apart.high}}
        return found


def score(params: Params) -> str:
    """Name the metric that is compared: register.score, or the one that suits the target."""
    return params.register_.score or metrics.score(params.target(), params.costs)


def check(params: Params) -> None:
    """Raise SlipwayError where register.score names no metric of the target, before anything is trained for it."""
    if params.register_.score is None:
        return
    target = params.target()
    row = target.encode([])
    scale, outputs = np.ones((2, len(target.names))), np.zeros((2, *target.shape))
    examples = Examples(np.zeros((2, *row.shape[1:]), row.dtype), outputs, target, deviation=scale[0], scale=scale)
    known = metrics.measure(replace(examples, costs=params.cost_matrix()))[0]
    if params.register_.score not in known:
        hint = nearest(params.register_.score, sorted(known))
        raise SlipwayError(f"params.yaml: register.score: no such metric {params.register_.score!r}; {hint}")


def gates(settings: Register, values: Mapping[str, float]) -> list[dict[str, Any]]:
    """Hold values against params.yaml's `register.minimum` and `register.maximum`.

    Returns a dict each of metric, limit (such as ">= 0.9"), value and held. Raises SlipwayError for a metric
    that was not measured, with the nearest one.
    """
    found = []
    for side, sign, limits in (("minimum", ">=", settings.minimum), ("maximum", "<=", settings.maximum)):
        for metric, limit in limits.items():
            if metric not in values:
                hint = nearest(metric, sorted(values))
                if metric.startswith("worst_slice_") and not any(name.startswith("worst_slice_") for name in values):
                    hint = f"no column in evaluate.slices has a slice of at least {MIN_SLICE_ROWS} test examples"
                raise SlipwayError(f"params.yaml: register.{side}.{metric}: no such metric; {hint}")
            value = float(values[metric])
            held = value >= limit if side == "minimum" else value <= limit
            shown = round(value, 6) if math.isfinite(value) else None
            found.append({"metric": metric, "limit": f"{sign} {limit:g}", "value": shown, "held": held})
    return found


def baseline_gates(settings: Register, rows: list[dict[str, str]], metric: str) -> list[dict[str, Any]]:
    """Hold the model against its baselines by the score that is compared; `rows` are those of baselines.csv.

    `above_trivial`: the interval of the difference from the trivial baseline, and from the model's own answers dealt
    out at random, lies above 0. `not_below_classical`: that from the classical baseline does not lie below 0; left out
    where that is what ships.
    A gate that params.yaml turns off is there too, as `off`: a version says so.
    """
    every = {row["baseline"]: row for row in rows if row["metric"] == metric}
    found = []
    for name, baselines in BASELINE_GATES.items():
        end, limit = ENDS[name]
        gate: dict[str, Any] = {"metric": name, "limit": limit, "value": None}
        there = [every[baseline] for baseline in baselines if baseline in every]
        if any(map(itself, there)):
            continue
        if not getattr(settings, name):
            found.append(gate | {"held": True, "off": True})
            continue
        if baselines[0] not in every:
            reason = f"it was not compared with the {baselines[0]} baseline by {metric}, which the gate {name} asks for"
            found.append(gate | {"held": False, "reason": reason})
            continue
        worst = min(there, key=lambda row: float(row[end]))
        value = round(float(worst[end]), 6) + 0.0
        held = value > 0 if name == "above_trivial" else value >= 0
        if len(baselines) > 1:
            gate["against"] = worst["name"] if worst["baseline"] == "chance" else f"the {worst['baseline']} baseline"
        found.append(gate | {"value": value, "held": held} | ({} if held else {"reason": beside(worst)}))
    return found


def unseen_gate(settings: Register, test: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """Hold against register.unseen_test how many test examples have the content of one of training or validation.

    `test` and `others` are the digests of the examples' contents, `(n,)` bytes. Where contents repeat within `others`
    too, as rows of a few categories do, as many of the test examples may be known; where all may be, nothing is
    checked, and the gate says so, as `unchecked`.
    """
    gate: dict[str, Any] = {"metric": "unseen_test", "limit": f"<= {MAX_KNOWN:g}", "value": None}
    if not settings.unseen_test:
        return gate | {"held": True, "off": True}
    known = int(np.isin(test, others).sum())
    counts = np.unique(others, return_counts=True)[1]
    repeated = float(counts[counts > 1].sum() / max(len(others), 1))
    share = known / max(len(test), 1)
    gate |= {"value": round(share, 6), "limit": f"<= {min(repeated + MAX_KNOWN, 1):.3g}"}
    if repeated + MAX_KNOWN >= 1:
        why = f"{100 * repeated:.3g} % of the training and validation examples repeat another one"
        return gate | {"held": True, "unchecked": why}
    if share <= repeated + MAX_KNOWN:
        return gate | {"held": True}
    reason = (
        f"{known:,} of {len(test):,} test examples have the same content as one of training or validation: what the "
        "model scores there says little of new data; look at the official split, the groups or the times"
    )
    return gate | {"held": False, "reason": reason}


def asked(gate: Mapping[str, Any]) -> str:
    """Say in words what a gate asks for; of those against baselines, of which, and which end of the interval."""
    told = str(gate["limit"])
    if gate["metric"] in ENDS:
        told += f", the interval's {ENDS[gate['metric']][0]} end"
        told += f" against {gate['against']}" if "against" in gate else ""
    return f"{told}, since {gate['unchecked']}" if "unchecked" in gate else told


def outcome(gate: Mapping[str, Any]) -> str:
    """Say in a word or two what came of a gate."""
    if gate.get("off"):
        return "turned off"
    return "not checked" if "unchecked" in gate else "passed" if gate["held"] else "not passed"


def itself(row: Mapping[str, str]) -> bool:
    """Tell whether a row of baselines.csv is of the model: the classical model may be the one that ships."""
    return row["name"].endswith(ITSELF)


def beside(row: Mapping[str, str]) -> str:
    """Say in words how the model stands beside a baseline: `row` is one of baselines.csv."""
    value, better, low, high = (float(row[name]) for name in ("value", "better", "low", "high"))
    if itself(row):
        return f"the model is the classical one ({row['name'].removesuffix(ITSELF)}): {row['metric']} {brief(value)}"
    what = {"chance": row["name"]}.get(row["baseline"], f"the {row['baseline']} baseline ({row['name'].rstrip('.')})")
    verdict = "beats" if low > 0 else "IS WORSE THAN" if high < 0 else "DOES NOT BEAT"
    model = value - better if row["metric"] in metrics.LOWER else value + better
    rule = ", lower is better" if row["metric"] in metrics.LOWER else ""
    if low == better == high == 0:
        apart = "no example tells them apart"
    elif low <= 0 <= high:
        apart = f"better by {brief(better, '+')} [{brief(low, '+')}, {brief(high, '+')}], which may be chance"
    else:
        ends = sorted((abs(low), abs(high)))
        apart = f"{'better' if low > 0 else 'worse'} by {brief(abs(better))} [{brief(ends[0])} to {brief(ends[1])}]"
    return f"the model {verdict} {what}: {row['metric']} {brief(model)} to {brief(value)}{rule}; {apart}"


def margin(settings: Register, difference: Difference) -> float:
    """Return how much a challenger may lose, in the metric's units.

    Of an error or a cost `register.margin` is a share of the other version's: nobody knows its unit beforehand.
    """
    return settings.margin * (abs(difference.other) if difference.metric in metrics.IN_UNITS else 1.0)


def rows_needed(difference: Difference, rows: int, limit: float) -> int | None:
    """Return how many test examples would show an equal model to be within the margin; None where these do.

    An interval's width goes with the square root of the examples.
    """
    half = (difference.high - difference.low) / 2
    return math.ceil(rows * (half / limit) ** 2) if half > limit > 0 else None


def verdict(
    held: list[dict[str, Any]],
    champion: Rival | None,
    reference: Rival | None,
    settings: Register,
    *,
    newer: bool = False,
) -> tuple[bool, str]:
    """Decide on gates and on the comparison with the champion and with the reference; return the reason too.

    Not worse means non-inferior: the interval's lower end is at least minus the margin; and that of the difference
    from the champion does not lie wholly below 0. `reference` is the best version so far: within the margin of it too,
    or many small steps down would be a long one. Where the test split is too small to tell, register.when_unsure
    decides: `newer` data and an estimate that is not worse are enough, unless it says `keep`.
    """
    failed = [
        g.get("reason") or f"{g['metric']} is {g['value']}, but the gate is {g['limit']}" for g in held if not g["held"]
    ]
    if failed:
        return False, "; ".join(failed)
    others: dict[str, list[str]] = {"turned off": [], "not checked": []}
    for gate in held:
        if (what := outcome(gate)) in others:
            others[what].append(gate["metric"])
    told = "; ".join(f"{', '.join(names)} {what}" for what, names in others.items() if names)
    passed = f"it passes all gates{f' ({told})' if told else ''}"
    if champion is None:
        promoted, found = _without_champion(reference, settings)
        return promoted, f"{passed} and {found}" if promoted else found
    if champion.difference is None:
        return False, champion.problem
    promoted, reason = _against(champion, champion.difference, reference, settings, newer=newer)
    return promoted, f"{passed}, {reason}" if promoted else reason


def fallen(champion: Rival | None, rows: list[dict[str, str]]) -> str:
    """Say that a champion is worse on today's test split than the trivial baseline; nothing where it is not.

    `rows` are those of baselines.csv. It was better once: what labels or columns mean may have been turned round.
    """
    if champion is None or (apart := champion.difference) is None:
        return ""
    trivial = (row["value"] for row in rows if (row["baseline"], row["metric"]) == ("trivial", apart.metric))
    if (value := next((float(found) for found in trivial), None)) is None:
        return ""
    if apart.other <= value if apart.metric in metrics.LOWER else apart.other >= value:
        return ""
    return (
        f"the champion is worse than the trivial baseline there ({apart.metric} {brief(apart.other)} to "
        f"{brief(value)}): have labels or columns changed their meaning since?"
    )


def _without_champion(reference: Rival | None, settings: Register) -> tuple[bool, str]:
    """Decide where there is no champion: where its alias was removed, the best version so far is still there."""
    if reference is None or (apart := reference.difference) is None:
        return True, "there was no champion"
    limit = margin(settings, apart)
    text = f"against version {reference.version}, the best so far: {_words(reference, apart, limit)}"
    if _falls_short(apart, limit):
        told = f"there is no champion, but it is worse than the best version so far: {text}"
        return False, f"{told}. {_no_more(reference)}"
    return True, f"there was no champion; {text}"


def _against(
    champion: Rival, apart: Difference, reference: Rival | None, settings: Register, *, newer: bool
) -> tuple[bool, str]:
    """Decide on the comparisons alone."""
    limit = margin(settings, apart)
    text, small = _words(champion, apart, limit), []
    found = ""
    if apart.high < 0:
        return False, f"it is worse than the champion: {text}, all of it below 0"
    if apart.low < -limit:
        small.append(_small(champion, apart, limit))
    if reference is not None and (best := reference.difference) is not None:
        most = margin(settings, best)
        text += f"; against version {reference.version}, the best so far: {_words(reference, best, most)}"
        if _falls_short(best, most):
            told = f"it is worse than the best version so far: {text}; many small steps down are a long one"
            return False, f"{told}. {_no_more(reference)}"
        if best.low < -most:
            small.append(_small(reference, best, most))
    if not small:
        found = f"and is not worse than the champion: {text}"
    elif apart.better >= 0 and newer and settings.when_unsure == "newer":
        found = f"saw newer data than the champion, and is not worse as far as can be told: {text}; {small[0]}"
    if found:
        return True, found
    decides = "register.when_unsure is keep" if settings.when_unsure == "keep" else "newer data would decide"
    why = "" if apart.better < 0 else f"; {decides}"
    return False, f"it may be worse than the champion: {text}; {small[0]}{why}"


def _falls_short(apart: Difference, limit: float) -> bool:
    """Tell whether a version is too much worse than the best one so far, or surely worse than it."""
    return apart.better < -limit or (apart.high < 0 and apart.low < -limit)


def _no_more(reference: Rival) -> str:
    return f"If version {reference.version} should count no more, remove its alias `reference`"


def _words(rival: Rival, apart: Difference, limit: float) -> str:
    few = (
        f" on the {rival.rows:,} of {rival.of:,} test examples that are test for both" if rival.rows < rival.of else ""
    )
    return (
        f"{apart.metric} {brief(apart.value)} to {brief(apart.other)}{few}, better by {brief(apart.better, '+')} "
        f"[{brief(apart.low, '+')}, {brief(apart.high, '+')}], the margin is {brief(limit)}"
    )


def _small(rival: Rival, apart: Difference, limit: float) -> str:
    """Say why the interval does not settle it: too few test examples, or a model that loses too much."""
    needed = rows_needed(apart, rival.rows, limit)
    if needed is None:
        return "the interval reaches below minus the margin"
    return (
        f"{rival.rows:,} test examples are too few for a margin of {brief(limit)} (the interval is "
        f"+-{(apart.high - apart.low) / 2:.2g}): about {needed:,} would do"
    )


def today(gates: list[dict[str, Any]], reason: str) -> str:
    """Return why a version is the champion, or that it fails gates raised since then; it stays champion anyway."""
    failed = [gate["metric"] for gate in gates if not gate["held"]]
    if not failed:
        return reason
    return (
        f"it is already the champion, but fails the current gates ({', '.join(failed)}); "
        "`slipway rollback` or `slipway promote` moves the alias if it should not stay"
    )


def evidence(
    gates: list[dict[str, Any]], compared: list[dict[str, Any] | None], confidence: float, reason: str
) -> list[str]:
    """Return the gates, the comparisons and the decision as lines of Markdown.

    `compared` are the champion and the best version so far, as Rival.plain has them.
    """
    lines = []
    for gate in gates:
        spread = f" (rounds differ by {gate['spread']:g})" if "spread" in gate else ""
        what = outcome(gate)
        what = what if what == "passed" else f"**{what}**"
        shown = what if gate.get("off") else f"{gate['value']}{spread}, {what}"
        lines.append(f"- {gate['metric']} {asked(gate)}: {shown}")
    for title, rival in zip(("", ", the best so far"), compared, strict=True):
        if rival and (apart := rival.get("difference")):
            ((metric, value),) = rival["metrics"].items()
            lines.append(
                f"- against version {rival['version']}{title} ({metric} {brief(value)} on {rival['rows']:,} of "
                f"{rival['of']:,} test examples): better by {brief(apart['mean'], '+')}, {confidence:.0%} interval "
                f"[{brief(apart['low'], '+')}, {brief(apart['high'], '+')}] by a paired bootstrap"
            )
    return [*lines, f"- decision: {reason}"]
