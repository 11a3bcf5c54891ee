"""The carry as a direction: it can be read linearly where it is used, and moving along it changes the digit.

Quirke and Barez 2024 say that one subtask tells for each digit pair whether it makes a carry, and that its result is
combined with the pair's sum. That the carry is one direction is ours; control tasks are Hewitt and Liang's 2019. Each
claim's site is chosen by what the other claim measures: where moving along the probe changes the digit, the carry must
be readable; where it is read best, moving along it must change the digit.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from claims.arithmetic.probe_measurements import (
    CHOSEN_ON,
    PLACES,
    Site,
    decoded,
    decodings,
    mean_accuracy,
    mean_selectivity,
    most_decodable,
)
from claims.arithmetic.probe_steering import (
    CARRY,
    CONTROL_TASK,
    PERMUTED,
    RANDOM,
    effects_by_site,
    most_used,
    steering,
)
from harness.claim import Control, Cost, Metric, Units, claim

MODELS = ("addition-5d-1l@*", "addition-5d-2l@*")


@claim(
    id="arithmetic.carry-decodable",
    paper="quirke2024",
    statement="The carry into an answer place is linearly present in the stream where the digit is predicted.",
    metric=Metric("accuracy of a linear probe", unit="share of sums"),
    sesoi=0.25,
    sesoi_reason="half of what a perfect probe has above chance; untrained twins reach 0.13 to 0.18 on discovery: "
    "digits that even attention adds up tell the carry roughly",
    alternative="greater",
    controls=(
        Control("control task: random labels of the digit pair", "label"),
        Control("the token's own stream, before attention", "input"),
    ),
    rival="a probe learns any labels of the two digits that make the carry",
    exposed_by="control task: random labels of the digit pair",
    units=Units(
        default=800,
        quick=400,
        of="sum",
        reason="50 refits, with training and test sums of their own, are the clusters: on discovery their SD is 0.13 "
        "with 16 sums each, the half-width 0.04; the effect is 0.15 above the SESOI",
    ),
    models=MODELS,
    cost=Cost(draws=55, tokens=16),
    method="L2 logistic probes of the residual stream at the position predicting answer digits 1 to 4, at one site: "
    "50 refits on 200 discovery sums per digit, each tested on sums of its own; half have the carry, matched on the "
    "digit and on the sum mod 10 of the pair to its right. Controls: the same for random labels of that pair's two "
    "digits, drawn anew for each refit; the carry's probe on the position's embedding.",
    version=2,
)
def test_the_carry_can_be_read_linearly_where_it_is_used(model, evidence, rng):
    found = decodings(model, rng)
    effects = effects_by_site(model, rng, found=found)
    site = most_used(effects)
    right = decoded(model, rng, site=site, chosen=found[site], n=evidence.n_units)
    describe(evidence, right.carry)
    evidence.treated(right.carry)
    evidence.control("control task: random labels of the digit pair", right.control)
    evidence.control("the token's own stream, before attention", right.token)
    evidence.table(
        f"Probes of 50 refits at {site}, by answer place",
        columns=["place", "carry, accuracy", "control task, accuracy", "carry where the pair sums to nine, accuracy"],
        rows=[by_place(right, place) for place in PLACES],
    )
    show_sites(evidence, found=found, effects=effects)
    evidence.note(f"Site {site}: where moving along the probe changes the digit most, on the discovery split.")
    evidence.note("Sums with and without a carry are equally many: a constant guess is right half of the time.")
    evidence.note("Place 0 is left out: its digit is the carry.")
    evidence.note(
        "What can be read need not be used, nor computed: a carry is a threshold of the sum of two digits, and a "
        "stream that held nothing but the two would be read with an accuracy of 0.95 to 0.97, which the control task "
        "does not expose. That the model uses what is read: `arithmetic.carry-direction`."
    )
    evidence.decide()


@claim(
    id="arithmetic.carry-direction",
    paper="quirke2024",
    statement="Moving the stream along the carry probe's direction, as far as a carry does, moves the digit by one.",
    metric=Metric("probability of the digit that the other carry makes", unit="probability"),
    sesoi=0.5,
    sesoi_reason="half of all probability: the moved digit becomes the likeliest, by the direction and not the dose",
    alternative="greater",
    controls=(
        Control("same dose, random direction", "same-dose"),
        Control("probe of permuted labels", "label"),
        Control("probe of a control task", "label"),
    ),
    rival="any change of this length upsets the digit, or any direction that a probe finds",
    exposed_by="same dose, random direction; probe of permuted labels",
    units=Units(
        default=400,
        quick=200,
        of="sum",
        reason="100 at each place; on discovery the SD is 0.25 and the effect 0.25 above the SESOI",
    ),
    models=MODELS,
    cost=Cost(draws=50, tokens=17),
    method="At the position predicting answer digits 1 to 4, the residual stream at one site is moved towards the "
    "other carry along a logistic probe's direction, by the distance of the class means along it. Controls, equally "
    "long, mean of 5 each: random directions with the stream's covariance; probes of carry labels permuted among "
    "sums alike in digit and pair sum mod 10; probes of random labels of the digit pair.",
)
def test_moving_along_the_carrys_direction_moves_the_digit_by_one(model, evidence, rng):
    found = decodings(model, rng)
    site = most_decodable(found)
    result = steering(model, rng, site=site, chosen=found[site], n=evidence.n_units)
    describe(evidence, result.before)
    moved = result.moved
    evidence.treated(renamed(moved, CARRY))
    evidence.control("same dose, random direction", renamed(moved, RANDOM))
    evidence.control("probe of permuted labels", renamed(moved, PERMUTED))
    evidence.control("probe of a control task", renamed(moved, CONTROL_TASK))
    evidence.precondition(
        "probability of the right digit where nothing is moved", value=float(result.before.mean()[0]), at_least=0.8
    )
    evidence.table(
        f"Probability of the moved digit at {site}, by answer place",
        columns=["place", "length of the step", *moved.components, "share moved by one"],
        rows=[
            [place, result.lengths[place], *here.mean(axis=1), float((here[row] > 0.5).mean())]
            for row in [moved.components.index(CARRY)]
            for place in PLACES
            for here in [moved.values[:, result.places == place]]
        ],
    )
    evidence.picture(
        "distribution",
        "Probability of the digit that the other carry makes",
        caption=f"One value per sum, moved at {site}; controls are means over directions.",
        unit="probability",
        treated=moved.of([CARRY]).values[0],
        control=[moved.of([kind]).values[0] for kind in (RANDOM, PERMUTED, CONTROL_TASK)],
        labels=["carry's direction", "random directions", "permuted labels", "control task"],
    )
    evidence.note(f"Site {site}: where the carry's probes are right most often, on the discovery split.")
    evidence.note("Random directions have the stream's covariance, in which the carry's own direction is large.")
    evidence.note("The step is the difference between the class means along the direction: nothing is scaled up.")
    evidence.decide()


def describe(evidence, values):
    """Record which sums were used."""
    digest = sha256("\n".join(values.units).encode()).hexdigest()
    clusters = len(set(values.clusters))
    evidence.prompts(sha256=digest, n=len(values.units), clusters=clusters, examples=values.units[:4])


def by_place(right, place):
    """A row of the table: place, accuracies, and the carry's on sums of nine (none at the last place)."""
    here = right.places == place
    nines = here & right.nines
    on_nines = float(right.carry.values[0, nines].mean()) if nines.any() else "none"
    return [place, float(right.carry.values[0, here].mean()), float(right.control.values[0, here].mean()), on_nines]


