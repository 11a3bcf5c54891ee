"""The search for the IOI circuit, from the logits backwards: one effect after the other, on any prompts of a model.

A head belongs to a class where its effect reaches the threshold, is above zero beyond doubt over templates, and it
attends as the class's name says. Each effect is an exact intervention; what writes is the receiver of the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from claims.ioi.measurements import (
    HeadSets,
    Sender,
    after,
    before,
    direct_effects,
    made_up,
    path_effects,
    queries,
    singly,
    total_effects,
)
from fixtures.prompts.ioi import IoiPrompts
from harness.attention import attention_scores_by
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.seeding import Streams

DIRECT = "direct effect on the logit difference"
QUERIES = "path effect through the queries of name movers and S-suppressors"
AT_S2 = "total effect at S2"
AT_S1_NEXT = "total effect at S1+1"
MADE_UP = "rise of the direct effect when name movers are patched"
LEAST_ATTENTION = 0.1
"""Of a class's heads towards the position that its name says; uniform attention gives 0.06 on prompts of 17 tokens."""

Place = Literal["io", "s1", "s1_next", "s2", "end"]
Columns = NDArray[np.intp]
"""Some of the prompts, by their places."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """A class of heads: the effect that its heads have, its sign, and from where to where they attend.

    Without `key` they attend to none of the places of the other classes with this effect and sign.
    """

    name: str
    effect: str
    query: Place
    key: Place | None
    sign: int = 1


PARTS = (
    Part("name-mover", DIRECT, "end", "io"),
    Part("s-suppressor", DIRECT, "end", "s2"),
    Part("other-writer", DIRECT, "end", None),
    Part("negative-name-mover", DIRECT, "end", "io", sign=-1),
    Part("other-negative", DIRECT, "end", None, sign=-1),
    Part("backup-name-mover", MADE_UP, "end", "io"),
    Part("s-inhibition", QUERIES, "end", "s2"),
    Part("induction", AT_S2, "s2", "s1_next"),
    Part("duplicate-token", AT_S2, "s2", "s1"),
    Part("previous-token", AT_S1_NEXT, "s1_next", "s1"),
)
USUAL: Mapping[str, int] = {
    "name-mover": 4, "s-suppressor": 1, "other-writer": 2, "negative-name-mover": 1, "other-negative": 3,
    "backup-name-mover": 1, "s-inhibition": 2, "induction": 3, "duplicate-token": 7, "previous-token": 1,
}  # fmt: skip
"""Heads of each class where no threshold is asked: as many as SmolLM2 has, and one backup, of which it has none."""
READ_FROM: Mapping[Place, tuple[Place, ...]] = {
    "end": ("io", "s1", "s2"),
    "s2": ("io", "s1", "s1_next"),
    "s1_next": ("s1",),
}
"""The named positions that heads at a position may look at: those before it in every prompt."""


@dataclass(frozen=True, eq=False)
class Found:
    """What the search found on some prompts.

    Attributes:
        prompts: what was run.
        least: the least effect of a class's heads, in logits.
        attention: by query and key, [head, prompt].
        effects: by name, [head, prompt]; an effect is missing where no receivers were found for it.
        classes: the heads of each class, the largest effect first.
        thresholds: without them, for null worlds, a class has its usual number of heads: those with the largest effect
            among those that look there more than at any other named position, however little they do or look.
    """

    prompts: IoiPrompts
    least: float
    attention: Mapping[tuple[Place, Place], UnitValues]
    thresholds: bool = True
    effects: dict[str, UnitValues] = field(default_factory=dict)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def select(
        self, part: Part, columns: Columns | None = None, *, signs: NDArray[np.float64] | None = None
    ) -> tuple[str, ...]:
        """The heads of a class, the largest effect first.

        Args:
            part: the class.
            columns: by these prompts alone.
            signs: [prompt], -1 where IO and S are exchanged, for permuted labels.
        """
        if part.effect not in self.effects:
            return ()
        values = self.effects[part.effect]
        signed = part.sign * (values.values if signs is None else values.values * signs)
        chosen = np.arange(signed.shape[1]) if columns is None else columns
        mean, low = lower_bound(signed[:, chosen], [self.prompts.templates[column] for column in chosen])
        size = dict(zip(values.components, mean, strict=True))
        above = dict(zip(values.components, low > 0, strict=True))
        heads = sorted(self.candidates(part, columns), key=lambda head: -size[head])
        if not self.thresholds:
            return tuple(heads[: USUAL[part.name]])
        return tuple(head for head in heads if size[head] >= self.least and above[head])

    def select_all(
        self, columns: Columns | None = None, *, signs: NDArray[np.float64] | None = None
    ) -> dict[str, tuple[str, ...]]:
        """The heads of each class, as `select` finds them."""
        return {part.name: self.select(part, columns, signs=signs) for part in PARTS}

    def candidates(self, part: Part, columns: Columns | None = None) -> tuple[str, ...]:
        """The heads that attend as a class's name says: more there than to the other named positions together."""
        if part.key is None:
            others = [each for each in PARTS if (each.effect, each.sign) == (part.effect, part.sign) and each.key]
            taken = {head for each in others for head in self.candidates(each, columns)}
            return tuple(head for head in self.effects[part.effect].components if head not in taken)
        to = {key: _means(self.attention[part.query, key], columns) for key in READ_FROM[part.query]}
        own = to.pop(part.key)

        def there(head: str) -> bool:
            others = [elsewhere[head] for elsewhere in to.values()]
            return own[head] >= (max(LEAST_ATTENTION, sum(others)) if self.thresholds else max(others, default=0.0))

        return tuple(head for head in self.effects[part.effect].components if there(head))

    def looks(self, head: str, query: Place) -> bool:
        """Whether a head attends from a position to any of the named ones: else it can belong to no class there."""
        if not self.thresholds:
            return True
        return any(_means(self.attention[query, key])[head] >= LEAST_ATTENTION for key in READ_FROM[query])

    def add(self, effect: str, values: UnitValues | None) -> None:
        """Keep an effect, and select the classes that it tells."""
        if values is not None:
            self.effects[effect] = values
        self.classes.update({part.name: self.select(part) for part in PARTS if part.effect == effect})


