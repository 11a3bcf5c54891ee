"""Synthetic records for the report's tests: every verdict, tier, kind of claim and kind of picture."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from tests.report.sample_pictures import pictures

SEQUENCES = 24
RUN: dict[str, Any] = {
    "started": "2026-01-31T12:00:00Z",
    "finished": "2026-01-31T12:07:00Z",
    "commit": "0123456789abcdef0123",
    "dirty": True,
    "versions": {"python": "3.11.9", "torch": "2.13.0"},
    "machine": {"system": "Linux", "cores": 2},
    "options": {"profile": "default"},
    "interrupted": False,
}
PAPERS: dict[str, Any] = {
    "olsson2022": {
        "title": "In-context Learning and Induction Heads",
        "authors": ["Catherine Olsson", "Nelson Elhage", "Neel Nanda", "Nicholas Joseph"],
        "year": 2022,
        "url": "https://transformer-circuits.pub/2022/in-context-learning-and-induction-heads/index.html",
    }
}
MODELS: dict[str, dict[str, Any]] = {
    "gpt2-small": {"n_layers": 12, "n_heads": 12, "n_kv_heads": 12, "note": ""},
    "smollm2-135m-q4": {"n_layers": 30, "n_heads": 9, "n_kv_heads": 3, "note": "weights dequantised from Q4_1"},
    **{f"induction-2l@{seed}": {"n_layers": 2, "n_heads": 8, "n_kv_heads": 8, "note": ""} for seed in range(5)},
}


def claim(id: str = "induction.prefix-matching", **changes: Any) -> dict[str, Any]:
    """The claim section of a record."""
    return {
        "id": id,
        "version": 1,
        "statement": "Induction heads attend to the token that followed the previous occurrence of the current token.",
        "paper": "olsson2022",
        "tier": "inference",
        "mechanism": id.split(".")[0],
        "metric": {"name": "prefix-matching score", "unit": "attention probability", "binary": False},
        "sesoi": 0.2,
        "sesoi_reason": "a third of the published score",
        "alternative": "greater",
        "subject": "induction",
        "controls": [{"name": "other heads", "kind": "component"}, {"name": "shuffled second half", "kind": "input"}],
        "margins": [],
        "rival": "a head that attends at a fixed offset",
        "exposed_by": "shuffled second half",
        "units": {
            "default": SEQUENCES,
            "quick": 16,
            "full": None,
            "of": "sequence",
            "reason": "80 % power at twice the SESOI",
        },
        "alpha": 0.025,
        "declaration_hash": hashlib.sha256(id.encode()).hexdigest(),
        "source": "claims/induction/test_attention.py::test_it",
        **changes,
    }


def outcome(
    component: str, control: str, *, estimate: float, half: float = 0.08, threshold: float = 0.2, **changes: Any
) -> dict[str, Any]:
    """One outcome with a symmetric interval."""
    low, high = estimate - half, estimate + half
    return {
        "component": component,
        "control": control,
        "kind": "input",
        "rule": "superiority",
        "alternative": "greater",
        "threshold": threshold,
        "upper": None,
        "estimate": estimate,
        "low": low,
        "high": high,
        "low_adjusted": low,
        "high_adjusted": high,
        "method": "bootstrap-t",
        "clusters": SEQUENCES,
        "p": 0.00002 if low > threshold else 0.2,
        "p_zero": 0.00001,
        "holds": low > threshold,
        "hedges_g": 1.25,
        **changes,
    }


def judgement(
    verdict: str, outcomes: list[dict[str, Any]], *, reason: str = "every control is beaten"
) -> dict[str, Any]:
    """The judgement section; every component has the claim's verdict."""
    components = sorted({one["component"] for one in outcomes})
    judged = [
        {"component": c, "verdict": verdict, "reason": reason, "p": 0.0001, "p_adjusted": 0.0002} for c in components
    ]
    return {"verdict": verdict, "reason": reason, "components": judged, "outcomes": outcomes}


