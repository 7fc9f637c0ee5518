"""The data report shows a person their data."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import soundfile
from PIL import Image

from components.data import shown
from components.validation import portrait, profile, report

ROWS = 400


def content(label: str) -> profile.Profile:
    random = np.random.default_rng(1)
    x = random.normal(size=ROWS)
    frame = pd.DataFrame(
        {
            "x": x,
            "gaps": np.where(x > 0, np.nan, 5.0 + x),
            "always": np.full(ROWS, 7.0),
            "town": random.choice(["<b>Rome</b>", "<b>Rome</b>", "Oslo", *"abcdef"], ROWS),
            "member": (random.random(ROWS) < 0.5) | (np.arange(ROWS) >= 300),  # the second file is unlike the first
            "note": [f"a long text that is no category, the {row}. of them" for row in range(ROWS)],
            "nothing": pd.Series([None] * ROWS, dtype=object),
        }
    )
    frame["label"] = np.where(x > 0, "yes", "no") if label == "class" else 3 * x + 1
    table = pa.Table.from_pandas(frame, preserve_index=False)
    types = [pa.string() if pa.types.is_large_string(kind) else kind for kind in table.schema.types]
    table = table.cast(pa.schema(list(zip(table.column_names, types, strict=True))))
    table = table.append_column("day", pa.array([86_400_000_000 * row for row in range(ROWS)]).cast(pa.timestamp("us")))
    table = table.set_column(6, "nothing", pa.nulls(ROWS, pa.float64()))
    return profile.of([(table[:300], "a.parquet", 0), (table[300:], "b.parquet", 0)])


def test_a_column_is_described_by_its_kind() -> None:
    found = {view.name: view for view in portrait.views(content("class"), ["no", "yes"])}
    assert "label" not in found
    x, gaps, town = found["x"], found["gaps"], found["town"]
    assert len(x.histogram) == 2  # a colour for each class
    assert sum(len(bars) for bars in x.histogram) > 10
    assert x.tells is not None
    assert x.tells > 0.9
    assert abs(gaps.gaps - 0.5) < 0.1
    assert (len(town.bars), town.more, town.facts) == (5, 3, ["8 different values"])
    assert all(abs(sum(bar.parts) - 1) < 1e-9 for bar in town.bars)
    assert town.tells is not None
    assert town.tells < 0.1
    assert {bar.text for bar in found["member"].bars} == {"true", "false"}
    assert (found["note"].kind, found["always"].facts, found["nothing"].facts) == ("text", ["always 7"], ["no value"])
    assert found["day"].facts == ["1970-01-01 to 1971-02-04", "median 1970-07-19"]


def test_numbers_have_a_line_of_the_mean_label() -> None:
    found = {view.name: view for view in portrait.views(content("number"), [])}
    heights = [float(point.split(",")[1]) for point in found["x"].line.split()]
    assert heights == sorted(heights, reverse=True)  # pixels count from the top
    assert found["label"].tells is None


def test_the_page_has_all_of_it_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    classes = [{"label": "no", "rows": 200, "fraction": 0.5}, {"label": "yes", "rows": 200, "fraction": 0.5}]
    pages = []
    for number in range(2):
        own = ["x", "gaps", "town", "day", "note"]
        found = report.Found("trial", "tabular.yaml", ROWS, 2, 0, 0.01, {}, [], classes, content("class"), own)
        picture = io.BytesIO()
        Image.new("L", (300, 200), 9).save(picture, "png")
        samples = [("no", shown.example(picture.getvalue())), ("yes", shown.example("some <text>"))]
        samples.append(("no", shown.example(b"RIFF....")))
        page = tmp_path / f"{number}.html"
        report.write(page, found, iter(()), samples)
        pages.append(page.read_text())
    assert pages[0] == pages[1]
    for text in (
        "Columns",
        "Facts",
        "Samples",
        "Files unlike the others",
        "To look at",
        "data:image/png",
        "data:audio/wav",
    ):
        assert text in pages[0]
    assert "alone tells the label" in pages[0] and "alone tells the label" in found.summary()["leaks"]
    assert "<b>Rome</b>" not in pages[0]
    assert "&lt;b&gt;Rome&lt;/b&gt;" in pages[0]
    assert "some &lt;text&gt;" in pages[0]


def test_what_cannot_be_shown_is_left_out() -> None:
    assert shown.example(b"no picture") == {}
    assert shown.example(None) == {}
    assert len(shown.example("word " * 1000)["text"]) == shown.MAX_CHARACTERS + 3


def test_a_long_recording_is_shown_as_mp3_or_said_to_be_too_long() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, 2**21)
    for seconds, rate, expected in ((20, 16_000, "sound"), (130, 16_000, "text"), (3, 96_000, "text")):
        wav = io.BytesIO()
        soundfile.write(wav, noise[: seconds * rate], rate, format="WAV", subtype="PCM_16")
        assert [*(found := shown.example(wav.getvalue()))] == [expected], found
        assert found == shown.example(wav.getvalue())  # the same bytes each time
        assert found[expected].startswith("data:audio/mpeg;base64," if expected == "sound" else "a recording that ")
    assert shown.example(b"RIFF" + bytes(shown.MAX_SOUND)) == {"text": "a recording that cannot be played here"}
