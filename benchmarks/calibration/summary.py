"""All parts of the calibration as one JSON, `reports/calibration/summary.json`, and the page that is made from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.calibration.designs import unmeasured_designs
from benchmarks.calibration.limits import (
    BOUNDARY_LIMIT,
    DESIGN_LIMIT,
    EMPTY_LEG,
    WORLDS_LIMIT,
    agrees,
    most_allowed,
    too_many,
    upper_bound,
)
from benchmarks.calibration.lines import products_of, read_lines
from benchmarks.calibration.planted import CONTRADICTED
from benchmarks.calibration.strict import verdict_at
from harness.calibrated import SUMMARY, records_of
from harness.compare.manifest import read_manifest
from harness.looks import store_folders
from harness.store import read_record, write_atomically

FOLDER = "calibration"
Lines = Sequence[Mapping[str, Any]]


def write_summary(reports: Path) -> Path:
    """The page `CALIBRATION.md`, written with its summary from whatever parts are stored."""
    from harness.report.calibration import write_calibration

    manifest = read_manifest(reports / "baseline")
    content = summary_of(
        reports / FOLDER, records=manifest and {entry.content_hash for entry in manifest.records.values()}
    )
    content["designs"] = [_with_verdict(line, reports) for line in content["designs"]]
    measured = {line["content_hash"] for line in content["designs"]}
    content["unmeasured"] = unmeasured_designs(reports / "baseline", measured=measured) if measured else []
    asked = {entry["claim"] for claims in content["worlds"].values() for entry in claims}
    content["never_asked"] = never_asked(reports / "baseline", asked=asked) if asked else []
    write_atomically(reports / SUMMARY, text=json.dumps(content, indent=1, allow_nan=False) + "\n")
    return write_calibration(content, out=reports)


def summary_of(folder: Path, *, records: Collection[str] | None = None) -> dict[str, Any]:
    """Counts, limits and whether they hold, part by part; parts that were not run are empty.

    Designs are those of the records with these content hashes: others are of claims that were changed or taken back.
    """
    designs = [
        line for line in read_lines(folder / "designs.jsonl") if records is None or line["content_hash"] in records
    ]
    asked = {path.stem.removeprefix("worlds-"): read_lines(path) for path in sorted(folder.glob("worlds-*.jsonl"))}
    return {
        "worlds": {name: worlds_of(lines) for name, lines in asked.items()},
        "products": {name: found for name, lines in asked.items() if (found := products_compared(lines))},
        "planted": planted_of(read_lines(folder / "planted.jsonl")),
        "pipeline": pipeline_of(read_lines(folder / "pipeline.jsonl")),
        "designs": latest(designs, keys=("claim", "model")),
        "mutants": latest(read_lines(folder / "mutants.jsonl"), keys=("mutant",)),
        "limits": {"boundary": BOUNDARY_LIMIT, "designs": DESIGN_LIMIT, "worlds": WORLDS_LIMIT, "leg": EMPTY_LEG},
    }


def _with_verdict(line: Mapping[str, Any], reports: Path) -> Mapping[str, Any]:
    """A design that does not hold with the verdict of its record, and that at the level at which it would hold."""
    if line["holds"]:
        return line
    record = records_of({line["content_hash"]}, store_folders(reports)).get(line["content_hash"])
    if record is None:
        return line
    level, misses, _ = (line.get("stricter") or [(0.0, line["most_misses"], 0.0)])[-1]
    decided = record["judgement"]["verdict"] not in ("inconclusive", "invalid")
    there = verdict_at(record, level=level) if decided and misses <= line["allowed"] else None
    declared = record["claim"]["declaration_hash"]
    return {
        **line, "declaration_hash": declared, "verdict": record["judgement"]["verdict"], "verdict_there": there,
    }  # fmt: skip


def never_asked(folder: Path, *, asked: Collection[str]) -> list[str]:
    """Claims with a record in a folder that are no replications of published numbers and asked in no null world."""
    paths = {path.name.partition("__")[0]: path for path in sorted(folder.glob("*__seed*.json"))}
    return [
        claim for claim in sorted(paths.keys() - asked) if read_record(paths[claim]).claim["tier"] != "replication"
    ]


def latest(lines: Lines, *, keys: Sequence[str]) -> list[Mapping[str, Any]]:
    """The last line of each key, in order of the keys: a later measurement supersedes."""
    found = {tuple(line[key] for key in keys): line for line in lines}
    return [found[key] for key in sorted(found)]


def worlds_of(lines: Lines) -> list[dict[str, Any]]:
    """Per claim: verdicts, the exact bound on the share supported, and how often each leg held by itself.

    A world that was measured in float32 and with products in bfloat16 counts once, in float32.
    """
    lines = sorted(lines, key=lambda line: products_of(line) == "float32")  # the last one is kept
    lines = latest(lines, keys=("claim", "version", "world"))
    newest = {claim: max(line["version"] for line in lines if line["claim"] == claim) for claim in _claims(lines)}
    return [
        _claim_worlds([line for line in lines if line["claim"] == claim and line["version"] == version])
        for claim, version in newest.items()
    ]


def products_compared(lines: Lines) -> dict[str, Any]:
    """What rounding the products to bfloat16 changes, in worlds that were measured both ways; empty without any such.

    `differing` names the claims and worlds whose verdict is another one, and `legs` counts single conditions: how many
    components hold alike, of how many.
    """
    exact, rounded = (
        {(line["claim"], line["version"], line["world"]): line for line in lines if products_of(line) == kind}
        for kind in ("float32", "bfloat16")
    )
    both = sorted(exact.keys() & rounded.keys())
    pairs = [(exact[key], rounded[key]) for key in both]
    legs = [
        (first["legs"][name], second["legs"][name])
        for first, second in pairs
        for name in first["legs"].keys() & second["legs"].keys()
    ]
    return {} if not rounded else {
        "compared": len(pairs),
        "same": sum(first["verdict"] == second["verdict"] for first, second in pairs),
        "differing": [
            {"claim": first["claim"], "world": first["world"],
             "float32": first["verdict"], "bfloat16": second["verdict"]}
            for first, second in pairs
            if first["verdict"] != second["verdict"]
        ],
        "legs": [sum(first[1] - abs(first[0] - second[0]) for first, second in legs), sum(leg[1] for leg, _ in legs)],
    }  # fmt: skip


def planted_of(lines: Lines) -> list[dict[str, Any]]:
    """Per scenario: false verdicts and misses, with the most that are allowed."""
    lines = latest(lines, keys=("scenario", "first"))
    found = []
    for scenario in dict.fromkeys(line["scenario"] for line in lines):
        counts: Counter[str] = Counter()
        for line in lines:
            if line["scenario"] == scenario:
                counts.update(line["counts"])
        replicates = counts.pop("replicates")
        allowed = most_allowed(replicates, BOUNDARY_LIMIT)
        # Counted from the claim's verdicts, as blocks that were measured before this was watched have only these.
        counts[CONTRADICTED] = counts["refuted"] + counts["too small"]
        watched = {"some component supported", CONTRADICTED} | {name for name in counts if name.startswith("missed")}
        errors = {name: counts[name] for name in sorted(watched)}
        found.append(
            {
                "scenario": scenario, "replicates": replicates, "allowed": allowed, "errors": errors,
                "holds": max(errors.values()) <= allowed,
                "verdicts": {name: counts[name] for name in _VERDICTS if counts[name]},
            }
        )  # fmt: skip
    return found


def pipeline_of(lines: Lines) -> list[dict[str, Any]]:
    """Per planted circuit and strength: how often it was supported, beside what was predicted."""
    found = []
    for setting in (line for line in lines if "scale" in line):
        key = (setting["circuit"], setting["strength"])
        runs = {
            line["seed"]: line["verdict"]
            for line in lines
            if "seed" in line and (line["circuit"], line["strength"]) == key
        }
        supported = sum(verdict == "supported" for verdict in runs.values())
        holds = bool(runs) and (
            agrees(supported, len(runs), predicted=setting["predicted"])
            if setting["strength"] > 1
            else not too_many(supported, len(runs))
        )
        found.append({**setting, "runs": len(runs), "supported": supported, "verdicts": dict(Counter(runs.values())),
                      "holds": holds})  # fmt: skip
    return found


_VERDICTS = ("supported", "too small", "refuted", "inconclusive", "invalid")


def _claim_worlds(lines: Lines) -> dict[str, Any]:
    """Summed over worlds; a claim that was `invalid` in a world shows nothing there, and is not counted as tried."""
    verdicts = Counter(line["verdict"] for line in lines)
    worlds, supported = len(lines), verdicts["supported"]
    tried = worlds - verdicts["invalid"]
    held: Counter[str] = Counter()
    of: Counter[str] = Counter()
    for line in lines:
        for name, (holds, count) in line["legs"].items():
            held[name] += holds
            of[name] += count
    return {
        "claim": lines[0]["claim"],
        "tier": lines[0]["tier"],
        "worlds": worlds,
        "tried": tried,
        "rounded": sum(products_of(line) != "float32" for line in lines),
        "supported": supported,
        "some_component": sum(bool(line["some_component"]) for line in lines),
        "upper_bound_95": round(upper_bound(supported, tried), 4) if tried else None,
        "holds": tried > 0 and supported <= max(most_allowed(tried, WORLDS_LIMIT), 0),
        "enough": tried > 0 and most_allowed(tried, WORLDS_LIMIT) >= 0,
        "verdicts": dict(verdicts),
        "legs": {name: [held[name], of[name]] for name in of},
        "without_evidence": [name for name in of if held[name] > EMPTY_LEG * of[name]],
        "largest": max((line["largest"] for line in lines if line["largest"] is not None), default=None),
        "seconds": round(sum(line["seconds"] for line in lines) / worlds, 2),
    }


def _claims(lines: Lines) -> Iterable[str]:
    return dict.fromkeys(line["claim"] for line in lines)