def record(
    model: str = "smollm2-135m-q4", *, verdict: str = "supported", heads: int = 2, **changes: Any
) -> dict[str, Any]:
    """A record of a sampled claim; `changes` replace whole sections."""
    rng = np.random.default_rng([sum(model.encode()), heads])
    components = [f"1.{head}" for head in range(heads)]
    centre = {"supported": 0.6, "too small": 0.1, "refuted": -0.02}.get(verdict, 0.22)
    controls = ("other heads: mean", "other heads: 95th percentile (1.7)", "shuffled second half")
    outcomes = [
        outcome(
            component,
            control,
            estimate=centre + float(rng.normal(0, 0.03)),
            threshold=0.0 if "95th" in control else 0.2,
            kind="component" if "other" in control else "input",
        )
        for component in components
        for control in controls
    ]
    declared = changes.pop("claim", claim())
    base = {
        "schema": 1,
        "claim": declared,
        "model": {
            "id": model,
            "fingerprint": hashlib.sha256(model.encode()).hexdigest(),
            **MODELS.get(model, MODELS["gpt2-small"]),
        },
        "subject": {
            "class": "induction",
            "components": components,
            "source": "discover induction",
            "selected_by": "prefix-matching score",
            "split": "discovery",
        },
        "seeds": {"data_seed": 0, "split": "confirmation"},
        "options": {"profile": "default", "n_units": SEQUENCES, "dtype": "float32", "device": "cpu"},
        "prompts": {
            "sha256": "ab" * 32,
            "n": SEQUENCES,
            "clusters": SEQUENCES,
            "examples": ["one two | three\n`four`"],
        },
        "units": {"ids": [f"s{i}" for i in range(SEQUENCES)], "clusters": [f"s{i}" for i in range(SEQUENCES)]},
        "measured": {
            "treated": {"components": components, "values": rng.normal(0.7, 0.1, (heads, SEQUENCES)).tolist()},
            "controls": {
                f"{one['component']} | {one['control']}": {
                    "units": [f"s{i}" for i in range(SEQUENCES)],
                    "values": rng.normal(0.1, 0.1, SEQUENCES).tolist(),
                }
                for one in outcomes
            },
        },
        "judgement": judgement(verdict, outcomes),
        "ranks": [
            {
                "component": c,
                "rank": 1,
                "of": 14,
                "p": None,
                "population_mean": 0.05,
                "percentile95": 0.2,
                "percentile95_member": "1.7",
            }
            for c in components
        ],
        "exact": None,
        "shares": [
            {"component": "1.0", "share": 0.7, "low": 0.5, "high": 0.9, "passenger": False},
            {"component": "1.1", "share": 0.02, "low": -0.1, "high": 0.1, "passenger": True},
        ],
        "preconditions": [{"name": "the model predicts the second copy", "value": 8.1, "at_least": 1.0, "holds": True}],
        "notes": ["Heads 1.0 and 1.1 share a key-value head."],
        "tables": [
            {"name": "By length of the block", "columns": ["length", "score"], "rows": [[10, 0.71], [40, 0.68]]}
        ],
        "pictures": [],
        "expectation": {"verdict": "supported", "reason": ""},
        "exploratory": False,
        "cost": {"seconds": 12.3, "tokens": 16_384, "peak_mib": 812.0},
        "not_run": None,
        "command": f"pytest claims/induction --model {model} -k {declared['id'].split('.')[-1]}",
    }
    made = {**base, **changes}
    made["content_hash"] = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
    return made


def exact_record(model: str = "gpt2-small", **changes: Any) -> dict[str, Any]:
    """A record of a claim about weights alone: no units, no interval."""
    population = {f"{layer}.{head}": 0.01 * ((layer * 12 + head) % 17) for layer in range(5) for head in range(12)}
    exact = {
        "value": 0.42, "rank": 1, "of": 60, "percentile95": 0.15, "distance": 0.27, "runner_up": 0.16, "holds": True,
        "reason": "first of 60", "population": population,
    }  # fmt: skip
    about = claim(
        "induction.k-composition",
        units=None,
        sesoi=0.05,
        metric={"name": "K-composition score", "unit": "Frobenius ratio", "binary": False},
        controls=[{"name": "other earlier heads", "kind": "component"}],
    )
    sections = {
        "claim": about,
        "exact": exact,
        "units": None,
        "prompts": None,
        "measured": {},
        "ranks": [],
        "shares": [],
    }
    judged = {"verdict": "supported", "reason": "first of 60", "components": [], "outcomes": []}
    return record(model, **{**sections, "judgement": judged, **changes})


def not_run(model: str = "gpt2-small", **changes: Any) -> dict[str, Any]:
    """A record of a claim whose model is not here."""
    empty = {
        "judgement": None,
        "measured": {},
        "units": None,
        "prompts": None,
        "ranks": [],
        "shares": [],
        "tables": [],
        "notes": [],
    }
    missing = {"reason": "the weights of gpt2-small are not here.", "remedy": "mechclaims models --fetch gpt2-small"}
    return record(model, **{**empty, "not_run": missing, "cost": {}, "preconditions": [], **changes})


def suite() -> list[dict[str, Any]]:
    """A run like the default one: seven checkpoints, every verdict, every tier, an exploratory record."""
    made = []
    seeds = [f"induction-2l@{seed}" for seed in range(5)]
    for name in ("prefix-matching", "ablation", "ov-copying", "previous-token"):
        about = claim(f"induction.{name}")
        made += [
            record(model, claim=about, pictures=pictures() if model == "induction-2l@0" else []) for model in seeds
        ]
        made += [record("smollm2-135m-q4", claim=about, heads=4, pictures=pictures()), not_run(claim=about)]
    for verdict in ("too small", "refuted", "inconclusive", "invalid"):
        about = claim(f"induction.shown-{verdict.replace(' ', '-')}")
        made.append(record("smollm2-135m-q4", claim=about, verdict=verdict))
    made.append(record("smollm2-135m-q4", claim=claim("induction.still-there", tier="reliability")))
    made.append(record("smollm2-135m-q4", claim=claim("induction.published", tier="replication")))
    made.append(record("smollm2-135m-q4", heads=1, exploratory=True))
    made += [exact_record(), exact_record("smollm2-135m-q4")]
    return made