def show_sites(evidence, *, found, effects):
    """Record selectivity, accuracy and causal effect over layers: cross-validated, on the discovery split."""
    evidence.picture(
        "curve",
        "Selectivity of the carry's probe over layers",
        caption="Cross-validated on the discovery split, mean over places; halves lie between attention and MLP.",
        x=[depth_of(site) for site in found],
        y=[mean_selectivity(places) for places in found.values()],
        n=f"{CHOSEN_ON} sums of the discovery split at each place",
        baseline=0.0,
        xlabel="layer",
        ylabel="selectivity, share of sums",
    )
    evidence.table(
        "Sites (discovery split, mean over places)",
        columns=["site", "accuracy", "selectivity", "probability of the moved digit", "C by place"],
        rows=[
            [str(site), mean_accuracy(places), mean_selectivity(places), effects[site], penalties_of(places)]
            for site, places in found.items()
        ],
    )


def depth_of(site: Site) -> float:
    """Layers before the site: 0.5 between the first layer's attention and its MLP."""
    return site.layer + {"resid_pre": 0.0, "resid_mid": 0.5, "resid_post": 1.0}[site.hook]


def penalties_of(places):
    """The chosen C of every place, carry / control task."""
    return ", ".join(f"{d.carry.inverse_penalty:g} / {d.control.inverse_penalty:g}" for d in places.values())


def renamed(values, kind):
    """One row as the whole model's."""
    return replace(values.of([kind]), components=("model",))
