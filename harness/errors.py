"""Errors that a user can act on: what was wrong, where, what to do. Nothing else lives here."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class MechclaimsError(Exception):
    """Base of every error that mechclaims raises on purpose."""


class DeclarationError(MechclaimsError):
    """A claim's declaration or its use of the evidence does not hold together."""


class SubjectNotFound(DeclarationError):  # noqa: N818 - states the fact: the claim is `invalid` on this model
    """Discovery found no component of a class on a model, so that the claim has nothing to ask about."""


class ModelError(MechclaimsError):
    """A model is unknown, damaged, or not of a kind that can be used."""


class ModelNotHere(ModelError):  # noqa: N818 - states the fact: claims are `not run`, nothing went wrong
    """A model's weights are not on this machine; `remedy` is the command that brings them."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(f"{message} To bring it: {remedy}")
        self.remedy = remedy


class NotSuited(ModelError):  # noqa: N818 - states the fact: the claim is `invalid` on this model
    """A sound model cannot be asked: its tokenizer or its shape does not suit the prompts."""


class InterventionError(MechclaimsError):
    """An intervention names a hook, component or position that the model does not have."""


class NotCovered(InterventionError):  # noqa: N818 - states the fact: another path may serve
    """The fast engine does not compute this architecture; the model's own hooks (`HookEngine`) may."""


class NoPath(InterventionError):  # noqa: N818 - states the fact: the claim is `invalid` with these heads
    """What is to receive stands before everything that sends: there is no path to follow."""


class StatisticsError(MechclaimsError):
    """A statistic was given values on which it is not defined."""


class NothingToCompare(StatisticsError):  # noqa: N818 - states the fact: the claim is `invalid` with these heads
    """Too few other components are left to compare the subject with: the circuit takes nearly all of them."""


class StoreError(MechclaimsError):
    """A record or a run folder cannot be read or written."""


class ComparisonError(MechclaimsError):
    """Two runs cannot be compared as asked: a bad expression, or options that do not go together."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known word, or an empty string where none is near."""
    nearest = get_close_matches(word, list(known), n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
