"""How the circuit is wired: previous-token heads feed induction heads (Elhage et al. 2021, "K-composition")."""

from __future__ import annotations

import numpy as np

from claims.induction.measurements import DONORS, attention_damage, chosen, describe, donors_of, weaker
from fixtures.prompts.repeated import SHORT, repeated_random_tokens
from harness.ablation import Ablation
from harness.claim import Control, Cost, Metric, Units, claim
from harness.population import circuit, left_out, matched_sets
from harness.subjects import parse_head

SETS = 24
"""Matched sets that are measured; each costs a pass over all sequences."""


@claim(
    id="induction.previous-token-feeds",
    paper="elhage2021",
    statement="Previous-token heads feed induction heads: without them induction heads no longer find the match.",
    metric=Metric("fall of the prefix-matching score", unit="attention probability"),
    sesoi=0.10,
    sesoi_reason="half of the score that makes an induction head (0.20)",
    alternative="greater",
    subject="induction",
    controls=(
        Control("other sets of earlier heads", "component"),
        Control("same dose, random direction", "same-dose"),
        Control("fresh second half, same positions", "input"),
    ),
    rival="any change of this size before the induction heads disturbs their attention",
    exposed_by="same dose, random direction",
    units=Units(default=32, quick=16, reason="discovery SD 0.1 at SESOI 0.1: 13 clusters have 90 % power at twice it"),
    cost=Cost(draws=49, tokens=41),
    method=(
        "On a random block of 10 to 30 tokens and its copy, the output of the previous-token heads is replaced at "
        f"every position by that on {DONORS} other such sequences (resampling, averaged) or by their mean within each "
        f"copy; the smaller fall counts. Controls: up to {SETS} random sets of as many earlier heads outside the "
        "circuit; random vectors as long as the change (residual-stream covariance); the same with a fresh second "
        "half."
    ),
    version=4,
)
def test_ablating_previous_token_heads_blinds_induction_heads(model, subject, evidence, rng):
    sequences = repeated_random_tokens(model, n=evidence.n_units, rng=rng.for_("prompts"), lengths=SHORT)
    describe(evidence, sequences)
    feeders, heads = subject.of_class("previous-token"), subject.heads
    earlier = [head for head in model.heads() if parse_head(head)[0] < min(subject.layers())]
    exclude = circuit(subject) - set(feeders)
    others = matched_sets(feeders, among=earlier, exclude=exclude, rng=rng.for_("controls"), draws=SETS)

    def fall(prompts, sets, kind, donors):
        ablation = Ablation(kind, donors, segment=prompts.segments(), rng=rng.for_("dose"))
        return attention_damage(model, prompts, sets=sets, ablation=ablation, heads=heads, evidence=evidence, what=kind)

    donors, feeding = donors_of(model, sequences, rng), {"previous-token": feeders}
    resampled, mean = (by_head(fall(sequences, feeding, kind, donors)) for kind in ("resample", "mean"))
    by_resampling = weaker(resampled, mean)
    fresh = sequences.fresh_second(model.random_token_pool(), rng=rng.for_("fresh"))
    kinds = (("resample", donors[:1]), ("mean", donors))
    unrepeated = [by_head(fall(fresh, feeding, kind, some)) for kind, some in kinds]
    few, found_on = sequences.first(16), repeated_random_tokens(model, n=12, rng=rng.for_("discovery"), lengths=SHORT)
    population = fall(few, others, "resample", [donors[0].first(16)])
    discovery = fall(found_on, others, "resample", donors_of(model, found_on, rng, count=1))

    evidence.treated(chosen(resampled, mean, by_first=by_resampling))
    evidence.component_control(
        "other sets of earlier heads",
        rows_by_head(population),
        discovery=rows_by_head(discovery),
        matched={head: [f"{name} on {head}" for name in others] for head in heads},
        treated=resampled,
    )
    evidence.control("same dose, random direction", by_head(fall(sequences, feeding, "same-dose", donors[:1])))
    evidence.control("fresh second half, same positions", chosen(*unrepeated, by_first=by_resampling))
    evidence.note(left_out(subject))
    evidence.table(
        "Fall of each head's score",
        columns=["head", "resample", "mean", "heads ablated"],
        rows=[[head, resampled.mean()[row], mean.mean()[row], ", ".join(feeders)] for row, head in enumerate(heads)],
    )
    evidence.picture(
        "bars",
        "Prefix-matching score lost",
        caption="Resample ablation of the previous-token heads.",
        unit="attention probability",
        labels=list(heads),
        values=resampled.mean(),
        threshold=evidence.claim.sesoi,
    )
    evidence.decide()


@claim(
    id="induction.k-composition",
    paper="elhage2021",
    statement="In the weights alone, a previous-token head K-composes with induction heads more than other heads do.",
    metric=Metric("K-composition score, mean over induction heads", unit="Frobenius ratio"),
    sesoi=0.01,
    sesoi_reason="a quarter of the mean score of two unrelated heads (0.04 on GPT-2 small)",
    alternative="greater",
    subject="induction",
    controls=(Control("other earlier heads", "component"),),
    rival="early heads of large norm compose with everything",
    exposed_by="the score is normalised by both norms and ranked among all earlier heads",
    units=None,
    method=(
        "Frobenius norm of the product of an induction head's W_QK and a previous-token head's W_OV, over the "
        "product of both norms; the mean over induction heads, for the previous-token head that scored highest in "
        "discovery. It is ranked among all heads in layers before the first induction head."
    ),
)
def test_a_previous_token_head_composes_with_induction_heads(weights, subject, evidence):
    from harness.composition import k_composition_matrix

    feeder = subject.of_class("previous-token")[0]
    scores = k_composition_matrix(weights, targets=subject.heads)
    means = scores.mean_over_targets()
    evidence.exact(value=means[feeder], population={head: score for head, score in means.items() if head != feeder})
    evidence.table(
        f"Rank of {feeder} among all heads before each induction head",
        columns=["head", "score", "rank", "of", "mean of all"],
        rows=[
            [
                head,
                scores.by_source(head)[feeder],
                scores.rank(feeder, target=head),
                len(scores.by_source(head)),
                float(np.mean(list(scores.by_source(head).values()))),
            ]
            for head in subject.heads
        ],
    )
    first = min(subject.layers())
    evidence.picture(
        "head_map",
        "K-composition with the induction heads",
        caption="Mean over induction heads, earlier heads only.",
        unit="Frobenius ratio",
        marked=[feeder],
        values=[[means[f"{layer}.{head}"] for head in range(weights.n_heads)] for layer in range(first)],
    )
    for note in weights.notes:
        evidence.note(note)
    evidence.decide()


def by_head(found):
    """The single ablated set's effect on every induction head: [head, sequence]."""
    from harness.values import UnitValues

    first = next(iter(found.values()))
    return UnitValues(
        np.concatenate([each.values for each in found.values()]), tuple(found), first.units, first.clusters
    )


def rows_by_head(found):
    """Every set's effect on every head as rows named `set on head`."""
    from harness.values import UnitValues

    first = next(iter(found.values()))
    names = tuple(f"{name} on {head}" for head, each in found.items() for name in each.components)
    return UnitValues(np.concatenate([each.values for each in found.values()]), names, first.units, first.clusters)
