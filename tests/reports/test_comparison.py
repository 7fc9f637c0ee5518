from dataclasses import replace

from components.evaluation.bootstrap import Difference
from components.reports import comparison
from components.reports.comparison import Pairs, Side

LABELS = [f"label number {number}" for number in range(40)]
OLD = Side(
    "sides/1 (champion)",
    {"train.epochs": 3, "train.dropout": None, "images.labels": LABELS, "seed": 1, "name": "x" * 300},
    data="a" * 36,
    rows={"train": 1000, "test": 100},
    code={"components/training": "c0ffee0123", "components/stages/train.py": "1" * 32},
    packages={"numpy": "2.4.0"},
    metrics={"accuracy": 0.9, "f1_macro": 0.8},
    costs={"train_seconds": 31.834, "size_mb": 1.0},
    ships="the network mlp",
)
NEW = replace(
    OLD,
    title="sides/2",
    settings={
        **OLD.settings,
        "train.epochs": 4,
        "train.dropout": 0.2,
        "images.labels": [*LABELS, "another"],
        "name": "y" * 300,
    },
    data="b" * 36,
    rows={"train": 2088, "test": 100},
    code={"components/training": "decaf", "components/stages/train.py": "1" * 32},
    packages={"numpy": "2.4.1"},
    metrics={"accuracy": 0.95, "f1_macro": 0.7},
    costs={"train_seconds": 9.0, "latency_ms": 0.5},
    ships="gradient boosting, 40 rounds",
)


def test_what_differs_is_told_and_fits_a_terminal() -> None:
    accuracy = Difference("accuracy", 0.95, 0.9, 0.05, 0.01, 0.09)
    loss = Difference("log_loss", 0.5, 0.4, -0.1, -0.2, -0.05)
    f1 = Difference("f1_macro", 0.7, 0.8, -0.1, -0.3, 0.1)
    found = {each.metric: each for each in (accuracy, loss, f1)}
    lines = comparison.text(OLD, NEW, Pairs(found, 80, 100), ["accuracy"])
    assert max(map(len, lines)) <= comparison.WIDTH
    squeezed = [" ".join(line.split()) for line in lines]
    assert squeezed[0] == "sides/1 (champion) -> sides/2"
    for line in (
        "train.epochs 3 -> 4",
        "train.dropout null -> 0.2",
        "images.labels 40 values -> 41 values: +another",
        "data aaaaaaaa -> bbbbbbbb",
        "rows 1,100 -> 2,188 (+1,088)",
        "rows for train 1,000 -> 2,088",
        "package numpy 2.4.0 -> 2.4.1",
        "what ships the network mlp -> gradient boosting, 40 rounds",
        "code components/training c0ffee01 -> decaf",
        "what it brought: the 80 of 100 test examples that are test for both, in pairs; 95% intervals",
        "accuracy 0.9 0.95 +0.05 [+0.01, +0.09] better",
        "log_loss (lower is better) 0.4 0.5 -0.1 [-0.2, -0.05] WORSE",
        "f1_macro 0.8 0.7 -0.1 [-0.3, +0.1] may be chance",
        "train_seconds 31.83 -> 9",
        "latency_ms unknown -> 0.5",
        "size_mb 1 -> unknown",
    ):
        assert line in squeezed, line
    assert not any(line.startswith(("seed", "rows for test", "code components/stages")) for line in squeezed)
    assert any(line.startswith("name xxx") and "xxx... -> yyy" in line and line.endswith("yyy...") for line in squeezed)


def test_what_is_the_same_is_said_to_be() -> None:
    lines = comparison.text(OLD, replace(OLD, title="sides/2"), Pairs(problem="the predictions are gone"), ["accuracy"])
    assert lines[2:4] == ["what changed", "  nothing that determines the result"]
    at = lines.index("what it brought, each on its own test split, without intervals of the difference:")
    assert lines[at + 1 : at + 4] == ["  (the predictions are gone)", "  metric    old  new", "  accuracy  0.9  0.9"]


def test_a_split_that_no_setting_changed_is_told() -> None:
    other = replace(OLD, split={"by": "id"}, rows={"train": 990, "test": 110})
    lines = [" ".join(line.split()) for line in comparison.text(OLD, other, Pairs(), [])]
    assert lines[3:6] == ["rows for train 1,000 -> 990", "rows for test 100 -> 110", "split as it was -> another one"]
    by_setting = replace(other, settings={**OLD.settings, "split.seed": 2})
    assert not any("another one" in line for line in comparison.text(OLD, by_setting, Pairs(), []))


def test_expectations_are_named_where_a_person_changes_them() -> None:
    old, new = (replace(OLD, code={"expectations/tabular.yaml": digest}) for digest in ("c0ffee", "decaf"))
    for folder, named in (("", "expectations/tabular.yaml"), ("models/boats", "models/boats/expectations.yaml")):
        lines = comparison.text(old, replace(new, folder=folder), Pairs(), [])
        assert f"file {named} c0ffee -> decaf" in [" ".join(line.split()) for line in lines]


def test_one_value_is_no_plural() -> None:
    assert comparison._both(["a" * 60], ["b"]) == ("1 value", f"1 value: -{'a' * 60} +b")
    assert comparison._both(["a" * 60], ["a" * 60, "b"]) == ("1 value", "2 values: +b")


def test_without_a_metric_of_both_there_is_no_table() -> None:
    other = replace(NEW, metrics={"mae": 3.0})
    problem = "they predict answers of different kinds"
    told = comparison.text(OLD, other, Pairs(problem=problem), ["accuracy", "mae"])
    at = told.index(f"what it brought cannot be said: {problem}, and no metric is known of both")
    assert told[at + 1 : at + 4] == [
        "  (settings, data, code and costs are compared all the same)",
        "",
        "what it costs",
    ]
    assert not any("metric" in line.split() and "old" in line.split() for line in told)
    told = comparison.text(OLD, replace(NEW, metrics={}), Pairs(), ["accuracy"])
    assert "what it brought cannot be said: no metric is known of both" in told
