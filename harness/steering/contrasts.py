"""Contrasts that mechanisms announce: what `mechclaims steer --contrast NAME` can steer along.

A mechanism announces them in its `mechanism.py` as

    contrasts() -> Sequence[SteeringContrast]

a function without arguments that neither loads a model nor draws a prompt; `pairs` does that when it is called. One's
own needs a folder below `claims` with a test file, which may be empty (`test_nothing.py`), and this `mechanism.py`:

    from harness.steering import ContrastPairs, SteeringContrast

    QUESTIONS = ["Is it late?", "Are you well?", "Did she call?"]
    STATEMENTS = ["It is late.", "You are well.", "She called."]

    def pairs(model):
        sides = (model.token_lists(texts, bos=True) for texts in (QUESTIONS, STATEMENTS))
        return ContrastPairs(*(tuple(map(tuple, rows)) for rows in sides))

    def contrasts():
        return [SteeringContrast("question", "question", "statement", pairs)]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import DeclarationError, did_you_mean
from harness.mechanism import mechanisms
from harness.steering.activations import SITE, ContrastPairs

if TYPE_CHECKING:
    from harness.models.model import Model


DOSE = 2.0
"""At twice as much, half-way up SmolLM2, text that has nothing to do with the contrast falls apart."""


@dataclass(frozen=True)
class SteeringContrast:
    """One contrast, and where it works.

    Attributes:
        name: as users write it: `sentiment`.
        positive: what the positive texts are: `positive`, `past`.
        negative: what the negative texts are.
        pairs: (model) -> its pairs of the discovery split, as tokens of that model; NotSuited where its tokenizer does
            not suit them.
        layers: the working layer by model id, chosen on the discovery split; other models get their middle layer.
        doses: the working dose by model id, chosen there too; other models get `DOSE`.
        site: where the direction lives.
        method: the name of its method in `harness.steering.METHODS`.
    """

    name: str
    positive: str
    negative: str
    pairs: Callable[[Model], ContrastPairs] = field(repr=False)
    layers: Mapping[str, int] = field(default_factory=dict)
    doses: Mapping[str, float] = field(default_factory=dict)
    site: str = SITE
    method: str = "mean-difference"

    def layer(self, model: Model) -> int:
        """The working layer on a model, or half of its layers where none is declared."""
        return self.layers.get(model.id, model.n_layers // 2)

    def dose(self, model: Model) -> float:
        """The working dose on a model, or `DOSE` where none is declared."""
        return self.doses.get(model.id, DOSE)


def announced_contrasts(claims: Path) -> dict[str, SteeringContrast]:
    """Every contrast that the mechanisms below a claims folder announce, by name.

    Raises:
        DeclarationError: two contrasts have one name.
    """
    found: dict[str, SteeringContrast] = {}
    for mechanism in mechanisms(claims).values():
        announce = getattr(mechanism.announced, "contrasts", None)
        for contrast in announce() if announce is not None else ():
            if contrast.name in found:
                raise DeclarationError(
                    f"contrast {contrast.name!r} is announced twice, the second time in {mechanism.folder}; rename one."
                )
            found[contrast.name] = contrast
    return found


def contrast_named(name: str, *, claims: Path) -> SteeringContrast:
    """The contrast of that name; DeclarationError that lists what there is."""
    found = announced_contrasts(claims)
    if name not in found:
        listed = ", ".join(sorted(found)) or "none: no mechanism.py beside a test file there announces contrasts()"
        raise DeclarationError(f"no contrast {name!r} below {claims}; there are: {listed}.{did_you_mean(name, found)}")
    return found[name]
