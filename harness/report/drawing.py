"""Figures drawn once: a key that names all that a figure shows, and processes that draw those that are new.

A job is a function of a module with plain JSON values as arguments, held by `functools.partial`. What its figure shows
follows from these alone, so their hash names it, and the bytes are the same whichever process draws it. What is made of
a figure, files or a picture in a page, is the caller's business.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from multiprocessing import current_process, get_context
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness.report import figures
from harness.stats import reading

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Job = partial[Figure]

Made = TypeVar("Made")

FEWEST_FOR_POOL = 12
"""Below this many figures the start of a second process takes longer than it saves."""
_READ_BY_FIGURES = ("effects", "families", "forests", "reading", "text", "drawing")
"""The other modules of the report that decide what a figure shows; `harness.stats.reading` does too."""
_NO_POOL = (OSError, ImportError, NotImplementedError, BrokenExecutor)
"""No semaphores (a small or missing /dev/shm), no memory, or a script that no second process can import."""


def key_of(job: Job, *, sources: Sequence[Path] = ()) -> str:
    """sha256 of what decides a picture: the function, its arguments, and the code that draws.

    Args:
        job: a function of a module with plain JSON values as arguments.
        sources: files of code, beside the report's own figures, that decide the picture.
    """
    content = [job.func.__module__, job.func.__qualname__, job.args, job.keywords, _drawing_code(tuple(sources))]
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def draw_new(
    jobs: Mapping[str, Job], *, draw: Callable[[Job], Made], known: Mapping[str, Made], workers: int | None = None
) -> dict[str, Made]:
    """What is made of every job, by its key; only those that `known` lacks are drawn.

    Args:
        jobs: by their keys.
        draw: a function of a module: draws one job and makes of it what is kept.
        known: what is there already, by key.
        workers: processes; None for one per core.
    """
    missing = {key: job for key, job in jobs.items() if key not in known}
    made = dict(zip(missing, _drawn(list(missing.values()), draw=draw, workers=workers), strict=True))
    return {key: made[key] if key in made else known[key] for key in jobs}


def _drawn(jobs: Sequence[Job], *, draw: Callable[[Job], Made], workers: int | None) -> list[Made]:
    count = min(workers or _cores(), len(jobs) // (FEWEST_FOR_POOL // 2))
    if count > 1 and not current_process().daemon:
        try:
            # Spawned, not forked: whoever calls us may have threads of torch or of a notebook.
            with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
                return list(pool.map(draw, jobs, chunksize=4))
        except _NO_POOL:  # an error of `draw` itself comes again below
            pass
    return [draw(job) for job in jobs]


def _cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _drawing_code(sources: tuple[Path, ...]) -> str:
    """A hash of the sources that draw and of the libraries that they draw with."""
    folder = Path(figures.__file__).parent
    beside = [folder.parent / f"{name}.py" for name in _READ_BY_FIGURES] + [Path(reading.__file__)]
    parts = [path.read_text(encoding="utf-8") for path in (*sorted(folder.glob("*.py")), *beside, *sources)]
    parts += [version(name) for name in ("matplotlib", "numpy", "pillow")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
