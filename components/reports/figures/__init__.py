"""Figures of a training and its evaluation, drawn from the files of build/.

Names that the data gives are drawn with parse_math=False: `$$` is a price tier, and no formula.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from components import temporary
from components.reports.figures import answers, explanations

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def drawn(build: Path, evaluation: Path | None = None) -> Iterator[Path]:
    """Yield a temporary folder with every figure as PNG, and the explained texts as tokens.html.

    `evaluation` is the folder that will become build/evaluation, where that is still being written: what lies there is
    copied first. Raises OSError where it has become that before all is copied.
    """
    if evaluation is not None:
        with temporary.folder() as view:
            shutil.copytree(evaluation, view / "evaluation")
            for path in build.iterdir():
                if path.name != "evaluation":
                    (view / path.name).symlink_to(path.absolute())
            with drawn(view) as folder:
                yield folder
        return
    with temporary.folder() as folder:
        for title, figure in figures(build).items():
            figure.savefig(folder / f"{title}.png", dpi=120)
        if text := explanations.tokens(build):
            (folder / "tokens.html").write_text(text, encoding="utf-8")
        yield folder


def figures(build: Path) -> "dict[str, Figure]":
    """Draw what the files in build/ tell: which there are depends on what is predicted, and from what."""
    found = answers.curves(build) | answers.by_name(build)
    for title, file, draw in (
        ("confusion", "confusion.csv", answers.confusion),
        ("calibration", "calibration.csv", answers.calibration),
        ("precision_recall", "precision_recall.csv", answers.found),
        ("residuals", "residuals.csv", answers.residuals),
        ("slices", "slices.csv", explanations.slices),
        ("importance", "importance.csv", explanations.importance),
    ):
        if (build / "evaluation" / file).exists():
            found[title] = draw(build)
    return found | answers.ranking(build) | answers.forecasts(build) | explanations.occlusion(build)
