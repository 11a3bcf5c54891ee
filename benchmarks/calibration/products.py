"""Matrix products in bfloat16, for null worlds of a model whose worlds would otherwise take most of a day.

Only the linear maps of the exact engine are rounded, their inputs and outputs to 8 bits (0.4 %); the residual stream,
attention, normalisation and every statistic stay in float32. Where the processor has such products a world takes a
third to a half less time.
Worlds measured this way are marked, and some are measured both ways so that the page can say whether it matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from harness.interventions.weights import Linear

if TYPE_CHECKING:
    from torch import Tensor

Products = Literal["float32", "bfloat16"]
PRODUCTS: tuple[Products, ...] = ("float32", "bfloat16")


@contextmanager
def products_in(kind: Products) -> Iterator[None]:
    """Within it linear maps multiply in `kind`; `float32` changes nothing. Nested use and threads are not meant."""
    if kind == "float32":
        yield
        return
    import torch
    from torch.nn.functional import linear

    exact = Linear.__call__
    # By where a weight lies, since every engine has views of its own; held, so that nothing else comes to lie there.
    rounded: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}

    def call(self: Linear, x: Tensor) -> Tensor:
        if x.dtype != torch.float32 or torch.is_grad_enabled():
            return exact(self, x)
        key = (self.weight.data_ptr(), self.weight.shape, self.weight.stride())
        if key not in rounded:
            rounded[key] = (self.weight, self.weight.to(torch.bfloat16).contiguous())
        found = linear(x.to(torch.bfloat16), rounded[key][1]).to(torch.float32)
        return found if self.bias is None else found + self.bias

    Linear.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        Linear.__call__ = exact  # type: ignore[method-assign]
