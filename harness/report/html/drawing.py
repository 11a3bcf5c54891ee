"""Figures as pictures that can stand in a page, which the next page there takes over where they show the same."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import StoreError
from harness.report.drawing import draw_new, key_of
from harness.report.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALE = 2
"""Pixels of the picture per pixel of the page: letters stay sharp on screens that have more."""
_COLOURS = 240
_DRAWN = re.compile(
    r'data-drawn="(?P<key>[0-9a-f]{64})" data-cells="(?P<cells>[0-9. ]*)" '
    r'src="data:image/webp;base64,(?P<webp>[A-Za-z0-9+/=]+)" width="(?P<width>\d+)" height="(?P<height>\d+)"'
)


@dataclass(frozen=True)
class Drawn:
    """A drawn figure.

    Attributes:
        webp: base64 of the picture, without loss.
        width: on the page, in its pixels.
        height: likewise.
        cells: left, top, width and height of the first axes as shares of the picture: where a map's cells lie.
        problem: why there is no picture; empty where there is one.
    """

    webp: str = ""
    width: int = 0
    height: int = 0
    cells: tuple[float, ...] = ()
    problem: str = ""


def drawn_in(page: str) -> dict[str, Drawn]:
    """The figures of an earlier page by their key."""
    found = {}
    for match in _DRAWN.finditer(page):
        box = tuple(float(share) for share in match["cells"].split())
        found[match["key"]] = Drawn(match["webp"], int(match["width"]), int(match["height"]), box)
    return found


def draw_all(
    jobs: Sequence[partial[Figure]], *, known: Mapping[str, Drawn] | None = None, workers: int | None = None
) -> list[tuple[str, Drawn]]:
    """Key and picture of every job in their order; only those that `known` lacks are drawn.

    Args:
        jobs: functions of a module with plain JSON values as arguments, each returning a Figure.
        known: pictures by key.
        workers: processes; None for one per core.
    """
    keys = [key_of(job, sources=(Path(__file__),)) for job in jobs]
    made = draw_new(dict(zip(keys, jobs, strict=True)), draw=draw_one, known=known or {}, workers=workers)
    return [(key, made[key]) for key in keys]


def draw_one(job: partial[Figure]) -> Drawn:
    """The picture of one job, or why it cannot be drawn."""
    try:
        figure = job()
    except StoreError as error:
        return Drawn(problem=str(error))
    return _embedded(figure)


def _embedded(figure: Figure) -> Drawn:
    from PIL import Image

    pixels = np.asarray(_rasterised(figure).canvas.buffer_rgba())  # type: ignore[attr-defined]  # the canvas is Agg's
    out = io.BytesIO()
    with Image.fromarray(pixels) as image:
        few = image.convert("RGB").quantize(colors=_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.convert("RGB").save(out, format="WEBP", lossless=True, quality=60, method=3)
        width, height = image.width // SCALE, image.height // SCALE
    place = figure.axes[0].get_position()
    box = tuple(round(float(share), 5) for share in (place.x0, 1 - place.y1, place.width, place.height))
    return Drawn(base64.b64encode(out.getvalue()).decode(), width, height, box)


@style.styled
def _rasterised(figure: Figure) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(SCALE * style.DPI)
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]  # matplotlib ships this without annotations
    return figure
