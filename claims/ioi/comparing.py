"""How the IOI claims compare a class of heads: together, beside other heads, a random direction, prompts without IOI.

A class acts together, so it is claimed together; what each head does alone is recorded as its share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from claims.ioi.measurements import HeadSets, describe, draw, singly
from claims.ioi.same_dose import DRAWN, SAME_DOSE
from fixtures.prompts.ioi import IoiPrompts
from harness.claim import Behaviour, Control, Metric, Units
from harness.population import DRAWS, circuit, left_out, matched_heads, matched_sets
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence
    from harness.models.model import Model
    from harness.seeding import Streams

Effect: TypeAlias = Callable[[IoiPrompts, HeadSets], UnitValues]
"""(prompts, sets of heads) -> what each set does, [set, prompt]."""
Score: TypeAlias = Callable[[IoiPrompts], UnitValues]
"""prompts -> a score of every head, [head, prompt]."""

MODELS = ("gpt2-small", "smollm2-*", "path:*")
"""Language models; the toy models of other mechanisms know no names."""
UNITS = Units(
    default=40,
    quick=40,
    full=80,
    of="prompt",
    reason="20 templates limit every interval; one prompt of each order",
)
FALL = Metric("fall of the logit difference", unit="logits")
SESOI = 0.25
FIVE_PERCENT = "5 % of the logit difference on the discovery split (SmolLM2: 4.4 logits), rounded up"
OTHERS = Control("other heads", "component")
DIRECTION = Control(SAME_DOSE, "same-dose")
ROLES = Control("shuffled roles", "label")
FIRST = Control("no name repeated (ABC), towards the first name", "input")
LAST = Control("no name repeated (ABC), towards the last name", "input")
NO_REPEAT = (FIRST, LAST)
"""Where no name is repeated IO and S differ in their places alone: do the heads favour whichever stands first, or last?

