"""Where the carry into an answer place can be read linearly: sums, streams, the choice of a site, and probes there.

Carry and no-carry sums are matched on the answer digit and on what the pair right of the place sums to mod 10, so that
neither tells the carry. Answer place 0 is left out: its digit is the carry. The position is the one that predicts the
place; the site, one for all places, is chosen on the discovery split. The control task gives a random label to every
pair of digits right of the place, of which the carry is a function but for sums of nine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fixtures.prompts.sums import DIGITS, Split, Sums, answer_position, in_split
from fixtures.prompts.sums_record import carries_into, sum_keys
from harness.errors import StatisticsError
from harness.interventions import engine_of
from harness.probes import ControlTask, Regularisation, choose_regularisation, fit_probe
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.seeding import Streams

FOUND_ON: Split = "discovery"
"""Probes are fitted on it, and the site and penalties are chosen on it."""
DECIDED_ON: Split = "confirmation"
PLACES = (1, 2, 3, 4)
CHOSEN_ON = 240
"""Sums per place on which site and penalties are chosen, by cross-validation."""
REFITS = 50
TRAINING = 200
"""Sums to which each refit's probes are fitted: each control type comes twice, or nothing could be learned of it."""
BATCH = 1_000
KEPT = ("resid_pre", "resid_mid", "resid_post")


class Site(NamedTuple):
    """A place in the residual stream."""

    layer: int
    hook: str

    def __str__(self) -> str:
        """As in `1.resid_mid`."""
        return f"{self.layer}.{self.hook}"


TOKEN = Site(0, "resid_pre")
"""Before any attention the stream is the position's own token: a baseline, and never the site that is chosen."""


class Decoding(NamedTuple):
    """Cross-validated probes of one place at one site: the carry's and the control task's."""

    carry: Regularisation
    control: Regularisation

    @property
    def selectivity(self) -> float:
        """Accuracy minus accuracy on the control task."""
        return float(self.carry.right.mean() - self.control.right.mean())


class Decoded(NamedTuple):
    """What refitted probes got right, [one row, unit]; the refit is the cluster."""

    carry: UnitValues
    control: UnitValues
    token: UnitValues
    nines: NDArray[np.bool_]
    places: NDArray[np.int64]


def sites_of(model: Model) -> tuple[Site, ...]:
    """The residual stream before and between attention and MLP of every layer, and after the last."""
    found = [Site(layer, hook) for layer in range(model.n_layers) for hook in KEPT[:2]]
    return (*found, Site(model.n_layers - 1, "resid_post"))


