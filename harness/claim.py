"""Declaring a claim and filling in its evidence: the only place where measurements meet statistics.

`@claim(...)` fixes what decides; the test's body hands `Evidence` one value per unit, for the subject and for every
declared control; `evidence.decide()` judges. An undeclared control, one left unfilled, or a body that never decides
is an error of that test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from harness.contrasts import Against
from harness.declaration import (
    SOME_UNITS,
    Alternative,
    Behaviour,
    Claim,
    Control,
    Cost,
    Margin,
    Metric,
    Profile,
    Tier,
    Units,
)
from harness.errors import DeclarationError, StatisticsError, did_you_mean
from harness.filling import check_prompts, check_treated, require_values
from harness.judging import ExactInput, MarginInput, judge_evidence
from harness.seeding import Streams
from harness.shown import Shown
from harness.subjects import Subject
from harness.values import UnitValues, unit_values

__all__ = [
    "Alternative",
    "Behaviour",
    "Claim",
    "Control",
    "Cost",
    "Evidence",
    "Margin",
    "Metric",
    "Profile",
    "Tier",
    "Units",
    "claim",
    "unit_values",
]

Test = TypeVar("Test", bound=Callable[..., None])


def claim(**declaration: Any) -> Callable[[Test], Test]:
    """A decorator that attaches a declaration (fields of `harness.declaration.Claim`), checked at collection."""

    def attach(test: Test) -> Test:
        test.__claim__ = declaration  # type: ignore[attr-defined]
        return test

    return attach


def declared(test: Callable[..., None], *, where: str, also: Callable[[Claim], Sequence[str]] | None = None) -> Claim:
    """The checked declaration of a test.

    Args:
        test: the function that `@claim` was put on.
        where: its file and name, for the error.
        also: finds what else is wrong with the claim, so that everything is reported together.

    Raises:
        DeclarationError: a field is missing, unknown or wrong; all of them at once.
    """
    given: dict[str, Any] = test.__claim__  # type: ignore[attr-defined]
    required = {
        "id": "", "paper": "", "statement": "", "metric": Metric("", ""), "sesoi": None, "sesoi_reason": "",
        "alternative": "", "controls": (), "rival": "", "exposed_by": "", "units": None,
    }  # fmt: skip
    missing = [name for name in required if name not in given]
    unknown = sorted(set(given) - set(Claim.__dataclass_fields__))
    filled = Claim(**{**required, **{name: value for name, value in given.items() if name not in unknown}})
    problems = [f"unknown field {name!r}.{did_you_mean(name, Claim.__dataclass_fields__)}" for name in unknown]
    if "units" in missing:
        problems.append("units is missing: register the number of units (units=None only for an exact claim)")
    problems += (replace(filled, units=SOME_UNITS) if "units" in missing else filled).problems()
    problems += also(filled) if also is not None else ()
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise DeclarationError(f"claim {filled.id!r} ({where}) cannot be tested:\n{listed}")
    return filled


@dataclass
class Evidence(Shown):
    """What a test measured. The body fills it; nothing is judged before `decide`.

    Attributes:
        claim: the declaration.
        n_units: how many units to sample, as registered for the profile in use.
        profile: that profile, for bodies whose controls cost more in `full`.
        subject: the components, or None for behaviour of the whole model.
        streams: random streams; the intervals draw from `streams.for_("intervals")`.
        ignore_preconditions: measure and judge even where a precondition fails (for negatives and null worlds).
        assay_shown: whether this claim is supported on some model of the store, without which nothing is `refuted`.
        announce: called with a line of progress, or None.
    """

    claim: Claim
    n_units: int
    streams: Streams
    profile: Profile = "default"
    subject: Subject | None = None
    ignore_preconditions: bool = False
    assay_shown: bool = True
    announce: Callable[[str], None] | None = None
    sections: dict[str, Any] = field(default_factory=dict)
    _treated: UnitValues | None = None
    _against: dict[str, Against] = field(default_factory=dict)
    _margins: dict[str, MarginInput] = field(default_factory=dict)
    _exact: ExactInput | None = None

    # -- what was measured -------------------------------------------------------------------------------------

    def treated(self, values: UnitValues) -> None:
        """Keep the subject's own values: [component, unit], one row per component that is judged."""
        if self._treated is not None:
            raise DeclarationError(f"claim {self.claim.id!r}: the treated values are filled twice")
        self._treated = require_values(values, claim=self.claim, what="evidence.treated")

    def measured(self) -> UnitValues:
        """The subject's own values that were kept; DeclarationError before `treated`."""
        if self._treated is None:
            raise DeclarationError(f"claim {self.claim.id!r}: evidence.treated(...) comes first")
        return self._treated

    def component_control(
        self,
        name: str,
        population: UnitValues,
        *,
        discovery: UnitValues,
        matched: Mapping[str, Sequence[str]],
        treated: UnitValues | None = None,
    ) -> None:
        """Compare with other components: their mean (by the SESOI) and their 95th-percentile member (by 0).

        Args:
            name: the control's declared name.
            population: the same metric for the other components, on the treated units or a subset of them.
            discovery: the same metric on the discovery split, from which the 95th-percentile member is chosen.
            matched: for each treated component the rows of `population` that it is compared with.
            treated: the subject's values measured as the population was, where `evidence.treated` got another kind.

        Raises:
            DeclarationError: the discovery values come from units on which the claim is decided.
        """
        for what, given in (("population", population), ("discovery", discovery)):
            require_values(given, claim=self.claim, what=f"control {name!r}, {what}")
        if set(discovery.units) & set(population.units):
            raise DeclarationError(
                f"claim {self.claim.id!r}: control {name!r} chooses its 95th percentile on units that decide it; "
                "measure `discovery` on other prompts"
            )
        against = Against(name, "component", population, discovery, dict(matched), treated)
        self._fill(name, kinds={"component"}, against=against)

    def control(self, name: str, values: UnitValues) -> None:
        """Compare with paired values of an input, label, same-dose or model control: one row, or one per component."""
        own = require_values(values, claim=self.claim, what=f"control {name!r}")
        against = Against(name, self._kind(name), own)
        self._fill(name, kinds={"input", "label", "same-dose", "model"}, against=against)

    def margin(self, name: str, values: UnitValues, *, relative_to: UnitValues | None = None) -> None:
        """Fill a margin with values, or with the ratio of means `values / relative_to` resampled as pairs."""
        if name not in {margin.name for margin in self.claim.margins}:
            raise self._undeclared(name, [margin.name for margin in self.claim.margins])
        if name in self._margins:
            raise DeclarationError(f"claim {self.claim.id!r}: margin {name!r} is filled twice")
        for given in (values,) if relative_to is None else (values, relative_to):
            require_values(given, claim=self.claim, what=f"margin {name!r}")
        self._margins[name] = MarginInput(values, relative_to)

    def exact(self, *, value: float, population: Mapping[str, float]) -> None:
        """Fill an exact claim: the number, and the population (by name, without the subject) that it is ranked in."""
        if not self.claim.exact:
            raise DeclarationError(
                f"claim {self.claim.id!r} samples units or is a replication; evidence.exact is for exact claims"
            )
        self._exact = ExactInput(value, dict(population))

    def precondition(self, name: str, *, value: float, at_least: float) -> None:
        """Record a condition without which the question makes no sense; where it fails the claim is `invalid`."""
        if self.decided:
            raise DeclarationError(f"claim {self.claim.id!r}: precondition {name!r} comes after decide()")
        if not np.isfinite(value):
            raise StatisticsError(f"claim {self.claim.id!r}: precondition {name!r} is {value}, no finite number")
        entry = {"name": name, "value": float(value), "at_least": float(at_least), "holds": bool(value >= at_least)}
        self._append("preconditions", entry)

    # -- the verdict -------------------------------------------------------------------------------------------

    def decide(self) -> None:
        """Judge what was measured against the declaration; DeclarationError where something declared is missing."""
        if self.decided:
            raise DeclarationError(f"claim {self.claim.id!r}: decide() was called twice; one claim has one verdict")
        named = [control.name for control in self.claim.controls]
        unfilled = [name for name in named if name not in self._against]
        unfilled += [margin.name for margin in self.claim.margins if margin.name not in self._margins]
        if self.claim.exact:
            unfilled = [] if self._exact is not None else ["evidence.exact(value=..., population=...)"]
        elif self._treated is None:
            unfilled.insert(0, "evidence.treated(...)")
        if unfilled:
            listed = ", ".join(map(repr, unfilled))
            raise DeclarationError(f"claim {self.claim.id!r}: decide() was called before {listed} was filled")
        if self._treated is not None and not self.claim.on_papers_prompts:
            check_treated(self.claim, self._treated, n_units=self.n_units, subject=self.subject)
            check_prompts(self.claim, self._treated, prompts=self.sections.get("prompts"))
        self.sections.update(
            judge_evidence(
                self.claim,
                treated=self._treated,
                against=tuple(self._against[name] for name in named if name in self._against),
                margins=self._margins,
                exact=self._exact,
                shares=self.sections.pop("shares", ()),
                failed=None if self.ignore_preconditions else self.failed_precondition(),
                assay_shown=self.assay_shown,
                rng=self.streams.for_("intervals"),
            )
        )

    def invalid(self, reason: str) -> None:
        """End without a measurement: there is nothing to ask about, for this reason."""
        self.sections["judgement"] = {"verdict": "invalid", "reason": reason, "components": (), "outcomes": ()}

    def failed_precondition(self) -> str | None:
        """Which preconditions do not hold, with their numbers; None where all do."""
        failed = [entry for entry in self.sections.get("preconditions", ()) if not entry["holds"]]
        said = "precondition {name!r} is {value:.4g}, needs at least {at_least:.4g}"
        return "; ".join(said.format(**entry) for entry in failed) or None

    @property
    def decided(self) -> bool:
        """Whether `decide` was reached."""
        return "judgement" in self.sections

    def _kind(self, name: str) -> str:
        kinds = {control.name: control.kind for control in self.claim.controls}
        if name not in kinds:
            raise self._undeclared(name, list(kinds))
        return kinds[name]

    def _fill(self, name: str, *, kinds: set[str], against: Against) -> None:
        kind = self._kind(name)
        if kind not in kinds:
            raise DeclarationError(
                f"claim {self.claim.id!r}: control {name!r} is declared as kind {kind!r}, filled as {sorted(kinds)}"
            )
        if name in self._against:
            raise DeclarationError(f"claim {self.claim.id!r}: control {name!r} is filled twice")
        self._against[name] = against

    def _undeclared(self, name: str, known: Sequence[str]) -> DeclarationError:
        listed = f"declared are {', '.join(map(repr, known)) or 'none'}.{did_you_mean(name, known)}"
        return DeclarationError(f"claim {self.claim.id!r}: {name!r} is not declared; {listed}")
