"""The answer settles at one site of the residual stream (Quirke & Barez 2024: the MLP combines what heads fetch)."""

from __future__ import annotations

from claims.arithmetic.settling_measurements import (
    DISCOVERY,
    OTHER_CARRY,
    OTHER_SUM,
    OWN,
    describe,
    draw,
    nearest_rival,
    read,
    rise,
    settling_site,
    shares_of_best,
)
from harness.claim import Control, Cost, Margin, Metric, Units, claim

SESOI = 0.1


@claim(
    id="arithmetic.settling",
    paper="quirke2024",
    statement="The answer settles at one site: its digits are read there, not before, and no better anywhere else.",
    metric=Metric("rise of the probability of the right digits over the site before", unit="probability"),
    sesoi=SESOI,
    sesoi_reason="11 % of the behaviour on the discovery split: from 0.1 (a digit by chance) to 1.0 at the end",
    alternative="greater",
    controls=(Control("another sum's answer", "label"), Control("the digits with every carry turned round", "label")),
    margins=(
        Margin(
            "lead of the best other site",
            unit="probability",
            at_most=SESOI / 2,
            reason="half the SESOI: a site that is better by less is as good",
        ),
    ),
    rival="the site only sharpens the prediction: digits off by the carry gain as the right ones do",
    exposed_by="the digits with every carry turned round",
    units=Units(
        default=400,
        quick=400,
        of="sum",
        reason="discovery SD 0.27 at most: the standard error is 0.014, a seventh of the SESOI, for a second",
    ),
    tier="reliability",  # the same probability chose the site
    models=("addition-5d-1l@*", "addition-5d-2l@*"),
    cost=Cost(draws=3.5, tokens=17),
    method="Logit lens (final norm and unembedding) at the six answer positions of uniformly drawn sums: the digit's "
    "probability at one site less that at the site before, mean over places. Sites are the embedding and the stream "
    "after each attention and MLP; the first within 0.05 of the best on 1,000 discovery sums is taken. Controls: the "
    "rise for another sum's digits, and for the own with every carry inverted.",
    version=2,
)
def test_the_answer_settles_at_the_site_chosen_on_discovery(model, evidence, rng):
    margin = evidence.claim.margins[0].at_most
    found_on = read(model, draw(rng, split="discovery", n=DISCOVERY), rng.for_("labels of discovery"))
    site = settling_site(found_on, margin=margin)

    sums = draw(rng, split="confirmation", n=evidence.n_units)
    describe(evidence, sums)
    lens = read(model, sums, rng.for_("labels"))
    final = lens.probability(answer=OWN)
    evidence.precondition("probability of the right digits at the end", value=float(final.mean()[-1]), at_least=0.5)

    evidence.treated(rise(lens, site, answer=OWN))
    evidence.control("another sum's answer", rise(lens, site, answer=OTHER_SUM))
    evidence.control("the digits with every carry turned round", rise(lens, site, answer=OTHER_CARRY))
    rival = nearest_rival(lens, site, margin=margin)
    evidence.margin("lead of the best other site", rival.values)

    show(evidence, lens, site=site, best=shares_of_best(lens, rng.for_("best site")))
    evidence.note(
        f"The site is {site}: on {DISCOVERY} discovery sums the first within {margin:g} of the best. The margin is "
        f"decided against {rival.site}: each other site is tested one-sided at the full error, all must hold, and this "
        "one has the largest p (no bootstrap of a maximum, which would be biased upwards)."
    )
    evidence.note(
        "Where the site is the last one, that nothing is better follows from training; what could fail is the rise: an "
        "answer that could be read earlier. What the lens does not read may still be there in another basis."
    )
    evidence.decide()


def show(evidence, lens, *, site, best):
    """Record accuracy by place and site, and what each site gives on average."""
    settled = lens.settled_shares().mean(axis=1)
    evidence.picture(
        "matrix",
        "Accuracy under the logit lens",
        caption="Share of sums whose most likely token is the right digit; framed: the site chosen on discovery.",
        marked=[[place, site] for place in lens.places],
        **lens.picture(),
    )
    evidence.table(
        "Sites",
        columns=["site", "probability", "accuracy", "settled from here on", "best in share of resamples"],
        rows=[
            [name, probability, accuracy, share, leads]
            for name, probability, accuracy, share, leads in zip(
                lens.sites,
                lens.probability(answer=OWN).mean(),
                lens.accuracy.mean(axis=1),
                settled,
                best,
                strict=True,
            )
        ],
    )
