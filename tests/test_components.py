"""What all of components share."""

import pytest

from components import brief


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (0.75534, "", "0.7553"),
        (46735.6, "", "46,740"),
        (-46735.6, "+", "-46,740"),
        (123.456, "+", "+123.5"),
        (9999.96, "", "10,000"),
        (1553.2, "", "1553"),
        (4231016200.0, "", "4,231,000,000"),
        (0.00001234, "", "1.234e-05"),
        (1e20, "", "1e+20"),
        (0.0, "+", "+0"),
        (float("nan"), "", "nan"),
        (float("inf"), "", "inf"),
    ],
)
def test_numbers_are_written_as_people_do(value: float, sign: str, text: str) -> None:
    assert brief(value, sign) == text
