"""Logit lens: what the residual stream would predict if the model ended there, after every layer and inside it.

The stream after each site goes through the model's own final norm and unembedding (nostalgebraist 2020). At the last
site this is the model's prediction; before it, it is what can be read in the final basis. An answer that cannot be read
there may still be in the stream, in another basis: low accuracy under the lens is no proof of absence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import InterventionError, StatisticsError, did_you_mean
from harness.interventions import Engine
from harness.interventions.readout import LOGIT_BYTES, require_positions
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.interventions import Run
    from harness.models.model import Model
    from harness.roles import Prompts


@dataclass(frozen=True, eq=False)
class Lens:
    """Readings of every site at every place, prompt by prompt.

    Attributes:
        sites: `0.resid_pre`, then each layer's `resid_mid` (where it has an MLP) and `resid_post`.
        places: names of the positions.
        log_probs: [site, place, answer, unit], in nats, of each answer that was asked for; one or more per place.
        top: [site, place, unit], the most likely token.
        right: [site, place, unit], whether that is the first answer.
        units: one id per prompt.
        clusters: one id per prompt.
    """

    sites: tuple[str, ...]
    places: tuple[str, ...]
    log_probs: NDArray[np.float64]
    top: NDArray[np.int64]
    right: NDArray[np.bool_]
    units: tuple[str, ...]
    clusters: tuple[str, ...]

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """[site, place], share of prompts whose most likely token is the first answer."""
        return np.asarray(self.right.mean(axis=-1))

    @property
    def mean_log_prob(self) -> NDArray[np.float64]:
        """[site, place], nats: the first answer's mean log-probability."""
        return np.asarray(self.log_probs[:, :, 0].mean(axis=-1))

    @property
    def settled(self) -> NDArray[np.int64]:
        """[place, unit], number of the first site from which on the most likely token stays the final one."""
        stays = np.cumprod((self.top == self.top[-1])[::-1], axis=0)  # from the last site backwards
        return np.asarray(len(self.sites) - stays.sum(axis=0))

    def settled_shares(self) -> NDArray[np.float64]:
        """[site, place], share of prompts whose answer is settled from this site on and not before."""
        return np.stack([(self.settled == site).mean(axis=-1) for site in range(len(self.sites))])

    def probability(self, *, answer: int = 0) -> UnitValues:
        """Probability of an answer, mean over places: [site, unit]."""
        return UnitValues(np.exp(self.log_probs[:, :, answer]).mean(axis=1), self.sites, self.units, self.clusters)

    def at_place(self, place: str, *, answer: int = 0) -> UnitValues:
        """Log-probability of an answer at one place, in nats: [site, unit].

        Raises:
            StatisticsError: there is no such place.
        """
        if place not in self.places:
            known = ", ".join(self.places)
            raise StatisticsError(f"there is no place {place!r} ({known}).{did_you_mean(place, self.places)}")
        values = self.log_probs[:, self.places.index(place), answer]
        return UnitValues(values, self.sites, self.units, self.clusters)

    def picture(self) -> dict[str, Any]:
        """Data of a matrix of places and sites: `evidence.picture("matrix", name, caption=..., **this)`."""
        return {
            "rows": list(self.places),
            "columns": list(self.sites),
            "values": self.accuracy.T.tolist(),
            "unit": "accuracy under the lens",
            "xlabel": "residual stream",
            "ylabel": "place",
        }


def sites_of(model: Engine | Model) -> tuple[str, ...]:
    """The sites that a lens reads in a model, from the embedding to the end."""
    engine = model if isinstance(model, Engine) else Engine.of(model)
    inside = ("resid_mid", "resid_post") if engine.d_mlp else ("resid_post",)
    return ("0.resid_pre", *(f"{layer}.{site}" for layer in range(engine.n_layers) for site in inside))


