"""Addition mod 113 is done with a few waves (Nanda et al. 2023, sections 4.1 to 4.3). Every input is enumerated."""

from __future__ import annotations

import numpy as np

from claims.arithmetic.modular_measurements import (
    KEY_RULE,
    SET_ON,
    TUNED,
    describe,
    keys_of,
    other_frequencies,
    output_frequencies,
    permutations,
    random_sets,
    rank,
    training_curve,
    tuning_of,
)
from claims.arithmetic.modular_model import one_layer
from harness.claim import Control, Metric, claim
from harness.fourier import cosine_fit, gini, spectrum, spectrum_bars, sum_spectrum, top_share, without_constant

MODELS = ("modular-addition-113@*",)
MANY = 199
"""Permutations where one costs next to nothing."""


@claim(
    id="arithmetic.fourier-embedding",
    paper="nanda2023",
    statement="The embedding of the numbers is sparse in the Fourier basis.",
    metric=Metric("Gini coefficient of the embedding's power by frequency", unit="Gini coefficient"),
    sesoi=0.45,
    sesoi_reason="half of the 0.91 that five equal frequencies among 56 have; the paper finds five or six",
    alternative="greater",
    controls=(Control("permuted tokens", "component"),),
    rival="the embedding has few large directions, whatever the order of the numbers",
    exposed_by="permuted tokens: the same vectors, and so the same directions, given to other numbers",
    units=None,
    models=MODELS,
    set_on=SET_ON,
    method="From the weights alone: the share of the squared norm of W_E, over the 113 numbers, in the cosine and "
    "sine of each frequency from 1 to 56 (the constant left out), and the Gini coefficient of these 56 shares. "
    "Population: the same embedding with its rows given to the numbers in a random order, 199 draws.",
)
def test_the_embedding_is_sparse_in_the_fourier_basis(model, evidence, rng):
    layer = one_layer(model)
    logits = layer.logits()
    describe(evidence, logits)
    shares = without_constant(spectrum(layer.embed))
    orders = permutations(rng.for_("permutations"), draws=MANY)
    permuted = {name: gini(without_constant(spectrum(layer.embed[order]))) for name, order in orders.items()}

    rank(evidence, gini(shares), {"permuted tokens": permuted})
    evidence.table(
        "Spectra",
        columns=["of", "Gini", "share of the five largest", "key frequencies"],
        rows=[
            ["W_E", gini(shares), top_share(shares, 5), ", ".join(map(str, keys_of(layer)))],
            ["W_U", *_gini_and_top(layer.unembed.T), ""],
        ],
    )
    evidence.picture(
        "bars",
        "Fourier spectrum of the embedding",
        caption="Share of the squared norm of W_E by frequency, without the constant.",
        unit="share of the squared norm",
        **spectrum_bars(shares),
    )
    training_curve(evidence, model)
    evidence.decide()


@claim(
    id="arithmetic.fourier-logits",
    paper="nanda2023",
    statement="The logits are made of waves in a + b of the few frequencies that the embedding has.",
    metric=Metric("share of the logits in waves in a + b of the key frequencies", unit="share of variance"),
    sesoi=0.5,
    sesoi_reason="half of the variance: the smallest share of which it can be said; the paper's fit explains 0.95",
    alternative="greater",
    controls=(Control("other frequencies", "component"), Control("permuted tokens", "label")),
    rival="any function of a + b mod p has its variance in some waves in a + b",
    exposed_by="other frequencies: as many, none of them large in the embedding",
    units=None,
    models=MODELS,
    set_on=SET_ON,
    method=f"{KEY_RULE} Of the variance of all logits over the 12,769 pairs, the share along cos and sin of w(a + b) "
    "is summed over these w. Populations: 20 random sets of as many other frequencies; the key ones after a random "
    "permutation of the numbers a and b, 20 draws.",
)
def test_the_logits_are_waves_in_a_plus_b_of_the_key_frequencies(model, evidence, rng):
    layer = one_layer(model)
    keys, logits = keys_of(layer), layer.logits()
    describe(evidence, logits)
    shares = sum_spectrum(logits)
    others = random_sets(keys, rng.for_("sets"))
    orders = permutations(rng.for_("permutations"))

    rank(
        evidence,
        _share_of(shares, keys),
        {
            "other frequencies": {name: _share_of(shares, some) for name, some in others.items()},
            "permuted tokens": {
                name: _share_of(sum_spectrum(logits[np.ix_(order, order)]), keys) for name, order in orders.items()
            },
        },
    )
    evidence.picture(
        "bars",
        "Fourier spectrum of the logits",
        caption="Share of the variance over all pairs in cos(w(a+b)) and sin(w(a+b)); frequencies found in W_E: "
        + ", ".join(map(str, keys)),
        unit="share of variance",
        **spectrum_bars(shares),
    )
    evidence.decide()


