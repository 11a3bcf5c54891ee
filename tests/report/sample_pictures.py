"""One synthetic picture of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np


def pictures() -> list[dict[str, Any]]:
    """One picture of every kind."""
    rng = np.random.default_rng(0)
    matrix = np.tril(rng.random((9, 9)))
    doses = [0.25, 0.5, 0.75, 1.0]
    return [
        {
            "kind": "head_map",
            "name": "prefix matching",
            "caption": "Every head's score",
            "values": rng.random((30, 9)).tolist(),
            "unit": "attention probability",
            "marked": ["17.4", "18.6"],
        },
        {
            "kind": "matrix",
            "name": "carry patching",
            "caption": "Share of twins whose digit moves by one",
            "values": [[1.0, 0.02, 0.0, None], [0.03, 0.97, 0.5, 0.01], [0.2, 0.4, 0.6, 0.8]],
            "rows": ["thousands", "hundreds", "tens"],
            "columns": ["0.0", "0.1", "1.0", "1.1"],
            "unit": "share of twins",
            "marked": [["thousands", "0.0"], ["hundreds", "0.1"]],
            "xlabel": "head",
            "ylabel": "answer place",
        },
        {
            "kind": "pattern",
            "name": "attention of 18.6",
            "caption": "One sequence",
            "matrix": (matrix / matrix.sum(1, keepdims=True)).tolist(),
            "tokens": [" the", "\n", "|", "<b>", "$x$", "`", " cat", " sat", "."],
            "head": "18.6",
        },
        {
            "kind": "curve",
            "name": "dose",
            "caption": "Loss against dose",
            "x": doses,
            "y": [0.3, 0.7, 1.2, 1.4],
            "low": [0.2, 0.6, 1.0, 1.2],
            "high": [0.4, 0.8, 1.4, 1.6],
            "xlabel": "dose (share of the direction)",
            "ylabel": "cost (nats)",
            "baseline": 0.0,
        },
        {
            "kind": "distribution",
            "name": "subject and controls",
            "caption": "Every sequence",
            "treated": rng.normal(0.7, 0.1, 24).tolist(),
            "control": [rng.normal(0.1, 0.1, 24).tolist()],
            "labels": ["18.6", "shuffled second half"],
            "unit": "attention probability",
        },
        {
            "kind": "bars",
            "name": "shares",
            "caption": "Shares of the joint effect",
            "labels": ["17.4", "18.6"],
            "values": [0.3, 0.6],
            "low": [0.2, 0.5],
            "high": [0.4, 0.7],
            "unit": "share of the joint effect",
            "threshold": 0.0,
        },
        *_more(doses),
    ]


def _more(doses: list[float]) -> list[dict[str, Any]]:
    """Doses beside controls, what they cost, a circuit, its faithfulness by template."""
    return [
        {
            "kind": "dose_response",
            "name": "steering",
            "caption": "Log-odds by dose",
            "doses": doses,
            "values": [0.3, 0.9, 1.7, 2.4],
            "low": [0.1, 0.6, 1.3, 1.9],
            "high": [0.5, 1.2, 2.1, 2.9],
            "controls": [
                {"label": "random directions", "values": [0.0, 0.1, 0.0, 0.1], "low": [-0.2] * 4, "high": [0.3] * 4},
                {"label": "permuted labels", "values": [0.1, 0.2, 0.3, 0.4]},
            ],
            "xlabel": "dose (share of the mean norm)",
            "ylabel": "change of log-odds (nats)",
        },
        {
            "kind": "trade_off",
            "name": "effect and damage",
            "caption": "Each point a dose",
            "doses": doses,
            "cost": [0.01, 0.05, 0.2, 0.9],
            "effect": [0.3, 0.9, 1.7, 2.4],
            "controls": [{"label": "random directions", "cost": [0.01, 0.1], "effect": [0.0, 0.1]}],
            "xlabel": "rise of the loss (nats per token)",
            "ylabel": "change of log-odds (nats)",
        },
        {
            "kind": "circuit",
            "name": "induction circuit",
            "caption": "Three heads",
            "nodes": {
                "embed": "input",
                "0.1": "previous token",
                "1.4": "induction",
                "1.10": "induction",
                "logits": "output",
            },
            "edges": [["embed", "0.1", 1.0], ["0.1", "1.4", 0.8], ["0.1", "1.10", -0.2], ["1.4", "logits", 1.3]],
            "unit": "nats",
        },
        {
            "kind": "faithfulness",
            "name": "template by template",
            "caption": "Twenty templates",
            "templates": ["a", "b", "c"],
            "ratios": {"ABBA": [1.0, 0.7, 30.0], "BABA": [1.1, None, -8.0]},
            "unit": "F(C) / F(M)",
        },
    ]
