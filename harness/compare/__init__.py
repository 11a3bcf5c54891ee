"""Two runs compared record by record: what changed, by how much, and whether that is a regression.

Nothing is measured here and no verdict is made: verdicts, intervals and per-unit values are those of the records.
"""

from __future__ import annotations

from harness.compare.baseline import BaselineUpdate, update_baseline
from harness.compare.manifest import read_manifest, write_manifest
from harness.compare.rows import Regression, Row
from harness.compare.rules import DEFAULT, Rules, parse_rules
from harness.compare.runs import Comparison, compare_runs, open_baseline
from harness.compare.text import comparison_markdown, comparison_text

__all__ = [
    "DEFAULT",
    "BaselineUpdate",
    "Comparison",
    "Regression",
    "Row",
    "Rules",
    "compare_runs",
    "comparison_markdown",
    "comparison_text",
    "open_baseline",
    "parse_rules",
    "read_manifest",
    "update_baseline",
    "write_manifest",
]
