"""Without the key frequencies nothing is left, without all others nothing is missing (Nanda et al. 2023, section 5.1).

Frequencies are found in the embedding. They are ablated in the logits, as in the paper (excluded and restricted loss),
and in the embedding, from which the whole model is computed again.
"""

from __future__ import annotations

import numpy as np

from claims.arithmetic.modular_measurements import (
    GUESSING_NATS,
    KEY_RULE,
    SET_ON,
    describe,
    keys_of,
    loss_by_part,
    loss_embedding,
    loss_nats,
    permutations,
    random_sets,
    rank,
)
from claims.arithmetic.modular_model import one_layer
from harness.claim import Behaviour, Control, Metric, claim
from harness.fourier import excluded, only, restricted, without

MODELS = ("modular-addition-113@*",)
CONTROLS = (Control("other frequencies", "component"), Control("permuted tokens", "label"))
GUESS = Behaviour("loss of a guess, ln 113", size=GUESSING_NATS)
DESTROYED = 0.5 * GUESSING_NATS
DESTROYED_REASON = "half of ln 113 = 4.73 nats, the loss of a model that knows nothing"
PRESERVED = 0.95 * GUESSING_NATS
PRESERVED_REASON = "95 % of ln 113 = 4.73 nats, what a model that knows nothing loses: 5 % of the behaviour may go"


@claim(
    id="arithmetic.key-frequencies-needed",
    paper="nanda2023",
    statement="Without their waves in a + b of the key frequencies the logits no longer give the sum (excluded loss).",
    metric=Metric("rise of the loss without the key frequencies", unit="nats"),
    sesoi=DESTROYED,
    sesoi_reason=DESTROYED_REASON,
    alternative="greater",
    controls=CONTROLS,
    rival="any ten directions taken out of the logits do this",
    exposed_by="other frequencies: as many directions, waves in a + b too",
    units=None,
    models=MODELS,
    set_on=SET_ON,
    method=f"{KEY_RULE} Over all 12,769 pairs, the logits' components along cos and sin of w(a + b) are projected "
    "out for these w, and the mean cross entropy is compared with the intact model's. Populations: 20 random sets of "
    "as many other frequencies; the key ones after a random permutation of the numbers a and b, 20 draws.",
    behaviour=GUESS,
    version=2,
)
def test_logits_without_the_key_frequencies_do_not_add(model, evidence, rng):
    layer = one_layer(model)
    logits = layer.logits()
    describe(evidence, logits)
    _rank_logits(evidence, logits, excluded, keys_of(layer), rng)
    _losses(evidence, model, layer, logits)
    evidence.decide()


@claim(
    id="arithmetic.key-frequencies-suffice",
    paper="nanda2023",
    statement="The waves in a + b of the key frequencies alone give the sum (restricted loss).",
    metric=Metric("change of the loss where only the key frequencies are left", unit="nats"),
    sesoi=PRESERVED,
    sesoi_reason=PRESERVED_REASON,
    alternative="less",
    controls=CONTROLS,
    rival="a few waves in a + b of any frequency tell the sums apart well enough",
    exposed_by="other frequencies: as many, taken from the same logits",
    units=None,
    models=MODELS,
    set_on=SET_ON,
    method=f"{KEY_RULE} Over all 12,769 pairs, of the logits only their mean over pairs and the components along cos "
    "and sin of w(a + b) are kept for these w. Populations, each member counted as no worse than a guess: 20 random "
    "sets of as many other frequencies; the key ones after a random permutation of the numbers a and b, 20 draws.",
    behaviour=GUESS,
    version=2,
)
def test_logits_of_the_key_frequencies_alone_add(model, evidence, rng):
    layer = one_layer(model)
    logits = layer.logits()
    describe(evidence, logits)
    _rank_logits(evidence, logits, restricted, keys_of(layer), rng)
    evidence.decide()


@claim(
    id="arithmetic.embedding-frequencies-needed",
    paper="nanda2023",
    statement="A model whose embedding has lost the key frequencies no longer adds.",
    metric=Metric("rise of the loss where the embedding lacks the key frequencies", unit="nats"),
    sesoi=DESTROYED,
    sesoi_reason=DESTROYED_REASON,
    alternative="greater",
    controls=CONTROLS,
    rival="taking anything of these dimensions out of the embedding breaks the model",
    exposed_by="permuted tokens: as many dimensions over the numbers, of waves over other orders of them",
    units=None,
    models=MODELS,
    set_on=SET_ON,
    method=f"{KEY_RULE} These frequencies' cosines and sines over the numbers are projected out of W_E, and the "
    "whole model is run again on all 12,769 pairs. Populations: 20 random sets of as many other frequencies; the key "
    "ones after a random permutation of the numbers, 20 draws.",
    behaviour=GUESS,
    version=3,
)
def test_a_model_without_the_key_frequencies_in_its_embedding_does_not_add(model, evidence, rng):
    layer = one_layer(model)
    logits = layer.logits()
    describe(evidence, logits)
    _rank_embedding(evidence, layer, logits, rng, keep=False)
    evidence.decide()


