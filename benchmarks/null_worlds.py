"""How often each induction claim is supported where there is nothing to find: freshly initialised `induction-2l`.

In every world discovery runs anew, without thresholds: as many heads as the trained model has are asked, the highest,
however low. Preconditions are off. Counted beside the verdicts: worlds in which some head alone is supported. Every
world has its own prompts, since they derive from its fingerprint.

    nox -s calibrate
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

from claims.induction.mechanism import discover
from harness.catalog import all_claims
from harness.mechanism import open_mechanism
from harness.models.model import load, untrained_twin
from harness.negatives import measured_on
from harness.session import BoundClaim, Options, applies, discovery_streams
from harness.stats.binomial import clopper_pearson
from harness.store import write_atomically

MODEL = "induction-2l@0"
FOLDER = Path("claims") / "induction"


def main() -> None:
    """Measure every claim in every world and write the verdicts' counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=93)
    parser.add_argument("--first", type=int, default=1_000, help="seed of the first world")
    parser.add_argument("--profile", default="default")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    mechanism, trained = open_mechanism(FOLDER), load(MODEL)
    entries = [entry for entry in all_claims(FOLDER.parent) if applies(entry.claim, MODEL)]
    verdicts: dict[str, Counter[str]] = {entry.claim.id: Counter() for entry in entries}
    effects: dict[str, list[float]] = {entry.claim.id: [] for entry in entries}
    any_part: Counter[str] = Counter()
    registered = mechanism.subjects.classes(MODEL)
    for seed in range(options.first, options.first + options.worlds):
        world = untrained_twin(trained, seed)
        found = discover(world, discovery_streams("induction", fingerprint=world.fingerprint), thresholds=False)
        classes = {name: heads[: len(registered[name])] for name, heads in found.classes.items()}
        subject = replace(found, classes=classes).subject("induction", source="discovered in a null world")
        for entry in entries:
            bound = BoundClaim(
                entry.claim, entry.test, entry.source, mechanism, MODEL, Options(profile=options.profile)
            )
            record = measured_on(bound, world, subject=subject)  # an error stops the calibration: it is no verdict
            parts = (record.judgement or {}).get("components", ())
            any_part[entry.claim.id] += any(part["verdict"] == "supported" for part in parts)
            verdicts[entry.claim.id][record.verdict] += 1
            outcomes = (record.judgement or {}).get("outcomes", ())
            effects[entry.claim.id] += [max(abs(outcome["estimate"]) for outcome in outcomes)] if outcomes else []
        write_atomically(options.out, text=json.dumps(_summary(verdicts, effects, any_part), indent=1) + "\n")


def _summary(
    verdicts: dict[str, Counter[str]], effects: dict[str, list[float]], any_part: Counter[str]
) -> dict[str, object]:
    """Counts per claim, with the exact upper 95 % bound of the share that is supported."""
    claims = {}
    for claim_id, counts in verdicts.items():
        worlds = sum(counts.values())
        supported = counts["supported"]
        values = [1.0] * supported + [0.0] * (worlds - supported)
        upper = (
            clopper_pearson(values, clusters=[str(n) for n in range(worlds)]).bound(0.05, side="upper")
            if worlds > 1
            else 1.0
        )
        claims[claim_id] = {
            "worlds": worlds, "supported": supported, "upper_bound_95": round(upper, 4), "verdicts": dict(counts),
            "largest_effect": max(effects[claim_id], default=None),
            "some_head_supported": any_part[claim_id],
        }  # fmt: skip
    return {"model": f"fresh initialisations of {MODEL}", "claims": claims}


if __name__ == "__main__":
    main()
