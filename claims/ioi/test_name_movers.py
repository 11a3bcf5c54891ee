"""Name movers and the other heads that write the answer (Wang et al. 2023, section 3.1)."""

from __future__ import annotations

from claims.ioi.comparing import (
    DIRECTION,
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
)
from claims.ioi.measurements import attention_from, direct_effects, total_effects
from harness.claim import Control, Cost, Metric, Units, claim

WRITTEN = (
    "At the last token, what these heads together add to the final residual stream is exchanged for what they add on "
    f"the same prompt with other names; no other component reads it. {beside(dose=True)}"
)
PATCHED = f"{patching('with other names')} {beside(dose=True)}"


@claim(
    id="ioi.name-movers-attend",
    paper="wang2023",
    statement="Name movers attend from the last token to the indirect object rather than to the subject.",
    metric=Metric("attention to IO minus attention to S1 and S2", unit="attention probability"),
    sesoi=0.05,
    sesoi_reason="discovery selects heads from 0.1 on IO and nothing above it on S1 and S2; this is half of that",
    alternative="greater",
    subject="name-mover",
    controls=(OTHERS, Control("subject swapped, same positions", "input")),
    rival="a head that attends to names, or to the first of them",
    exposed_by="subject swapped, same positions: there the name at IO's place is the repeated one",
    units=UNITS,
    tier="reliability",  # the heads were selected by where they attend, among others
    models=MODELS,
    cost=Cost(draws=6, tokens=18),
    method=(
        "No intervention: each head's attention from the last token to IO, minus that to S1 and to S2. In the "
        f"control S2 names IO, so that S is the answer; the same positions are read. {SINGLE_HEADS}"
    ),
)
def test_name_movers_attend_to_the_indirect_object(model, evidence, rng):
    def to_io(prompts, at=None):
        return attention_from("end", model, prompts, to="io", rather_than=("s1", "s2"), at=at)

    def swapped(prompts):
        return to_io(prompts.corrupted("subject swapped"), at=prompts)

    control = "subject swapped, same positions"
    compare_attention(model, evidence, rng, score=to_io, control=control, elsewhere=swapped)


@claim(
    id="ioi.name-movers-write",
    paper="wang2023",
    statement="Name movers write the indirect object's name into the logits, over the subject's.",
    metric=FALL,
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="name-mover",
    controls=(OTHERS, DIRECTION, *NO_REPEAT),
    rival="any change of this size in the last residual stream does it",
    exposed_by="same dose, random direction",
    units=UNITS,
    tier="reliability",  # the metric that selected them
    models=MODELS,
    cost=Cost(draws=8, tokens=18),
    method=WRITTEN,
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_name_movers_write_the_indirect_object(model, evidence, rng):
    compare_writing(model, evidence, rng)


@claim(
    id="ioi.s-suppressors-write",
    paper="wang2023",
    statement="Heads that attend to the repeated name write against it, and so for the indirect object.",
    metric=FALL,
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="s-suppressor",
    controls=(OTHERS, DIRECTION, *NO_REPEAT),
    rival="any change of this size in the last residual stream does it",
    exposed_by="same dose, random direction",
    units=UNITS,
    tier="reliability",
    models=("smollm2-*", "path:*"),  # the paper names none in GPT-2 small
    cost=Cost(draws=8, tokens=18),
    method=WRITTEN,
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_s_suppressors_write_against_the_subject(model, evidence, rng):
    compare_writing(model, evidence, rng)


@claim(
    id="ioi.name-movers-matter",
    paper="wang2023",
    statement="With the name movers' outputs at the last token exchanged the model prefers the indirect object less.",
    metric=FALL,
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="name-mover",
    controls=(OTHERS, DIRECTION, *NO_REPEAT),
    rival="any change of this size at the last token does it",
    exposed_by="same dose, random direction",
    units=Units(
        default=80,
        quick=40,
        of="prompt",
        reason="SD 1.8 logits within templates on the discovery split (SmolLM2): 80 show the 1.3 found there",
    ),
    tier="reliability",  # what they write is a part of it, and selected them
    models=MODELS,
    cost=Cost(draws=12, tokens=18),
    method=PATCHED,
    behaviour=LOGIT_DIFFERENCE,
    version=4,
)
def test_name_movers_matter(model, evidence, rng):
    compare_patching(model, evidence, rng)
    evidence.note("What is lost may be less than what a head writes: later heads make up for it (backup name movers).")
    evidence.decide()


@claim(
    id="ioi.s-suppressors-matter",
    paper="wang2023",
    statement="With the S-suppressors' outputs at the last token exchanged the model prefers the indirect object less.",
    metric=FALL,
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="s-suppressor",
    controls=(OTHERS, DIRECTION, *NO_REPEAT),
    rival="any change of this size at the last token does it",
    exposed_by="same dose, random direction",
    units=UNITS,
    tier="reliability",  # what they write is a part of it, and selected them
    models=("smollm2-*", "path:*"),
    cost=Cost(draws=12, tokens=18),
    method=PATCHED,
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_s_suppressors_matter(model, evidence, rng):
    compare_patching(model, evidence, rng)
    evidence.decide()


@claim(
    id="ioi.negative-name-movers-write",
    paper="wang2023",
    statement="Negative name movers write against the indirect object's name.",
    metric=FALL,
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="less",
    subject="negative-name-mover",
    controls=(OTHERS, DIRECTION, *NO_REPEAT),
    rival="any change of this size in the last residual stream does it",
    exposed_by="same dose, random direction",
    units=UNITS,
    tier="reliability",
    models=MODELS,
    cost=Cost(draws=8, tokens=18),
    method=WRITTEN,
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_negative_name_movers_write_against_the_indirect_object(model, evidence, rng):
    compare_writing(model, evidence, rng)


@claim(
    id="ioi.negative-name-movers-hold-back",
    paper="wang2023",
    statement="With the negative name movers' outputs at the last token exchanged the logit difference rises.",
    metric=FALL,
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="less",
    subject="negative-name-mover",
    controls=(OTHERS, DIRECTION, *NO_REPEAT),
    rival="any change of this size at the last token does it",
    exposed_by="same dose, random direction",
    units=UNITS,
    tier="reliability",  # what they write is a part of it, and selected them
    models=MODELS,
    cost=Cost(draws=12, tokens=18),
    method=PATCHED,
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_negative_name_movers_hold_the_logit_difference_back(model, evidence, rng):
    compare_patching(model, evidence, rng)
    evidence.decide()


def compare_writing(model, evidence, rng):
    """Decide a claim about what heads write into the logits themselves, at the last token."""

    def written(prompts, sets):
        return direct_effects(model, prompts, sets, other=renamed(prompts, rng), dose=rng.for_("dose")).fall()

    head_map = "Direct effect of every head on the logit difference"
    compare_together(model, evidence, rng, effect=written, head_map=head_map)
    evidence.decide()


def compare_patching(model, evidence, rng):
    """Fill a claim about heads whose outputs at the last token come from prompts with other names."""

    def patched(prompts, sets):
        return total_effects(model, prompts, sets, other=renamed(prompts, rng), dose=rng.for_("dose")).fall()

    compare_together(model, evidence, rng, effect=patched)


def renamed(prompts, rng):
    """The counterparts with other names throughout."""
    return prompts.corrupted("random names", rng.for_("names"))
