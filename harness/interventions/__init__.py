"""Interventions, exact and fast: values that say what is done, one way to run them, and doses for controls.

Importing this package does not import torch. `README.md` beside this file shows how to write a new edit.
"""

from __future__ import annotations

from harness.interventions.budget import MEMORY_BUDGET, budget_of, memory_budget
from harness.interventions.dose import (
    DIRECTIONS,
    head_change,
    own_positions,
    residual_covariance_factor,
    same_dose_edits,
    same_dose_factor,
    same_dose_vector,
)
from harness.interventions.edges import Edge, all_edges, edge_patch
from harness.interventions.edits import Add, Edit, Replace
from harness.interventions.engine import Engine
from harness.interventions.hooks import HookEngine, engine_of, slow_path_note
from harness.interventions.intervention import (
    Intervention,
    ablate,
    freeze_patterns,
    keep_only,
    patch,
    steer,
    together,
)
from harness.interventions.measure import Measured, measure
from harness.interventions.paths import path_patch, path_patches
from harness.interventions.replacements import Replacement, corrupted, mean, resample, zero
from harness.interventions.run import Keep, Run
from harness.interventions.runs import Runs
from harness.interventions.sites import SITES, Frame
from harness.interventions.sweeps import sweep
from harness.interventions.targets import Target

__all__ = [
    "DIRECTIONS",
    "MEMORY_BUDGET",
    "SITES",
    "Add",
    "Edge",
    "Edit",
    "Engine",
    "Frame",
    "HookEngine",
    "Intervention",
    "Keep",
    "Measured",
    "Replace",
    "Replacement",
    "Run",
    "Runs",
    "Target",
    "ablate",
    "all_edges",
    "budget_of",
    "corrupted",
    "edge_patch",
    "engine_of",
    "freeze_patterns",
    "head_change",
    "keep_only",
    "mean",
    "measure",
    "memory_budget",
    "own_positions",
    "patch",
    "path_patch",
    "path_patches",
    "resample",
    "residual_covariance_factor",
    "same_dose_edits",
    "same_dose_factor",
    "same_dose_vector",
    "slow_path_note",
    "steer",
    "sweep",
    "together",
    "zero",
]
