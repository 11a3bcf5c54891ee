"""Where a null world's claim is certain to be `invalid`, what would follow is not measured.

A margin that is a ratio needs a denominator; untrained models often have none. Whatever the controls show then, the
verdict is `invalid` and no condition is counted, so a body that fills such a margin first ends there. On a model that
somebody asks about, the numbers are worth having whatever the verdict, and nothing ends early.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.claim import Evidence
from harness.errors import NothingToCompare, StatisticsError
from harness.stats.ratio import check_denominator
from harness.values import UnitValues


@contextmanager
def ending_early() -> Iterator[None]:
    """Within it a margin whose denominator lies too near zero ends its claim, with the reason that judging gives."""
    fill = Evidence.margin

    def margin(self: Evidence, name: str, values: UnitValues, *, relative_to: UnitValues | None = None) -> None:
        fill(self, name, values, relative_to=relative_to)
        for below in () if relative_to is None else relative_to.values:
            try:
                check_denominator(below, clusters=values.clusters)
            except StatisticsError as error:
                raise NothingToCompare(str(error)) from error

    Evidence.margin = margin  # type: ignore[method-assign]
    try:
        yield
    finally:
        Evidence.margin = fill  # type: ignore[method-assign]
