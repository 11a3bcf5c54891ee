"""The IOI circuit as a whole: faithful, sufficient, necessary (Wang et al. 2023, section 4).

M is the model, C the circuit with all other heads knocked out, F the mean logit difference (`knock_out`). Published for
GPT-2 small: F(M) 3.56, F(C) 87 % of it; by order and BOS 79 to 126 %, by template 57 to 155 %.
"""

from __future__ import annotations

import numpy as np

from claims.ioi.comparing import LOGIT_DIFFERENCE, NO_REPEAT, against_place, knocked_out
from claims.ioi.knock_out import joined, joint, knock_outs, nothing_repeated, random_circuits
from claims.ioi.measurements import describe, draw
from harness.circuits import endpoints, necessity, sufficiency
from harness.claim import Control, Cost, Margin, Metric, Units, claim
from harness.population import DRAWS
from harness.stats.faithfulness import faithfulness
from harness.stats.random_circuits import partial_necessity_test, sufficiency_test
from harness.stats.ranks import ENOUGH_SETS
from harness.values import UnitValues

RANDOM = Control("random circuits", "component")
MODELS = ("gpt2-small", "smollm2-*", "path:*")
A_QUARTER = "a quarter of the logit difference on the discovery split (SmolLM2: 4.1 logits)"
DRAWS_IN_FULL = 999
DISCOVERY = 30

STRATA = ("ABBA, BOS", "BABA, BOS", "ABBA, no BOS", "BABA, no BOS")
LOW, HIGH = 0.8, 1.25
SMALLEST = 0.5
"""Least F(M) of a template and order, in logits, for which a ratio is shown."""
RATIOS = tuple(
    Margin(
        f"F(C) / F(M), {stratum}",
        unit="ratio of means",
        at_least=LOW,
        at_most=HIGH,
        reason="the protocol's margin of equivalence; the published 87 % lies within it",
    )
    for stratum in STRATA
)
PER_PROMPT = Margin(
    "mean |F_i(C) - F_i(M)|",
    unit="logits",
    at_most=0.8,
    reason="a fifth of the logit difference on the discovery split (SmolLM2: 4.1 logits), as far as the ratios may lie",
)


