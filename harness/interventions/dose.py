"""Doses: what an intervention on a head adds to the residual stream, and random vectors of the same length.

The same-dose control answers whether an effect is due to which direction was changed, or to how much was. Directions
are drawn with the covariance of the residual stream at the prompts' own tokens: BOS's stream is a hundred times as long
as theirs, and a covariance with BOS in it would make BOS's direction of all. Effects are averaged over `DIRECTIONS`.

A direction and its opposite are as likely, so that to first order the control is 0: an effect is held against the
damage that any change of its length does. Where the effect is a rise, damage is no rival; other components are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import InterventionError
from harness.interventions.edits import Add, Replace
from harness.interventions.engine import Engine
from harness.interventions.run import Run
from harness.interventions.sites import name_of

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool, Float
    from torch import Tensor

DIRECTIONS = 5
"""Random directions for each change, averaged: the effect of one alone spreads as widely as what is to be found."""


class OwnTokens(Protocol):
    """Prompts that say where their own tokens stand."""

    @property
    def start(self) -> int:
        """Position of the first token of their own: 1 after a BOS, else 0."""
        ...

    def real_positions(self) -> NDArray[np.bool_]:
        """[batch, pos]: false in the padding."""
        ...


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


def own_positions(prompts: OwnTokens) -> Bool[Tensor, "batch pos"]:
    """True where the prompts have a token of their own: neither BOS nor padding."""
    import torch

    own = torch.from_numpy(prompts.real_positions().copy())
    own[:, : prompts.start] = False
    return own


def residual_covariance_factor(
    resid: Float[Tensor, "*places d_model"], *, counted: Bool[Tensor, " *places"]
) -> Float[Tensor, "d_model d_model"]:
    """A factor L, in float64, with L @ L.T = the covariance of residual stream samples around their mean.

    Args:
        resid: the residual stream, [batch pos d_model], or samples of it, [sample d_model].
        counted: which of them are samples; `own_positions` of the prompts leaves out BOS and padding.

    L is the symmetric square root: unlike a Cholesky factor it exists where there are fewer samples than dimensions,
    and unlike eigenvectors it has no free sign, so that the vectors drawn with it do not hang on the linear algebra.
    """
    import torch

    if counted.dtype != torch.bool or counted.shape != resid.shape[:-1]:
        raise InterventionError(
            f"counted is {counted.dtype} {tuple(counted.shape)}; it is one bool for each of the residual stream's "
            f"places, {tuple(resid.shape[:-1])}."
        )
    with torch.inference_mode():
        samples = resid[counted.to(resid.device)].double()
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


def same_dose_factor(
    resid: Float[Tensor, "*places d_model"], *, counted: Bool[Tensor, " *places"]
) -> Float[Tensor, "d_model d_model"]:
    """`residual_covariance_factor` of the streams' directions: every sample is scaled to length 1 first.

    A few ordinary tokens have a stream twenty times as long as the others', in BOS's direction (massive activations,
    Sun et al. 2024, arXiv 2402.17762). In a covariance of the streams themselves one of them is most of it, and every
    direction that is drawn would be theirs.
    """
    return residual_covariance_factor(resid / resid.norm(dim=-1, keepdim=True).clamp_min(1e-12), counted=counted)


def same_dose_edits(
    changes: Mapping[int, Float[Tensor, "batch pos d_model"]],
    *,
    factors: Mapping[int, Float[Tensor, "d_model rank"]],
    generator: np.random.Generator | torch.Generator,
    site: str = "attn_out",
    draws: int = DIRECTIONS,
) -> list[tuple[Add, ...]]:
    """For each draw the edits that add, in every changed layer, a random vector as long as the change there.

    Args:
        changes: what would have been added to the residual stream, by layer.
        factors: of the covariances that directions are drawn with, by layer (`same_dose_factor`).
        generator: what draws: the layers one after another, then the next draw.
        site: where the vectors are added.
        draws: how many; their effects are averaged (`UnitValues.averaged`).
    """
    if draws < 1:
        raise InterventionError(f"draws is {draws}; the same-dose control needs at least one direction.")
    return [
        tuple(
            Add(layer, same_dose_vector(change, factor=factors[layer], generator=generator), site=site)
            for layer, change in changes.items()
        )
        for _ in range(draws)
    ]


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
