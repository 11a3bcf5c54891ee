"""The pictures and tables of the addition claims: attention by role, digit by head, place by head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from claims.arithmetic.measurements import HeadsAt, by_place
from claims.arithmetic.patching import attention_to_pairs
from fixtures.prompts.sums import ANSWERS, DIGITS, Sums
from harness.interventions import Engine
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence

ROLES = ("own pair", "pair to the right", "further right", "further left")


def show_attention(evidence: Evidence, engine: Engine, sums: Sums, *, heads: HeadsAt) -> None:
    """Attention of every head by role, mean over answer places 1 to 4, which have all of the roles but the last."""
    to_pairs = attention_to_pairs(engine, sums).mean(axis=-1)  # [head, place, pair]
    names = [f"{layer}.{head}" for layer in range(engine.n_layers) for head in range(engine.n_heads)]
    places = range(1, DIGITS)
    by_role = np.zeros((len(names), len(ROLES)))
    for place in places:
        by_role[:, 0] += to_pairs[:, place, place - 1]
        by_role[:, 1] += to_pairs[:, place, place]
        by_role[:, 2] += to_pairs[:, place, place + 1 :].sum(axis=1)
        by_role[:, 3] += to_pairs[:, place, : place - 1].sum(axis=1)
    evidence.picture(
        "matrix",
        "Attention by role",
        caption=f"Mean over answer places 1 to 4 of {len(sums)} sums; the rest goes to signs and to earlier digits.",
        unit="attention probability",
        rows=names,
        columns=list(ROLES),
        values=by_role / len(places),
    )
    evidence.table(
        "Digit heads by place",
        columns=["answer place", "heads"],
        rows=[[place, ", ".join(members)] for place, members in heads.items()],
    )


def show_misreading(evidence: Evidence, values: UnitValues, *, alone: Mapping[str, Mapping[int, float]]) -> None:
    """Which digits break where the digit heads of each place misread its pair, and what each head does alone."""
    places = list(next(iter(alone.values())))
    digits = [by_place(values, f"digit {digit}") for digit in range(ANSWERS)]
    evidence.picture(
        "matrix",
        "Digits that break",
        caption="A row's digit heads read another sum's digits at the row's own pair; every answer digit is read.",
        unit="fall of the right digit's probability",
        rows=[f"heads of place {place}" for place in places],
        columns=[f"digit {digit}" for digit in range(ANSWERS)],
        values=[[digit[place] for digit in digits] for place in places],
    )
    evidence.picture(
        "matrix",
        "Digit by head",
        caption="Each head of the model misreads the place's own pair alone.",
        unit="fall of the right digit's probability",
        rows=[f"digit {place}" for place in places],
        columns=list(alone),
        values=[[row[place] for row in alone.values()] for place in places],
    )


def show_places(
    evidence: Evidence, name: str, *, caption: str, unit: str, values: UnitValues, components: Sequence[str]
) -> None:
    """A matrix of means: places by components (heads, and the joint set)."""
    means = [by_place(values, component) for component in components]
    evidence.picture(
        "matrix",
        name,
        caption=caption,
        unit=unit,
        rows=[f"into place {place}" for place in means[0]],
        columns=list(components),
        values=[[mean[place] for mean in means] for place in means[0]],
    )
