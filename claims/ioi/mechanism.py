"""Which heads play the parts of the IOI circuit, found on the discovery split by exact interventions.

The parts are found from the logits backwards, as Wang et al. (2023) found them:

1. *Direct effect*: each head's edge to the logits carries, at the last token, what it writes on prompts with other
   names. Heads whose direct effect reaches the threshold write towards IO: those that attend more to IO than to S1
   and S2 are name movers, those that attend more to S2 than to IO are S-suppressors (the paper has no such class in
   GPT-2 small). Heads whose direct effect is as far below zero are negative name movers.
2. *Path effect*: each earlier head at the last token is followed, with all other heads frozen, into the queries of
   name movers and S-suppressors, on prompts in which nothing is repeated (ABC). Those that lower the logit difference
   by the threshold are S-inhibition heads.

The threshold is 5 % of the model's own logit difference on the discovery split, at least 0.1 logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claims.ioi.measurements import behaviour, direct_effects, draw, highest, means, path_effects
from harness.attention import attention_scores
from harness.mechanism import Discovery

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.seeding import Streams

SHARE = 0.05
LEAST_LOGITS = 0.1
MOST_HEADS = 4
PROMPTS = 60
DIRECT = "direct effect on the logit difference"
PATH = "path effect through the queries of the heads that write"


def discover(model: Model, streams: Streams, *, thresholds: bool = True) -> Discovery:
    """Name movers, S-suppressors, negative name movers and S-inhibition heads, with the scores of every head."""
    prompts = draw(model, streams, split="discovery", n=PROMPTS)
    renamed = prompts.corrupted("random names", streams.for_("names"))
    abc = prompts.corrupted("ABC", streams.for_("ABC"))
    least = max(LEAST_LOGITS, SHARE * float(behaviour(model, prompts).mean()[0])) if thresholds else -float("inf")

    heads = model.heads()
    direct = means(direct_effects(model, prompts, heads, other=renamed).fall())
    to = {key: means(attention_scores(model, prompts, pairs=prompts.at("end", key=key))) for key in ("io", "s1", "s2")}
    of_io = {head: direct[head] for head in heads if to["io"][head] > to["s1"][head] + to["s2"][head]}
    of_s = {head: direct[head] for head in heads if to["s2"][head] > to["io"][head] + to["s1"][head]}
    against = {head: -direct[head] for head in heads}
    movers = highest(of_io, at_least=least, most=MOST_HEADS)
    suppressors = highest(of_s, at_least=least, most=MOST_HEADS)
    negative = highest(against, at_least=least, most=MOST_HEADS)

    readers = (*movers, *suppressors)
    first = min((int(head.split(".")[0]) for head in readers), default=0)
    earlier = [head for head in heads if int(head.split(".")[0]) < first]
    path: dict[str, float] = {}
    if earlier:
        receivers = [f"{head}.q" for head in readers]
        path = means(path_effects(model, prompts, earlier, receivers=receivers, other=abc).fall())
    return Discovery(
        classes={
            "name-mover": movers,
            "s-suppressor": suppressors,
            "negative-name-mover": negative,
            "s-inhibition": highest(path, at_least=least, most=MOST_HEADS),
        },
        selected_by={"name-mover": DIRECT, "s-suppressor": DIRECT, "negative-name-mover": DIRECT, "s-inhibition": PATH},
        scores={DIRECT: direct, PATH: path},
    )
