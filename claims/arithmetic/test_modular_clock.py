"""Clock or Pizza: whether the model multiplies its embeddings or adds them (Zhong et al. 2023, section 4).

The paper's transformer with attention is a Clock (symmetricity 0.33, irrelevance 0.85), its transformer with constant
attention a Pizza (0.99 and 0.17). Ours has full attention, so by the paper it is a Clock. It is ranked among itself
with constant attention, which still adds: what the paper takes from its Pizza. Departures: our model reads the answer
at "=", not at an operand, and symmetricity is a mean over all pairs, each with one random answer, not over 100 triples.
"""

from __future__ import annotations

import numpy as np

from claims.arithmetic.modular_measurements import (
    SET_ON,
    constant_patterns,
    describe,
    irrelevance,
    loss_nats,
    rank,
    symmetricity,
)
from claims.arithmetic.modular_model import PAIRS, one_layer
from fixtures.prompts.modular import P
from harness.claim import Control, Metric, claim
from harness.clock_pizza import distance_irrelevance
from harness.fourier import correct_logits

MODELS = ("modular-addition-113@*",)
CONTROLS = (Control("constant attention", "component"),)


@claim(
    id="arithmetic.clock-gradients",
    paper="zhong2023",
    statement="A model with full attention is a Clock: a logit's gradients by the two embeddings point apart.",
    metric=Metric("gradient symmetricity", unit="mean cosine"),
    sesoi=0.33,
    sesoi_reason="half of the distance between the paper's Clock (0.33) and its Pizza (0.99)",
    alternative="less",
    controls=CONTROLS,
    rival="the model adds its embeddings (Pizza), and attention only scales them",
    exposed_by="constant attention: the same weights, with nothing that could multiply",
    units=None,
    models=MODELS,
    set_on=SET_ON,
    method="On each of all 12,769 pairs, the cosine between the gradients of one output logit, for an answer drawn at "
    "random, by the embedding of a and by that of b; mean over pairs. Population: the same weights and answers with "
    "each head's attention frozen at its mean over 32 randomly drawn pairs, 20 draws.",
    version=2,
)
def test_gradients_by_the_two_embeddings_point_apart(model, evidence, rng):
    layer = one_layer(model)
    logits = layer.logits()
    describe(evidence, logits)
    answers = rng.for_("answers").integers(0, P, len(PAIRS))
    patterns = constant_patterns(layer, rng.for_("patterns"))
    constant = {name: symmetricity(layer, answers, pattern) for name, pattern in patterns.items()}

    own = symmetricity(layer, answers)
    rank(evidence, own, {"constant attention": constant})
    _losses(evidence, layer, logits, patterns)
    evidence.picture(
        "bars",
        "Gradient symmetricity",
        caption="Mean cosine between a logit's gradients by the embeddings of a and b; the paper's two models beside.",
        unit="mean cosine",
        labels=["this model", "its mean with constant attention", "paper: Clock", "paper: Pizza"],
        values=[own, float(np.mean(list(constant.values()))), 0.3336, 0.9937],
    )
    evidence.decide()


@claim(
    id="arithmetic.clock-distances",
    paper="zhong2023",
    statement="A model with full attention is a Clock: the correct logit does not depend on the distance a - b.",
    metric=Metric("distance irrelevance", unit="share of standard deviation"),
    sesoi=0.34,
    sesoi_reason="half of the distance between the paper's Clock (0.85) and its Pizza (0.17)",
    alternative="greater",
    controls=CONTROLS,
    rival="the model adds its embeddings (Pizza), so that numbers half a turn apart cancel",
    exposed_by="constant attention: the same weights, with nothing that could multiply",
    units=None,
    models=MODELS,
    set_on=SET_ON,
    method="Over all 12,769 pairs: the standard deviation of the correct logit among the pairs of one distance a - b "
    "mod 113, mean over distances, divided by its standard deviation over all pairs. Population: the same weights "
    "with each head's attention frozen at its mean over 32 randomly drawn pairs, 20 draws.",
    version=2,
)
def test_the_correct_logit_does_not_depend_on_the_distance(model, evidence, rng):
    layer = one_layer(model)
    logits = layer.logits()
    describe(evidence, logits)
    patterns = constant_patterns(layer, rng.for_("patterns"))
    constant = {name: irrelevance(layer, pattern) for name, pattern in patterns.items()}

    own = distance_irrelevance(correct_logits(logits))
    rank(evidence, own, {"constant attention": constant})
    _losses(evidence, layer, logits, patterns)
    correct, token = correct_logits(logits), np.arange(P)
    evidence.picture(
        "curve",
        "Correct logit by distance",
        caption=f"Mean over the pairs of each distance. Distance irrelevance is {own:.2f}; the paper's Clock has "
        "0.85, its Pizza 0.17.",
        x=token,
        y=[correct[(token + distance) % P, token].mean() for distance in token],
        xlabel="a - b mod 113",
        ylabel="logit of the answer",
    )
    evidence.decide()


def _losses(evidence, layer, logits, patterns):
    """What constant attention costs: a population that no longer adds would be no Pizza."""
    name, pattern = next(iter(patterns.items()))
    found = {"full attention": logits, name: layer.logits(pattern=pattern)}
    right = {name: each.argmax(axis=2) == PAIRS.answers.reshape(P, P) for name, each in found.items()}
    evidence.table(
        "Adding with constant attention, over all pairs",
        columns=["model", "loss in nats", "answers right"],
        rows=[[name, loss_nats(each), float(right[name].mean())] for name, each in found.items()],
    )
