"""What both recipes share: a linear map by its name, and a cosine schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def linear(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """What the linear map `name` makes of x."""
    from torch.nn.functional import linear as apply

    return apply(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def cosine_rate(step: int, *, steps: int, warm_up: int, peak: float) -> float:
    """Learning rate of one step: a linear warm-up, then a cosine that is zero after the last step."""
    return peak * min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))
