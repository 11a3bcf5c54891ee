"""The folders of claims that a pytest run meets: each opened once, and what is wrong with one said once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.catalog import misnamed_expectations, split_family
from harness.declaration import Claim
from harness.errors import DeclarationError, MechclaimsError
from harness.mechanism import Mechanism, open_mechanism


class Folders:
    """The mechanisms of one run, by folder."""

    def __init__(self) -> None:
        """None opened yet."""
        self._opened: dict[Path, Mechanism] = {}
        self._refused: set[Path] = set()
        self._families: dict[tuple[str, str], str] = {}

    def check_family(self, claim: Claim) -> None:
        """Raise DeclarationError where another claim of this run says the same of the same class of heads."""
        if split := split_family(claim, self._families):
            raise DeclarationError(split)

    def mechanism(self, folder: Path) -> Mechanism:
        """The mechanism in a folder; DeclarationError where its `subjects.toml` is damaged or speaks of no claim."""
        if folder not in self._opened:
            mechanism = open_mechanism(folder)
            if misnamed := misnamed_expectations(mechanism):
                raise DeclarationError("\n".join(misnamed))
            self._opened[folder] = mechanism
        return self._opened[folder]

    def around(self, collector: pytest.Collector) -> Mechanism | None:
        """The mechanism that a collected file belongs to; None where its folder was refused at an earlier file.

        One error fails the run; the same one for every file would only bury it.
        """
        folder = collector.path.parent
        if folder in self._refused:
            return None
        try:
            return self.mechanism(folder)
        except MechclaimsError as error:
            self._refused.add(folder)
            raise collector.CollectError(str(error)) from error
