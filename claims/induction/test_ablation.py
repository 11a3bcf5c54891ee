"""What is lost without the induction heads (Olsson et al. 2022, argument 3)."""

from __future__ import annotations

from claims.induction.measurements import (
    DONORS,
    chosen,
    copy_damage,
    describe,
    donors_of,
    second_copy_damage,
    second_copy_loss,
    weaker,
)
from fixtures.prompts.repeated import SHORT, repeated_random_tokens
from harness.ablation import Ablation
from harness.claim import Behaviour, Control, Cost, Margin, Metric, Units, claim
from harness.population import DRAWS, circuit, left_out, matched_heads, matched_sets

CONTROLS = (
    Control("other heads", "component"),
    Control("same dose, random direction", "same-dose"),
    Control("fresh second half", "input"),
)
FIRST_COPY = Margin(
    "cost on the first copy",
    unit="nats per token",
    at_most=0.2,
    reason="a third of the SESOI: what is lost is the copying",
)
SETS = 24
"""Matched sets that are measured; each costs a pass over all sequences."""
POPULATION_UNITS = 16
"""Sequences on which the other heads are ablated; the effect itself uses all."""
GAIN = Behaviour(
    "gain on the second copy", claim="induction.second-copy", against="shuffled second half, same positions"
)


def ablated_by(heads: str, *, others: str) -> str:
    """In words: how heads are ablated, and what is ablated beside them."""
    return (
        f"On a random block of 10 to 30 tokens and its copy, the output of {heads} is replaced at every position by "
        f"that on {DONORS} other such sequences (resampling, averaged) or by their mean within each copy; the smaller "
        f"damage counts. Controls: {others} of nearby layers outside the circuit; random vectors as long as the "
        "change (residual-stream covariance); the same with a fresh second half."
    )


@claim(
    id="induction.ablation",
    paper="olsson2022",
    statement="Ablating an induction head costs the model its prediction of the second copy, and spares the first.",
    metric=Metric("rise of the loss on the second copy", unit="nats per token"),
    sesoi=0.6,
    sesoi_reason="5 % of the largest behaviour on the discovery split (SmolLM2: 9.4 nats), rounded up",
    alternative="greater",
    subject="induction",
    controls=CONTROLS,
    margins=(FIRST_COPY,),
    rival="any change of this size in the residual stream does it",
    exposed_by="same dose, random direction",
    units=Units(
        default=16, quick=16, reason="discovery SD 0.3 nats at SESOI 0.6: 12 clusters have 90 % power at twice it"
    ),
    cost=Cost(draws=106, tokens=41),
    method=ablated_by("each head alone", others=f"up to {DRAWS} single heads"),
    behaviour=GAIN,
    version=3,
)
def test_ablating_an_induction_head_costs_the_second_copy(model, subject, evidence, rng):
    sets = {head: (head,) for head in subject.heads}
    matched = matched_heads(subject.heads, among=model.heads(), exclude=circuit(subject), rng=rng.for_("controls"))
    others = {head: (head,) for names in matched.values() for head in names}
    measure_ablation(model, evidence, rng, sets=sets, others=others, matched=matched)
    evidence.decide()


@claim(
    id="induction.joint-ablation",
    paper="olsson2022",
    statement="Ablating the induction heads together costs the prediction of the second copy, and spares the first.",
    metric=Metric("rise of the loss on the second copy", unit="nats per token"),
    sesoi=0.6,
    sesoi_reason="5 % of the largest behaviour on the discovery split (SmolLM2: 9.4 nats), rounded up",
    alternative="greater",
    subject="induction",
    controls=CONTROLS,
    margins=(FIRST_COPY,),
    rival="any change of this size in the residual stream does it",
    exposed_by="same dose, random direction",
    units=Units(
        default=16, quick=16, reason="discovery SD 0.6 nats at SESOI 0.6: 16 clusters have 90 % power at twice it"
    ),
    cost=Cost(draws=94, tokens=41),
    method=ablated_by("all these heads", others=f"up to {SETS} random sets of as many heads"),
    behaviour=GAIN,
    version=4,
)
def test_ablating_the_induction_heads_together_costs_the_second_copy(model, subject, evidence, rng):
    others = matched_sets(
        subject.heads, among=model.heads(), exclude=circuit(subject), rng=rng.for_("controls"), draws=SETS
    )
    sequences, donors = measure_ablation(
        model, evidence, rng, sets={"joint": subject.heads}, others=others, matched={"joint": tuple(others)}
    )
    if len(subject.heads) > 1:
        rest = {head: tuple(other for other in subject.heads if other != head) for head in subject.heads}
        together = Ablation("resample", donors[:1])
        costs = second_copy_damage(model, sequences, sets={"joint": subject.heads} | rest, ablation=together)
        for head in subject.heads:
            evidence.share(head, values=costs.of(["joint"]).minus(costs.of([head])))
    show_dose(model, evidence, sequences, donors, heads=subject.heads)
    evidence.decide()


