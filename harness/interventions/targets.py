"""What an intervention acts on, written as the field writes it: `5.1`, `5.1.q`, `5.kv0.v`, `5.mlp`, `5.neuron12`.

| written | site | what |
|---|---|---|
| `5.1`, `5.1.z` | z | a head's output before W_O |
| `5.1.q` | q | a head's queries, before rotation |
| `5.kv0.k`, `5.kv0.v` | k, v | keys, values of a key-value head; all query heads that share it |
| `5.1.k`, `5.1.v` | k_by_head, v_by_head | keys, values as one query head sees them |
| `5.1.pattern` | pattern | a head's attention pattern |
| `5.attn`, `5.mlp` | attn_out, mlp_out | what a layer's attention or MLP writes |
| `5.mlp_in` | mlp_in | the residual stream as the MLP reads it |
| `5.resid_pre`, `5.resid_mid`, `5.resid_post` | the same | the residual stream |
| `5.neuron12` | mlp_post | a neuron's activation |
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.errors import InterventionError
from harness.interventions.sites import SITES, part_kind

_PART = {"z": "z", "q": "q", "k": "k_by_head", "v": "v_by_head", "pattern": "pattern"}
_WHOLE = {
    "attn": "attn_out", "mlp": "mlp_out", "mlp_in": "mlp_in",
    "resid_pre": "resid_pre", "resid_mid": "resid_mid", "resid_post": "resid_post",
}  # fmt: skip
_FORM = re.compile(
    r"(?P<layer>\d+)\.(?:(?P<head>\d+)(?:\.(?P<of>z|q|k|v|pattern))?"
    r"|kv(?P<kv>\d+)\.(?P<kv_of>k|v)|neuron(?P<neuron>\d+)|(?P<whole>[a-z_]+))"
)


@dataclass(frozen=True)
class Target:
    """One component at one site; `part` is the head, key-value head or neuron, None where the site has none."""

    layer: int
    site: str
    part: int | None = None

    def __post_init__(self) -> None:
        if self.site not in SITES or (self.part is None) != (part_kind(self.site) is None):
            raise InterventionError(
                f"layer {self.layer}, site {self.site!r}, part {self.part!r} is no target: a head, key-value head or "
                "neuron has a part, the stream and what a layer writes have none."
            )

    @classmethod
    def parse(cls, written: str) -> Target:
        """The target that a string names, as the module's table says.

        Raises:
            InterventionError: it names none.
        """
        found = _FORM.fullmatch(written.strip())
        if found is None or (found["whole"] and found["whole"] not in _WHOLE):
            raise InterventionError(
                f"{written!r} names no target. Write '5.1' (a head), '5.1.q', '5.1.pattern', '5.kv0.k', '5.attn', "
                "'5.mlp', '5.resid_pre' or '5.neuron12'."
            )
        layer = int(found["layer"])
        if found["whole"]:
            return cls(layer, _WHOLE[found["whole"]])
        if found["neuron"]:
            return cls(layer, "mlp_post", int(found["neuron"]))
        if found["kv"]:
            return cls(layer, found["kv_of"], int(found["kv"]))
        return cls(layer, _PART[found["of"] or "z"], int(found["head"]))

    def __str__(self) -> str:
        if self.part is None:
            return f"{self.layer}.{next(name for name, site in _WHOLE.items() if site == self.site)}"
        if self.site == "mlp_post":
            return f"{self.layer}.neuron{self.part}"
        if self.site in ("k", "v"):
            return f"{self.layer}.kv{self.part}.{self.site}"
        suffix = next(name for name, site in _PART.items() if site == self.site)
        return f"{self.layer}.{self.part}" + ("" if suffix == "z" else f".{suffix}")
