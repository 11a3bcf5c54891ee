"""A stored picture drawn: `record["pictures"]` holds the data, this maps its kind to a figure function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.errors import StoreError, did_you_mean
from harness.report.figures.curves import bars, curve, distribution
from harness.report.figures.maps import head_map, matrix, pattern
from harness.report.reading import Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(picture: Entry) -> Figure:
    """The figure of one stored picture.

    Raises:
        StoreError: an unknown kind, data that this kind needs and the picture lacks, or data of a wrong shape.
    """
    kind, name = str(picture.get("kind")), str(picture.get("name", ""))
    if kind not in KINDS:
        raise StoreError(
            f"picture {name!r}: kind {kind!r} is not one of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}"
        )
    try:
        return KINDS[kind](picture, name)
    except KeyError as error:
        raise StoreError(f"picture {name!r} of kind {kind!r} has no {error}") from error


def _head_map(picture: Entry, title: str) -> Figure:
    return head_map(picture["values"], unit=picture["unit"], marked=picture.get("marked", ()), title=title)


def _matrix(picture: Entry, title: str) -> Figure:
    return matrix(
        picture["values"],
        rows=picture["rows"],
        columns=picture["columns"],
        unit=picture["unit"],
        marked=picture.get("marked", ()),
        xlabel=picture.get("xlabel", ""),
        ylabel=picture.get("ylabel", ""),
        title=title,
    )


def _pattern(picture: Entry, title: str) -> Figure:
    return pattern(picture["matrix"], tokens=picture["tokens"], head=str(picture["head"]), title=title)


def _curve(picture: Entry, title: str) -> Figure:
    return curve(
        picture["x"],
        picture["y"],
        low=picture.get("low"),
        high=picture.get("high"),
        xlabel=picture["xlabel"],
        ylabel=picture["ylabel"],
        baseline=picture.get("baseline"),
        line=picture.get("line", "mean"),
        title=title,
    )


def _distribution(picture: Entry, title: str) -> Figure:
    return distribution(
        picture["treated"],
        picture["control"],
        labels=picture.get("labels", ()),
        unit=picture["unit"],
        threshold=picture.get("threshold"),
        title=title,
    )


def _bars(picture: Entry, title: str) -> Figure:
    return bars(
        picture["labels"],
        picture["values"],
        low=picture.get("low"),
        high=picture.get("high"),
        unit=picture["unit"],
        threshold=picture.get("threshold"),
        title=title,
    )


KINDS: dict[str, Callable[[Entry, str], Figure]] = {
    "head_map": _head_map,
    "matrix": _matrix,
    "pattern": _pattern,
    "curve": _curve,
    "distribution": _distribution,
    "bars": _bars,
}
