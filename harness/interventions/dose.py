"""Doses: what an intervention on a head adds to the residual stream, and random vectors of the same length.

The same-dose control answers whether an effect is due to which direction was changed, or to how much was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.errors import InterventionError
from harness.interventions.edits import Replace
from harness.interventions.engine import Engine
from harness.interventions.run import Run
from harness.interventions.sites import name_of

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor


def head_change(engine: Engine, run: Run, replace: Replace) -> Float[Tensor, "batch pos d_model"]:
    """What replacing z adds to the residual stream of `run`: (z_new - z_old) @ W_O. Its norm is the dose."""
    import torch

    if replace.site != "z":
        raise InterventionError(f"{name_of(replace)}: head_change takes edits of 'z'.")
    frame = engine.frame(run)
    frame.require_index("layer", replace.layer, edit=replace)
    replace.check(frame)
    with torch.inference_mode():
        old = run.kept("z", replace.layer)
        change: Tensor = torch.einsum("bphd,hdm->bpm", replace.apply(old) - old, engine.W_O(replace.layer))
    return change


def residual_covariance_factor(resid: Float[Tensor, "... d_model"]) -> Float[Tensor, "d_model d_model"]:
    """A factor L, in float64, with L @ L.T = the covariance of residual stream samples around their mean.

    L is the symmetric square root: unlike a Cholesky factor it exists where there are fewer samples than dimensions,
    and unlike eigenvectors it has no free sign, so that the vectors drawn with it do not hang on the linear algebra.
    """
    import torch

    with torch.inference_mode():
        samples = resid.reshape(-1, resid.shape[-1]).double()
        if samples.shape[0] < 2:
            raise InterventionError(f"a covariance needs at least two residual stream samples, got {samples.shape[0]}.")
        if not bool(samples.isfinite().all()):
            raise InterventionError("the residual stream samples hold NaN or infinity.")
        centred = samples - samples.mean(dim=0)
        covariance = centred.T @ centred / (samples.shape[0] - 1)
        values, vectors = torch.linalg.eigh(covariance)
        floor = values.max().clamp_min(0) * samples.shape[-1] * torch.finfo(torch.float64).eps
        values = torch.where(values > floor, values, torch.zeros_like(values))  # rounding, also below zero
        root: Tensor = (vectors * values.sqrt()) @ vectors.T
    return root


def same_dose_vector(
    change: Float[Tensor, "batch pos d_model"],
    *,
    factor: Float[Tensor, "d_model rank"],
    generator: np.random.Generator | torch.Generator,
) -> Float[Tensor, "batch pos d_model"]:
    """Per prompt and position a random vector as long as the change, drawn with the covariance factor @ factor.T.

    Where the change is zero the vector is zero. Every position draws, so that one prompt's doses do not shift
    another's vectors.
    """
    import torch

    if change.shape[-1] != factor.shape[0]:
        raise InterventionError(f"the change has d_model {change.shape[-1]}, the covariance factor {factor.shape[0]}.")
    if not bool(change.isfinite().all()):
        raise InterventionError("the change holds NaN or infinity.")
    with torch.inference_mode():
        noise = _standard_normal((*change.shape[:-1], factor.shape[1]), generator=generator).to(factor.device)
        direction = noise @ factor.double().T
        length = direction.norm(dim=-1, keepdim=True)
        if bool((length == 0).any()):
            raise InterventionError("the residual stream samples do not vary: no direction can be drawn from them.")
        dose = change.double().norm(dim=-1, keepdim=True)
        vector: Tensor = (direction / length * dose).to(change.dtype)
    return vector


def _standard_normal(shape: tuple[int, ...], *, generator: np.random.Generator | torch.Generator) -> Tensor:
    import torch

    if isinstance(generator, np.random.Generator):
        return torch.from_numpy(generator.standard_normal(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