def logit_lens(
    model: Model,
    prompts: Prompts,
    *,
    positions: ArrayLike,
    answers: ArrayLike,
    places: Sequence[str] | None = None,
) -> Lens:
    """Every site read at chosen positions of every prompt.

    Args:
        model: the model; only what the fast engine covers.
        prompts: the prompts, one unit each.
        positions: [place], or [prompt, place] where they differ.
        answers: [prompt, place] tokens, or [prompt, place, answer] for several at a time, the right one first.
        places: names of the positions; their numbers by default.

    Raises:
        InterventionError: positions outside the prompts, answers outside the vocabulary, or an architecture that the
            fast engine does not cover.
        StatisticsError: shapes or names do not correspond.
    """
    engine = Engine.of(model)
    where, asked = _checked(engine, positions, answers, count=len(prompts))
    names = tuple(str(place) for place in (range(where.shape[1]) if places is None else places))
    if len(names) != where.shape[1] or len(set(names)) != len(names):
        raise StatisticsError(f"{len(set(names))} different names of places for {where.shape[1]} positions")
    sites = sites_of(engine)
    log_probs = np.zeros((len(sites), *asked.shape[1:], len(prompts)))
    top = np.zeros((len(sites), where.shape[1], len(prompts)), dtype=np.int64)
    for index, batch in prompts.batches():
        run = engine.run(batch.tensor(), keep=("resid_pre", *(("resid_mid",) if engine.d_mlp else ()), "resid_post"))
        for number, site in enumerate(sites):
            read, most = _read(engine, run, site, positions=where[index], answers=asked[index])
            log_probs[number][..., index], top[number][..., index] = read, most
    right = top == asked[:, :, 0].T
    return Lens(sites, names, log_probs, top, right, prompts.units, prompts.templates)


def _checked(
    engine: Engine, positions: ArrayLike, answers: ArrayLike, *, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions as [prompt, place] and answers as [prompt, place, answer]."""
    where, asked = np.asarray(positions), np.asarray(answers)
    if where.ndim == 1:
        where = np.broadcast_to(where, (count, len(where)))
    asked = asked[..., None] if asked.ndim == 2 else asked
    if where.ndim != 2 or not where.size or asked.ndim != 3 or asked.shape[:2] != where.shape or len(where) != count:
        raise StatisticsError(
            f"positions {np.shape(positions)} and answers {np.shape(answers)} are not [prompt, place] and "
            f"[prompt, place, answer] of {count} prompts"
        )
    if where.dtype.kind != "i" or asked.dtype.kind != "i" or asked.min() < 0 or asked.max() >= engine.d_vocab:
        raise InterventionError(
            f"positions {where.dtype} and answers {asked.dtype} must be integers, answers 0 to {engine.d_vocab - 1}."
        )
    return where, asked


def _read(
    engine: Engine, run: Run, site: str, *, positions: NDArray[np.int64], answers: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log-probabilities of the answers [place, answer, row] and the most likely token [place, row] at one site."""
    import torch

    layer, name = site.split(".")
    resid = run.kept(name, int(layer))
    at = torch.from_numpy(np.ascontiguousarray(positions)).to(resid.device)
    require_positions(at, batch=resid.shape[0], pos=resid.shape[1])
    tokens = torch.from_numpy(np.ascontiguousarray(answers)).to(resid.device)
    rows = torch.arange(len(at), device=resid.device)
    at_once = max(1, LOGIT_BYTES // (at.shape[1] * engine.d_vocab * resid.element_size()))
    read, most = [], []
    with torch.inference_mode():
        for part in rows.split(at_once):  # the vocabulary of all rows would not fit for a large model
            normed = engine.weights.norm_final(resid[part.unsqueeze(1), at[part]])
            logits = engine.weights.unembed(normed)
            read.append(logits.log_softmax(dim=-1).gather(-1, tokens[part]))
            most.append(logits.argmax(dim=-1))
        log_probs = torch.cat(read).double().cpu().numpy().transpose(1, 2, 0)
        return log_probs, torch.cat(most).cpu().numpy().T