def find(
    model: Model, prompts: IoiPrompts, streams: Streams, *, least: float, say: Say, thresholds: bool = True
) -> Found:
    """All classes, one effect after the other."""
    renamed = prompts.corrupted("random names", streams.for_("names"))
    abc = prompts.corrupted("ABC", streams.for_("ABC"))
    places = {f"{query} {key}": (query, key) for query, keys in READ_FROM.items() for key in keys}
    pairs = {name: prompts.at(query, key=key) for name, (query, key) in places.items()}
    scores = attention_scores_by(model, prompts, pairs=pairs)
    attention = {places[name]: found for name, found in scores.items()}
    found = Found(prompts, least, attention, thresholds, classes={part.name: () for part in PARTS})

    def looking(heads: Sequence[str], at: Sender) -> HeadSets:
        return singly(head for head in heads if found.looks(head, at))

    say(f"direct effects of {len(model.heads())} heads on {len(prompts)} prompts")
    found.add(DIRECT, direct_effects(model, prompts, singly(model.heads()), other=renamed).fall())
    movers, suppressors = found.classes["name-mover"], found.classes["s-suppressor"]
    later = [head for head in after(model, movers) if head not in found.classes["negative-name-mover"]]
    if later:
        found.add(MADE_UP, made_up(model, prompts, singly(later), patched=movers, other=renamed))
    receivers = queries((*movers, *suppressors))
    if earlier := looking(before(model, receivers), "end"):
        say(f"following {len(earlier)} heads that look at a name from the last token into {', '.join(receivers)}")
        followed = path_effects(model, prompts, earlier, receivers=receivers, other=abc, at="end")
        found.add(QUERIES, followed.fall())
    early: tuple[tuple[str, Sender, IoiPrompts], ...] = ((AT_S2, "s2", abc), (AT_S1_NEXT, "s1_next", renamed))
    for effect, place, other in early:
        if heads := looking(model.heads(), place):
            say(f"total effects of {len(heads)} heads that look at a name from {place}")
            found.add(effect, total_effects(model, prompts, heads, other=other, at=place).fall())
    return found


def lower_bound(
    values: NDArray[np.float64], templates: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of each row over equally large templates, and its one-sided 97.5 % bound (Student's t)."""
    from scipy.stats import t

    names = np.array(templates)
    means = np.stack([values[:, names == name].mean(axis=1) for name in dict.fromkeys(templates)])
    error = means.std(axis=0, ddof=1) / np.sqrt(len(means))
    mean: NDArray[np.float64] = means.mean(axis=0)
    return mean, mean - t.ppf(0.975, len(means) - 1) * error


def _means(of: UnitValues, columns: Columns | None = None) -> dict[str, float]:
    """By head, the mean over all prompts or some."""
    means = of.values.mean(axis=1) if columns is None else of.values[:, columns].mean(axis=1)
    return dict(zip(of.components, means.tolist(), strict=True))