def matched_sums(n: int, *, place: int, split: Split, rng: np.random.Generator) -> Sums:
    """`n` different sums, half of them with a carry into the place, alike in answer digit and pair sum mod 10.

    Both are uniform and independent of the carry; where the pair sums to nine the carry comes through it from the
    right. Place 4 has nothing to its right, so that its pair does not sum to nine.
    """
    if place not in PLACES or n < 2 or n % 2:
        raise StatisticsError(f"{n} matched sums at place {place} are asked for; an even number, at one of {PLACES}")
    kept: dict[int, NDArray[np.int64]] = {carry: np.empty((2, 0, DIGITS), dtype=np.int64) for carry in (0, 1)}
    while min(found.shape[1] for found in kept.values()) < n // 2:
        for carry, before in kept.items():
            proposed = _proposed(4 * n, place=place, carry=carry, rng=rng)
            drawn = np.concatenate([before, proposed[:, in_split(*proposed, split=split)]], axis=1)
            first = np.unique(sum_keys(*drawn), return_index=True)[1]
            kept[carry] = drawn[:, np.sort(first)][:, : n // 2]
    # With and without the carry by turns, so that any even number of them in a row is balanced.
    operands = np.stack([kept[0], kept[1]], axis=2).reshape(2, n, DIGITS)
    return Sums(operands[0], operands[1])


def types_of(sums: Sums, place: int) -> NDArray[np.int64]:
    """[sum], the digits of the pair right of the answer place, as one number 0 to 99: the control task's input."""
    return np.asarray(10 * sums.a[:, place] + sums.b[:, place])


def strata_of(sums: Sums, place: int) -> NDArray[np.int64]:
    """[sum], answer digit and pair sum mod 10 as one number 0 to 99: what carry and no-carry sums are matched on."""
    return np.asarray(10 * sums.answers[:, place] + sums.pair_sums[:, place] % 10)


def streams_at(model: Model, sums: Sums, *, place: int, sites: Sequence[Site]) -> dict[Site, NDArray[np.float64]]:
    """[sum, d_model] at each site, where the answer place is predicted."""
    engine, position = engine_of(model), answer_position(place)
    tokens = sums.tensor()[:, : position + 1]  # attention is causal: what comes after changes nothing
    found: dict[Site, list[NDArray[np.float64]]] = {site: [] for site in sites}
    keep = {hook: [site.layer for site in sites if site.hook == hook] for hook in {site.hook for site in sites}}
    for first in range(0, len(sums), BATCH):
        run = engine.run(tokens[first : first + BATCH], keep=keep, stop_at_layer=max(site.layer for site in sites) + 1)
        for site, parts in found.items():
            parts.append(run.kept(site.hook, site.layer)[:, position].double().cpu().numpy())
    return {site: np.concatenate(parts) for site, parts in found.items()}


def decodings(model: Model, streams: Streams) -> dict[Site, dict[int, Decoding]]:
    """For every site and place, how well the carry and a control task can be decoded; on the discovery split.

    Each chooses its own penalty; a penalty that suits the carry alone would flatter selectivity.
    """
    sites = sites_of(model)
    found: dict[Site, dict[int, Decoding]] = {site: {} for site in sites}
    for place in PLACES:
        sums = matched_sums(CHOSEN_ON, place=place, split=FOUND_ON, rng=streams.for_(f"site {place}"))
        task = ControlTask.draw(np.arange(100), rng=streams.for_(f"site control {place}"))
        for site, activations in streams_at(model, sums, place=place, sites=sites).items():
            carry, control = (
                choose_regularisation(activations, labels, rng=streams.for_(f"folds {place}"))
                for labels in (sums.carries[:, place], task.of(types_of(sums, place)))
            )
            found[site][place] = Decoding(carry, control)
    return found


def most_decodable(found: Mapping[Site, Mapping[int, Decoding]]) -> Site:
    """The site where the carry's probes are right most often, mean over places; of equal ones the first.

    Not the one of highest selectivity: between sites the control task's accuracy differs by chance more than theirs.
    """
    return max((site for site in found if site != TOKEN), key=lambda site: mean_accuracy(found[site]))


def mean_accuracy(places: Mapping[int, Decoding]) -> float:
    """The accuracy of the carry's probes, mean over places."""
    return float(np.mean([place.carry.right.mean() for place in places.values()]))


def mean_selectivity(places: Mapping[int, Decoding]) -> float:
    """The mean over places."""
    return float(np.mean([place.selectivity for place in places.values()]))


def decoded(model: Model, streams: Streams, *, site: Site, chosen: Mapping[int, Decoding], n: int) -> Decoded:
    """Whether probes of 50 refits are right on `n` sums: each refit has training sums and test sums of its own.

    Refits share nothing, so that an interval over them, as clusters, is one over training sets and test sums jointly.
    The baseline `token` is the same probe on the stream before any attention: what the position's own token tells.

    Raises:
        StatisticsError: `n` is not divided evenly over refits and places, with and without carry.
    """
    each, rest = divmod(n, REFITS * len(PLACES))
    if rest or each % 2 or not each:
        raise StatisticsError(
            f"{n} test sums cannot be dealt to {REFITS} refits x {len(PLACES)} places, half with a carry; give a "
            f"multiple of {2 * REFITS * len(PLACES)}"
        )
    right = np.empty((3, REFITS, len(PLACES), each))
    nines = np.empty((REFITS, len(PLACES), each), dtype=bool)
    names = np.empty((REFITS, len(PLACES), each), dtype=object)
    for column, place in enumerate(PLACES):
        train = matched_sums(REFITS * TRAINING, place=place, split=FOUND_ON, rng=streams.for_(f"training {place}"))
        test = matched_sums(REFITS * each, place=place, split=DECIDED_ON, rng=streams.for_(f"prompts {place}"))
        right[:, :, column] = _refitted(model, train, test, place=place, site=site, chosen=chosen[place], rng=streams)
        nines[:, column] = test.nines[:, place].reshape(REFITS, each)
        names[:, column] = np.array([f"{text} at {place}" for text in test.texts()]).reshape(REFITS, each)
    units = tuple(names.ravel().tolist())
    clusters = tuple(f"refit {row}" for row in range(REFITS) for _ in range(n // REFITS))
    carry, control, token = (UnitValues(values.reshape(1, -1), ("model",), units, clusters) for values in right)
    places = np.tile(np.repeat(PLACES, each), REFITS)
    return Decoded(carry, control, token, nines.ravel(), places)


def _refitted(
    model: Model, train: Sums, test: Sums, *, place: int, site: Site, chosen: Decoding, rng: Streams
) -> NDArray[np.float64]:
    """[carry or control or token, refit, test sum]: whether the probe is right."""
    trained, tested = (streams_at(model, sums, place=place, sites=(site, TOKEN)) for sums in (train, test))
    draws = rng.for_(f"control tasks {place}")
    train_rows = np.arange(len(train)).reshape(REFITS, -1)
    test_rows = np.arange(len(test)).reshape(REFITS, -1)
    found = np.empty((3, *test_rows.shape))
    for refit, (fitted, asked) in enumerate(zip(train_rows, test_rows, strict=True)):
        task = ControlTask.draw(np.arange(100), rng=draws)
        learned, true = (
            (sums.carries[rows, place], task.of(types_of(sums, place)[rows]))
            for sums, rows in ((train, fitted), (test, asked))
        )
        for row, (where, which, penalty) in enumerate(
            (
                (site, 0, chosen.carry.inverse_penalty),
                (site, 1, chosen.control.inverse_penalty),
                (TOKEN, 0, chosen.carry.inverse_penalty),
            )
        ):
            probe = fit_probe(trained[where][fitted], learned[which], inverse_penalty=penalty)
            found[row, refit] = probe.right(tested[where][asked], true[which])
    return found


def _proposed(size: int, *, place: int, carry: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """[operand, some sums, 5], with the carry that is asked for, uniform over answer digit and pair sum mod 10."""
    a, b = rng.integers(0, 10, (2, size, DIGITS))
    last = place == DIGITS - 1
    low = rng.integers(0, 9 if last else 10, size)
    answer = rng.integers(0, 10, size)
    own = (answer - carry) % 10
    own = own + 10 * ((own < 9) & (rng.random(size) < 0.5))
    for pair, total in ((place, np.where(low == 9, 9, low + 10 * carry)), (place - 1, own)):
        least = np.maximum(total - 9, 0)
        a[:, pair] = rng.integers(least, np.minimum(total, 9) + 1)
        b[:, pair] = total - a[:, pair]
    arrives = carries_into(a + b)[:, place] == carry
    return np.stack([a[arrives], b[arrives]])
