"""What a claim fixes before anything is measured, as plain values. No torch, no pytest, no statistics.

Everything here decides a verdict and is therefore part of the declaration's hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from harness.declaration_parts import (
    Alternative,
    Behaviour,
    Control,
    Cost,
    Margin,
    Metric,
    Profile,
    Tier,
    Units,
)
from harness.errors import DeclarationError

__all__ = ["Alternative", "Behaviour", "Claim", "Control", "Cost", "Margin", "Metric", "Profile", "Tier", "Units"]


ALPHA = 0.025
"""One-sided error of every decision (design, section 3)."""
MIN_CLUSTERS = 12
"""Fewer confirmation clusters than this make a claim `invalid`."""
BCA_FROM = 50
"""Clusters from which BCa replaces the bootstrap-t (review of statistics, finding 4)."""

UNREGISTERED = frozenset({"profiles", "cost", "method", "behaviour", "set_on"})
"""Fields of a claim that decide nothing."""
_LATER: Mapping[str, Any] = {"limits": None, "set_on": ()}
"""Parts of a declaration that came later: hashed where they are used, so that those without them keep their hashes."""

_COMPONENT_KINDS = {"component", "same-dose"}
_INPUT_KINDS = {"input", "label"}
_KINDS = _COMPONENT_KINDS | _INPUT_KINDS | {"model"}
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\.[a-z0-9]+(-[a-z0-9]+)*")


SOME_UNITS = Units(default=MIN_CLUSTERS, quick=MIN_CLUSTERS, reason="none given, which is said apart")
"""Stands in while a declaration without units is checked: without any it would be taken for an exact claim's."""


