"""A model's card in Markdown, by the template card.md.jinja: its page in the registry, and the note of its run."""

import re
from pathlib import Path
from typing import Any

from components import brief
from components.evaluation import metrics, promotion
from components.files import read_json
from components.params import Params
from components.reports import results

NAMES = 50  # labels or values that the card lists; of more, the worst
CUT = "\n\n_The rest does not fit here._\n"
FEW = 10  # slices and columns
BESIDE = r"rows|(baseline|classical)_.*"  # metrics that other parts of the card say
GAP = "&emsp;"  # between a table's columns: MLflow's pages draw them side by side, and drop every style


def text(params: Params, build: Path, model_digest: str, evaluate: dict[str, Any], most: int | None = None) -> str:
    """Return a model's card: what it is, its data, its results beside the baselines, and its cost.

    `evaluate` is what the evaluation cost, as in results.numbers. A card of more than `most` characters ends with the
    last line that fits, and says so.
    """
    import jinja2

    target = params.target()
    kind = metrics.of(target)
    found = results.numbers(build, model_digest, evaluate)
    validation = build / "validation" / "summary.json"
    out = build / "evaluation"
    names = results.read_csv(out / kind.TABLE)
    shown = names if target.classes or len(names) > 1 else []  # of one number, all is said above
    if len(shown) > NAMES:
        known = [row for row in shown if row[kind.BY_NAME]]
        shown = sorted(known, key=lambda row: float(metrics.better(kind.BY_NAME, float(row[kind.BY_NAME]), 0.0)))
    measured = results.of_test(found)
    environment = jinja2.Environment(  # noqa: S701 - Markdown: `cell` escapes what the data names
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"cell": _cell, "number": _number}
    template = environment.from_string(Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8"))
    card = template.render(
        params=params,
        what=target.title,
        rows=read_json(build / "arrays" / "manifest.json")["rows"],
        set_aside=read_json(validation).get("set_aside", 0) if validation.exists() else 0,
        ships=_ships(params, build),
        epochs=len(results.read_csv(build / "training" / "epochs.csv")),
        share=f"{params.evaluate.confidence:.0%}",
        main=results.main_metric(params),
        score=promotion.score(params),
        measured={k: value for k, value in measured.items() if "_of_" not in k and not re.fullmatch(BESIDE, k)},
        intervals={row["metric"]: row for row in results.read_csv(out / "intervals.csv")},
        baselines=results.baselines(params, out),
        lost=[
            promotion.beside(row)
            for row in results.baselines(params, out)
            if float(row["low"]) <= 0 and not promotion.itself(row)
        ],
        slices=results.read_csv(out / "slices.csv")[:FEW],
        views=results.read_csv(out / "views.csv"),
        kind=kind,
        names=shown[:NAMES],
        of_names=len(names),
        confused=results.confused(out),
        columns=results.read_csv(out / "importance.csv")[:FEW],
        cost=results.of_cost(found),
        train=results.costs(build, model_digest).get("train", {}),
    )
    card = "\n".join(map(_roomy, card.split("\n"))).replace("|\n\n### ", "|\n\n<br>\n\n### ")
    if most is None or len(card) <= most:
        return card
    return card[: most - len(CUT)].rpartition("\n")[0].rstrip("\n") + CUT


def _roomy(line: str) -> str:
    """Put room between the cells of a table's row."""
    return line if not line.startswith("| ") or line.startswith("| ---") else line.replace(" | ", f"{GAP} | ")


def _ships(params: Params, build: Path) -> str:
    """Say what ships and why; of a network its settings that are not the defaults."""
    found = results.candidates(build)
    if found.get("shipped") == "classical":
        return str(found["why"])
    default = type(params.network)()
    settings = params.network.model_dump(mode="json").items()
    said = [f"{key}: {value}" for key, value in settings if key == "model" or value != getattr(default, key)]
    network = f"network {', '.join(said) or 'with the defaults'}"
    return f"{network} ({found['why']})" if "losses" in found else network


def _cell(text: str, most: int = 60) -> str:
    """Spell what the data names, so that Markdown shows it as it is, on one line and short."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in " ".join(text.split()))[:most]


def _number(value: float | str, form: str = "") -> str:
    """Format a number, or the text of one in a CSV, as `brief` does or in a form; nothing of an empty cell."""
    if value == "":
        return ""
    return brief(float(value), form) if form in ("", "+") else format(float(value), form)
