"""Where an answer settles: which site of the residual stream first predicts as well as the best one does.

A site's effect is the probability that it gives the right digits under the logit lens, averaged over the six answer
places. The site is chosen on discovery sums and judged on others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fixtures.prompts.sums import ANSWERS, Split, Sums, answer_position, uniform_sums
from harness.logit_lens import Lens, logit_lens
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.claim import Evidence
    from harness.models.model import Model
    from harness.seeding import Streams

CHANCE = 0.1
"""Probability of a digit before anything is read: one of ten."""
DISCOVERY = 1_000
"""Sums that choose the site; the standard error of a site's probability is then under 0.01."""
PLACES = tuple(f"answer {place}" for place in range(ANSWERS))
OWN, OTHER_SUM, OTHER_CARRY = range(3)
"""Answers that are read: the sum's own, another sum's, and the digits that every carry turned round would give."""


@dataclass(frozen=True)
class Contest:
    """A site's lead over the chosen one, where it is the largest threat to the margin.

    Attributes:
        values: probability at that site minus the chosen one's, one row `model`.
        site: its name.
    """

    values: UnitValues
    site: str


def draw(rng: Streams, *, split: Split, n: int) -> Sums:
    """Uniform sums of a split, from the claim's own stream."""
    return uniform_sums(n, split=split, rng=rng.for_(f"sums of {split}"))


def read(model: Model, sums: Sums, rng: np.random.Generator) -> Lens:
    """The lens at the six answer positions, read for the right digits and for both kinds of wrong labels."""
    order = rng.permutation(len(sums))
    another = np.empty_like(order)
    another[order] = np.roll(order, 1)  # no sum is its own other
    asked = np.stack([sums.answers, sums.answers[another], turned_carries(sums)], axis=-1)
    positions = [answer_position(place) for place in range(ANSWERS)]
    return logit_lens(model, sums, positions=positions, answers=asked, places=PLACES)


def turned_carries(sums: Sums) -> NDArray[np.int64]:
    """[sum, 6], the digits that would stand there if every carry were absent, and every absent one there."""
    return np.asarray((sums.answers + 1 - 2 * sums.carries) % 10)


def settling_site(lens: Lens, *, margin: float) -> str:
    """The first site whose mean probability of the right digits lies within `margin` of the best site's."""
    means = lens.probability(answer=OWN).mean()
    return lens.sites[int(np.argmax(means >= means.max() - margin))]


def rise(lens: Lens, site: str, *, answer: int) -> UnitValues:
    """Probability of an answer at a site minus that at the site before it (before the first: chance), row `model`."""
    found = lens.probability(answer=answer)
    number = found.components.index(site)
    before = found.values[number - 1] if number else np.full(len(found.units), CHANCE)
    return UnitValues(found.values[number][None] - before, ("model",), found.units, found.clusters)


def nearest_rival(lens: Lens, site: str, *, margin: float) -> Contest:
    """Of all other sites the one whose lead over this one is hardest to keep under the margin: of the largest t.

    "No site is better by the margin" holds where it holds of each (an intersection-union test, Berger 1982): every
    site is tested at the full one-sided error, and the largest p, that of this site, is the p of all.
    """
    found = lens.probability(answer=OWN)
    others = found.without([site])
    leads = others.values - found.of([site]).values
    error = leads.std(axis=1, ddof=1) / np.sqrt(leads.shape[1])
    row = int(np.argmax((leads.mean(axis=1) - margin) / np.maximum(error, np.finfo(np.float64).tiny)))
    return Contest(UnitValues(leads[row][None], ("model",), found.units, found.clusters), others.components[row])


def shares_of_best(lens: Lens, rng: np.random.Generator, *, resamples: int = 999) -> NDArray[np.float64]:
    """[site], in which share of resamples of the sums it has the highest mean probability."""
    values = lens.probability(answer=OWN).values
    count = values.shape[1]
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples)  # [resample sum]
    best = (weights @ values.T).argmax(axis=1)
    return np.bincount(best, minlength=len(values)) / resamples


def describe(evidence: Evidence, sums: Sums) -> None:
    """Record which sums were used."""
    evidence.prompts(sha256=sums.sha256(), n=len(sums), clusters=len(sums), examples=sums.texts()[:4])
