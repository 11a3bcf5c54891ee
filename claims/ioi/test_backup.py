"""Backup name movers make up for name movers that are taken away (Wang et al. 2023, section 3.4)."""

from __future__ import annotations

from claims.ioi.comparing import (
    FIVE_PERCENT,
    LOGIT_DIFFERENCE,
    MODELS,
    NO_REPEAT,
    OTHERS,
    SESOI,
    UNITS,
    beside,
    compare_together,
)
from claims.ioi.measurements import after, direct_effects, made_up, total_effects
from harness.claim import Cost, Metric, claim


@claim(
    id="ioi.backups-write-more",
    paper="wang2023",
    statement="When the name movers are taken away at the last token, backup name movers write more towards IO.",
    metric=Metric("rise of the direct effect on the logit difference", unit="logits"),
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="backup-name-mover",
    controls=(OTHERS, *NO_REPEAT),
    rival="without name movers the last residual stream is shorter, so that every later head counts for more",
    exposed_by="other heads: later heads that are no part of the circuit",
    units=UNITS,
    tier="reliability",  # the metric that selected them
    models=MODELS,
    cost=Cost(draws=12, tokens=18),
    method=(
        "The name movers are patched at the last token from the same prompt with other names, and what follows is "
        "recomputed. What these later heads then write takes the place of what they wrote on the intact prompt, in "
        f"the final residual stream alone. {beside()}"
    ),
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_backup_name_movers_write_more_when_name_movers_are_gone(model, subject, evidence, rng):
    movers = subject.of_class("name-mover")
    later = after(model, movers)

    def rise(prompts, sets):
        other = prompts.corrupted("random names", rng.for_("names"))
        return made_up(model, prompts, sets, patched=movers, other=other)

    compare_together(model, evidence, rng, effect=rise, among=later, head_map="Change of every head's direct effect")
    evidence.decide()


@claim(
    id="ioi.loss-is-made-up-for",
    paper="wang2023",
    statement="Without the name movers the logit difference falls less than by what they wrote themselves.",
    metric=Metric("direct effect minus total effect", unit="logits"),
    sesoi=SESOI,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="name-mover",
    controls=(OTHERS, *NO_REPEAT),
    rival="the direct effect of any heads is larger than their total effect",
    exposed_by="other heads",
    units=UNITS,
    models=MODELS,
    cost=Cost(draws=16, tokens=18),
    method=(
        "At the last token the outputs of these heads together are exchanged for those on the same prompt with other "
        "names: once in the final residual stream alone (direct effect), once with everything after recomputed "
        f"(total effect). Both are falls of the logit difference. {beside()}"
    ),
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_the_loss_of_name_movers_is_made_up_for(model, evidence, rng):
    def saved(prompts, sets):
        other = prompts.corrupted("random names", rng.for_("names"))
        naive = direct_effects(model, prompts, sets, other=other).fall()
        return naive.minus(total_effects(model, prompts, sets, other=other).fall())

    compare_together(model, evidence, rng, effect=saved)
    evidence.decide()
