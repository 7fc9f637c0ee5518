import shutil
from pathlib import Path

from components.files import model_digest, write_csv, write_json
from components.reports import card
from tests import fabricate

HOSTILE = "a|b `c`\n<img src=x> #1 _d_"


def test_a_card_shows_what_the_data_names_as_it_is(tmp_path: Path) -> None:
    settings = fabricate.project(tmp_path, flip=0.3)
    out = tmp_path / "build" / "evaluation"
    row = {"label": HOSTILE, "precision": 0.5, "recall": 1.0, "f1": "", "rows": 1234}
    write_csv(out / "classes.csv", [row], list(row))
    write_csv(out / "confusion.csv", [{"actual": HOSTILE, "predicted": "x" * 100}] * 2, ["actual", "predicted"])
    page = card.text(settings, tmp_path / "build", model_digest(tmp_path / "build" / "model"), {"latency_ms": 0.5})
    shown = r"a\|b \`c\` \<img src=x\> \#1 \_d\_"
    gap = "&emsp; | "  # MLflow's pages put no room between the cells
    assert f"\n| {shown}{gap}0.500{gap}1.000{gap}{gap}1,234 |\n" in page
    assert f"\n\nMost confused: {shown} taken for {'x' * 60} (2).\n" in page


def test_a_card_says_only_what_is_known(tmp_path: Path) -> None:
    settings = fabricate.project(tmp_path)
    build = tmp_path / "build"
    shutil.rmtree(build / "cost")
    for name in ("baselines", "intervals", "confusion", "slices"):
        (build / "evaluation" / f"{name}.csv").unlink(missing_ok=True)
    page = card.text(settings, build, model_digest(build / "model"), {})
    assert [line for line in page.splitlines() if line.startswith("#")] == [
        "### Data",
        "### Result on the test split",
        "### By label",
        "### Cost",
    ]
    assert page.endswith("MB\n")
    assert page.startswith("**sides**: a single-label classifier with 2 classes, built with")
    assert "test examples; 2 rows set aside" in page
    write_json(build / "validation" / "summary.json", {"set_aside": 1})
    assert "test examples; 1 row set aside" in card.text(settings, build, model_digest(build / "model"), {})
    assert "\n\n\n" not in page
    assert "fitting" not in page
    write_json(build / "cost" / "train.json", {"fit_seconds": 2.0, "device": "gpu", "device_name": "Fast One"})
    page = card.text(settings, build, model_digest(build / "model"), {})
    assert "\n- training time: 2.0 s on Fast One\n- size" in page


def test_of_a_thousand_classes_a_card_lists_the_worst(tmp_path: Path) -> None:
    settings = fabricate.project(tmp_path)
    build = tmp_path / "build"
    rows = [
        {"label": f"class {at}", "precision": 0.5, "recall": 0.5, "f1": "" if at == 3 else at / 1000, "rows": 2}
        for at in range(1000, 0, -1)
    ]
    write_csv(build / "evaluation" / "classes.csv", rows, list(rows[0]))
    page = card.text(settings, build, model_digest(build / "model"), {})
    assert "\n### By label, the 50 worst of 1,000\n" in page
    lines = [line for line in page.splitlines() if line.startswith("| class ")]
    listed = [line.split("&emsp; | ")[0].removeprefix("| ") for line in lines]
    assert listed == [f"class {at}" for at in range(1, 52) if at != 3]


def test_a_card_that_is_too_long_ends_with_a_whole_line_and_says_so(tmp_path: Path) -> None:
    settings = fabricate.project(tmp_path)
    build = tmp_path / "build"
    whole = card.text(settings, build, model_digest(build / "model"), {})
    assert card.text(settings, build, model_digest(build / "model"), {}, len(whole)) == whole
    cut = card.text(settings, build, model_digest(build / "model"), {}, len(whole) - 1)
    assert len(cut) < len(whole) and cut.endswith(card.CUT)
    lines = cut.removesuffix(card.CUT).splitlines()
    assert lines == whole.splitlines()[: len(lines)]