def measure_ablation(model, evidence, rng, *, sets, others, matched):
    """Fill treated, controls and margin of an ablation claim; decided on the weaker kind of ablation."""
    sequences = repeated_random_tokens(model, n=evidence.n_units, rng=rng.for_("prompts"), lengths=SHORT)
    describe(evidence, sequences)
    donors = donors_of(model, sequences, rng)
    segment = sequences.segments()
    fresh = sequences.fresh_second(model.random_token_pool(), rng=rng.for_("fresh"))
    gain = second_copy_loss(model, fresh).minus(second_copy_loss(model, sequences))
    evidence.precondition("gain on the second copy, nats per token", value=float(gain.mean()[0]), at_least=1.0)

    def ablated(prompts, heads, kind, count=None, *, of=copy_damage):
        ablation = Ablation(kind, donors[:count], segment=segment, rng=rng.for_("dose"))
        return of(model, prompts, sets=heads, ablation=ablation, evidence=evidence, what=kind)

    resampled, mean = ablated(sequences, sets, "resample"), ablated(sequences, sets, "mean")
    by_resampling = weaker(resampled.second, mean.second)
    treated = chosen(resampled.second, mean.second, by_first=by_resampling)
    unrepeated = chosen(
        ablated(fresh, sets, "resample", 1, of=second_copy_damage),
        ablated(fresh, sets, "mean", of=second_copy_damage),
        by_first=by_resampling,
    )
    few = sequences.first(POPULATION_UNITS)
    first_few = [donor.first(POPULATION_UNITS) for donor in donors[:1]]
    population = second_copy_damage(
        model, few, sets=others, ablation=Ablation("resample", first_few), evidence=evidence, what="other heads"
    )
    found_on = repeated_random_tokens(model, n=12, rng=rng.for_("discovery"), lengths=SHORT)
    its_donors = donors_of(model, found_on, rng, count=1)
    discovery = second_copy_damage(
        model, found_on, sets=others, ablation=Ablation("resample", its_donors), evidence=evidence, what="discovery"
    )

    evidence.treated(treated)
    evidence.component_control(
        "other heads", population, discovery=discovery, matched=matched, treated=resampled.second
    )
    dosed = ablated(sequences, sets, "same-dose", 1, of=second_copy_damage)
    evidence.control("same dose, random direction", dosed)
    evidence.control("fresh second half", unrepeated)
    larger = [not smaller for smaller in weaker(resampled.first, mean.first)]
    evidence.margin("cost on the first copy", chosen(resampled.first, mean.first, by_first=larger))
    evidence.table(
        "Kinds of ablation",
        columns=["heads", "resample, nats", "mean, nats", "decided on", "dose (length of the change)"],
        rows=[
            [
                name,
                resampled.second.mean()[row],
                mean.second.mean()[row],
                "resample" if by_resampling[row] else "mean",
                resampled.dose.mean()[row],
            ]
            for row, name in enumerate(sets)
        ],
    )
    evidence.picture(
        "bars",
        "Loss on the second copy when ablated",
        caption="Resampled; mean over sequences.",
        n=f"{len(treated.units)} sequences, {len(population.units)} for the other heads",
        unit="nats per token",
        labels=[*sets, "mean of others"],
        values=[*resampled.second.mean(), population.mean().mean()],
        threshold=evidence.claim.sesoi,
    )
    evidence.note(left_out(evidence.subject))
    evidence.note("Other heads are resampled, and compared with the subject's own resampling.")
    evidence.note("No effect of an ablation would not show that a head has no function: models repair themselves.")
    return sequences, donors


def show_dose(model, evidence, sequences, donors, *, heads):
    """Record the effect at a quarter, half, three quarters and the whole of the intervention."""
    scales, few = (0.25, 0.5, 0.75, 1.0), sequences.first(12)
    points = [
        second_copy_damage(
            model, few, sets={"joint": heads}, ablation=Ablation("resample", [donors[0].first(12)], scale=scale)
        )
        for scale in scales
    ]
    evidence.picture(
        "curve",
        "Dose and damage",
        caption="Share of the resampling change that is made.",
        n=f"{len(points[0].units)} sequences",
        x=scales,
        y=[float(point.mean()[0]) for point in points],
        xlabel="share of the change",
        ylabel="rise of the loss, nats per token",
    )
