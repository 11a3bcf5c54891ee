"""What an ablated activation is replaced by: zero, a mean, another prompt's value, or the corrupted run's.

A replacement is a function of site and layer that returns a tensor in the site's own shape, so that one of them serves
targets of every kind. Which one is used belongs to the question, since the same circuit scores very differently under
different ones; a claim names it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from harness.errors import InterventionError
from harness.interventions.run import Run
from harness.interventions.runs import Runs

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

    Replacement: TypeAlias = Callable[[str, int], Tensor]
else:
    Replacement = Callable
"""(site, layer) -> [batch ...] in the site's shape."""


def corrupted(runs: Runs) -> Replacement:
    """The same prompt's value in the corrupted pass."""
    source = runs.source()
    return lambda site, layer: _kept(source, site, layer)


def zero(runs: Runs) -> Replacement:
    """Zeros; far from anything the model has seen, so a claim that uses them says why."""
    return lambda site, layer: runs.clean.resid.new_zeros(()).expand(runs.frame.shape(site))


def mean(reference: Run, *, batch: int, groups: Sequence[Hashable] | None = None) -> Replacement:
    """The mean over reference prompts, position by position.

    Args:
        reference: the pass over the reference prompts, of the same length as the prompts that are ablated.
        batch: how many prompts are ablated.
        groups: one label per reference prompt, which are then the prompts' own counterparts (template by template,
            Wang et al. 2023); the mean is taken within the label. None for one mean over all reference prompts.

    Raises:
        InterventionError: the number of labels is not that of the reference prompts, or of the prompts.
    """
    n_reference = reference.tokens.shape[0]
    if groups is not None and not len(groups) == n_reference == batch:
        raise InterventionError(
            f"{len(groups)} groups for {n_reference} reference prompts and {batch} prompts: give one label for each."
        )

    @cache
    def replacement(site: str, layer: int) -> Tensor:
        import torch

        kept = _kept(reference, site, layer)
        with torch.inference_mode():
            if groups is None:
                return kept.mean(dim=0, keepdim=True).expand(batch, *kept.shape[1:])
            numbers = {label: number for number, label in enumerate(dict.fromkeys(groups))}
            which = torch.tensor([numbers[label] for label in groups], device=kept.device)
            sums = kept.new_zeros(len(numbers), *kept.shape[1:]).index_add(0, which, kept)
            counts = torch.bincount(which).to(kept.dtype).view(-1, *[1] * (kept.ndim - 1))
            means: Tensor = (sums / counts)[which]
        return means

    return replacement


def resample(reference: Run, *, donors: Int[Tensor, " batch"]) -> Replacement:
    """The value of another prompt: row `donors[i]` of the reference pass stands in for prompt i."""
    n_reference = reference.tokens.shape[0]
    numbers = (
        donors.ndim == 1 and donors.numel() and not donors.is_floating_point() and str(donors.dtype) != "torch.bool"
    )
    if not numbers or not 0 <= int(donors.min()) <= int(donors.max()) < n_reference:
        raise InterventionError(f"donors are row numbers of the {n_reference} reference prompts, one for each prompt.")

    @cache
    def replacement(site: str, layer: int) -> Tensor:
        return _kept(reference, site, layer)[donors]

    return replacement


def _kept(run: Run, site: str, layer: int) -> Tensor:
    """What was kept; keys and values as query heads see them are made from those of their key-value head."""
    if site not in ("k_by_head", "v_by_head"):
        return run.kept(site, layer)
    by_kv_head = run.kept(site.removesuffix("_by_head"), layer)
    n_heads = run.kept("pattern", layer).shape[1] if layer in run.pattern else run.kept("z", layer).shape[2]
    return by_kv_head.repeat_interleave(n_heads // by_kv_head.shape[2], dim=2)
