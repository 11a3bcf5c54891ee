"""Heads that notice the repetition, and tell the S-inhibition heads (Wang et al. 2023, section 3.3)."""

from __future__ import annotations

from claims.ioi.comparing import (
    FALL,
    FIVE_PERCENT,
    LOGIT_DIFFERENCE,
    MODELS,
    NO_REPEAT,
    OTHERS,
    SESOI,
    SINGLE_HEADS,
    UNITS,
    beside,
    compare_attention,
    compare_together,
    path_patching,
)
from claims.ioi.measurements import attention_from, before, keys_and_values, path_effects
from harness.claim import Control, Cost, Metric, claim

ABC_PLACES = Control("a third name in place of the repeated one (ABC), same positions", "input")
BEFORE_IT = Control("the same heads towards the token before S1", "label")
LEAST = "the least attention that discovery asks for; uniform attention gives 0.1 on the tokens before S2"
TO_S_INHIBITION = path_patching("S2", "with a third name at S2", into="the keys and values of the S-inhibition heads")
TO_INDUCTION = path_patching("S1+1", "with other names", into="the keys and values of the induction heads")


@claim(
    id="ioi.duplicate-token-attends",
    paper="wang2023",
    statement="Duplicate-token heads attend from the second mention of the subject to the first.",
    metric=Metric("attention from S2 to S1", unit="attention probability"),
    sesoi=0.1,
    sesoi_reason=LEAST,
    alternative="greater",
    subject="duplicate-token",
    controls=(OTHERS, ABC_PLACES),
    rival="a head that attends to names, or to a fixed offset",
    exposed_by="a third name at S2: the same places, and no name to be found again",
    units=UNITS,
    tier="reliability",
    models=MODELS,
    cost=Cost(draws=4, tokens=18),
    method=(
        "No intervention: each head's attention from S2 to S1. In the control a third name stands at S2 and nothing "
        f"is repeated; the same positions are read. {SINGLE_HEADS}"
    ),
)
def test_duplicate_token_heads_attend_to_the_first_mention(model, evidence, rng):
    repeated_name(model, evidence, rng, to="s1")


@claim(
    id="ioi.induction-attends",
    paper="wang2023",
    statement="Induction heads attend from the second mention of the subject to the token after the first.",
    metric=Metric("attention from S2 to S1+1", unit="attention probability"),
    sesoi=0.1,
    sesoi_reason=LEAST,
    alternative="greater",
    subject="induction",
    controls=(OTHERS, ABC_PLACES),
    rival="a head that attends to what follows names, or to a fixed offset",
    exposed_by="a third name at S2: the same places, and no name to be found again",
    units=UNITS,
    tier="reliability",
    models=MODELS,
    cost=Cost(draws=4, tokens=18),
    method=(
        "No intervention: each head's attention from S2 to the token after S1. In the control a third name stands at "
        f"S2 and nothing is repeated; the same positions are read. {SINGLE_HEADS}"
    ),
)
def test_induction_heads_attend_to_what_followed_the_first_mention(model, evidence, rng):
    repeated_name(model, evidence, rng, to="s1_next")


@claim(
    id="ioi.previous-token-attends",
    paper="wang2023",
    statement="Previous-token heads attend from the token after the first mention of the subject to that mention.",
    metric=Metric("attention from S1+1 to S1", unit="attention probability"),
    sesoi=0.1,
    sesoi_reason="the least attention that discovery asks for",
    alternative="greater",
    subject="previous-token",
    controls=(OTHERS, BEFORE_IT),
    rival="a head that attends to the tokens before it alike",
    exposed_by="the same heads towards the token before S1",
    units=UNITS,
    tier="reliability",
    models=MODELS,
    cost=Cost(draws=4, tokens=18),
    method=(
        "No intervention: each head's attention from the token after S1 to S1, and in the control to the token "
        f"before S1. {SINGLE_HEADS}"
    ),
    version=2,
)
def test_previous_token_heads_attend_to_the_name_before(model, evidence, rng):
    def to_name(prompts):
        return attention_from("s1_next", model, prompts, to="s1")

    def to_before(prompts):
        return attention_from("s1_next", model, prompts, to="s1", offset=-1)

    compare_attention(model, evidence, rng, score=to_name, control=BEFORE_IT.name, elsewhere=to_before)


