"""Writes the page that the browser tests open: `python -m tests.browser.pages FOLDER`, in the heavy environment.

The tests themselves run where a browser's driver is installed and nothing of ours.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.report.hostile_records import hostile
from tests.report.sample_records import PAPERS, RUN, suite


def write_sample(folder: Path) -> Path:
    """The page of the sample records, with one whose texts try to break out."""
    from harness.report.html import write_html

    folder.mkdir(parents=True, exist_ok=True)
    return write_html([*suite(), hostile()], out=folder / "sample.html", run=RUN, papers=PAPERS)


if __name__ == "__main__":
    write_sample(Path(sys.argv[1]))
