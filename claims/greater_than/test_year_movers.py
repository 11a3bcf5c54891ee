"""Heads that attend to the start year and bring it to the last token (Hanna et al. 2023, section 3)."""

from __future__ import annotations

from claims.greater_than.measurements import (
    attention_to_year,
    describe,
    draw,
    rises,
    same_dose_effects,
    total_effects,
)
from harness.claim import Behaviour, Control, Cost, Metric, Units, claim
from harness.population import DRAWS, circuit, left_out, matched_heads

MODELS = ("gpt2-small", "smollm2-*", "path:*")
PROMPTS = Units(
    default=40, quick=40, full=80, of="prompt", reason="20 templates limit every interval; two prompts of each"
)
OTHERS = Control("other heads", "component")
DIRECTION = Control("same dose, random direction", "same-dose")
CENTURY = Control("another century, same year", "input")
LATER_CENTURY = Control("another century, same year: towards a later or earlier one", "input")
DISCOVERY = 15
"""Prompts of the discovery split, one of each template, on which the 95th-percentile head is chosen."""
BESIDE = (
    f"The same is done with up to {DRAWS} single heads (nearby layers, outside the circuit), with 5 random vectors "
    "per prompt as long as the change (residual-stream covariance) and from the same prompt in another century."
)


@claim(
    id="greater-than.year-movers-attend",
    paper="hanna2023",
    statement="Year movers attend from the last token to the digits of the start year that decide.",
    metric=Metric("attention to the start year", unit="attention probability"),
    sesoi=0.1,
    sesoi_reason="a tenth of a head's attention; uniform attention gives 0.06 on prompts of 18 tokens",
    alternative="greater",
    subject="year-mover",
    controls=(OTHERS, Control("no year, same positions", "input")),
    rival="a head that attends at a fixed offset, or to whatever follows `from` and `in`",
    exposed_by="no year, same positions: words of the prompt stand where the year stood",
    units=PROMPTS,
    tier="reliability",  # the heads were selected by this attention, among others
    models=MODELS,
    cost=Cost(draws=3, tokens=20),
    method=(
        "No intervention: each head's attention from the last token to the start year's last two digits, or to its "
        "tens digit where years are written digit by digit. In the control earlier tokens of the prompt stand in the "
        f"year's place. Other heads are up to {DRAWS} single heads of nearby layers outside the circuit."
    ),
    version=3,
)
def test_year_movers_attend_to_the_start_year(model, subject, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    scores = attention_to_year(model, prompts)
    without = attention_to_year(model, prompts.corrupted("no year", rng.for_("no year")))
    discovery = attention_to_year(model, draw(model, rng, split="discovery", n=DISCOVERY))
    evidence.note(left_out(subject))
    evidence.treated(scores.of(subject.heads))
    evidence.component_control("other heads", scores, discovery=discovery, matched=others(model, subject, rng))
    evidence.control("no year, same positions", without.of(subject.heads))
    evidence.picture(
        "head_map",
        "Attention from the last token to the start year",
        caption="Mean over prompts; subjects are marked.",
        unit="attention probability",
        values=scores.mean().reshape(model.n_layers, model.n_heads),
        marked=subject.heads,
    )
    evidence.decide()


@claim(
    id="greater-than.year-movers-matter",
    paper="hanna2023",
    statement="With a year mover's output from a prompt where every year is right, right years are predicted less.",
    metric=Metric("fall of the probability difference", unit="probability"),
    sesoi=0.041,
    sesoi_reason="5 % of the paper's probability difference of 0.817 (SmolLM2 on the discovery split: 0.71)",
    alternative="greater",
    subject="year-mover",
    controls=(OTHERS, DIRECTION, CENTURY),
    rival="any change of this size, or of the prompt's numbers, disturbs the prediction",
    exposed_by="same dose, random direction; another century, same year",
    units=PROMPTS,
    tier="reliability",  # the heads were selected by this effect on the discovery split
    models=MODELS,
    cost=Cost(draws=12, tokens=20),
    method=(
        "Activation patching: at the last token each head alone takes its output on the same prompt with a start "
        f"year ending in 01; everything after is recomputed. {BESIDE}"
    ),
    behaviour=Behaviour("probability difference", claim="greater-than.behaviour"),
    version=3,
)
def test_year_movers_matter(model, subject, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    other = prompts.corrupted("01")
    matched = others(model, subject, rng)
    rest = all_of(matched)
    found_on = draw(model, rng, split="discovery", n=DISCOVERY)
    falls = total_effects(model, prompts, [*subject.heads, *rest], other=other).fall()
    values, population = falls.of(subject.heads), falls.of(rest)
    doses = same_dose_effects(model, prompts, subject.heads, other=other, streams=rng).fall()
    elsewhen = prompts.corrupted("another century", rng.for_("century"))
    centuries = total_effects(model, prompts, subject.heads, other=elsewhen).fall()
    discovery = total_effects(model, found_on, rest, other=found_on.corrupted("01")).fall()
    evidence.note(left_out(subject))
    evidence.treated(values)
    evidence.component_control("other heads", population, discovery=discovery, matched=matched)
    evidence.control("same dose, random direction", doses)
    evidence.control(CENTURY.name, centuries)
    show(evidence, "Fall of the probability difference", values, population, unit="probability")
    evidence.decide()


@claim(
    id="greater-than.year-movers-move-the-boundary",
    paper="hanna2023",
    statement="A year mover's output from a prompt with another start year moves the prediction towards that year.",
    metric=Metric("shift of the predicted year towards the other year", unit="decades"),
    sesoi=0.1,
    sesoi_reason="5 % of the two decades between the years (SmolLM2 on the discovery split shifts by 1.36)",
    alternative="greater",
    subject="year-mover",
    controls=(OTHERS, DIRECTION, LATER_CENTURY),
    rival="the head hands on whichever digits of the other prompt are larger or smaller, not the year that decides",
    exposed_by="another century, same year: its digits are larger or smaller too, the year that decides is the same",
    units=PROMPTS,
    models=MODELS,
    cost=Cost(draws=10, tokens=20),
    method=(
        "Activation patching: at the last token each head alone takes its output on the same prompt with a start "
        "year 20 years later or earlier. The predicted year sums the answers' decades, weighted by probability. "
        f"{BESIDE}"
    ),
    version=3,
)
def test_year_movers_move_the_boundary(model, subject, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    matched = others(model, subject, rng)
    rest = all_of(matched)
    found_on = draw(model, rng, split="discovery", n=DISCOVERY)

    other = prompts.corrupted("other year", rng.for_("other year"))
    found_other = found_on.corrupted("other year", rng.for_("discovery other year"))
    # The shift is read on the clean prompts, with the outputs of the other ones patched in.
    shifted, found_shifted = prompts.with_sign(other.sign), found_on.with_sign(found_other.sign)

    shifts = rises(total_effects(model, shifted, [*subject.heads, *rest], other=other))
    values, population = shifts.of(subject.heads), shifts.of(rest)
    doses = rises(same_dose_effects(model, shifted, subject.heads, other=other, streams=rng))
    discovery = rises(total_effects(model, found_shifted, rest, other=found_other))
    evidence.note(left_out(subject))
    evidence.treated(values)
    evidence.component_control("other heads", population, discovery=discovery, matched=matched)
    evidence.control("same dose, random direction", doses)
    elsewhen = prompts.corrupted("another century", rng.for_("century"))
    towards = prompts.towards_century_of(elsewhen)
    evidence.control(LATER_CENTURY.name, rises(total_effects(model, towards, subject.heads, other=elsewhen)))
    show(evidence, "Shift of the predicted year towards the other year", values, population, unit="decades")
    evidence.decide()


def others(model, subject, rng):
    """For each of the subject's heads those of nearby layers that are no part of the circuit."""
    return matched_heads(subject.heads, among=model.heads(), exclude=circuit(subject), rng=rng.for_("controls"))


def all_of(matched):
    """Everything that the subject's heads are compared with, each once."""
    return list(dict.fromkeys(name for names in matched.values() for name in names))


def show(evidence, name, values, population, *, unit):
    """Record the effect of each of the subject's heads beside the mean of the others."""
    evidence.picture(
        "bars",
        name,
        caption="Mean over prompts; other heads are those of nearby layers.",
        unit=unit,
        labels=[*values.components, "mean of others"],
        values=[*values.mean(), population.mean().mean()],
        threshold=evidence.claim.sesoi,
    )
