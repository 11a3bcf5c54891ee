"""The figures of a page: collected while its text is written, drawn together, then put where the text names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.report import figures
from harness.report.figure_files import FigureFiles
from harness.report.html.cells import cells_of
from harness.report.html.drawing import Drawn, draw_all
from harness.report.text import inline

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Shown:
    """A figure as it stands in the page.

    Attributes:
        name: its name in the page, `figure-12`.
        key: hash of all that decides the picture.
        alt: what it is, for those who do not see it.
        drawn: the picture.
        cells: the numbers under its cells, or None.
    """

    name: str
    key: str
    alt: str
    drawn: Drawn
    cells: Mapping[str, Any] | None = None


@dataclass
class Pictures(FigureFiles):
    """Stands where the Markdown report has its figure files: keeps what is to be drawn and names it in the text.

    Attributes:
        jobs: what is to be drawn, with what it is.
    """

    out: Path = Path()
    jobs: list[tuple[str, partial[Figure]]] = field(default_factory=list)

    def show(self, name: str, *, draw: partial[Figure], caption: str) -> str:
        """Markdown of an image whose address is the figure's name in the page and whose text is the caption."""
        self.jobs.append((_alt(draw), draw))
        return f"![{inline(caption)}](figure-{len(self.jobs)})"

    def drawn(self, *, known: Mapping[str, Drawn], workers: int | None) -> dict[str, Shown]:
        """Every figure that was shown, by its name in the page."""
        made = draw_all([job for _, job in self.jobs], known=known, workers=workers)
        found = {}
        for place, ((alt, job), (key, drawn)) in enumerate(zip(self.jobs, made, strict=True), start=1):
            picture = _picture(job)
            cells = None if picture is None or drawn.problem else cells_of(picture)
            found[f"figure-{place}"] = Shown(f"figure-{place}", key, alt, drawn, cells)
        return found


def _picture(job: partial[Figure]) -> Mapping[str, Any] | None:
    """The stored picture that a job draws, or None for a forest plot."""
    return job.args[0] if job.func is figures.draw else None


def _alt(job: partial[Figure]) -> str:
    picture = _picture(job)
    if picture is None:
        return "forest plot, described by its caption and the table before it"
    return f"{str(picture.get('kind', 'figure')).replace('_', ' ')}: {picture.get('name', '')}"
