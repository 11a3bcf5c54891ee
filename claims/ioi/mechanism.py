"""Which heads play the parts of the IOI circuit, found on the discovery split by exact interventions.

The parts are found from the logits backwards, as Wang et al. (2023) found them (`finding.py`), with two departures. Our
direct effect is the edge from the head to the logits alone, where their path runs through later MLPs as well; and our
ABC prompts change the name at S2 alone, theirs all three. At each step a head is selected where its effect is at least
the threshold and it attends as the class's name says:

1. *Direct effect*: what a head writes into the logits itself at the last token is exchanged for what it writes on
   prompts with other names. Name movers write towards IO and attend to it; S-suppressors attend to S2 and write against
   S (GPT-2 small has none); negative name movers attend to IO and write against it. Heads that do neither are kept as
   other writers and other negatives: they belong to the circuit, and no claim says what they do.
2. *Made up*: how much more later heads write towards IO once the name movers are patched: backup name movers. A
   negative name mover that then writes less against IO is none.
3. *Path effects*, with all other heads frozen: heads that attend from the last token to S2, into the queries of name
   movers and S-suppressors, on prompts that repeat no name (ABC): S-inhibition heads.
4. *Total effects*, with everything after recomputed: heads at S2 that attend to S1 (duplicate token) or to the token
   after it (induction), exchanged for their outputs on ABC prompts; heads at S1+1 that attend to S1 (previous token),
   exchanged for those on prompts with other names. Through which heads they act is for the claims to say.

The threshold is 2.5 % of the model's own logit difference on the discovery split, at least 0.05 logits: half of the
claims' smallest effect of interest, since a class acts together and is claimed as a whole. Over templates the effect
must also be above zero (one-sided 97.5 % bound), so that a large head does not pass by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from claims.ioi.finding import PARTS, Found, Say, find
from claims.ioi.measurements import behaviour, draw, means
from fixtures.prompts.ioi_words import NAMES, TEMPLATES
from harness.mechanism import Discovery
from harness.pilot import only_discovery
from harness.seeding import Streams
from harness.selection import (
    HALVES,
    Overlap,
    Permuted,
    class_frequencies,
    class_overlaps,
    class_permuted,
    disjoint_halves,
    over_splits,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fixtures.prompts.ioi import IoiPrompts
    from harness.models.model import Model

SHARE = 0.025
LEAST_LOGITS = 0.05
PROMPTS = 60
PILOT_UNITS = 60
"""15 templates of the discovery split in both orders, twice: one claim draws half as many prompts as it has units."""


def discover(model: Model, streams: Streams, *, say: Say = lambda line: None, thresholds: bool = True) -> Discovery:
    """All classes of heads, with the scores of every head, and how stable the selection is.

    Args:
        model: the model.
        streams: of the discovery split.
        say: told what is being done.
        thresholds: without them, for null worlds, each class has its usual number of heads however little they do or
            look (`Found.thresholds`), and nothing is found a second time on disjoint samples: that decides no class.
    """
    prompts = draw(model, streams, split="discovery", n=PROMPTS)
    whole = behaviour(model, prompts).values[0]

    def least(columns: NDArray[np.int64] | slice) -> float:
        """From how many logits on a head is selected, by some of the prompts."""
        return max(LEAST_LOGITS, SHARE * float(whole[columns].mean()))

    all_of_them = slice(None)
    if thresholds:
        say(f"logit difference {whole.mean():.2f}; a head is selected from {least(all_of_them):.2f} logits on")
    found = find(model, prompts, streams, least=least(all_of_them), say=say, thresholds=thresholds)
    overlaps = _agreement(model, prompts, streams, least=least, say=say) if thresholds else {}
    selected = [name for name, heads in found.classes.items() if heads]
    splits = over_splits(found.select_all, prompts.templates, classes=selected, rng=streams.for_("splits"))
    circuit = tuple(dict.fromkeys(head for heads in found.classes.values() for head in heads))
    return Discovery(
        classes={**found.classes, "circuit": circuit},
        selected_by={**{part.name: part.effect for part in PARTS}, "circuit": "all classes together"},
        scores={effect: means(values) for effect, values in found.effects.items()},
        frequencies=class_frequencies(found.select_all, prompts.templates, rng=streams.for_("half-samples")),
        half_samples=HALVES,
        overlaps=overlaps,
        permuted=_permuted(found, streams),
        notes=(
            "Half-samples and permuted labels keep the receivers of the path; the two disjoint samples find their own.",
            "Chance is that of heads drawn from those that attend as the class's name says.",
            "Permuted labels exchange IO and S in exactly half of each template's prompts. Attention, and with it the "
            "candidates, and the threshold stay as they are.",
            "The two disjoint samples, each with its own threshold and counterparts, are one split of many; over 20 "
            f"splits, with the receivers of the path kept: {splits}.",
        ),
        prompts_sha256=prompts.sha256(),
        n_prompts=len(prompts),
    )


def pilots() -> AbstractContextManager[None]:
    """Within it claims draw templates and names of the discovery split (`harness.pilot`)."""
    return only_discovery(TEMPLATES, NAMES)


def _agreement(
    model: Model, prompts: IoiPrompts, streams: Streams, *, least: Callable[[NDArray[np.int64]], float], say: Say
) -> Mapping[str, Overlap]:
    """By class, how well two disjoint samples of the templates agree, each with its own receivers and threshold."""
    say("the same on two halves of the templates")
    first, second = (
        find(model, prompts.rows(columns), Streams((*streams.key, name)), least=least(columns), say=say)
        for name, columns in zip(
            ("first sample", "second sample"),
            disjoint_halves(prompts.templates, rng=streams.for_("disjoint samples")),
            strict=True,
        )
    )
    return class_overlaps(first.classes, second.classes, of=_candidates(first), of_second=_candidates(second))


def _candidates(found: Found) -> dict[str, int]:
    """By class, how many heads attend as its name says; classes without any are left out."""
    counts = {part.name: len(found.candidates(part)) for part in PARTS if part.effect in found.effects}
    return {name: count for name, count in counts.items() if count}


def _permuted(found: Found, streams: Streams) -> dict[str, Permuted]:
    """By class, what is selected where the labels IO and S are exchanged in half of each template's prompts."""
    rng, prompts = streams.for_("permuted labels"), found.prompts
    exchanged = [prompts.corrupted("shuffled roles", rng).io != prompts.io for _ in range(HALVES)]
    draws = [found.select_all(signs=np.where(each, -1.0, 1.0)) for each in exchanged]
    return class_permuted(found.classes, draws, of=_candidates(found))
