"""Figures as pictures that can stand in a page: drawn in parallel, and not again where the last page has them.

What a picture shows follows from a function and plain values, so their hash names it. It is the same bytes on every
run, whichever process drew it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import StoreError
from harness.report import figures
from harness.report.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALE = 2
"""Pixels of the picture per pixel of the page: letters stay sharp on screens that have more."""
FEWEST_FOR_POOL = 12
"""Below this many figures the start of a second process takes longer than it saves."""
_COLOURS = 240
_READ_BY_FIGURES = ("effects", "families", "figure_files", "reading", "text")
"""The other modules of the report that decide what a figure shows."""
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


def key_of(job: partial[Figure]) -> str:
    """sha256 of what decides the picture: the function, its arguments, and the code that draws."""
    content = [job.func.__module__, job.func.__qualname__, job.args, job.keywords, _drawing_code()]
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


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
    keys = [key_of(job) for job in jobs]
    have = dict(known or {})
    missing = {key: job for key, job in zip(keys, jobs, strict=True) if key not in have}
    have.update(zip(missing, _drawn(list(missing.values()), workers=workers), strict=True))
    return [(key, have[key]) for key in keys]


def draw_one(job: partial[Figure]) -> Drawn:
    """The picture of one job, or why it cannot be drawn."""
    try:
        figure = job()
    except StoreError as error:
        return Drawn(problem=str(error))
    return _embedded(figure)


def _drawn(jobs: Sequence[partial[Figure]], *, workers: int | None) -> list[Drawn]:
    count = min(workers or os.cpu_count() or 1, max(1, len(jobs) // (FEWEST_FOR_POOL // 2)))
    if count < 2 or len(jobs) < FEWEST_FOR_POOL:
        return [draw_one(job) for job in jobs]
    from multiprocessing import get_context

    # Spawned, not forked: whoever calls us may have threads of torch or of a notebook.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        return list(pool.map(draw_one, jobs, chunksize=4))


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


@functools.cache
def _drawing_code() -> str:
    """A hash of the sources that draw and of the libraries that they draw with."""
    folder = Path(figures.__file__).parent
    beside = [folder.parent / f"{name}.py" for name in _READ_BY_FIGURES]
    parts = [path.read_text(encoding="utf-8") for path in (*sorted(folder.glob("*.py")), *beside, Path(__file__))]
    parts += [version(name) for name in ("matplotlib", "numpy", "pillow")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