@claim(
    id="ioi.duplicate-token-path",
    paper="wang2023",
    statement="Duplicate-token heads act at S2 through the S-inhibition heads, which read it.",
    metric=FALL,
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="duplicate-token",
    controls=(OTHERS, *NO_REPEAT),
    rival="whatever is written at S2 before the S-inhibition heads reaches the logits through them",
    exposed_by="other heads: those of nearby layers, followed the same way",
    units=UNITS,
    tier="reliability",  # a part of the total effect that selected them
    models=MODELS,
    cost=Cost(draws=20, tokens=18),
    method=f"{TO_S_INHIBITION} {beside(24)}",
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_duplicate_token_heads_act_through_s_inhibition(model, subject, evidence, rng):
    follow(model, evidence, rng, into=subject.of_class("s-inhibition"), at="s2", kind="ABC")


@claim(
    id="ioi.induction-path",
    paper="wang2023",
    statement="Induction heads act at S2 through the S-inhibition heads, which read it.",
    metric=FALL,
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="induction",
    controls=(OTHERS, *NO_REPEAT),
    rival="whatever is written at S2 before the S-inhibition heads reaches the logits through them",
    exposed_by="other heads: those of nearby layers, followed the same way",
    units=UNITS,
    tier="reliability",  # a part of the total effect that selected them
    models=MODELS,
    cost=Cost(draws=20, tokens=18),
    method=f"{TO_S_INHIBITION} {beside(24)}",
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_induction_heads_act_through_s_inhibition(model, subject, evidence, rng):
    follow(model, evidence, rng, into=subject.of_class("s-inhibition"), at="s2", kind="ABC")


@claim(
    id="ioi.previous-token-path",
    paper="wang2023",
    statement="Previous-token heads act at S1+1 through the induction heads, which read it.",
    metric=FALL,
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="previous-token",
    controls=(OTHERS, *NO_REPEAT),
    rival="whatever is written at S1+1 before the induction heads reaches the logits through them",
    exposed_by="other heads: those of nearby layers, followed the same way",
    units=UNITS,
    tier="reliability",  # a part of the total effect that selected them
    models=MODELS,
    cost=Cost(draws=20, tokens=18),
    method=f"{TO_INDUCTION} {beside(24)}",
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_previous_token_heads_act_through_induction(model, subject, evidence, rng):
    follow(model, evidence, rng, into=subject.of_class("induction"), at="s1_next", kind="random names")


def repeated_name(model, evidence, rng, *, to):
    """Decide a claim about attention from S2, beside prompts whose S2 is a third name."""

    def score(prompts, at=None):
        return attention_from("s2", model, prompts, to=to, at=at)

    def abc(prompts):
        return score(prompts.corrupted("ABC", rng.for_("ABC")), at=prompts)

    compare_attention(model, evidence, rng, score=score, control=ABC_PLACES.name, elsewhere=abc)


def follow(model, evidence, rng, *, into, at, kind):
    """Decide a claim about heads at one position, followed into keys and values with all other heads frozen."""
    receivers = keys_and_values(into)

    def followed(prompts, sets):
        other = prompts.corrupted(kind, rng.for_(kind))
        return path_effects(model, prompts, sets, receivers=receivers, other=other, at=at).fall()

    compare_together(model, evidence, rng, effect=followed, among=before(model, receivers), draws=24)
    evidence.note(f"Receivers: {', '.join(receivers)}. The counterparts are the {kind!r} prompts.")
    evidence.decide()
