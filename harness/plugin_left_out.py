"""Claims that the chosen profile and models leave out: told where a run therefore measures nothing, with the way out.

Of such a claim pytest makes one placeholder, which `-k` and `-m` choose by as they choose by its tests. Under xdist
only workers collect, and nothing is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from harness.bound_claim import applies
from harness.claim import declared
from harness.declaration import Claim
from harness.errors import did_you_mean
from harness.models.registry import known_models
from harness.plugin_checks import bound_of, without_model
from harness.plugin_options import marks_of

_MOST_NAMED = 8
"""More claims that are left out for one reason are counted, not named."""


class LeftOut:
    """The claims among the chosen tests that nothing is asked of."""

    def __init__(self, config: pytest.Config) -> None:
        """Nothing is left out before collection."""
        self.config = config
        self.claims: list[Claim] = []

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Let `-k` and `-m` choose a placeholder as they would the claim's tests."""
        if without_model(item):
            claim = _claim_of(item)
            item.extra_keyword_matches.add(claim.id)
            for mark in marks_of(claim):
                item.add_marker(mark)

    def take_from(self, items: list[pytest.Item]) -> None:
        """Deselect the placeholders; where no test of a claim stays they are kept in mind."""
        placeholders = [item for item in items if without_model(item)]
        if not placeholders:
            return
        self.config.hook.pytest_deselected(items=placeholders)
        items[:] = [item for item in items if item not in placeholders]
        if not any(bound_of(item) for item in items):
            self.claims = [_claim_of(item) for item in placeholders]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say which claims were left out and what asks them, where none was asked."""
        if self.claims and not self.config.option.collectonly:
            terminalreporter.section("claims")
            asked = self.config.getoption("--model")
            for line in left_out_lines(self.claims, profile=self.config.getoption("--profile"), asked=asked):
                terminalreporter.write_line(line)


def left_out_lines(claims: Sequence[Claim], *, profile: str, asked: Sequence[str] | None) -> Iterator[str]:
    """A line for each reason: the claims' ids, why none of them was asked, the option that asks them.

    Args:
        claims: those that were left out.
        profile: the chosen one.
        asked: the models that were asked for; None for the default ones.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for claim in claims:
        found.setdefault(_why(claim, profile=profile, asked=asked), []).append(claim.id)
    for (why, way), ids in found.items():
        rest = [f"{len(ids) - _MOST_NAMED} more"] if len(ids) > _MOST_NAMED else []
        yield f"left out, {why}: {', '.join([*ids[:_MOST_NAMED], *rest])}; asked with {way}"


def _why(claim: Claim, *, profile: str, asked: Sequence[str] | None) -> tuple[str, str]:
    """Why a claim was left out, and the option that would ask it."""
    if profile not in claim.profiles:
        return f"not in profile {profile}", f"--profile {' or '.join(claim.profiles)}"
    if not any(applies(claim, spec.id) for spec in known_models()) and not any(map(_of_folders, claim.models)):
        hints = (did_you_mean(pattern, [f"{spec.family}@*" for spec in known_models()]) for pattern in claim.models)
        hint = next((found for found in hints if found), "")
        return f"no known model matches {', '.join(claim.models)}.{hint}", "a pattern of `mechclaims models`"
    way = f"--model {claim.models[0]}" if len(claim.models) == 1 else f"--model, one of {', '.join(claim.models)}"
    if asked is None:
        return f"about no model that profile {profile} measures by default", way
    return f"not about {', '.join(dict.fromkeys(asked))}", way


def _of_folders(pattern: str) -> bool:
    """Whether a pattern is of models that have no other name than their folder's."""
    return pattern.startswith("path:")


def _claim_of(item: pytest.Item) -> Claim:
    return declared(item.function, where=item.nodeid)  # type: ignore[attr-defined]
