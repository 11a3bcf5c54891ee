r"""Parts of the IOI circuit: complete, incomplete under a search, minimal (Wang et al. 2023, sections 4.1 and 4.2).

K is a part of the circuit C. C\K is the circuit alone without K, M\K the model without K, F the mean logit difference.
Published for GPT-2 small, |F(C\K) - F(M\K)|: 0.1 to 1.4 logits by class, 0.45 on average over random K, 3.4 under the
worst K that a greedy search finds.
"""

from __future__ import annotations

import numpy as np

from claims.ioi.comparing import KNOCKED_OUT, LOGIT_DIFFERENCE, MODELS, NO_REPEAT, UNITS, against_place
from claims.ioi.finding import PARTS
from claims.ioi.knock_out import counterparts, joint, knock_outs, nothing_repeated
from claims.ioi.measurements import describe, draw
from harness.circuits import completeness, endpoints, greedy_part, minimality, random_parts
from harness.claim import Control, Cost, Margin, Metric, claim
from harness.population import DRAWS, circuit, left_out, matched_heads
from harness.stats.matched_sets import distinct_sets
from harness.values import UnitValues

DISCOVERY = 30
A_FIFTH = 0.8
CLASSES = tuple(part.name for part in PARTS)
"""Those that discovery looks for; a model lacks some of them."""
RANDOM_PARTS = 20
RANDOM_PARTS_IN_FULL = 100
ADDITIONS = 24
"""Heads outside the circuit that are added to it, at least."""


def _apart(name: str) -> Margin:
    return Margin(
        name,
        unit="logits",
        at_least=-A_FIFTH,
        at_most=A_FIFTH,
        reason="a fifth of the logit difference on the discovery split (SmolLM2: 4.1 logits), as for faithfulness",
    )


BY_CLASS = tuple(_apart(f"F(C\\K) - F(M\\K), K = {name}") for name in CLASSES)
BY_CHANCE = tuple(_apart(f"F(C\\K) - F(M\\K), random K {number + 1}") for number in range(RANDOM_PARTS))


