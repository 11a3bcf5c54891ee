"""Which figures stand in the report, under which names; drawing those that are new and writing them as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import StoreError
from harness.report import figures
from harness.report.drawing import draw_new, key_of
from harness.report.forests import claim_forest, forest_caption, summary_forest
from harness.report.manifest import Manifest, stamp
from harness.report.text import inline, slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FOLDER",
    "FigureFiles",
    "Files",
    "Written",
    "claim_forest",
    "draw_files",
    "forest_caption",
    "summary_forest",
]

FOLDER = "figures"


@dataclass(frozen=True)
class Files:
    """One figure as files.

    Attributes:
        contents: by suffix.
        problem: why there are none; empty where there are.
    """

    contents: Mapping[str, bytes] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Written:
    """What a report's figures are once they are written.

    Attributes:
        stamps: of all files, by their names.
        instead: for each figure that cannot be drawn its Markdown, with what is to stand in its place.
    """

    stamps: Mapping[str, str]
    instead: Mapping[str, str]


@dataclass(frozen=True)
class _Wanted:
    """A figure that a page shows: how it is drawn, and the Markdown that shows it."""

    job: partial[Figure]
    markdown: str


@dataclass
class FigureFiles:
    """Collects what is to be drawn while pages are written, gives the Markdown that shows it, then draws it.

    Attributes:
        out: the folder of the report.
        formats: `png` is shown; further formats lie beside it. With none nothing is drawn.
        address: the folder of the figures, seen from the page that is being written.
        wanted: the figures so far, by the stems of their files.
    """

    out: Path
    formats: Sequence[str] = ("png",)
    address: str = FOLDER
    wanted: dict[str, _Wanted] = field(default_factory=dict)

    def show(self, name: str, *, draw: partial[Figure], caption: str) -> str:
        """Markdown of a figure with its caption; `draw` is a function of a module with plain JSON values."""
        if not self.formats:
            return ""
        stem, named = self._free(slug(name, length=90)), inline(name.replace("--", ", "))
        markdown = f"![{named}]({self.address}/{stem}.{self.formats[0]})\n\n_Figure: {inline(caption)}_"
        self.wanted[stem] = _Wanted(draw, markdown)
        return markdown

    def seen_from(self, address: str) -> FigureFiles:
        """The same figures for a page from which their folder has this address."""
        return replace(self, address=address)

    def write(self, *, before: Manifest, workers: int | None = None) -> Written:
        """Draw and write what is not there yet.

        Args:
            before: what the last report here wrote.
            workers: processes that draw; None for one per core.
        """
        keys = {stem: key_of(wanted.job) for stem, wanted in self.wanted.items()}
        new = [stem for stem in self.wanted if not self._kept(stem, key=keys[stem], before=before)]
        jobs = {keys[stem]: self.wanted[stem].job for stem in new}
        made = draw_new(jobs, draw=partial(draw_files, formats=tuple(self.formats)), known={}, workers=workers)
        stamps, instead = {}, {}
        for stem, wanted in self.wanted.items():
            files = made.get(keys[stem])
            if files is not None and files.problem:
                instead[wanted.markdown] = f"_No picture: {inline(files.problem)}_"
                continue
            for suffix in self.formats:
                path = self.out / FOLDER / f"{stem}.{suffix}"
                if files is not None:
                    _write_changed(path, files.contents[suffix])
                stamps[path.name] = before.figures[path.name] if files is None else stamp(keys[stem], path)
        return Written(stamps, instead)

    def _kept(self, stem: str, *, key: str, before: Manifest) -> bool:
        """Whether all files of a figure lie there as the last report wrote them, and show the same."""
        paths = [self.out / FOLDER / f"{stem}.{suffix}" for suffix in self.formats]
        return all(
            path.name in before.figures and path.is_file() and before.figures[path.name] == stamp(key, path)
            for path in paths
        )

    def _free(self, stem: str) -> str:
        place, free = 2, stem
        while free in self.wanted:
            free, place = f"{stem}-{place}", place + 1
        return free


def draw_files(job: partial[Figure], *, formats: Sequence[str]) -> Files:
    """The files of one job, or why it cannot be drawn."""
    try:
        figure = job()
    except StoreError as error:
        return Files(problem=str(error))
    return Files({suffix: figures.encoded(figure, suffix=suffix) for suffix in formats})


def _write_changed(path: Path, content: bytes) -> None:
    """Write the file, or leave it alone where it has these bytes."""
    from harness.report.figures.style import write_bytes

    if not (path.is_file() and path.read_bytes() == content):
        write_bytes(path, content)
