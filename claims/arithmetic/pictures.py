"""The pictures and tables of the addition claims: attention by role, digit by head, place by head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from claims.arithmetic.measurements import HeadsAt, by_place
from claims.arithmetic.misreading import LEFT, LEFT_SHARE
from claims.arithmetic.neuron_measurements import FOUND, SELECTIVE, TWINS, FoundAt, sets_called
from claims.arithmetic.patching import attention_to_pairs
from fixtures.prompts.sums import ANSWERS, DIGITS, Sums
from harness.interventions import Engine
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence

KINDS = ("no carry", "carry")
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
        caption="Mean over answer places 1 to 4; the rest goes to signs and to earlier digits.",
        n=f"{len(sums)} sums",
        unit="attention probability",
        xlabel="pair attended to, seen from the answer digit",
        ylabel="head (layer.head)",
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
        xlabel="answer digit that is read (0: leftmost)",
        ylabel="heads that misread their pair",
        rows=[f"heads of place {place}" for place in places],
        columns=[f"digit {digit}" for digit in range(ANSWERS)],
        values=[[digit[place] for digit in digits] for place in places],
    )
    evidence.picture(
        "matrix",
        "Digit by head",
        caption="Each head of the model misreads the place's own pair alone.",
        unit="fall of the right digit's probability",
        xlabel="head that misreads (layer.head)",
        ylabel="answer digit (0: leftmost)",
        rows=[f"digit {place}" for place in places],
        columns=list(alone),
        values=[[row[place] for row in alone.values()] for place in places],
    )


def show_left(evidence: Evidence, values: UnitValues, *, place: int) -> None:
    """What the place's own digit and the digit to its left lose where the place's digit heads misread its pair."""
    own, left = by_place(values)[place], by_place(values, LEFT)[place]
    evidence.picture(
        "bars",
        f"Digits {place} and {place - 1} where the heads of place {place} misread its pair",
        caption=f"Dashed: {LEFT_SHARE} of what digit {place} loses. A misread carry is wrong in half of the sums.",
        unit="fall of the right digit's probability",
        labels=[f"digit {place}, of this pair", f"digit {place - 1}, its carry"],
        values=[own, left],
        threshold=LEFT_SHARE * own,
    )


def show_places(
    evidence: Evidence,
    name: str,
    *,
    caption: str,
    unit: str,
    xlabel: str,
    values: UnitValues,
    components: Sequence[str],
) -> None:
    """A matrix of means: places by components (heads, and the joint set), which `xlabel` names."""
    means = [by_place(values, component) for component in components]
    evidence.picture(
        "matrix",
        name,
        caption=caption,
        unit=unit,
        xlabel=xlabel,
        ylabel="answer place that the carry goes into",
        rows=[f"into place {place}" for place in means[0]],
        columns=list(components),
        values=[[mean[place] for mean in means] for place in means[0]],
    )


def show_neuron_sets(evidence: Evidence, values: UnitValues, *, others: Sequence[str], permuted: Sequence[str]) -> None:
    """How far each set of neurons moves the digit, place by place; and how often sums are wrong without it."""
    groups = {
        "carry neurons": (FOUND,),
        "selective": (SELECTIVE,),
        "permuted": permuted,
        "others": others,
    }
    shown = values.averaged(groups)
    show_places(
        evidence,
        "Neurons taken from the twin with the other carry",
        caption="Mean over both directions. Sets of as many: carry neurons, the most carry-selective by their "
        "index, those found with permuted carry labels, and others of the layer.",
        unit="rise of the probability of the twin's digit",
        xlabel="set of neurons taken from the twin",
        values=shown,
        components=list(groups),
    )
    evidence.table(
        "Probability of a wrong digit with neurons at their mean over sums of both kinds",
        columns=["neurons", *KINDS],
        rows=[
            [label, *(float(values.of([f"{name}, {kind}" for name in names]).mean().mean()) for kind in KINDS)]
            for label, names in groups.items()
        ],
    )


def show_neurons(evidence: Evidence, found: Mapping[int, FoundAt], *, place: int = 2) -> None:
    """How carry neurons of a place are tuned to digit and carry; how selective those of every place are."""
    evidence.picture(
        "matrix",
        f"Carry neurons of place {place}",
        caption="Mean activation by answer digit, without a carry and with one; the neurons that write most for it.",
        n=f"{TWINS} twin pairs of the discovery split",
        **found[place].tuned | {"xlabel": "answer digit and carry", "ylabel": "neuron (layer.neuron)"},
    )
    others = sets_called("others")
    evidence.table(
        "Share of variance that the carry explains, own pair sum mod 10 held equal (discovery split)",
        columns=["answer place", "carry neurons", "as many others", "most carry-selective", "shared with these"],
        rows=[
            [
                number,
                each.mean_index(FOUND),
                float(np.mean([each.mean_index(name) for name in others])),
                each.mean_index(SELECTIVE),
                len(set(each.sets[FOUND]) & set(each.sets[SELECTIVE])),
            ]
            for number, each in found.items()
        ],
    )
