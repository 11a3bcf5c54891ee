"""What induction heads write: the token that they attend to (Elhage et al. 2021, "copying")."""

from __future__ import annotations

from claims.induction.measurements import (
    UNRELATED,
    copying_scores,
    describe,
)
from claims.induction.swap import draw_swap, swap_effects
from fixtures.prompts.repeated import SHORT, repeated_random_tokens
from harness.claim import Control, Cost, Metric, Units, claim
from harness.population import circuit, matched_heads


@claim(
    id="induction.ov-copying",
    paper="elhage2021",
    statement="The OV circuits of induction heads copy: they raise the logit of the token that is attended to.",
    metric=Metric("direct effect on the attended token's logit, above the block's other tokens", unit="logits"),
    sesoi=0.5,
    sesoi_reason="half a logit makes a token 1.6 times likelier; other heads average under 0.1 on discovery",
    alternative="greater",
    subject="induction",
    controls=(Control("other heads", "component"), Control("tokens that the block lacks", "label")),
    rival="most heads copy a little: eigenvalue scores saturate for dozens of heads",
    exposed_by="the 95th percentile of the other heads",
    units=Units(default=32, quick=16, reason="discovery SD under 0.5 logits at SESOI 0.5: 13 clusters have 90 % power"),
    cost=Cost(draws=3, tokens=51),
    method=(
        "What each head's OV circuit would write, attending to one position of the first copy alone, is unembedded "
        "at the final norm's mean scale in the second copy, and averaged over positions. The control scores "
        f"{UNRELATED} random tokens that the block lacks. Other heads are single heads of nearby layers, outside the "
        "circuit, that share no key-value head with these."
    ),
)
def test_ov_circuits_of_induction_heads_copy(model, subject, evidence, rng):
    sequences = repeated_random_tokens(model, n=evidence.n_units, rng=rng.for_("prompts"))
    describe(evidence, sequences)
    scores = copying_scores(model, sequences)
    unrelated = copying_scores(model, sequences, unrelated=rng.for_("unrelated"))
    discovery = copying_scores(model, repeated_random_tokens(model, n=12, rng=rng.for_("discovery")))
    evidence.treated(scores.of(subject.heads))
    evidence.component_control("other heads", scores, discovery=discovery, matched=other_heads(model, subject, rng))
    evidence.control("tokens that the block lacks", unrelated.of(subject.heads))
    evidence.picture(
        "head_map",
        "Copying score of every head",
        caption="Mean over sequences; subjects are marked.",
        unit="logits",
        values=scores.mean().reshape(model.n_layers, model.n_heads),
        marked=subject.heads,
    )
    evidence.decide()


@claim(
    id="induction.ov-swap",
    paper="elhage2021",
    statement="With the attention frozen, swapping the attended token moves the prediction to the new token.",
    metric=Metric("rise of the new token's logit over the old one's", unit="logits"),
    sesoi=0.5,
    sesoi_reason="half a logit makes the new token 1.6 times likelier against the old one, through one head alone",
    alternative="greater",
    subject="induction",
    controls=(Control("other heads", "component"), Control("an unrelated token in the new one's place", "label")),
    rival="any change of the head's value disturbs the old prediction without making a new one",
    exposed_by="an unrelated token in the new one's place",
    units=Units(default=32, quick=16, reason="discovery SD 1 logit: 32 clusters have 80 % power at twice the SESOI"),
    cost=Cost(draws=30, tokens=41),
    method=(
        "In the second copy each head alone reads, at the positions after the matches, its values from a pass with "
        "other tokens in the first copy; attention from its layer on is frozen. The control scores a third, "
        "unrelated token. Other heads are single heads of nearby layers, outside the circuit, that share no "
        "key-value head with these."
    ),
)
def test_swapping_the_attended_token_moves_the_prediction(model, subject, evidence, rng):
    sequences = repeated_random_tokens(model, n=evidence.n_units, rng=rng.for_("prompts"), lengths=SHORT)
    describe(evidence, sequences)
    swap = draw_swap(model, sequences, rng.for_("swap"))
    moved, unrelated = swap_effects(model, sequences, swap, heads=subject.heads, evidence=evidence, what="swap")

    matched = other_heads(model, subject, rng)
    others = sorted({head for names in matched.values() for head in names})
    few = sequences.first(16)
    population, _ = swap_effects(model, few, swap.first(16), heads=others, evidence=evidence, what="other heads")
    found_on = repeated_random_tokens(model, n=12, rng=rng.for_("discovery"), lengths=SHORT)
    its_swap = draw_swap(model, found_on, rng.for_("discovery swap"))
    discovery, _ = swap_effects(model, found_on, its_swap, heads=others, evidence=evidence, what="discovery")

    evidence.treated(moved)
    evidence.component_control("other heads", population, discovery=discovery, matched=matched)
    evidence.control("an unrelated token in the new one's place", unrelated)
    evidence.picture(
        "bars",
        "Prediction moved by one head's swapped value",
        caption="Mean over sequences; the query attends as before.",
        n=f"{len(moved.units)} sequences, {len(population.units)} for the other heads",
        unit="logits",
        labels=[*subject.heads, "mean of others"],
        values=[*moved.mean(), population.mean().mean()],
        threshold=evidence.claim.sesoi,
    )
    evidence.decide()


def other_heads(model, subject, rng):
    """Heads of nearby layers outside the circuit that do not read a subject's key-value head."""
    shared = {sharer for head in subject.heads for sharer in model.sharers(head)}
    exclude = circuit(subject) | shared
    return matched_heads(subject.heads, among=model.heads(), exclude=exclude, rng=rng.for_("controls"))
