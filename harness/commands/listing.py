"""`mechclaims list`: every claim with what decides it and the verdicts registered for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from harness.catalog import CatalogEntry, all_claims
from harness.commands.options import claims_option, json_option
from harness.commands.screen import show_table
from harness.subjects import Expectation


@click.command("list")
@claims_option
@json_option
def list_claims(claims: Path, as_json: bool) -> None:  # noqa: FBT001 (click passes it by name)
    """List every claim: statement, paper, tier, threshold, registered n, controls, and registered verdicts."""
    entries = all_claims(claims)
    if as_json:
        click.echo(json.dumps([as_plain(entry) for entry in entries], indent=1, allow_nan=False))
        return
    show_table(("claim", "threshold (SESOI), n, controls, registered"), rows=[_row(entry) for entry in entries])
    click.echo(f"{len(entries)} claims below {claims}")


def as_plain(entry: CatalogEntry) -> dict[str, Any]:
    """A claim as plain JSON values: its declaration, where it stands, and the registered verdict by model."""
    registered = {model_id: asdict(expected) for model_id, expected in entry.registered().items()}
    return {
        **asdict(entry.claim), "mechanism": entry.claim.mechanism, "declaration_hash": entry.claim.hash(),
        "source": entry.source, "registered": registered,
    }  # fmt: skip


def seed_ranges(ids: Iterable[str]) -> list[str]:
    """Model ids with consecutive training seeds drawn together: `induction-2l@0..4`."""
    families: dict[str, list[int]] = {}
    for model_id in ids:
        family, _, seed = model_id.partition("@")
        if seed.isdecimal() and not model_id.startswith("path:"):
            families.setdefault(family, []).append(int(seed))
        else:
            families[model_id] = []
    return [f"{family}@{_ranges(sorted(seeds))}" if seeds else family for family, seeds in families.items()]


def _ranges(seeds: list[int]) -> str:
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(f"{part[0]}..{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _row(entry: CatalogEntry) -> tuple[str, str]:
    claim = entry.claim
    bound = f"at least {claim.sesoi:g}" if claim.alternative == "greater" else f"at most -{claim.sesoi:g}"
    size = "exact, no units" if claim.units is None else f"n = {claim.units.default} {claim.units.of}s"
    size += "" if claim.units is None or claim.units.quick == claim.units.default else f" (quick: {claim.units.quick})"
    decides = [
        f"{claim.metric.name}: {bound} {claim.metric.unit}",
        size,
        *(f"- {control.name} ({control.kind})" for control in claim.controls),
        *(f"- {margin.name} (margin)" for margin in claim.margins),
        *_registered_lines(entry.registered()),
    ]
    # the empty last line keeps claims apart
    return f"{claim.id}\n({claim.tier}, {claim.paper})\n{claim.statement}", "\n".join([*decides, ""])


def _registered_lines(registered: Mapping[str, Expectation]) -> list[str]:
    by_verdict: dict[str, list[str]] = {}
    for model_id, expected in registered.items():
        by_verdict.setdefault(expected.verdict, []).append(model_id)
    lines = [f"{verdict}: {', '.join(seed_ranges(ids))}" for verdict, ids in by_verdict.items()]
    return lines or ["no model registered"]