@dataclass(frozen=True)
class Claim:
    """One falsifiable statement from a paper, with everything that decides it.

    Attributes:
        id: `mechanism.name`, lower case with hyphens.
        paper: key of the paper in `claims/papers.toml`.
        statement: the paper's finding in one sentence.
        metric: what is measured per unit, with its unit.
        sesoi: smallest effect size of interest, in the metric's unit.
        sesoi_reason: where it comes from: the paper, the discovery split, or null worlds; nothing else.
        alternative: the direction in which the effect counts.
        subject: the class of components in `subjects.toml` (`"induction"`), or None for behaviour of the whole model.
        controls: what the effect must beat, all of it.
        margins: bounds joined to the effect.
        rival: the nearest rival explanation, in one sentence.
        exposed_by: the control that would expose the rival.
        units: the registered number of units; None where nothing is sampled: for an exact claim (weights alone, all
            inputs enumerated), and for a replication on the paper's own prompts.
        tier: only `inference` is evidence for a mechanism.
        models: patterns of the model ids on which the claim makes sense, e.g. `("induction-2l@*",)`.
        profiles: the profiles that measure it, for a search that takes minutes; decides nothing and is not hashed.
        cost: forward passes per unit and tokens per pass, for `--dry-run`; decides nothing and is not hashed.
        method: how it is measured, in one to three sentences for the report; decides nothing and is not hashed.
        behaviour: the whole of which the effect is a part, for the report; decides nothing and is not hashed.
        set_on: models whose results were known when the claim was worded or its threshold chosen: their verdicts are
            shown, and say nothing of how many other trainings would be supported; decides nothing and is not hashed.
        version: raised with every change in what is measured.
    """

    id: str
    paper: str
    statement: str
    metric: Metric
    sesoi: float
    sesoi_reason: str
    alternative: Alternative
    controls: tuple[Control, ...]
    rival: str
    exposed_by: str
    units: Units | None
    subject: str | None = None
    margins: tuple[Margin, ...] = ()
    tier: Tier = "inference"
    models: tuple[str, ...] = ("*",)
    profiles: tuple[Profile, ...] = ("quick", "default", "full")
    cost: Cost | None = None
    method: str = ""
    behaviour: Behaviour | None = None
    set_on: tuple[str, ...] = ()
    version: int = 1
    alpha: float = field(default=ALPHA, init=False)

    @property
    def mechanism(self) -> str:
        """The part of the id before the dot."""
        return self.id.split(".")[0]

    @property
    def exact(self) -> bool:
        """True where nothing is sampled and the number itself is the whole population's."""
        return self.units is None and not self.on_papers_prompts

    @property
    def on_papers_prompts(self) -> bool:
        """True for a replication on the paper's own prompts: its margins decide on the numbers as they are."""
        return self.units is None and self.tier == "replication"

    def interval_method(self, clusters: int, *, limits: tuple[float, float] | None = None) -> str:
        """The interval's method, fixed by the declaration: kind and limits of the values, registered clusters."""
        if limits is not None:
            return "gaffke"
        if self.metric.binary:
            return "clopper-pearson"
        return bootstrap_for(clusters)

    def interval_of_differences(self, clusters: int) -> tuple[str, tuple[float, float] | None]:
        """The interval's method of a difference of two values of the metric, and the limits of that difference.

        A difference of two binary values is not binary: the bootstrap of its clusters decides.
        """
        if self.metric.limits is not None:
            reach = self.metric.limits[1] - self.metric.limits[0]
            return "gaffke", (-reach, reach)
        return bootstrap_for(clusters), None

    def declared(self) -> dict[str, Any]:
        """Every field above, as plain values: what a record says of its claim."""
        found: dict[str, Any] = _without_unused(asdict(self))
        return found

    def deciding(self) -> dict[str, Any]:
        """Every field but those of `UNREGISTERED`, as plain values: what is registered."""
        return {name: value for name, value in self.declared().items() if name not in UNREGISTERED}

    def hash(self) -> str:
        """sha256 over the fields that decide, in canonical JSON."""
        text = json.dumps(self.deciding(), sort_keys=True, ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def problems(self) -> list[str]:
        """Everything that keeps this declaration from being a claim, in the order of the fields."""
        return [*_wording_problems(self), *_size_problems(self), *_control_problems(self)]

    def check(self, where: str) -> None:
        """Raise DeclarationError with all problems at once; `where` is the file and test."""
        problems = self.problems()
        if problems:
            listed = "\n".join(f"  - {problem}" for problem in problems)
            raise DeclarationError(f"claim {self.id!r} ({where}) cannot be tested:\n{listed}")


def bootstrap_for(clusters: int) -> str:
    """The bootstrap for so many clusters, where neither the kind of the values nor limits ask for another interval."""
    return "bca" if clusters >= BCA_FROM else "bootstrap-t"


def _without_unused(declared: Any) -> Any:
    """Plain values without those parts of `_LATER` that are not used."""
    if isinstance(declared, Mapping):
        kept = {name: value for name, value in declared.items() if name not in _LATER or value != _LATER[name]}
        return {name: _without_unused(value) for name, value in kept.items()}
    return [_without_unused(each) for each in declared] if isinstance(declared, list | tuple) else declared


def _wording_problems(claim: Claim) -> list[str]:
    found = []
    if not _ID.fullmatch(str(claim.id)):
        found.append(f"id {claim.id!r} is not 'mechanism.name' in lower case with hyphens")
    for name in ("paper", "statement", "rival", "exposed_by"):
        if not str(getattr(claim, name) or "").strip():
            found.append(f"{name} is empty")
    if not claim.metric or not claim.metric.name.strip():
        found.append("metric has no name")
    if not claim.metric or not claim.metric.unit.strip():
        found.append('metric has no unit; say what one unit of it is, e.g. unit="nats"')
    for name in ("models", "set_on"):
        given = getattr(claim, name)
        if isinstance(given, str) or (name == "models" and not given):
            example = given or "induction-2l@*"
            found.append(f"{name} is {given!r}; write a tuple of patterns, as in {name}=({example!r},)")
    if claim.alternative not in ("greater", "less"):
        found.append(f"alternative is {claim.alternative!r}; name the direction: 'greater' or 'less'")
    if not claim.profiles or set(claim.profiles) - set(get_args(Profile)):
        found.append(f"profiles is {claim.profiles!r}; name some of {', '.join(get_args(Profile))}")
    if claim.tier not in ("inference", "reliability", "replication"):
        found.append(f"tier is {claim.tier!r}; one of 'inference', 'reliability', 'replication'")
    return found


def _limit_problems(claim: Claim) -> list[str]:
    """Limits that are none, and those within which a threshold cannot be passed, or a margin cannot be exceeded."""
    found = []
    if claim.metric.binary and claim.metric.limits is not None:
        found.append("a binary metric has its limits, 0 and 1; leave `limits` out")
    limited = {"metric": claim.metric.limits} | {f"margin {each.name!r}": each.limits for each in claim.margins}
    for what, limits in limited.items():
        if limits is not None and not (len(limits) == 2 and -float("inf") < limits[0] < limits[1] < float("inf")):
            found.append(f"limits of the {what} are {limits!r}; give the smallest and the largest value of a unit")
    if found:
        return found
    limits = claim.metric.limits
    if limits is not None and isinstance(claim.sesoi, int | float) and limits[1] - limits[0] <= claim.sesoi:
        found.append(f"limits of the metric are {limits!r}: no difference of such values is above the SESOI")
    for margin in claim.margins:
        low, high = margin.limits or (-float("inf"), float("inf"))
        if high <= margin.at_most or (margin.at_least is not None and low >= margin.at_least):
            found.append(f"limits of the margin {margin.name!r} are {margin.limits!r}: it could not be exceeded")
    return found


def _size_problems(claim: Claim) -> list[str]:
    found = []
    if not isinstance(claim.sesoi, int | float) or not 0 < claim.sesoi < float("inf"):
        found.append(
            f"sesoi is {claim.sesoi!r}; set the smallest effect of interest, a positive number of {claim.metric.unit!r}"
        )
    if not str(claim.sesoi_reason or "").strip():
        found.append("sesoi_reason is empty; cite the paper, the discovery split or null worlds")
    found += _limit_problems(claim)
    if claim.units is not None:
        if not claim.units.reason.strip():
            found.append("units.reason is empty; say why this many")
        for profile in ("quick", "default"):
            number = claim.units.for_profile(profile)
            if not isinstance(number, int) or number < MIN_CLUSTERS:
                found.append(f"units.{profile} is {number!r}; register at least {MIN_CLUSTERS}")
    if claim.on_papers_prompts and not (claim.margins and all(margin.at_least is not None for margin in claim.margins)):
        found.append(
            "a replication without units is decided by its margins: declare the distance to the published number, with "
            "at_least and at_most"
        )
    if claim.behaviour is not None and (claim.behaviour.claim is None) == (claim.behaviour.size is None):
        found.append(f"behaviour {claim.behaviour.name!r} needs the claim that measures it, or its size; one of both")
    for margin in claim.margins:
        if not margin.reason.strip() or not margin.unit.strip():
            found.append(f"margin {margin.name!r} has no unit or no reason")
        if margin.at_least is not None and not margin.at_least < margin.at_most:
            found.append(f"margin {margin.name!r} is empty: [{margin.at_least}, {margin.at_most}]")
    if claim.version < 1:
        found.append(f"version is {claim.version}; it starts at 1")
    return found


def _control_problems(claim: Claim) -> list[str]:
    found = []
    kinds = [control.kind for control in claim.controls]
    for name in _repeated([c.name for c in claim.controls] + [m.name for m in claim.margins]):
        found.append(f"{name!r} is declared twice among controls and margins")
    for kind in sorted(set(kinds) - _KINDS):
        found.append(f"control kind {kind!r} is not one of {', '.join(sorted(_KINDS))}")
    if claim.tier == "replication":
        if claim.on_papers_prompts and claim.controls:
            found.append("a replication without units has nothing to resample: it takes margins and no controls")
        return found
    if claim.exact:
        if "component" not in kinds:
            found.append('an exact claim needs a control of kind "component": the population that it is ranked in')
        return found
    if claim.subject is None:
        if sum(kind in _INPUT_KINDS for kind in kinds) < 2:
            found.append("a claim about behaviour (no subject) needs two controls of kind input or label")
        return found
    if not _COMPONENT_KINDS & set(kinds):
        found.append("no control of kind component or same-dose; an untrained model does not count")
    if not _INPUT_KINDS & set(kinds):
        found.append("no control of kind input or label; an untrained model does not count")
    return found


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
