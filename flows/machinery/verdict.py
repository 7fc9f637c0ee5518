"""The verdict on a version that was made again: what differs from it, and whether another processor explains that."""

import json
import platform
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.files import model_digest, read_json
from components.reports import difference
from components.tracking import provenance
from components.tracking.origin import Origin
from flows.machinery.origin import Objects, Source

GOOD = ("identical", "within tolerance on another processor", "within tolerance, trained on an unknown processor")
DIFFERENT = "different"
QUARANTINE = "build/validation/quarantine.parquet"


@dataclass(frozen=True)
class Place:
    """A workspace: the version's checkout, the environment for it, and what was made before, for comparison."""

    root: Path

    @property
    def checkout(self) -> Path:
        """The git worktree."""
        return self.root / "checkout"

    @property
    def environment(self) -> Path:
        """The virtual environment; not there where the present one serves."""
        return self.root / "environment"

    @property
    def before(self) -> Path:
        """The outputs as the version has them, as far as they are kept."""
        return self.root / "before"


def compared(objects: Objects, made: Origin, found: Source, place: Place, order: list[str]) -> dict[str, Any]:
    """Compare what the stages made with what the version has; return the verdict, but for the seconds it took."""
    expected = difference.digests(found.lock(), order)
    now = difference.digests(Source("", "", "", {"dvc.lock": (place.checkout / "dvc.lock").read_bytes()}).lock(), order)
    differ = difference.changed(expected, now)
    build = place.checkout / "build"
    cost = build / "cost" / "train.json"
    hardware = read_json(cost) if cost.exists() else {}
    verdict: dict[str, Any] = {
        "verdict": GOOD[0],
        "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "machine": socket.gethostname(),
        "processor": str(hardware.get("device_name", platform.processor() or platform.machine())),
        "versions": _versions(place),
        "commit": found.commit,
        "outputs": sum(map(len, expected.values())),
    }
    model = model_digest(build / "model") if (build / "model" / "model.onnx").exists() else ""
    verdict["model"] = model
    if not differ and model == made.tag("model"):
        return verdict
    if not differ:  # the lock is of another model than the one that was registered
        differ = [("train", "the registered model, whose digest is not that of the model in its dvc.lock")]
        return verdict | {"verdict": DIFFERENT, "stage": differ[0][0], "differ": [differ[0][1]]}
    first = differ[0][0]
    verdict |= {"stage": first, "differ": [path for stage, path in differ if stage == first]}
    apart = _how_far(objects, expected, place)
    if any(path == QUARANTINE for _, path in differ):
        apart["outside"] = [*apart.get("outside", []), "the rows that were set aside, which are others"]
    judged = "metrics" in apart and "build/evaluation" not in apart.get("gone", []) and not apart.get("outside")
    verdict |= apart | {"verdict": DIFFERENT}
    if judged and not made.processor:
        verdict["verdict"] = GOOD[2]
    elif judged and made.processor != verdict["processor"]:
        verdict["verdict"] = GOOD[1]
    return verdict


def _how_far(objects: Objects, expected: difference.Digests, place: Place) -> dict[str, Any]:
    """Measure the difference of model, metrics and predictions; `outside` is what no processor explains."""
    gone = []
    for outs in expected.values():
        for path, digest in outs.items():
            if path in ("build/model", "build/evaluation") and objects.lay(digest, place.before / path):
                gone.append(path)
    pairs = {
        name: (place.before / "build" / path, place.checkout / "build" / path)
        for name, path in {
            "weights": "model/model.onnx",
            "metrics": "evaluation/metrics.json",
            "predictions": "evaluation/predictions.parquet",
        }.items()
    }
    found: dict[str, Any] = {
        name: getattr(difference, name)(*paths) for name, paths in pairs.items() if all(path.exists() for path in paths)
    }
    outside = difference.outside(found.get("metrics", {}), place.before / "build/evaluation/intervals.csv")
    if found.get("predictions", {}).get("other"):
        outside.append("the test examples, which are others")
    found["outside"] = outside
    if "metrics" in found:
        found["metrics"] = difference.largest(found["metrics"])
    if gone:
        found["gone"] = gone
    return {name: value for name, value in found.items() if value or name == "metrics"}


def _versions(place: Place) -> dict[str, str]:
    """Return the versions of Python and of the packages that computed this."""
    python = place.environment / "bin" / "python"
    if not python.exists():
        found = {name: text for name in provenance.PACKAGES if (text := provenance.version(name))}
        return {"python": platform.python_version(), **found}
    code = (
        "import json, platform, sys; from importlib import metadata as m; "
        "print(json.dumps({'python': platform.python_version(), **{n: m.version(n) for n in sys.argv[1:]}}))"
    )
    done = subprocess.run([python, "-c", code, *provenance.PACKAGES], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def told(made: Origin, verdict: Mapping[str, Any]) -> list[str]:
    """Say what came out, a line each."""
    head = f"{made.name} version {made.version}: {verdict['verdict']}"
    if verdict["verdict"] == GOOD[0]:
        return [
            f"{head}: all {verdict['outputs']} outputs have the digests of the version ({verdict['seconds']:.0f} s)"
        ]
    lines = [f"{head}; the first stage that differs is {verdict['stage']} ({', '.join(verdict['differ'])})"]
    if made.processor != verdict["processor"]:
        was = made.processor or "unknown: it was registered from results that DVC's cache brought"
        lines.append(f"processor: {verdict['processor']}; the version was trained on: {was}")
        lines.append("  another kind of processor gives other last bits; metrics are held against their tolerance:")
        lines.append(f"  the interval of a metric, or {difference.TOLERANCE:.0%} of one without")
    lines += [f"  {line}" for line in difference.told(verdict)]
    if outside := verdict.get("outside"):
        lines.append(f"  not within tolerance: {', '.join(outside)}")
    if verdict.get("gone"):
        lines.append(f"  no longer kept, so that nobody can say how far it is off: {', '.join(verdict['gone'])}")
    return lines
