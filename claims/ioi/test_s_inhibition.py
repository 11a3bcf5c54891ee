"""S-inhibition heads move the attention of the heads that write (Wang et al. 2023, section 3.2 and appendix A)."""

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
    patching,
    path_patching,
)
from claims.ioi.measurements import (
    attention_from,
    attention_moved,
    before,
    path_effects,
    queries,
    total_effects,
    writers,
)
from harness.claim import Control, Cost, Metric, claim

ABC_PLACES = Control("a third name in place of the repeated one (ABC), same positions", "input")
TO_WRITERS = path_patching(
    "the last token", "with a third name at S2", into="the queries of name movers and S-suppressors"
)


@claim(
    id="ioi.s-inhibition-attends",
    paper="wang2023",
    statement="S-inhibition heads attend from the last token to the second mention of the subject.",
    metric=Metric("attention from the last token to S2", unit="attention probability"),
    sesoi=0.1,
    sesoi_reason="the least attention that discovery asks for; uniform attention gives 0.06 on prompts of 17 tokens",
    alternative="greater",
    subject="s-inhibition",
    controls=(OTHERS, ABC_PLACES),
    rival="heads that attend to whoever was named last",
    exposed_by="a third name at S2: it is named last, and not repeated",
    units=UNITS,
    tier="reliability",
    models=MODELS,
    cost=Cost(draws=4, tokens=18),
    method=(
        "No intervention: each head's attention from the last token to S2. In the control a third name stands at S2 "
        f"and nothing is repeated. {SINGLE_HEADS}"
    ),
)
def test_s_inhibition_heads_attend_to_the_second_mention(model, evidence, rng):
    def to_s2(prompts, at=None):
        return attention_from("end", model, prompts, to="s2", at=at)

    def abc(prompts):
        return to_s2(prompts.corrupted("ABC", rng.for_("ABC")), at=prompts)

    compare_attention(model, evidence, rng, score=to_s2, control=ABC_PLACES.name, elsewhere=abc)


@claim(
    id="ioi.s-inhibition-path",
    paper="wang2023",
    statement="S-inhibition heads act at the last token through the queries of the heads that write.",
    metric=FALL,
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="s-inhibition",
    controls=(OTHERS, *NO_REPEAT),
    rival="whatever stands before the writing heads changes their queries",
    exposed_by="other heads: those of nearby layers, followed the same way",
    units=UNITS,
    tier="reliability",  # the metric that selected them
    models=MODELS,
    cost=Cost(draws=20, tokens=18),
    method=f"{TO_WRITERS} {beside(49)}",
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_s_inhibition_heads_act_through_the_queries_of_the_writers(model, subject, evidence, rng):
    receivers = queries(writers(subject))

    def followed(prompts, sets):
        abc = prompts.corrupted("ABC", rng.for_("ABC"))
        return path_effects(model, prompts, sets, receivers=receivers, other=abc, at="end").fall()

    compare_together(model, evidence, rng, effect=followed, among=before(model, receivers), draws=49)
    evidence.note(f"Receivers: {', '.join(receivers)}. The counterparts repeat no name (ABC).")
    evidence.decide()


@claim(
    id="ioi.s-inhibition-moves-attention",
    paper="wang2023",
    statement="S-inhibition heads, through the name movers' queries, turn their attention from S to IO.",
    metric=Metric("fall of the name movers' attention to IO minus S1 and S2", unit="attention probability"),
    sesoi=0.05,
    sesoi_reason="a seventh of what name movers attend to IO more on the discovery split (SmolLM2: 0.2 to 0.4)",
    alternative="greater",
    subject="s-inhibition",
    controls=(OTHERS, *NO_REPEAT),
    rival="any change of the queries takes attention away from where it was",
    exposed_by="other heads: those of nearby layers, followed the same way",
    units=UNITS,
    tier="reliability",  # the way by which the effect that selected them acts, from the same counterparts
    models=MODELS,
    cost=Cost(draws=20, tokens=18),
    method=(
        "Path patching: at the last token these heads together take their outputs on the same prompt with a third "
        "name at S2, which with other heads frozen and MLPs recomputed reaches the name movers' queries alone. The "
        f"value is a mean over name movers, read from the last token. {beside(49)}"
    ),
    version=3,
)
def test_s_inhibition_heads_turn_the_name_movers_attention(model, subject, evidence, rng):
    movers = subject.of_class("name-mover")

    def turned(prompts, sets):
        abc = prompts.corrupted("ABC", rng.for_("ABC"))
        return attention_moved(model, prompts, sets, readers=movers, other=abc)

    compare_together(model, evidence, rng, effect=turned, among=before(model, queries(movers)), draws=49)
    evidence.note(f"Name movers: {', '.join(movers)}; the mean over them. The counterparts repeat no name (ABC).")
    evidence.decide()


@claim(
    id="ioi.s-inhibition-position-signal",
    paper="wang2023",
    statement="S-inhibition heads say where the repeated name stood first: the position signal.",
    metric=FALL,
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="s-inhibition",
    controls=(OTHERS, *NO_REPEAT),
    rival="they say only which name is repeated",
    exposed_by="the counterpart itself: IO and S1 change places, and the repeated name stays what it is",
    units=UNITS,
    models=MODELS,
    cost=Cost(draws=12, tokens=18),
    method=f"{patching('in which the two names change places before S2')} {beside()}",
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_s_inhibition_heads_say_where_the_repeated_name_stood(model, evidence, rng):
    def places_changed(prompts, sets):
        return total_effects(model, prompts, sets, other=prompts.corrupted("order swapped")).fall()

    compare_together(model, evidence, rng, effect=places_changed)
    evidence.decide()


@claim(
    id="ioi.s-inhibition-token-signal",
    paper="wang2023",
    statement="S-inhibition heads say which name is repeated: the token signal.",
    metric=FALL,
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="s-inhibition",
    controls=(OTHERS, *NO_REPEAT),
    rival="they say only where the repeated name stood first",
    exposed_by="the counterpart itself: IO is repeated, and stands where S stood first",
    units=UNITS,
    models=MODELS,
    cost=Cost(draws=12, tokens=18),
    method=f"{patching('in which the two names are exchanged throughout')} {beside()}",
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_s_inhibition_heads_say_which_name_is_repeated(model, evidence, rng):
    def names_changed(prompts, sets):
        other = prompts.corrupted("order swapped")
        if repeats_a_name(prompts):
            other = prompts.corrupted("subject swapped").corrupted("order swapped")
        return total_effects(model, prompts, sets, other=other).fall()

    compare_together(model, evidence, rng, effect=names_changed)
    evidence.decide()


def repeats_a_name(prompts):
    """Whether S2 is the name at S1, as in all prompts but ABC ones."""
    _, s1, s2 = prompts.named().T
    return bool((s1 == s2).all())
