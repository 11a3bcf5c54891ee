"""The unedited passes that a set of interventions shares: the clean prompts, and the corrupted ones, both run once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InterventionError
from harness.interventions.edits import Edit
from harness.interventions.engine import Engine
from harness.interventions.hooks import HookEngine
from harness.interventions.run import Run
from harness.interventions.sites import Frame

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Runs:
    """Clean and corrupted passes over prompts of one shape, with what was kept of them.

    Attributes:
        engine: what ran them: the fast engine, or the slow one that uses the model's own hooks.
        clean: the pass that interventions change.
        corrupted: the pass that patches come from; None where no intervention needs one.
        edited: whether that pass is one of the clean prompts under edits, so that their tokens do not tell where the
            two differ.
    """

    engine: Engine | HookEngine
    clean: Run
    corrupted: Run | None = None
    edited: bool = False

    @classmethod
    def of(
        cls,
        engine: Engine | HookEngine,
        clean: Int[Tensor, "batch pos"],
        *,
        corrupted: Int[Tensor, "batch pos"] | None = None,
        keep: Collection[str] = ("z",),
    ) -> Runs:
        """Both passes, run once.

        Args:
            engine: fast or slow.
            clean: the prompts.
            corrupted: prompts of the same shape, row by row, from which patches come.
            keep: sites that interventions will read, in every layer.

        Raises:
            InterventionError: the two have different shapes.
        """
        if corrupted is not None and corrupted.shape != clean.shape:
            raise InterventionError(
                f"corrupted prompts are {tuple(corrupted.shape)}, clean ones {tuple(clean.shape)} [batch pos]: they "
                "are compared position by position. Pad on the right or choose prompts of equal length."
            )
        own = {"resid_pre", "k", "v"} if isinstance(engine, Engine) else set()
        first = engine.run(clean, keep=tuple({*keep, *own}))
        other = None if corrupted is None else engine.run(corrupted, keep=tuple(keep))
        return cls(engine, first, other)

    def under(self, edits: Sequence[Edit], *, keep: Collection[str] = ("z",)) -> Runs:
        """The clean prompts, with the same prompts under these edits as the pass that patches come from.

        What then is patched is what the edits changed further on: a head that makes up for an ablated one.
        """
        other = self.engine.run(self.clean.tokens, edits=edits, keep=tuple(keep))
        return Runs(self.engine, self.clean, other, edited=True)

    @property
    def frame(self) -> Frame:
        """The sizes that edits are checked against."""
        return self.engine.frame(self.clean)

    def source(self) -> Run:
        """The corrupted pass; InterventionError where there is none."""
        if self.corrupted is None:
            raise InterventionError("this patch comes from corrupted prompts: give Runs.of(..., corrupted=tokens).")
        return self.corrupted

    def differ(self, *, at: Bool[Tensor, "batch pos"] | None = None) -> Bool[Tensor, "batch pos"]:
        """True from the first position on at which a prompt's corrupted tokens differ from its clean ones.

        Before it the two passes are equal, since attention is causal; under edits they may differ anywhere. With `at`
        only where that is true as well; InterventionError where it is no mask of these prompts.
        """
        import torch

        differ = (self.clean.tokens != self.source().tokens).cumsum(dim=1) > 0
        if self.edited:
            differ = torch.ones_like(differ)
        if at is None:
            return differ
        self.frame.require_mask(at)
        return differ & at
