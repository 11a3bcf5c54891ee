"""What both recipes share: weights by name, the state of an unfinished training on disk, a cosine schedule."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from transformer_lens.model_bridge import TransformerBridge

Progress = Callable[[int, int, str], None]
WRAPPED = "._original_component"


def weights_by_name(bridge: TransformerBridge) -> dict[str, Tensor]:
    """The bridge's own parameters, before folding, under the native model's names: `layers.0.attn.q.weight`."""
    untyped: Any = bridge
    named = untyped.original_model.named_parameters()
    return {name.replace(WRAPPED, ""): parameter for name, parameter in named}


def linear(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """What the linear map `name` makes of x."""
    from torch.nn.functional import linear as apply

    return apply(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def cosine_rate(step: int, *, steps: int, warm_up: int, peak: float) -> float:
    """Learning rate of one step: a linear warm-up, then a cosine that is zero after the last step."""
    return peak * min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))


@dataclass(frozen=True)
class Unfinished:
    """The state of an unfinished training on disk, beside the checkpoint that it will become.

    A training that is stopped at any moment goes on from the last state saved, to the same bits: the file is replaced
    whole, and what a step draws follows from the seed and the step alone.

    Attributes:
        path: the file.
        recipe: what the training is (name, model, schedule): a state of another recipe is refused.
    """

    path: Path
    recipe: str

    @classmethod
    def beside(cls, out: Path, recipe: str) -> Unfinished:
        """The state that belongs to a checkpoint."""
        return cls(out.with_suffix(".resume"), recipe)

    def save(self, bridge: TransformerBridge, optimizer: Optimizer, *, done: int, history: list[float]) -> None:
        """Replace the file by the state after `done` steps."""
        import torch

        partial = self.path.with_suffix(".partial")
        model = {name: tensor.detach() for name, tensor in weights_by_name(bridge).items()}
        state = {"model": model, "optimizer": optimizer.state_dict(), "done": done, "history": history}
        torch.save({**state, "recipe": self.recipe}, partial)
        os.replace(partial, self.path)

    def restore(self, bridge: TransformerBridge, optimizer: Optimizer) -> tuple[int, list[float]]:
        """Steps done and the history so far, with the saved state put into model and optimizer; (0, []) without one.

        Raises:
            ModelError: the file belongs to another recipe.
        """
        import torch

        if not self.path.exists():
            return 0, []
        state = torch.load(self.path, weights_only=True)
        if state["recipe"] != self.recipe:
            raise ModelError(
                f"{self.path} holds an unfinished training of {state['recipe']!r}, not of {self.recipe!r}. Delete it "
                "to train from the beginning."
            )
        with torch.no_grad():
            for name, tensor in weights_by_name(bridge).items():
                tensor.copy_(state["model"][name])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["done"]), list(state["history"])

    def discard(self) -> None:
        """Delete the file: the training is finished."""
        self.path.unlink(missing_ok=True)
