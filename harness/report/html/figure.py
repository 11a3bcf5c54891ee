"""One figure of the page: the picture with its caption, and the numbers that the script shows under the pointer."""

from __future__ import annotations

import html

from harness.report.html.cells import script_json
from harness.report.html.pictures import Shown


def figure_html(shown: Shown, *, caption: str) -> str:
    """HTML of a figure, or a line that says why there is none."""
    drawn = shown.drawn
    if drawn.problem:
        return f"<p><em>No picture: {html.escape(drawn.problem)}</em></p>"
    box = " ".join(f"{share:g}" for share in drawn.cells)
    # The order of these attributes is what `drawing.drawn_in` reads back.
    image = (
        f'<img loading="lazy" data-drawn="{shown.key}" data-cells="{box}" '
        f'src="data:image/webp;base64,{drawn.webp}" width="{drawn.width}" height="{drawn.height}" '
        f'alt="{html.escape(shown.alt)}">'
    )
    cells = "" if shown.cells is None else f'<script type="application/json">{script_json(shown.cells)}</script>'
    named = ' class="cells"' if shown.cells is not None else ""
    scroll = '<div class="scroll" role="group" aria-label="Figure" tabindex="0">'
    return (
        f'<figure id="{shown.name}"{named}>{scroll}<div class="picture">{image}</div></div>{cells}'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )
