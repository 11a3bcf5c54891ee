"""S-inhibition heads move the attention of the heads that write (Wang et al. 2023, section 3.2)."""

from __future__ import annotations

from claims.ioi.measurements import describe, draw, path_effects, readers, relabelled
from claims.ioi.name_movers import DISCOVERY, EFFECT, FIVE_PERCENT, LABELS, OTHERS, PROMPTS
from harness.claim import Cost, claim
from harness.population import circuit, left_out, matched_heads
from harness.subjects import parse_head


@claim(
    id="ioi.s-inhibition-path",
    paper="wang2023",
    statement="S-inhibition heads act at the last token through the queries of the heads that write.",
    metric=EFFECT,
    sesoi=0.2,
    sesoi_reason=FIVE_PERCENT,
    alternative="greater",
    subject="s-inhibition",
    controls=(OTHERS, LABELS),
    rival="whatever stands before the writing heads changes their queries",
    exposed_by="other heads: those of nearby layers, followed the same way",
    units=PROMPTS,
    cost=Cost(draws=8, tokens=18),
)
def test_s_inhibition_heads_act_through_the_queries_of_the_writers(model, subject, evidence, rng):
    prompts = draw(model, rng, split="confirmation", n=evidence.n_units)
    describe(evidence, prompts)
    receivers = readers(subject)
    first = min(parse_head(name.removesuffix(".q"))[0] for name in receivers)
    earlier = [head for head in model.heads() if parse_head(head)[0] < first]
    matched = matched_heads(subject.heads, among=earlier, exclude=circuit(subject), rng=rng.for_("controls"))
    heads = list(dict.fromkeys((*subject.heads, *(name for names in matched.values() for name in names))))

    def followed(some, name):
        other = some.corrupted("ABC", rng.for_(name))
        return path_effects(model, some, heads, receivers=receivers, other=other).fall()

    values = followed(prompts, "ABC")
    discovery = followed(draw(model, rng, split="discovery", n=DISCOVERY), "discovery ABC")
    evidence.note(left_out(subject))
    evidence.note(f"Receivers: the queries of {', '.join(name.removesuffix('.q') for name in receivers)}.")
    evidence.treated(values.of(subject.heads))
    evidence.component_control("other heads", values, discovery=discovery, matched=matched)
    evidence.control("shuffled roles", relabelled(values.of(subject.heads), prompts, rng))
    evidence.picture(
        "bars",
        "Path effect through the writers' queries",
        caption="Mean over prompts; other heads are those of nearby layers.",
        unit="logits",
        labels=[*subject.heads, "mean of others"],
        values=[*values.of(subject.heads).mean(), values.mean()[len(subject.heads) :].mean()],
    )
    evidence.decide()
