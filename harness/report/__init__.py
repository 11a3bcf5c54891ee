"""What people read, from stored records alone: Markdown with figures, tables for the terminal, a notebook view."""

from __future__ import annotations

from harness.report.markdown import write_report
from harness.report.notebook import record_html
from harness.report.reading import for_tables
from harness.report.terminal import record_panel, record_text, summary_table, summary_text

__all__ = ["for_tables", "record_html", "record_panel", "record_text", "summary_table", "summary_text", "write_report"]
