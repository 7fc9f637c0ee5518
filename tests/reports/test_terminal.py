from pathlib import Path

from components.files import read_json, write_csv, write_json
from components.reports import results, terminal
from tests import fabricate


def test_labels_that_are_never_found_are_named(tmp_path: Path) -> None:
    settings = fabricate.project(tmp_path)
    evaluation = tmp_path / "build" / "evaluation"

    def said(**recalls: tuple[float, int]) -> str:
        rows = [{"label": name, "recall": recall, "rows": n} for name, (recall, n) in recalls.items()]
        write_csv(evaluation / "classes.csv", rows, ["label", "recall", "rows"])
        return "\n".join(terminal.told(settings, evaluation))

    assert "FINDS NONE" not in said(yes=(0.1, 20), no=(0.9, 80), few=(0.0, 4), absent=(0.0, 0))
    told = said(yes=(0.0, 20), no=(1.0, 80), few=(0.0, 4))
    assert "THE MODEL FINDS NONE of yes (20 test examples): it answers as if there were no such label" in told
    many = {f"c{at}": (0.0, 9) for at in range(8)}
    assert "c4 (9 test examples) and 3 more:" in said(**many)
    assert "train.class_weights or train.threshold" in told
    path = tmp_path / "build" / "model" / "model.json"
    write_json(path, read_json(path) | {"candidates": {"shipped": "classical"}})
    told = said(yes=(0.0, 20), no=(1.0, 80))
    assert "no such label; train.threshold: docs" in told  # weights in the loss are the network's alone


def test_a_network_that_the_test_split_does_not_confirm_is_told(tmp_path: Path) -> None:
    settings = fabricate.project(tmp_path)
    evaluation, path = tmp_path / "build" / "evaluation", tmp_path / "build" / "model" / "model.json"
    rows = results.read_csv(evaluation / "baselines.csv")

    def said(low: float, **candidates: object) -> bool:
        new = [row | {"low": low, "better": low + 0.01} if row["baseline"] == "classical" else row for row in rows]
        write_csv(evaluation / "baselines.csv", new, list(rows[0]))
        write_json(path, read_json(path) | {"candidates": candidates})
        return any("better one on validation" in line for line in terminal.beside(settings, evaluation))

    losses = {"network": 0.4, "classical": 0.5}
    assert said(-0.01, shipped="network", losses=losses)
    assert not said(0.01, shipped="network", losses=losses)
    assert not said(-0.01, shipped="network")  # the only candidate
    assert not said(-0.01, shipped="classical", losses=losses)