Counted towards IO both would be zero for any heads, since IO stands first as often as last.
"""
DISCOVERY = 30
"""Prompts of the discovery split on which the 95th-percentile set of other heads is chosen."""
LOGIT_DIFFERENCE = Behaviour("logit difference", claim="ioi.behaviour")
SINGLE_HEADS = f"Other heads are up to {DRAWS} single heads of nearby layers outside the circuit."
KNOCKED_OUT = (
    "A knocked-out head takes, position by position, its mean output over 10 or more prompts of the same template "
    "with other names, none repeated; MLPs stay. ABC prompts have a third name at S2."
)


def patching(other: str) -> str:
    """In words: activation patching of a class at the last token, from the same prompt that differs by `other`."""
    return (
        f"Activation patching: at the last token these heads together take their outputs on the same prompt {other}; "
        "everything after is recomputed."
    )


def path_patching(at: str, other: str, *, into: str) -> str:
    """In words: path patching of a class at one position, from the same prompt that differs by `other`."""
    return (
        f"Path patching: at {at} these heads together take their outputs on the same prompt {other}. With other heads "
        f"frozen and MLPs recomputed this reaches {into}; these alone take it, and what follows is recomputed."
    )


def beside(draws: int = DRAWS, *, dose: bool = False) -> str:
    """In words: the controls of `compare_together`, with so many sets of other heads and with the same-dose control."""
    vectors = ", with 5 random vectors as long as the change (drawn with the residual stream's covariance)"
    return (
        f"The same is done with up to {draws} random sets of as many heads (nearby layers, outside the "
        f"circuit){vectors if dose else ''} and on prompts with a third name at S2 (ABC)."
    )


def knocked_out(heads: str) -> str:
    """In words: what is knocked out of the model, with random circuits as the control."""
    return (
        f"{heads} is knocked out. {KNOCKED_OUT} Random circuits are sets of as many heads in the same layers, drawn "
        "from all heads and run alike on one prompt of each template."
    )


def compare_together(
    model: Model,
    evidence: Evidence,
    rng: Streams,
    *,
    effect: Effect,
    among: Sequence[str] | None = None,
    draws: int = DRAWS,
    head_map: str | None = None,
) -> None:
    """Fill a claim about what a class of heads does together; nothing is decided yet.

    Args:
        model: the model.
        evidence: what is filled: the effect, other heads, prompts that repeat no name (`NO_REPEAT`), single heads.
        rng: the claim's streams.
        effect: what is measured; for claims that declare the same-dose control it returns that row as well.
        among: heads that other sets are drawn from; all by default.
        draws: how many sets of other heads; at most `DRAWS`.
        head_map: title of a picture of every single head's effect; none by default.
    """
    subject = evidence.subject
    assert subject is not None, "the class that is claimed"
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    others = matched_sets(
        subject.heads,
        among=among or model.heads(),
        exclude=circuit(subject),
        rng=rng.for_("controls"),
        draws=min(draws, DRAWS),
    )
    sets: dict[str, Sequence[str]] = {"joint": subject.heads, **singly(subject.heads)}
    own = effect(prompts, {**sets, **others, **(singly(model.heads()) if head_map else {})})
    if head_map:
        show_heads(evidence, head_map, own.of(model.heads()), n_heads=model.n_heads)
    discovery = effect(draw(model, rng, split="discovery", n=DISCOVERY), others)
    together = own.of(["joint"])
    evidence.treated(together)
    population = own.of(list(others))
    evidence.component_control(OTHERS.name, population, discovery=discovery, matched={"joint": tuple(others)})
    abc = prompts.corrupted("ABC", rng.for_("no name repeated"))
    against_place(evidence, effect(abc, {"joint": subject.heads}).of(["joint"]), prompts.orders)
    if DIRECTION in evidence.claim.controls:
        evidence.control(DIRECTION.name, own.averaged({SAME_DOSE: DRAWN}))
    for head in subject.heads if len(subject.heads) > 1 else ():
        evidence.share(head, values=own.of([head]))
    evidence.note(left_out(subject))
    evidence.picture(
        "bars",
        f"{upper_first(evidence.claim.metric.name)}: together and one by one",
        caption=f"Mean over prompts; other heads are {len(others)} sets as large from nearby layers.",
        unit=evidence.claim.metric.unit,
        labels=["together", *subject.heads, "mean of others"],
        values=[*own.of(list(sets)).mean(), population.mean().mean()],
        threshold=evidence.claim.sesoi if evidence.claim.alternative == "greater" else -evidence.claim.sesoi,
    )


def against_place(evidence: Evidence, values: UnitValues, orders: Sequence[str]) -> None:
    """Fill the controls `NO_REPEAT` from values [row, prompt] on counterparts that repeat no name, and their orders."""
    first = np.where(np.array(orders) == "ABBA", 1.0, -1.0)  # where IO stands before S
    evidence.control(FIRST.name, replace(values, values=values.values * first))
    evidence.control(LAST.name, replace(values, values=values.values * -first))


def compare_attention(
    model: Model, evidence: Evidence, rng: Streams, *, score: Score, control: str, elsewhere: Score
) -> None:
    """Fill a claim about where each head of a class attends, and decide it.

    Args:
        model: the model.
        evidence: what is filled: the heads' scores, other heads, and the control.
        rng: the claim's streams.
        score: what is measured, for every head of the layers that it covers.
        control: the declared name of the control of kind input.
        elsewhere: the same score where the head should not attend.
    """
    subject = evidence.subject
    assert subject is not None, "the class that is claimed"
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    scores = score(prompts)
    matched = matched_heads(subject.heads, among=scores.components, exclude=circuit(subject), rng=rng.for_("controls"))
    discovery = score(draw(model, rng, split="discovery", n=DISCOVERY))
    evidence.treated(scores.of(subject.heads))
    evidence.component_control(OTHERS.name, scores, discovery=discovery, matched=matched)
    evidence.control(control, elsewhere(prompts).of(subject.heads))
    evidence.note(left_out(subject))
    show_heads(evidence, f"{upper_first(evidence.claim.metric.name)}, every head", scores, n_heads=model.n_heads)
    evidence.decide()


def show_heads(evidence: Evidence, name: str, values: UnitValues, *, n_heads: int) -> None:
    """Record a map of a score over all heads of the first layers, the subject's marked."""
    assert evidence.subject is not None, "these claims have subjects"
    evidence.picture(
        "head_map",
        name,
        caption="Mean over prompts; subjects are marked.",
        unit=evidence.claim.metric.unit,
        values=values.mean().reshape(-1, n_heads),
        marked=evidence.subject.heads,
    )


def upper_first(text: str) -> str:
    """The text with a capital first letter, the rest as it is: S2 stays S2."""
    return text[:1].upper() + text[1:]
