"""A stored picture drawn: `record["pictures"]` holds the data, this maps its kind to a figure function."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.errors import StoreError, did_you_mean
from harness.report.figures.curves import bars, curve, distribution
from harness.report.figures.doses import dose_response, trade_off
from harness.report.figures.graphs import circuit
from harness.report.figures.maps import head_map, matrix, pattern
from harness.report.figures.templates import faithfulness
from harness.report.reading import Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_HEAD = re.compile(r"\d+\.\d+", re.ASCII)
_NUMBERED = re.compile(r"(.*\D)\s\d+")


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
        xlabel=picture.get("xlabel") or _told_by(picture["columns"], otherwise="column"),
        ylabel=picture.get("ylabel") or _told_by(picture["rows"], otherwise="row"),
        title=title,
    )


def _told_by(names: Sequence[object], *, otherwise: str) -> str:
    """What an axis is, as far as its names say it: older records do not."""
    texts = [str(name) for name in names]
    heads = [text.partition(",")[0] for text in texts]
    if any(map(_HEAD.fullmatch, heads)) and all(_HEAD.fullmatch(head) or head == "joint" for head in heads):
        return "head (layer.head)" + ("; joint: together" if "joint" in heads else "")
    words = {match[1] for match in map(_NUMBERED.fullmatch, texts) if match}
    return words.pop() if len(words) == 1 and all(map(_NUMBERED.fullmatch, texts)) else otherwise


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
        band=picture.get("band", "95 % interval"),
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
        ylabel=picture.get("ylabel", ""),
        title=title,
    )


def _dose_response(picture: Entry, title: str) -> Figure:
    return dose_response(
        picture["doses"],
        picture["values"],
        low=picture.get("low"),
        high=picture.get("high"),
        controls=picture.get("controls", ()),
        xlabel=picture["xlabel"],
        ylabel=picture["ylabel"],
        line=picture.get("line", "subject"),
        title=title,
    )


def _trade_off(picture: Entry, title: str) -> Figure:
    return trade_off(
        picture["cost"],
        picture["effect"],
        doses=picture["doses"],
        controls=picture.get("controls", ()),
        xlabel=picture["xlabel"],
        ylabel=picture["ylabel"],
        line=picture.get("line", "subject"),
        title=title,
    )


def _circuit(picture: Entry, title: str) -> Figure:
    return circuit(picture["nodes"], edges=picture.get("edges", ()), unit=picture.get("unit", ""), title=title)


def _faithfulness(picture: Entry, title: str) -> Figure:
    named = {"unit": picture["unit"]} if "unit" in picture else {}
    zone = picture.get("zone", (0.8, 1.25))
    return faithfulness(picture["templates"], picture["ratios"], zone=zone, title=title, **named)


KINDS: dict[str, Callable[[Entry, str], Figure]] = {
    "head_map": _head_map,
    "matrix": _matrix,
    "pattern": _pattern,
    "curve": _curve,
    "distribution": _distribution,
    "bars": _bars,
    "dose_response": _dose_response,
    "trade_off": _trade_off,
    "circuit": _circuit,
    "faithfulness": _faithfulness,
}
