"""A direction's swing beside those of the directions that it is held against."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claims.steering.finding import DOSE, PERMUTED, PERMUTED_LABELS, Found, Held, held
from claims.steering.measurements import mean_of, shifts, swing
from fixtures.prompts.contrasts import ContrastPrompts
from harness.steering import Direction
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence
    from harness.models.model import Model
    from harness.subjects import Subject


def swing_against_controls(
    model: Model, subject: Subject, evidence: Evidence, prompts: ContrastPrompts, *, most: int = PERMUTED
) -> tuple[Held, UnitValues]:
    """Fill in the swing of the subject's direction and those of its controls; also the one of each permuted label.

    Args:
        model: the model.
        subject: the contrast, with its place and dose.
        evidence: what is filled.
        prompts: stems.
        most: directions of each control.
    """
    found = held(model, subject)
    evidence.treated(swing(model, prompts, {"joint": found.direction}, dose=found.dose))
    drawn = {}
    for name, directions in found.controls(partial(shift_on_discovery, model), most=most).items():
        drawn[name] = swing(model, prompts, directions, dose=found.dose)
        evidence.control(name, mean_of(drawn[name]))
    return found, drawn[PERMUTED_LABELS]


def shift_on_discovery(model: Model, found: Found, directions: Mapping[str, Direction]) -> NDArray[np.float64]:
    """[direction], the mean shift of the log-odds of discovery stems at the dose at which layers are compared."""
    return np.asarray(shifts(model, found.stems, directions, doses=(DOSE,)).mean())
