"""What a pytest run does where its evidence cannot be stored or a worker dies: it keeps what there is, and says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from harness.errors import StoreError
from harness.evidence import Record
from harness.reporting import RunFolder
from harness.store import check_writable


class Faults:
    """What went wrong around the tests of one run; registered as a plugin of that run."""

    def __init__(self, run: RunFolder) -> None:
        """Nothing yet."""
        self._run = run
        self._said: list[str] = []
        self._died: list[str] = []

    def store(self, item: pytest.Item, record: Record) -> None:
        """Store a record; where that is impossible the run stops, for what follows would be lost as well."""
        problem = None
        try:
            self._run.add(record)
        except StoreError as error:
            problem = str(error)
        if problem is not None:  # outside the except block, so that pytest prints it once
            item.session.shouldstop = f"evidence cannot be stored: {problem}"
            pytest.fail(f"measured ({record.verdict}), and not stored: {problem}", pytrace=False)

    def finish(self, session: pytest.Session, *, interrupted: bool) -> list[Record]:
        """The run's records, its folder completed; a run whose worker died, or that cannot be completed, stays open."""
        try:
            return self._run.finish(interrupted=interrupted or bool(self._died))
        except StoreError as error:
            self._said.append(f"the run cannot be completed: {error}")
        session.exitstatus = pytest.ExitCode.INTERRUPTED
        return []

    def records(self) -> list[Record]:
        """The records so far; none where they cannot be read."""
        try:
            return self._run.records()
        except StoreError as error:
            self._said += [] if any(str(error) in said for said in self._said) else [str(error)]
            return []

    def lines(self) -> Sequence[str]:
        """What a reader must know, one line each."""
        died = [
            f"worker {died} died: finished records are kept; the test that it was at counts as failed, also where "
            "another worker measured it again; the run is marked as interrupted"
            for died in self._died
        ]
        return [*died, *self._said]

    # -- hooks ---------------------------------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, config: pytest.Config) -> None:
        """Refuse a place that cannot be written before workers start: they collect apart and would find out late."""
        if config.option.collectonly or config.getoption("--dry-run"):
            return
        try:
            check_writable(self._run.reports)
        except StoreError as error:
            raise pytest.UsageError(str(error)) from None

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Note a worker that did not end by itself; xdist starts another for the tests that remain."""
        if error:
            self._died.append(node.gateway.id)
