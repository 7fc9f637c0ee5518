"""What is drafted reads the same to every YAML parser: to those of YAML 1.1, `no` is a boolean."""

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from components.validation import contract
from components.validation.drafting import Draft

WORDS = "yes no on off y n true false null ~ = << 1 1.5 -1 +2 .5 .inf 0x1f 0o17 1_000 1:30 1e3 2024-01-01 2024-1-1 1 2"
TYPE = "expect_column_values_to_be_in_set"
spelled = st.sampled_from([str.lower, str.upper, str.title])
words = st.builds(
    lambda word, case: case(word), st.sampled_from([*WORDS.split(), "12:30:45", "2024-01-01 10:00"]), spelled
)


@given(st.lists(words | st.text()), st.text(min_size=1) | words)
@example(["no", "yes"], "no")
@example(
    [
        "a\nb",
        "a\n\n  b",
        "",
        " a ",
        "a: b",
        "a #b",
        "?a",
        ":a",
        "a?b",
        "a?",
        "'",
        '"',
        "\x85",
        "\u2028",
        "\ufeff",
        "\U0001f600",
    ],
    "y",
)
def test_strings_are_read_back_as_strings_by_yaml_1_1_and_1_2(values: list[str], column: str) -> None:
    kwargs: dict[str, Any] = {"column": column, "value_set": values, "mostly": 0.9}
    lines = contract._lines(Draft("examples", TYPE, kwargs, "seen: a note", "unknown"), 2)
    text = "\n".join(lines)
    assert text.splitlines() == lines
    for found in (yaml.safe_load(text), YAML(typ="safe").load(text)):
        assert found[0]["kwargs"] == kwargs


@pytest.mark.parametrize("value", ["Rome", "New York", "s12", "no longer", "Yesterday", 'label == "no"'])
def test_what_is_read_as_a_string_anyway_is_not_quoted(value: str) -> None:
    lines = contract._lines(Draft("examples", TYPE, {"value_set": [value]}, "seen: a note"), 2)
    assert lines[1] == f"    kwargs: {{value_set: [{value}]}}"
