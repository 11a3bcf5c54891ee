"""Interventions on heads, run exactly and fast: the engine, the edits it takes, and doses for controls.

Importing this package does not import torch. `README.md` beside this file shows how to write a new edit.
"""

from __future__ import annotations

from harness.interventions.dose import head_change, residual_covariance_factor, same_dose_vector
from harness.interventions.edits import AddToAttention, Edit, FreezePattern, ReplaceV, ReplaceZ
from harness.interventions.engine import Engine
from harness.interventions.run import Keep, Run
from harness.interventions.sites import SITES, Frame

__all__ = [
    "SITES",
    "AddToAttention",
    "Edit",
    "Engine",
    "Frame",
    "FreezePattern",
    "Keep",
    "ReplaceV",
    "ReplaceZ",
    "Run",
    "head_change",
    "residual_covariance_factor",
    "same_dose_vector",
]