@claim(
    id="ioi.circuit-faithful",
    paper="wang2023",
    statement="The circuit alone gives the whole model's logit difference: in both orders, with and without BOS.",
    metric=Metric("logit difference of the circuit alone", unit="logits"),
    sesoi=1.0,
    sesoi_reason=A_QUARTER,
    alternative="greater",
    subject="circuit",
    controls=(RANDOM, *NO_REPEAT),
    margins=(*RATIOS, PER_PROMPT),
    rival="any circuit of this size gives as much, since MLPs and what is common to a template stay",
    exposed_by="random circuits: as many heads in the same layers",
    units=Units(
        default=160,
        quick=160,
        full=320,
        of="prompt",
        reason="with 80, F(M) of an order without BOS was within 5 standard errors of 0, where no ratio is defined",
    ),
    models=MODELS,
    cost=Cost(draws=11, tokens=19),
    method=knocked_out("On prompts with and without BOS every head outside the circuit"),
    version=3,
)
def test_the_circuit_alone_gives_the_logit_difference_of_the_model(model, subject, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units // 2)
    if not prompts.start:
        evidence.invalid("the model has no BOS, so there are no prompts with it to compare those without it with")
        return
    describe(evidence, prompts)
    scores = knock_outs(model, prompts, rng)
    bare = knock_outs(model, prompts.without_bos(), rng)
    ends = [endpoints(each, subject.heads) for each in (scores, bare)]
    both = joined(*ends)
    strata = [f"{order}, {bos}" for bos in ("BOS", "no BOS") for order in prompts.orders]

    evidence.treated(joint(both.of(["circuit"])))
    circuits = random_circuits(model, subject.heads, draws=ENOUGH_SETS - 1, rng=rng.for_("controls"))
    compare(evidence, model, rng, circuits=circuits, measure=alone, scores=scores)
    abc = [endpoints(nothing_repeated(each, rng), subject.heads).of(["circuit"]) for each in (scores, bare)]
    against_place(evidence, joint(joined(*abc)), (*prompts.orders, *prompts.orders))
    for margin, stratum in zip(RATIOS, STRATA, strict=True):
        here = units_of(both, [name == stratum for name in strata])
        evidence.margin(margin.name, joint(here.of(["circuit"])), relative_to=here.of(["model"]))
    missed = both.of(["circuit"]).minus(both.of(["model"]))
    evidence.margin(PER_PROMPT.name, UnitValues(np.abs(missed.values), ("joint",), both.units, both.clusters))
    show_faithfulness(evidence, both, strata, rng)
    evidence.note("Heads of the circuit are kept at every position, in the paper only where their class acts.")
    evidence.decide()


@claim(
    id="ioi.circuit-sufficient",
    paper="wang2023",
    statement="The circuit alone prefers the indirect object more than random circuits of its size do.",
    metric=Metric("logit difference of the circuit alone", unit="logits"),
    sesoi=1.0,
    sesoi_reason=A_QUARTER,
    alternative="greater",
    subject="circuit",
    controls=(RANDOM, *NO_REPEAT),
    rival="heads of these layers do it together, whichever they are",
    exposed_by="random circuits: as many heads in the same layers, drawn from all heads",
    units=Units(
        default=40, quick=40, full=80, of="prompt", reason="20 templates limit every interval; one prompt of each order"
    ),
    models=MODELS,
    cost=Cost(draws=95, tokens=19),
    method=knocked_out("Every head outside the circuit"),
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_the_circuit_is_sufficient(model, subject, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    scores = knock_outs(model, prompts, rng)
    treated = joint(endpoints(scores, subject.heads).of(["circuit"]))
    evidence.treated(treated)
    circuits = random_circuits(model, subject.heads, draws=draws_of(evidence), rng=rng.for_("controls"))
    found = compare(evidence, model, rng, circuits=circuits, measure=alone, scores=scores)
    abc = endpoints(nothing_repeated(scores, rng), subject.heads).of(["circuit"])
    against_place(evidence, joint(abc), prompts.orders)
    show_test(
        evidence,
        sufficiency_test(found.model.values[0], found.circuit.values[0], random=found.random.values),
    )
    evidence.decide()


@claim(
    id="ioi.circuit-necessary",
    paper="wang2023",
    statement="Without the circuit the model loses its preference for the indirect object, more than without others.",
    metric=Metric("fall of the logit difference without the circuit", unit="logits"),
    sesoi=1.0,
    sesoi_reason=A_QUARTER,
    alternative="greater",
    subject="circuit",
    controls=(RANDOM, *NO_REPEAT),
    rival="without so many heads of these layers the model predicts nothing",
    exposed_by="random circuits: as many heads in the same layers, drawn from all heads",
    units=Units(
        default=40, quick=40, full=80, of="prompt", reason="20 templates limit every interval; one prompt of each order"
    ),
    tier="reliability",  # the effects that selected its heads, together
    models=MODELS,
    cost=Cost(draws=95, tokens=19),
    method=knocked_out("Every head of the circuit"),
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_the_circuit_is_necessary(model, subject, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    scores = knock_outs(model, prompts, rng)
    evidence.treated(lost(scores, subject.heads))
    circuits = random_circuits(model, subject.heads, draws=draws_of(evidence), rng=rng.for_("controls"))
    found = compare(evidence, model, rng, circuits=circuits, measure=missing, scores=scores)
    against_place(evidence, lost(nothing_repeated(scores, rng), subject.heads), prompts.orders)
    show_test(
        evidence,
        partial_necessity_test(found.model.values[0], found.circuit.values[0], without_random=found.random.values),
    )
    evidence.note("No loss would not show that the circuit has no function: models repair themselves.")
    evidence.decide()


def lost(scores, heads):
    """By how much the model's logit difference falls without these heads, one row."""
    whole, without = scores.without([(), heads])
    return UnitValues(whole[None] - without, ("joint",), scores.units, scores.clusters)


def draws_of(evidence):
    """How many random circuits are drawn."""
    return DRAWS_IN_FULL if evidence.profile == "full" else DRAWS


def alone(scores, heads, circuits):
    """The circuit and the random ones alone, and their logit differences."""
    found = sufficiency(scores, heads, random=circuits)
    return found, found.random


def missing(scores, heads, circuits):
    """The model without the circuit and without the random ones, and by how much each of these lowers it."""
    found = necessity(scores, heads, random=circuits)
    falls = found.model.values - found.random.values
    return found, UnitValues(falls, found.random.components, found.random.units, found.random.clusters)


def compare(evidence, model, rng, *, circuits, measure, scores):
    """Fill the control `random circuits`, on one prompt of each template, and return what was measured there."""
    heads = evidence.subject.heads
    found, population = measure(scores.of_one_each(), heads, circuits.sets)
    found_on = knock_outs(model, draw(model, rng, split="discovery", n=DISCOVERY), rng, at_least=5)
    _, discovery = measure(found_on.of_one_each(), heads, circuits.sets)
    evidence.component_control(
        "random circuits", population, discovery=discovery, matched={"joint": population.components}
    )
    evidence.note(
        f"{len(circuits.sets)} of {circuits.of:,} random circuits ({circuits.rule}), on one prompt of each template; "
        f"drawn from all heads, they hold {found.mean_overlap:.0%} of the circuit on average."
    )
    evidence.picture(
        "distribution",
        "Random circuits",
        caption="Mean over one prompt of each template; the control's values are random circuits.",
        n=f"{len(evidence.measured().units)} prompts, {len(population.units)} for the random circuits",
        unit="logits",
        treated=evidence.measured().values[0],
        control=[population.mean()],
        labels=["circuit, by prompt", "random circuits, means"],
    )
    return found


def show_test(evidence, test):
    """Record the binomial test against a quantile of random circuits (Shi et al. 2024); it decides nothing."""
    evidence.table(
        f"Shi et al. (2024), {test.name}",
        columns=["what is counted", "count", "of", "ties", "p that supports", "p that refutes"],
        rows=[[test.statistic_is, test.statistic, test.n, test.ties, test.support.p_value, test.refutation.p_value]],
    )


def units_of(values, chosen):
    """The columns of some units."""
    rows = np.flatnonzero(chosen)
    return UnitValues(
        values.values[:, rows],
        values.components,
        tuple(values.units[row] for row in rows),
        tuple(values.clusters[row] for row in rows),
    )


def show_faithfulness(evidence, both, strata, rng):
    """Record F(M), F(C) and F(empty) as they are, by stratum and by template and order, and the share that lies inside.

    Both ratios are of means, never clamped.
    """
    whole, circuit, empty = both.values
    found = faithfulness(
        whole, circuit, empty=empty, clusters=both.clusters, strata=strata, rng=rng.for_("faithfulness")
    )
    columns = ["prompts", "F(M)", "F(C)", "F(empty)", "F(C) / F(M)", "95 % interval", "recovered"]
    evidence.table(
        "Faithfulness by order and BOS, logits",
        columns=["stratum", *columns],
        rows=[
            [
                name, part.units, part.model_mean, part.circuit_mean, part.empty_mean,
                "not defined" if part.kept.estimate is None else part.kept.estimate,
                "none" if part.kept.low is None else f"{part.kept.low:.2f} to {part.kept.high:.2f}",
                "not defined" if part.recovered.estimate is None else part.recovered.estimate,
            ]
            for name, part in {"all": found.whole, **found.strata}.items()
        ],
    )  # fmt: skip
    keys = list(zip(both.clusters, [stratum.partition(",")[0] for stratum in strata], strict=True))
    rows = []
    for template, order in dict.fromkeys(keys):
        here = [key == (template, order) for key in keys]
        means = both.values[:, here].mean(axis=1)
        rows.append([template, order, *means, means[1] / means[0] if means[0] >= SMALLEST else "not defined"])
    evidence.table(
        "Faithfulness by template and order, logits",
        columns=["template", "order", "F(M)", "F(C)", "F(empty)", "F(C) / F(M)"],
        rows=rows,
    )
    by_template = found.whole.by_cluster.means
    defined = by_template[:, by_template[0] >= SMALLEST]
    inside = sum(LOW <= circuit / model <= HIGH for model, circuit, *_ in defined.T)
    evidence.note(
        f"F(C) / F(M) lies within [{LOW}, {HIGH}] in {inside} of {defined.shape[1]} templates where F(M) is at least "
        f"{SMALLEST} logits, of {by_template.shape[1]} in all."
    )
    evidence.picture(
        "bars",
        "Logit difference of model, circuit and no head",
        caption="Mean over prompts, with and without BOS.",
        unit="logits",
        labels=["model", "circuit alone", "no head"],
        values=both.mean(),
    )
