"""A direction of the residual stream at one place of a model, and the unit in which doses along it are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError

DOSE_UNIT = 0.1
"""Length of dose 1, in mean norms of the residual stream at the place: dose 4 is four tenths of such a norm.

The stream grows tenfold from a model's first layers to its last and differs between models; counted in its own length
a dose means the same everywhere. What counts for the mean norm: `harness.steering.activations`.
"""
_ROUNDING = 1e-6


class Place(NamedTuple):
    """Where activations were read: the site, the layer, and the mean norm of the residual stream there."""

    site: str
    layer: int
    norm: float


@dataclass(frozen=True, eq=False)
class Direction:
    """A unit vector with the place that it belongs to.

    Attributes:
        vector: [d_model], float64, of length 1.
        site: a site of the residual stream's width: `resid_pre`, `resid_post` ...
        layer: the layer.
        norm: mean length of the residual stream there, over ordinary positions of the reference texts.
        method: how it was found.
        n: how many pairs, or texts where they are not paired, it was found from; 0 for a random one.

    Raises:
        StatisticsError: the vector is not finite or not of length 1, or the norm is not positive.
    """

    vector: NDArray[np.float64] = field(repr=False)
    site: str
    layer: int
    norm: float
    method: str
    n: int

    def __post_init__(self) -> None:
        """Check the vector and the norm."""
        vector = np.array(self.vector, dtype=np.float64)
        vector.setflags(write=False)
        object.__setattr__(self, "vector", vector)
        length = float(np.linalg.norm(vector))
        if vector.ndim != 1 or not abs(length - 1) <= _ROUNDING:
            raise StatisticsError(
                f"a direction ({self.method}, layer {self.layer}) has shape {vector.shape} and length {length:.6g}; "
                "give [d_model] of length 1"
            )
        if not 0 < self.norm < float("inf"):
            raise StatisticsError(
                f"the mean norm at {self.site} of layer {self.layer} is {self.norm}: doses have no unit there"
            )

    @property
    def place(self) -> Place:
        """Site, layer and norm."""
        return Place(self.site, self.layer, self.norm)

    @property
    def unit(self) -> float:
        """Length of dose 1 in the residual stream's own unit."""
        return DOSE_UNIT * self.norm

    def components(self, activations: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """[...], how far activations [... d_model] lie along the direction, in doses."""
        values = np.asarray(activations, dtype=np.float64)
        if values.ndim < 1 or values.shape[-1] != len(self.vector):
            raise StatisticsError(f"activations {values.shape} are not [..., d_model = {len(self.vector)}]")
        return np.asarray(values @ self.vector / self.unit)

    def cosine(self, other: Direction) -> float:
        """Cosine of the angle with another direction of the same model."""
        if self.vector.shape != other.vector.shape:
            raise StatisticsError(f"directions of {len(self.vector)} and {len(other.vector)} dimensions have no angle")
        return float(self.vector @ other.vector)


def pointing(vector: NDArray[np.float64], *, at: Place, method: str, n: int, scale: float) -> Direction:
    """The direction of a vector that is long enough to have one.

    Args:
        vector: [d_model], of any length.
        at: the place.
        method: how it was found; also what an error names.
        n: pairs or texts it was found from.
        scale: length of the activations that it was computed from: what is left by rounding is a millionth of it.

    Raises:
        StatisticsError: the vector has no length beyond rounding.
    """
    length = float(np.linalg.norm(vector))
    if not length > _ROUNDING * scale:
        raise StatisticsError(
            f"the {method} at {at.site} of layer {at.layer} has zero norm ({length:.3g}, where activations are "
            f"{scale:.3g} long): both classes have one mean there, so there is no direction. Take other pairs or a "
            "layer in which they differ."
        )
    return Direction(vector / length, at.site, at.layer, at.norm, method, n)
