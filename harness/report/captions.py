"""The pictures of one record, each with its caption: what it shows, on which model, made on how many."""

from __future__ import annotations

from functools import partial

from harness.report.bars import as_measured, without_interval
from harness.report.derived import derived_pictures, own_picture
from harness.report.figure_files import FigureFiles
from harness.report.reading import Entry, model_label
from harness.report.text import plain
from harness.report.wording import sample_size


def shown_pictures(record: Entry, files: FigureFiles) -> list[str]:
    """Markdown of every picture of a record, stored or derived."""
    from harness.report import figures

    shown = []
    for picture in [*(record.get("pictures") or own_picture(record)), *derived_pictures(record)]:
        name = f"{record['claim']['id']}--{model_label(record)}--{picture.get('name', picture.get('kind'))}"
        caption = f"{picture.get('caption') or picture.get('name', '')} ({record['model']['id']}){_n(picture, record)}"
        drawn = as_measured(picture, record)
        bare = without_interval(drawn, record)
        caption += f"; {bare}" if bare else ""
        shown.append(files.show(name, draw=partial(figures.draw, drawn), caption=caption))
    return shown


def _n(picture: Entry, record: Entry) -> str:
    """What a picture was made on, for its caption: what it says itself, else the claim's units."""
    if picture.get("n"):
        return f"; n = {plain(picture['n'])}"
    if record["claim"]["units"] is None or "n =" in str(picture.get("caption", "")):
        return ""
    return f"; n = {sample_size(record)}"