@claim(
    id="arithmetic.embedding-frequencies-suffice",
    paper="nanda2023",
    statement="A model whose embedding has only the key frequencies still adds.",
    metric=Metric("change of the loss where the embedding has only the key frequencies", unit="nats"),
    sesoi=PRESERVED,
    sesoi_reason=PRESERVED_REASON,
    alternative="less",
    controls=CONTROLS,
    rival="an embedding of as many dimensions, whichever they are, is enough",
    exposed_by="other frequencies: as many dimensions of the same embedding",
    units=None,
    models=MODELS,
    set_on=SET_ON,
    method=f"{KEY_RULE} W_E keeps only its mean over the numbers and these frequencies' cosines and sines, and the "
    "whole model is run again on all 12,769 pairs. Populations, each member counted as no worse than a guess: 20 "
    "random sets of as many other frequencies; the key ones after a random permutation of the numbers, 20 draws.",
    behaviour=GUESS,
    version=3,
)
def test_a_model_with_only_the_key_frequencies_in_its_embedding_adds(model, evidence, rng):
    layer = one_layer(model)
    logits = layer.logits()
    describe(evidence, logits)
    _rank_embedding(evidence, layer, logits, rng, keep=True)
    evidence.decide()


def _rank_logits(evidence, logits, change, keys, rng):
    """Change of the loss where the logits are changed; also for other frequencies, and for renamed numbers."""
    whole = loss_nats(logits)

    def after(frequencies, order=None):
        renamed = logits if order is None else logits[np.ix_(order, order)]
        changed = change(renamed, frequencies)
        if order is not None:
            back = np.argsort(order)
            changed = changed[np.ix_(back, back)]
        return loss_nats(changed) - whole

    _rank(evidence, after, keys, rng, whole=whole, orders=permutations(rng.for_("permutations")), of="logits")


def _rank_embedding(evidence, layer, logits, rng, *, keep):
    """Change of the loss where the embedding keeps or loses frequencies and the model is computed again."""
    whole = loss_nats(logits)

    def after(frequencies, order=None):
        return loss_embedding(layer, frequencies, keep=keep, order=order) - whole

    orders = permutations(rng.for_("permutations"))
    _rank(evidence, after, keys_of(layer), rng, whole=whole, orders=orders, of="embedding")


def _rank(evidence, after, keys, rng, *, whole, orders, of):
    """Rank the change of the loss, and show the losses that are compared.

    Where little is to be lost a control counts for no more than a guess: to lose less than nonsense proves nothing.
    Where much is, neither the model nor a control is held to that.
    """
    preserved = evidence.claim.alternative == "less"
    most = GUESSING_NATS - whole if preserved else np.inf
    sets = random_sets(keys, rng.for_("sets"))
    found = {
        "other frequencies": {name: min(after(some), most) for name, some in sets.items()},
        "permuted tokens": {name: min(after(keys, order), most) for name, order in orders.items()},
    }
    value = after(keys)
    rank(evidence, value, found)
    kept, limit = ("with only", ", which controls count for at most.") if preserved else ("without", ".")
    evidence.picture(
        "bars",
        f"Loss {kept} the key frequencies of the {of}",
        caption=f"All 12,769 pairs; others: mean of all sets. Dashed: a model that knows nothing{limit}",
        unit="nats",
        labels=[
            "nothing ablated",
            f"{kept} the key frequencies",
            *(f"{kept} {name}" for name in ("other frequencies", "waves of permuted tokens")),
        ],
        values=[whole, whole + value, *(whole + float(np.mean(list(each.values()))) for each in found.values())],
        threshold=GUESSING_NATS,
    )


def _losses(evidence, model, layer, logits):
    """A table of all losses on training and test pairs, and their bars."""
    keys = keys_of(layer)
    found = {
        "nothing ablated": logits,
        "logits without the key frequencies": excluded(logits, keys),
        "logits of the key frequencies alone": restricted(logits, keys),
        "embedding without the key frequencies": layer.logits(embed=without(layer.embed, keys)),
        "embedding of the key frequencies alone": layer.logits(embed=only(layer.embed, keys)),
    }
    losses = {name: loss_by_part(each, model=model) for name, each in found.items()}
    parts = list(next(iter(losses.values())))
    evidence.table(
        f"Loss in nats; key frequencies {', '.join(map(str, keys))}",
        columns=["model", *parts],
        rows=[[name, *each.values()] for name, each in losses.items()],
    )
    evidence.picture(
        "bars",
        "Loss with and without the key frequencies",
        caption="All 12,769 pairs; dashed: a model that knows nothing.",
        unit="nats",
        labels=list(losses),
        values=[each["all pairs"] for each in losses.values()],
        threshold=GUESSING_NATS,
    )
