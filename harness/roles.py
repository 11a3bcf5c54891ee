"""Attention by role: from each place of a prompt, how much of every head's attention goes to which kind of position.

A `RoleMap` says it in general: named places with the position of their query, and for each place named roles with the
key positions that play them ("own pair", "equals sign"). Positions are the same in all prompts, or given row by row.
Whatever no role covers is `ELSEWHERE`, so that the shares of a head and place sum to 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import InterventionError, StatisticsError, did_you_mean
from harness.interventions import engine_of
from harness.values import UnitValues

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

    from harness.models.model import Model

ELSEWHERE = "elsewhere"
SPREAD = "spread"
FOCUS = 0.5
"""Least share of the attention that classes a head by a role: no other role can have as much."""


class Prompts(Protocol):
    """Prompts in clusters; sums, IOI prompts and the like."""

    @property
    def units(self) -> tuple[str, ...]:
        """One id per prompt."""
        ...

    @property
    def templates(self) -> tuple[str, ...]:
        """One cluster id per prompt."""
        ...

    def __len__(self) -> int:
        """Number of prompts."""
        ...

    def tensor(self) -> Int[Tensor, "batch pos"]:
        """Right-padded tokens."""
        ...

    def rows(self, index: NDArray[np.int64]) -> Self:
        """Some of the prompts, without padding that none of them needs."""
        ...

    def batches(self) -> Iterator[tuple[NDArray[np.int64], Self]]:
        """(row numbers, those prompts), the same cut on every machine."""
        ...


@dataclass(frozen=True, eq=False)
class RoleMap:
    """Which positions play which role, seen from each place.

    Attributes:
        queries: place -> position of its query, one number or one per prompt.
        keys: place -> role -> positions of its keys, [key] or [prompt, key]. Places may have different roles.

    Raises:
        StatisticsError: a place without roles or query, no places at all, or a role called `ELSEWHERE`.
    """

    queries: Mapping[str, ArrayLike]
    keys: Mapping[str, Mapping[str, ArrayLike]]

    def __post_init__(self) -> None:
        """Refuse places that are not fully described."""
        if not self.queries or set(self.queries) != set(self.keys) or not all(self.keys.values()):
            raise StatisticsError(
                f"places with a query are {', '.join(self.queries) or 'none'}, with roles "
                f"{', '.join(place for place, roles in self.keys.items() if roles) or 'none'}; each place needs both"
            )
        if ELSEWHERE in self.roles:
            raise StatisticsError(f"{ELSEWHERE!r} is what no role covers; give this role another name")

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the places, as given."""
        return tuple(self.queries)

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role of any place, in the order in which they first appear."""
        return tuple(dict.fromkeys(role for place in self.queries for role in self.keys[place]))

    def masks(self, place: str, *, rows: NDArray[np.int64], length: int) -> dict[str, NDArray[np.bool_]]:
        """Each role's keys as [row, pos], for some rows.

        Raises:
            StatisticsError: a key outside the prompt or after the query, or two roles that share one.
        """
        query = self.query(place, rows=rows)
        taken = np.zeros((len(rows), length), dtype=bool)
        masks = {}
        for role, keys in self.keys[place].items():
            given = np.asarray(keys, dtype=np.int64)
            positions = given[rows] if given.ndim == 2 else np.broadcast_to(given, (len(rows), len(given)))
            if not positions.size or positions.min() < 0 or (positions > query[:, None]).any():
                raise StatisticsError(f"role {role!r} of place {place!r} has no key, or one outside 0 to its query")
            mask = np.zeros_like(taken)
            np.put_along_axis(mask, positions, values=True, axis=1)
            if (mask & taken).any():
                raise StatisticsError(f"role {role!r} of place {place!r} shares a key with another role")
            taken |= mask
            masks[role] = mask
        return masks

    def query(self, place: str, *, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """[row], the query's position in some rows."""
        position = np.asarray(self.queries[place], dtype=np.int64)
        return np.asarray(position[rows] if position.ndim else np.full(len(rows), position))


