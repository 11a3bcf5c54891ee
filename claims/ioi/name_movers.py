"""Name movers, and heads that write against S, at the end of the circuit (Wang et al. 2023, section 3.1)."""

from __future__ import annotations

from claims.ioi.measurements import (
    attention_to_io,
    describe,
    direct_effects,
    draw,
    relabelled,
    show_heads,
    total_effects,
)
from claims.ioi.same_dose import same_dose_direct, same_dose_total
from harness.claim import Control, Cost, Metric, Units, claim
from harness.population import circuit, left_out, matched_heads

EFFECT = Metric("fall of the logit difference", unit="logits")
FIVE_PERCENT = "5 % of the logit difference on the discovery split (SmolLM2: 3.9 logits)"
DIRECTION = Control("same dose, random direction", "same-dose")
LABELS = Control("shuffled roles", "label")
OTHERS = Control("other heads", "component")
PROMPTS = Units(default=80, quick=40, of="prompt", reason="20 templates limit every interval; four prompts of each")
DISCOVERY = 30


@claim(
    id="ioi.name-movers-attend",
    paper="wang2023",
    statement="Name movers attend from the last token to the indirect object rather than to the subject.",
    metric=Metric("attention to IO minus attention to S1 and S2", unit="attention probability"),
    sesoi=0.1,
    sesoi_reason="a tenth of a head's attention; uniform attention gives -0.06 on prompts of 17 tokens",
    alternative="greater",
    subject="name-mover",
    controls=(OTHERS, Control("subject swapped, same positions", "input")),
    rival="a head that attends to names, or to the first of them",
    exposed_by="subject swapped, same positions: there the name at IO's place is the repeated one",
    units=PROMPTS,
    tier="reliability",  # the heads were selected by where they attend, among others
    cost=Cost(draws=6, tokens=18),
)
def test_name_movers_attend_to_the_indirect_object(model, subject, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    scores = attention_to_io(model, prompts)
    swapped = attention_to_io(model, prompts.corrupted("subject swapped"), at=prompts)
    discovery = attention_to_io(model, draw(model, rng, split="discovery", n=DISCOVERY))
    matched = matched_heads(subject.heads, among=model.heads(), exclude=circuit(subject), rng=rng.for_("controls"))
    evidence.note(left_out(subject))
    evidence.treated(scores.of(subject.heads))
    evidence.component_control("other heads", scores, discovery=discovery, matched=matched)
    evidence.control("subject swapped, same positions", swapped.of(subject.heads))
    show_heads(evidence, "Attention to IO minus S1 and S2", scores, model, unit="attention probability")
    evidence.decide()


@claim(
    id="ioi.name-movers-write",
    paper="wang2023",
    statement="Name movers write the indirect object's name into the logits, over the subject's.",
    metric=EFFECT,
    sesoi=0.2,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="name-mover",
    controls=(OTHERS, DIRECTION, LABELS),
    rival="any change of this size in the last residual stream does it",
    exposed_by="same dose, random direction",
    units=PROMPTS,
    cost=Cost(draws=4, tokens=18),
)
def test_name_movers_write_the_indirect_object(model, subject, evidence, rng):
    measure_direct(model, subject, evidence, rng)


@claim(
    id="ioi.s-suppressors-write",
    paper="wang2023",
    statement="Heads that attend to the repeated name write against it, and so for the indirect object.",
    metric=EFFECT,
    sesoi=0.2,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="s-suppressor",
    controls=(OTHERS, DIRECTION, LABELS),
    rival="any change of this size in the last residual stream does it",
    exposed_by="same dose, random direction",
    units=PROMPTS,
    cost=Cost(draws=4, tokens=18),
)
def test_s_suppressors_write_against_the_subject(model, subject, evidence, rng):
    measure_direct(model, subject, evidence, rng)


@claim(
    id="ioi.negative-name-movers-write",
    paper="wang2023",
    statement="Negative name movers write against the indirect object's name.",
    metric=EFFECT,
    sesoi=0.2,
    sesoi_reason=FIVE_PERCENT,
    alternative="less",
    subject="negative-name-mover",
    controls=(OTHERS, DIRECTION, LABELS),
    rival="any change of this size in the last residual stream does it",
    exposed_by="same dose, random direction",
    units=PROMPTS,
    cost=Cost(draws=4, tokens=18),
)
def test_negative_name_movers_write_against_the_indirect_object(model, subject, evidence, rng):
    measure_direct(model, subject, evidence, rng)


@claim(
    id="ioi.name-movers-matter",
    paper="wang2023",
    statement="Without a name mover's output at the last token the model prefers the indirect object less.",
    metric=EFFECT,
    sesoi=0.2,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="name-mover",
    controls=(OTHERS, DIRECTION, LABELS),
    rival="any change of this size at the last token does it",
    exposed_by="same dose, random direction",
    units=PROMPTS,
    cost=Cost(draws=8, tokens=18),
)
def test_name_movers_matter(model, subject, evidence, rng):
    prompts, other, matched = prepared(model, subject, evidence, rng)
    heads = {head: (head,) for head in (*subject.heads, *{name for names in matched.values() for name in names})}
    total = total_effects(model, prompts, heads, other=other).fall()
    found_on = draw(model, rng, split="discovery", n=DISCOVERY)
    renamed = found_on.corrupted("random names", rng.for_("discovery names"))
    discovery = total_effects(model, found_on, heads, other=renamed).fall()
    doses = same_dose_total(model, prompts, subject.heads, other=other, streams=rng).fall()
    fill(evidence, rng, prompts, values=total, discovery=discovery, matched=matched, doses=doses)
    evidence.note("What is lost may be less than what a head writes: later heads make up for it (backup name movers).")
    evidence.decide()


def measure_direct(model, subject, evidence, rng):
    """Fill a claim about what heads write into the logits themselves."""
    prompts, other, matched = prepared(model, subject, evidence, rng)
    direct = direct_effects(model, prompts, model.heads(), other=other).fall()
    found_on = draw(model, rng, split="discovery", n=DISCOVERY)
    renamed = found_on.corrupted("random names", rng.for_("discovery names"))
    discovery = direct_effects(model, found_on, model.heads(), other=renamed).fall()
    doses = same_dose_direct(model, prompts, subject.heads, other=other, streams=rng).fall()
    fill(evidence, rng, prompts, values=direct, discovery=discovery, matched=matched, doses=doses)
    show_heads(evidence, "Direct effect of every head on the logit difference", direct, model, unit="logits")
    evidence.decide()


def prepared(model, subject, evidence, rng):
    """Prompts, their counterparts with other names, and the heads that the subject is compared with."""
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    matched = matched_heads(subject.heads, among=model.heads(), exclude=circuit(subject), rng=rng.for_("controls"))
    evidence.note(left_out(subject))
    return prompts, prompts.corrupted("random names", rng.for_("names")), matched


def fill(evidence, rng, prompts, *, values, discovery, matched, doses):
    """Treated values and the three controls of an effect on the logit difference."""
    heads = evidence.subject.heads
    evidence.treated(values.of(heads))
    evidence.component_control("other heads", values, discovery=discovery, matched=matched)
    evidence.control("same dose, random direction", doses)
    evidence.control("shuffled roles", relabelled(values.of(heads), prompts, rng))
