"""Progress of a measurement on pytest's terminal: one line that is written over."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def announcer(config: pytest.Config) -> Callable[[str], None] | None:
    """Progress lines on a terminal; nothing where output is captured to a file or comes from a worker."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None or capture is None or not reporter.isatty:
        return None

    def announce(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.rewrite(f"\r{line}", erase=True)

    return announce