@dataclass(frozen=True, eq=False)
class RoleAttention:
    """Attention of every head from every place to every role.

    Attributes:
        heads: rows, `layer.head`.
        places: as in the map.
        roles: as in the map, and `ELSEWHERE` last.
        shares: [head, place, role, unit], attention probability that goes to the role; NaN where a place lacks it.
        entropy_bits: [head, place, unit], of the whole attention of the query: 0 where it goes to one position.
        effective_positions: [head, place, unit], 1 / sum of squares: to how many positions it goes, evenly counted.
        units: one id per prompt.
        clusters: one id per prompt.
    """

    heads: tuple[str, ...]
    places: tuple[str, ...]
    roles: tuple[str, ...]
    shares: NDArray[np.float64]
    entropy_bits: NDArray[np.float64]
    effective_positions: NDArray[np.float64]
    units: tuple[str, ...]
    clusters: tuple[str, ...]

    def of(self, place: str, role: str) -> UnitValues:
        """Attention from a place to a role, [head, unit].

        Raises:
            StatisticsError: there is no such place or role, or the place lacks the role.
        """
        values = self.shares[:, self._index("place", place), self._index("role", role)]
        if np.isnan(values).any():
            raise StatisticsError(f"place {place!r} has no role {role!r}")
        return UnitValues(values, self.heads, self.units, self.clusters)

    def mean(self) -> NDArray[np.float64]:
        """[head, place, role], the mean over prompts; NaN where a place lacks the role."""
        return np.asarray(self.shares.mean(axis=-1))

    def classes(self, *, focus: float = FOCUS) -> dict[str, dict[str, str]]:
        """Head -> place -> the role that gets at least `focus` of the attention on average, or `SPREAD`.

        Raises:
            StatisticsError: focus is under one half (two roles could have it) or above 1.
        """
        if not FOCUS <= focus <= 1:
            raise StatisticsError(f"focus is {focus}; a head is classed by a role from {FOCUS} to 1 of its attention")
        means = np.nan_to_num(self.mean(), nan=-1.0)
        most = means.argmax(axis=-1)
        return {
            head: {
                place: self.roles[most[row, column]] if means[row, column].max() >= focus else SPREAD
                for column, place in enumerate(self.places)
            }
            for row, head in enumerate(self.heads)
        }

    def picture(self, place: str) -> dict[str, Any]:
        """Data of a matrix of heads and roles: `evidence.picture("matrix", name, caption=..., **this)`."""
        values = self.mean()[:, self._index("place", place)]
        present = [not np.isnan(column).all() for column in values.T]
        return {
            "rows": list(self.heads),
            "columns": [role for role, there in zip(self.roles, present, strict=True) if there],
            "values": values[:, present].tolist(),
            "unit": "attention probability",
            "xlabel": f"attended to from {place}",
            "ylabel": "head",
        }

    def _index(self, what: str, name: str) -> int:
        known = self.places if what == "place" else self.roles
        if name not in known:
            raise StatisticsError(f"there is no {what} {name!r} ({', '.join(known)}).{did_you_mean(name, known)}")
        return known.index(name)


def attention_by_role(
    model: Model, prompts: Prompts, *, roles: RoleMap, layers: Sequence[int] | None = None
) -> RoleAttention:
    """The attention of every head by place and role, prompt by prompt, with its entropy and spread.

    Args:
        model: the model; the slow engine serves where the fast one does not cover it.
        prompts: the prompts, one unit each.
        roles: which positions play which role.
        layers: which layers to measure (default: all); later ones are not computed.

    Raises:
        InterventionError: there are no layers.
        StatisticsError: a role does not fit the prompts.
    """
    engine = engine_of(model)
    chosen = list(range(engine.n_layers)) if layers is None else sorted(set(layers))
    if not chosen:
        raise InterventionError("there are no layers whose attention is to be measured")
    heads = tuple(f"{layer}.{head}" for layer in chosen for head in range(engine.n_heads))
    names = (*roles.roles, ELSEWHERE)
    shares = np.full((len(heads), len(roles.places), len(names), len(prompts)), np.nan)
    entropy, effective = np.zeros((2, len(heads), len(roles.places), len(prompts)))
    for index, batch in prompts.batches():
        run = engine.run(batch.tensor(), keep={"pattern": chosen}, stop_at_layer=chosen[-1] + 1)
        patterns = [run.pattern[layer] for layer in chosen]
        for column, place in enumerate(roles.places):
            query = roles.query(place, rows=index)
            if query.min() < 0 or query.max() >= run.tokens.shape[1]:
                raise StatisticsError(f"the query of place {place!r} lies outside the prompts")
            attention = _from_queries(patterns, query)  # [head row key]
            masks = roles.masks(place, rows=index, length=attention.shape[-1])
            for role, mask in {**masks, ELSEWHERE: ~np.any(list(masks.values()), axis=0)}.items():
                shares[:, column, names.index(role), index] = (attention * mask).sum(axis=-1)
            entropy[:, column, index] = -(attention * np.log2(np.where(attention > 0, attention, 1))).sum(axis=-1)
            effective[:, column, index] = 1 / np.square(attention).sum(axis=-1)
    return RoleAttention(heads, roles.places, names, shares, entropy, effective, prompts.units, prompts.templates)


def _from_queries(patterns: Sequence[Tensor], query: NDArray[np.int64]) -> NDArray[np.float64]:
    """[head row key]: each row's attention from its query, of the heads of several layers."""
    rows = np.arange(len(query))
    picked = [pattern[rows, :, query].double().cpu().numpy() for pattern in patterns]  # each [row head key]
    return np.concatenate(picked, axis=1).transpose(1, 0, 2)
