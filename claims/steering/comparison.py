"""A direction's swing beside those of the directions that it is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claims.steering.finding import PERMUTED, PERMUTED_LABELS, RANDOM_DIRECTIONS, Found, Held, held
from claims.steering.measurements import mean_of, shifts, swing
from fixtures.prompts.contrasts import ContrastPrompts
from harness.steering import Direction, at_dose
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence
    from harness.models.model import Model
    from harness.subjects import Subject


Measure = Callable[[Mapping[str, Direction]], UnitValues]
"""Directions by name -> [direction, unit]."""


def against_controls(
    evidence: Evidence,
    found: Held,
    *,
    measured: Measure,
    discovered: Measure,
    most: int = PERMUTED,
    signed: bool = True,
) -> dict[str, UnitValues]:
    """Fill every control of a claim on steering, and give back what each of its directions does.

    Random directions are a population: their mean and their 95th percentile, which is chosen on the discovery split.
    Of permuted labels the mean counts, of foreign directions each alone.

    Args:
        evidence: what is filled; `evidence.treated` comes first.
        found: the subject's direction and its controls.
        measured: the claim's metric, on its own units.
        discovered: the same on discovery units; it also gives random and foreign directions their sign.
        most: directions of each control.
        signed: whether a direction and its opposite differ in this metric.
    """

    def score(_: Found, directions: Mapping[str, Direction]) -> NDArray[np.float64]:
        return np.asarray(discovered(directions).mean() - chance) if signed else np.ones(len(directions))

    chance = 0.5 if evidence.claim.metric.unit == "probability" else 0.0
    controls = found.controls(score, most=most)
    everything = measured({name: each for directions in controls.values() for name, each in directions.items()})
    drawn = {name: everything.of(list(directions)) for name, directions in controls.items()}
    for name, directions in controls.items():
        if name == RANDOM_DIRECTIONS and _kind(evidence, name) == "component":
            evidence.component_control(
                name, drawn[name], discovery=discovered(directions), matched={"joint": tuple(directions)}
            )
        else:
            evidence.control(name, mean_of(drawn[name]))
    return drawn


def swing_against_controls(
    model: Model, subject: Subject, evidence: Evidence, prompts: ContrastPrompts, *, most: int = PERMUTED
) -> tuple[Held, UnitValues]:
    """Fill in the swing of the subject's direction and of its controls; the subject's, and that of permuted labels."""
    found = held(model, subject)
    evidence.treated(swing(model, prompts, {"joint": found.direction}, dose=found.dose))
    drawn = against_controls(
        evidence,
        found,
        measured=lambda directions: swing(model, prompts, directions, dose=found.dose),
        discovered=lambda directions: swing(model, found.found.stems, directions, dose=found.dose),
        most=most,
    )
    return found, drawn[PERMUTED_LABELS]


def responses_of_controls(
    model: Model, prompts: ContrastPrompts, found: Held, *, doses: Sequence[float], most: int
) -> dict[str, UnitValues]:
    """By control [dose, prompt]: the shift at each dose, the mean over at most so many of its directions."""

    def score(_: Found, directions: Mapping[str, Direction]) -> NDArray[np.float64]:
        return np.asarray(swing(model, found.found.stems, directions, dose=found.dose).mean())

    controls = found.controls(score, most=most)
    every = {name: each for directions in controls.values() for name, each in directions.items()}
    changes = shifts(model, prompts, every, doses=doses)
    return {
        control: changes.averaged({f"{dose:g}": [at_dose(name, dose) for name in directions] for dose in doses})
        for control, directions in controls.items()
    }


def _kind(evidence: Evidence, name: str) -> str:
    return next(control.kind for control in evidence.claim.controls if control.name == name)