@claim(
    id="ioi.circuit-complete",
    paper="wang2023",
    statement="Circuit and model react alike where a class of heads, or a random part of the circuit, is knocked out.",
    metric=Metric("fall of the model's logit difference without a random part of the circuit", unit="logits"),
    sesoi=1.0,
    sesoi_reason="a quarter of the logit difference on the discovery split (SmolLM2: 4.1 logits)",
    alternative="greater",
    subject="circuit",
    controls=(Control("heads outside the circuit", "component"), *NO_REPEAT),
    margins=(*BY_CLASS, *BY_CHANCE),
    rival="neither reacts, since nothing of the circuit matters",
    exposed_by="heads outside the circuit: knocked out in the same numbers and layers, they cost less",
    units=UNITS,
    models=MODELS,
    cost=Cost(draws=83, tokens=19),
    method=(
        f"{RANDOM_PARTS} random parts K of the circuit C, each head in or out by a coin, are knocked out of the model "
        f"M; in the control, as many heads of nearby layers outside C. The value is the mean over K. {KNOCKED_OUT} In "
        "C all other heads are knocked out."
    ),
    behaviour=LOGIT_DIFFERENCE,
    version=3,
)
def test_the_circuit_reacts_to_a_loss_as_the_model_does(model, subject, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    scores = knock_outs(model, prompts, rng)
    count = RANDOM_PARTS_IN_FULL if evidence.profile == "full" else RANDOM_PARTS
    parts = random_parts(subject.heads, draws=count, rng=rng.for_("parts"))
    classes = {name: heads for name in CLASSES if (heads := subject.classes.get(name, ()))}
    found = completeness(scores, subject.heads, sets={**classes, **parts})
    ends = endpoints(scores, subject.heads)
    nothing = ends.of(["circuit"]).minus(ends.of(["model"]))

    judged = list(parts)[:RANDOM_PARTS]
    falls = UnitValues(
        ends.of(["model"]).values - found.model.values, tuple(found.sets), prompts.units, prompts.templates
    )
    treated = mean_of(falls.of(judged))
    evidence.treated(treated)
    fill_outside(evidence, model, rng, scores=scores, parts=[parts[name] for name in judged])
    whole, *without = nothing_repeated(scores, rng).without([(), *(parts[name] for name in judged)])
    fell = UnitValues(whole - np.array(without), tuple(judged), prompts.units, prompts.templates)
    against_place(evidence, mean_of(fell), prompts.orders)
    for margin, name in zip(BY_CLASS, CLASSES, strict=True):
        evidence.margin(margin.name, joint(found.difference.of([name]) if name in classes else nothing))
    for number, margin in enumerate(BY_CHANCE):
        evidence.margin(margin.name, joint(found.difference.of([judged[number]]) if number < len(judged) else nothing))
    empty = [name for name in CLASSES if name not in classes]
    evidence.note(f"Classes without heads: {', '.join(empty) or 'none'}; of these nothing is knocked out, K is empty.")
    if len(judged) < RANDOM_PARTS:
        evidence.note(f"The circuit has {len(judged)} parts; K is empty in the other margins of random parts.")
    evidence.table(
        "Knocked out",
        columns=["K", "heads", "F(C\\K)", "F(M\\K)", "difference, logits"],
        rows=[
            [name if name in classes else f"random {number - len(classes) + 1}", ", ".join(heads), *means]
            for number, ((name, heads), means) in enumerate(zip(found.sets.items(), _means(found), strict=True))
        ],
    )
    worst = max(found.incompleteness.values())
    average = float(np.mean([found.incompleteness[name] for name in parts]))
    evidence.note(
        f"|F(C\\K) - F(M\\K)|: {average:.2f} logits on average over random K, {worst:.2f} at most over all K."
    )
    evidence.decide()


@claim(
    id="ioi.circuit-incomplete-greedy",
    paper="wang2023",
    statement="The circuit is incomplete under the part that a greedy search finds: model and circuit come apart.",
    metric=Metric("distance of model and circuit without the greedy part, in discovery's direction", unit="logits"),
    sesoi=A_FIFTH,
    sesoi_reason="what completeness allows: a fifth of the logit difference on the discovery split (SmolLM2: 4.1)",
    alternative="greater",
    subject="circuit",
    controls=(Control("random parts of this size", "component"), *NO_REPEAT),
    rival="any part of this size brings model and circuit as far apart",
    exposed_by="random parts of this size",
    units=UNITS,
    models=MODELS,
    profiles=("full",),  # the search takes minutes
    cost=Cost(draws=220, tokens=19),
    method=(
        "A part of the circuit, found by greedy search on discovery prompts, is knocked out of model and circuit "
        f"alone; in the control, random parts of its size. {KNOCKED_OUT}"
    ),
    behaviour=LOGIT_DIFFERENCE,
    version=2,
)
def test_a_search_finds_a_part_without_which_model_and_circuit_come_apart(model, subject, evidence, rng):
    if len(subject.heads) < 2:
        evidence.invalid("a circuit of one head has no part that could be searched")
        return
    search = knock_outs(model, draw(model, rng, split="discovery", n=DISCOVERY), rng)
    part = greedy_part(search, subject.heads, largest=len(subject.heads) // 2)
    one_layer = dict.fromkeys(subject.heads, 0)  # so that every part of this size is as likely
    drawn = distinct_sets(part, one_layer, rng=rng.for_("controls"), draws=DRAWS)
    others = {"+".join(each): each for each in drawn.sets}
    on_discovery = completeness(search, subject.heads, sets={"joint": part}).difference
    direction = float(np.sign(on_discovery.mean()[0])) or 1.0

    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    scores = knock_outs(model, prompts, rng)
    found = completeness(scores, subject.heads, sets={"joint": part})
    distance = times(found.difference, direction)
    evidence.treated(distance)
    population, discovery = (
        times(completeness(some.of_one_each(), subject.heads, sets=others).difference, direction)
        for some in (scores, search)
    )
    evidence.component_control(
        "random parts of this size", population, discovery=discovery, matched={"joint": population.components}
    )
    abc = completeness(nothing_repeated(scores, rng), subject.heads, sets={"joint": part})
    against_place(evidence, times(abc.difference, direction), prompts.orders)
    circuit_mean, model_mean, _ = _means(found)[0]
    evidence.note(f"Greedy K: {', '.join(part)}. F(C\\K) {circuit_mean:.2f}, F(M\\K) {model_mean:.2f} logits.")
    evidence.note(f"{len(others)} of {drawn.of:,} parts of this size are compared, which may share heads with it.")
    evidence.decide()


@claim(
    id="ioi.circuit-minimal",
    paper="wang2023",
    statement="Every head of the circuit adds something, once the rest of its class is gone.",
    metric=Metric("change of the circuit's logit difference with the head, in discovery's direction", unit="logits"),
    sesoi=0.25,
    sesoi_reason="5 % of the logit difference on the discovery split (SmolLM2: 4.4 logits); the paper takes 1 %",
    alternative="greater",
    subject="circuit",
    controls=(Control("heads added to the circuit", "component"), *NO_REPEAT),
    rival="any head that is added to the circuit changes it as much",
    exposed_by="heads added to the circuit: from the layers of its heads, taken away again",
    units=UNITS,
    models=MODELS,
    cost=Cost(draws=98, tokens=19),
    method=(
        "In the circuit alone, the others of its class knocked out, each head is knocked out too; in the control "
        f"other heads of nearby layers are added to the whole circuit, one at a time. {KNOCKED_OUT}"
    ),
    behaviour=LOGIT_DIFFERENCE,
    version=2,
)
def test_every_head_of_the_circuit_adds_something(model, subject, evidence, rng):
    heads = subject.heads
    rest = {head: rest_of_class(head, subject) for head in heads}
    nearby = matched_heads(heads, among=model.heads(), exclude=circuit(subject), rng=rng.for_("controls"))
    pick = rng.for_("additions")
    drawn = [counterparts(heads, nearby=nearby, rng=pick) for _ in range(-(-ADDITIONS // len(heads)))]
    additions = list(dict.fromkeys(head for each in drawn for head in each))

    def added(scores):
        """F_i with each addition minus F_i(C): what is lost when the addition is taken away again."""
        values = scores.only([heads, *((*heads, extra) for extra in additions)])
        return UnitValues(values[1:] - values[:1], tuple(additions), tuple(scores.units), tuple(scores.clusters))

    found_on = knock_outs(model, draw(model, rng, split="discovery", n=DISCOVERY), rng, at_least=5).of_one_each()
    before = minimality(found_on, heads, classes={}, knocked_out=rest)
    sign = np.where(before.difference.of(heads).mean() > 0, -1.0, 1.0)[:, None]

    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    scores = knock_outs(model, prompts, rng)
    found = minimality(scores, heads, classes={}, knocked_out=rest)
    lost = times(found.difference.of(heads), -sign)
    evidence.treated(lost)
    evidence.component_control(
        "heads added to the circuit",
        both_directions(added(scores.of_one_each())),
        discovery=both_directions(added(found_on)),
        matched={
            head: additions if upwards > 0 else [f"minus {extra}" for extra in additions]
            for head, upwards in zip(heads, sign[:, 0], strict=True)
        },
    )
    abc = minimality(nothing_repeated(scores, rng), heads, classes={}, knocked_out=rest)
    against_place(evidence, times(abc.difference.of(heads), -sign), prompts.orders)
    for head in heads:
        evidence.share(head, values=lost.of([head]))
    columns = ["head", "class", "K", "F(C\\K)", "F(C\\(K + head))", "direction on discovery"]
    means = zip(found.without_k.of(heads).mean(), found.without_both.of(heads).mean(), sign[:, 0], strict=True)
    evidence.table(
        "Heads of the circuit",
        columns=columns,
        rows=[
            [
                head, ", ".join(classes_of(head, subject)), ", ".join(rest[head]) or "nothing",
                *both, "lowers" if upwards < 0 else "raises",
            ]
            for head, (*both, upwards) in zip(heads, means, strict=True)
        ],
    )  # fmt: skip
    evidence.note(left_out(subject))
    evidence.note("Heads are added to the whole circuit: they belong to no class whose rest could be knocked out.")
    evidence.decide()


def fill_outside(evidence, model, rng, *, scores, parts):
    """Fill the control `heads outside the circuit`: for each part as many of them, from the layers near it."""
    subject = evidence.subject
    nearby = matched_heads(subject.heads, among=model.heads(), exclude=circuit(subject), rng=rng.for_("controls"))
    pick = rng.for_("outside")
    sets = [counterparts(part, nearby=nearby, rng=pick) for part in parts]
    names = tuple(f"outside {number + 1}" for number in range(len(sets)))

    def fall(some):
        whole, *without = some.without([(), *sets])
        return UnitValues(whole - np.array(without), names, tuple(some.units), tuple(some.clusters))

    found_on = knock_outs(model, draw(model, rng, split="discovery", n=DISCOVERY), rng, at_least=5)
    evidence.component_control(
        "heads outside the circuit",
        fall(scores.of_one_each()),
        discovery=fall(found_on.of_one_each()),
        matched={"joint": names},
    )
    evidence.note(left_out(subject))


def classes_of(head, subject):
    """The classes that hold a head."""
    return [name for name, heads in subject.classes.items() if name != "circuit" and head in heads]


def rest_of_class(head, subject):
    """K: the circuit's other heads of the head's class, or of its classes."""
    together = {other for name in classes_of(head, subject) for other in subject.classes[name]}
    return tuple(other for other in subject.heads if other in together and other != head)


def mean_of(values):
    """The mean over rows, as one row."""
    return UnitValues(values.values.mean(axis=0)[None], ("joint",), values.units, values.clusters)


def times(values, factor):
    """The values times a number, or times one number for each row."""
    return UnitValues(values.values * factor, values.components, values.units, values.clusters)


def both_directions(values):
    """The rows, and each of them with its sign turned, for heads that lower the logit difference."""
    turned = tuple(f"minus {name}" for name in values.components)
    return UnitValues(
        np.vstack([values.values, -values.values]), (*values.components, *turned), values.units, values.clusters
    )


def _means(found):
    r"""(F(C\K), F(M\K), their difference) of each K."""
    return list(zip(found.circuit.mean(), found.model.mean(), found.difference.mean(), strict=True))
