r"""Measures of a circuit that need many evaluations: completeness, minimality, and comparison with random circuits.

Named after Wang et al. (2023), Interpretability in the wild, section 4. M is the whole model, C the circuit, F the mean
score over units, M\K the model with the set K knocked out, C\K the circuit with K knocked out as well:

    completeness   |F(C\K) - F(M\K)| is small for every K within C; K whole classes, random, or searched greedily
    minimality     |F(C\(K + v)) - F(C\K)| is large for every v of C, with some K for each v
    sufficiency    C alone against random circuits of its size alone
    necessity      M\C against the model without each of the random circuits

Both differences are of means, then made absolute: errors of opposite signs on single units cancel in them, and the
signed differences per unit stand beside them. Nothing decides here and nothing is averaged away: every record holds one
value per unit, for intervals (`stats.sampling`, `stats.faithfulness`) and tests (`stats.circuit_tests`,
`stats.random_circuits`). How components are knocked out is the business of `CircuitScores`.
"""

from __future__ import annotations

from harness.circuits.against_random import AgainstRandom, necessity, sufficiency
from harness.circuits.completeness import Completeness, completeness, random_parts
from harness.circuits.greedy import greedy_completeness, greedy_part
from harness.circuits.knock_out import KnockOutScores
from harness.circuits.minimality import InflatedCircuits, Minimality, inflated_circuits, minimality
from harness.circuits.scores import CircuitScores, endpoints

__all__ = [
    "AgainstRandom",
    "CircuitScores",
    "Completeness",
    "InflatedCircuits",
    "KnockOutScores",
    "Minimality",
    "completeness",
    "endpoints",
    "greedy_completeness",
    "greedy_part",
    "inflated_circuits",
    "minimality",
    "necessity",
    "random_parts",
    "sufficiency",
]
