"""MLPs turn the start year into a preference for later ones (Hanna et al. 2023, section 3.2)."""

from __future__ import annotations

from claims.greater_than.measurements import describe, draw, effects_through_mlps, means, total_effects
from harness.claim import Behaviour, Control, Cost, Metric, Units, claim
from harness.population import circuit, matched_sets

DISCOVERY = 15
"""Prompts of the discovery split, one of each template, on which the 95th-percentile set is chosen."""
SETS = 20
"""Matched sets of as many other heads: as many as a 95th percentile needs."""


@claim(
    id="greater-than.mlps-read-the-year",
    paper="hanna2023",
    statement="What the year movers bring to the last token makes later years likely by way of the MLPs.",
    metric=Metric("fall of the probability difference", unit="probability"),
    sesoi=0.2,
    sesoi_reason="a quarter of the paper's probability difference of 0.817: the MLPs are said to compute it",
    alternative="greater",
    subject="year-mover",
    controls=(
        Control("as many other heads, through the MLPs", "component"),
        Control("another century, same year", "input"),
    ),
    rival="the year movers write later years into the logits themselves, and MLPs react to any change",
    exposed_by="what the heads write into the logits stays as it was; as many other heads, through the MLPs",
    units=Units(
        default=40, quick=40, full=80, of="prompt", reason="20 templates limit every interval; two prompts of each"
    ),
    tier="reliability",  # a part of the total effect that selected the heads
    models=("gpt2-small", "smollm2-*", "path:*"),
    cost=Cost(draws=10, tokens=20),
    method=(
        "Path patching: at the last token the year movers together take their outputs on the same prompt with a "
        "start year ending in 01. With other heads frozen this reaches the MLPs from the first year mover's layer "
        f"on; these alone take it, and what follows is recomputed. The same is done with up to {SETS} random sets of "
        "as many heads (nearby layers, outside the circuit) and from the same prompt in another century."
    ),
    behaviour=Behaviour("probability difference", claim="greater-than.behaviour"),
    version=2,
)
def test_mlps_turn_the_start_year_into_a_preference(model, subject, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    other = prompts.corrupted("01")
    others = matched_sets(
        subject.heads, among=model.heads(), exclude=circuit(subject), rng=rng.for_("controls"), draws=SETS
    )
    joint = {"joint": subject.heads}
    found_on = draw(model, rng, split="discovery", n=DISCOVERY)
    elsewhen = prompts.corrupted("another century", rng.for_("century"))
    falls = effects_through_mlps(model, prompts, {**joint, **others}, other=other).fall()
    centuries = effects_through_mlps(model, prompts, joint, other=elsewhen).fall()
    discovery = effects_through_mlps(model, found_on, others, other=found_on.corrupted("01")).fall()
    evidence.treated(falls.of(["joint"]))
    evidence.component_control(
        "as many other heads, through the MLPs",
        falls.of(list(others)),
        discovery=discovery,
        matched={"joint": tuple(others)},
    )
    evidence.control("another century, same year", centuries)
    show_mlps(evidence, model, found_on)
    evidence.decide()


def show_mlps(evidence, model, prompts):
    """Record which MLPs carry the year at the last token: descriptive, on the discovery split."""
    mlps = [f"{layer}.mlp" for layer in range(model.n_layers)]
    falls = means(total_effects(model, prompts, mlps, other=prompts.corrupted("01")).fall())
    first = sorted(mlps, key=lambda name: -falls[name])[:8]
    evidence.table(
        "MLPs whose output at the last token, patched from the 01 prompts, lowers the probability difference most",
        columns=["MLP", "fall, probability (discovery split)"],
        rows=[[name, falls[name]] for name in first],
    )
    evidence.note("MLPs are reported and not judged one by one: the subjects of claims are heads.")
