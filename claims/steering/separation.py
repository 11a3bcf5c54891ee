"""How well directions tell the two kinds of text of a contrast apart: the AUC of projections at the last token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from claims.steering.finding import SITE, Found
from fixtures.prompts.contrasts import ContrastPrompts
from harness.steering import ContrastPairs, Direction, PairActivations, pair_activations, placements, token_rows
from harness.values import UnitValues

if TYPE_CHECKING:
    from harness.models.model import Model


def auc(model: Model, texts: ContrastPrompts, directions: Mapping[str, Direction]) -> UnitValues:
    """[direction, pair], placements of each pair among all texts of the split; their mean is the AUC."""
    positive, negative = texts.positive(), texts.negative()
    layers = sorted({direction.layer for direction in directions.values()})
    rows = ContrastPairs(token_rows(positive), token_rows(negative))
    found = pair_activations(model, rows, layers=layers, site=SITE)
    return UnitValues(_placed(found, directions), tuple(directions), positive.units, positive.templates)


def discovery_auc(found: Found, directions: Mapping[str, Direction]) -> UnitValues:
    """[direction, pair], the same on the pairs from which directions are made."""
    units = tuple(f"discovery pair {number}" for number in range(len(found.pairs)))
    return UnitValues(_placed(found.pairs, directions), tuple(directions), units, found.templates)


def _placed(found: PairActivations, directions: Mapping[str, Direction]) -> NDArray[np.float64]:
    by_direction = []
    for direction in directions.values():
        positive, negative = (direction.components(side) for side in found.at(direction.layer))
        by_direction.append(placements(positive, negative).by_pair())
    return np.array(by_direction)
