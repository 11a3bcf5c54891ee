"""Claims measured on models that lack the mechanism: untrained, lesioned, impostors. None may be supported there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.evidence import Record
from harness.models.lesion import head_weight
from harness.models.model import Model
from harness.session import BoundClaim, Loaded, measure
from harness.subjects import Subject
from harness.weights import OutputValue, QueryKey


@dataclass(frozen=True)
class Negative:
    """A model without the mechanism, and the heads that the claims are asked about on it."""

    name: str
    model: Model
    subject_heads: tuple[str, ...]


@dataclass(frozen=True)
class ModelWeights:
    """The folded attention weights of a loaded model, for claims that read weights alone."""

    model: Model

    notes: ClassVar[tuple[str, ...]] = ()

    @property
    def fingerprint(self) -> str:
        """The model's."""
        return self.model.fingerprint

    @property
    def n_layers(self) -> int:
        """Blocks."""
        return self.model.n_layers

    @property
    def n_heads(self) -> int:
        """Query heads per layer."""
        return self.model.n_heads

    @property
    def n_kv_heads(self) -> int:
        """Key-value heads per layer."""
        return self.model.n_kv_heads

    @property
    def d_head(self) -> int:
        """Width of a head."""
        return self.model.d_head

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.model.d_model

    def qk(self, layer: int, head: int) -> QueryKey:
        """W_Q and W_K."""
        return QueryKey(w_q=self._weight(layer, head, "W_Q"), w_k=self._weight(layer, head, "W_K"))

    def ov(self, layer: int, head: int) -> OutputValue:
        """W_V and W_O."""
        return OutputValue(w_v=self._weight(layer, head, "W_V"), w_o=self._weight(layer, head, "W_O"))

    def _weight(self, layer: int, head: int, name: Any) -> NDArray[np.float64]:
        return head_weight(self.model, f"{layer}.{head}", name).double().numpy()


def measured_on(bound: BoundClaim, target: Model, *, subject: Subject) -> Record:
    """The claim measured on another model than the registered one, its preconditions recorded and ignored."""
    without = replace(bound, options=replace(bound.options, ignore_preconditions=True))
    place: Model | ModelWeights = ModelWeights(target) if bound.needs_weights_only else target
    return measure(without, loaded=Loaded(), target=place, subject=subject if bound.claim.subject else None)
