"""The report as one HTML file that needs nothing else: filters, folded claims, values under the pointer."""

from __future__ import annotations

from harness.report.html.page import write_html

__all__ = ["write_html"]