@claim(
    id="arithmetic.cosine-logits",
    paper="nanda2023",
    statement="The logits are a sum of cos(w(a + b - c)) over the key frequencies.",
    metric=Metric("variance of the logits explained by one cosine per key frequency", unit="R squared"),
    sesoi=0.5,
    sesoi_reason="half of the variance: the smallest share of which it can be said; the paper's fit explains 0.95",
    alternative="greater",
    controls=(Control("other frequencies", "component"), Control("permuted answers", "label")),
    rival="the logits are waves in a + b that say nothing of which c is right",
    exposed_by="permuted answers: the same waves in a + b, read out for other numbers",
    units=None,
    models=MODELS,
    set_on=SET_ON,
    method=f"{KEY_RULE} Over all 12,769 pairs and 113 answers, the logits are fitted by least squares with a "
    "constant and one cos(w(a + b - c)) per key frequency. Populations: 20 random sets of as many other frequencies; "
    "the key ones with the answers c permuted at random, 20 draws.",
)
def test_the_logits_are_a_sum_of_cosines_of_the_key_frequencies(model, evidence, rng):
    layer = one_layer(model)
    keys, logits = keys_of(layer), layer.logits()
    describe(evidence, logits)
    fit = cosine_fit(logits, keys)
    others = random_sets(keys, rng.for_("sets"))
    orders = permutations(rng.for_("permutations"))

    rank(
        evidence,
        fit.explained,
        {
            "other frequencies": {name: cosine_fit(logits, some).explained for name, some in others.items()},
            "permuted answers": {
                name: cosine_fit(logits[:, :, order], keys).explained for name, order in orders.items()
            },
        },
    )
    evidence.picture(
        "bars",
        "Amplitude of each cosine",
        caption="Least-squares fit of all logits by cos(w(a + b - c)), one amplitude per key frequency.",
        unit="logits",
        labels=[f"frequency {k}" for k in fit.frequencies],
        values=list(fit.amplitudes),
    )
    evidence.decide()


@claim(
    id="arithmetic.fourier-neurons",
    paper="nanda2023",
    statement="Most neurons compute with one frequency: the one that they write to the logits.",
    metric=Metric("neurons with 85 % of their variance in the frequency that they write", unit="share of neurons"),
    sesoi=0.5,
    sesoi_reason="most neurons: more than half, by the paper's own criterion of 85 %, which 433 of its 512 pass (0.85)",
    alternative="greater",
    controls=(Control("other neurons' frequencies", "component"), Control("permuted tokens", "label")),
    rival="neurons mix all key frequencies, and each is merely largest in one",
    exposed_by="the criterion of 85 %, on neurons whose frequency is read from their output weights",
    units=None,
    models=tuple(f"modular-addition-113@{seed}" for seed in (1, 2, 3, 4)),  # its control was changed after seed 0
    method="A neuron's frequency is the largest in its weights to the logits; of its activation's variance over all "
    "12,769 pairs, the share is taken that this frequency's waves in a, in b and their products explain. "
    "Populations: each neuron given at random another frequency that other neurons write, 199 draws; each neuron's "
    "best frequency after a random permutation of the numbers, 20 draws.",
    version=2,
)
def test_most_neurons_are_tuned_to_the_frequency_that_they_write(model, evidence, rng):
    layer = one_layer(model)
    logits = layer.logits()
    describe(evidence, logits)
    frequencies, shares = output_frequencies(layer), tuning_of(layer)
    neurons = np.arange(shares.shape[1])
    own = shares[frequencies - 1, neurons]
    draw, orders = rng.for_("neurons"), permutations(rng.for_("permutations"))
    # Under permuted tokens every neuron has its best frequency: more than the model itself is allowed.
    permuted = {name: tuning_of(layer, order).max(axis=0) for name, order in orders.items()}

    rank(
        evidence,
        _tuned(own),
        {
            "other neurons' frequencies": {
                f"draw {number}": _tuned(shares[other_frequencies(frequencies, draw) - 1, neurons])
                for number in range(1, MANY + 1)
            },
            "permuted tokens": {name: _tuned(best) for name, best in permuted.items()},
        },
    )
    variance = layer.neurons().var(axis=0)
    evidence.table(
        "Share of variance in one frequency",
        columns=["over neurons", "in the frequency that they write", "in their best one"],
        rows=[
            ["mean", own.mean(), shares.max(axis=0).mean()],
            ["mean, weighted by variance", *(np.average(each, weights=variance) for each in (own, shares.max(axis=0)))],
            ["at least 0.85 (paper: 433 of 512)", *(int((each >= TUNED).sum()) for each in (own, shares.max(axis=0)))],
        ],
    )
    evidence.picture(
        "distribution",
        "Tuning of the neurons",
        caption="Share of each neuron's variance in one frequency: the one that it writes; its best one where the "
        "numbers are permuted.",
        unit="share of variance",
        labels=["neurons", "permuted tokens"],
        treated=own,
        control=[next(iter(permuted.values()))],
        threshold=TUNED,
    )
    evidence.decide()


def _gini_and_top(matrix):
    """Gini coefficient of the power by frequency, and the share of the five largest."""
    shares = without_constant(spectrum(matrix))
    return gini(shares), top_share(shares, 5)


def _share_of(shares, frequencies):
    """What these frequencies have together."""
    return float(shares[np.array(frequencies) - 1].sum())


def _tuned(shares):
    """How many neurons reach the paper's criterion, as a share."""
    return float((shares >= TUNED).mean())
