"""`mechclaims pilot` measures a claim on the discovery split; `mechclaims power` says how many clusters it needs.

`power` loads no model, and reads pilots alone: of what confirmation found nothing enters, neither effect nor spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import click

from harness.commands.options import claims_option, reports_option
from harness.commands.screen import show_table
from harness.designs import Design, Question, design_of, moves
from harness.errors import StatisticsError, StoreError

TIMES = 2.0
"""The effect that power is given for, in SESOI."""


@dataclass(frozen=True)
class Needed:
    """What a pilot says about one claim.

    Attributes:
        clusters: for 80 % power at twice the SESOI; None where no number gives it, and `why` says so.
        why: the conditions that twice the SESOI does not pass.
        rows: per condition its SD between clusters, and the clusters that it alone needs.
    """

    clusters: int | None
    why: str
    rows: tuple[tuple[Question, float, int | None], ...]


class _Bar(NamedTuple):
    """One bar of a condition.

    Attributes:
        beyond: how far the true value lies beyond it.
        reach: how far the limit on the side of its bound lies, which Gaffke's bounds allow to have been missed; 0
            without limits.
    """

    beyond: float
    reach: float


@click.command()
@click.argument("claim")
@click.option("--model", "model_id", required=True, metavar="ID", help="The model to measure.")
@click.option("--units", type=click.IntRange(min=2), metavar="N", help="How many (default: the registered number).")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@claims_option
@reports_option
def pilot(claim: str, model_id: str, units: int | None, device: str, claims: Path, reports: Path) -> None:
    """Measure CLAIM on the discovery split and store its values below reports/pilots/, for `mechclaims power`.

    No confirmation prompt is drawn; a claim whose mechanism does not say how to do without them is refused.
    """
    from harness.catalog import find_claim
    from harness.memory import Loaded
    from harness.pilot import measure_pilot, write_pilot
    from harness.session import BoundClaim, Options

    entry = find_claim(claim, claims=claims)
    options = Options(n_units=units, device=device)
    bound = BoundClaim(entry.claim, entry.test, entry.source, entry.mechanism, model_id, options)
    path = write_pilot(measure_pilot(bound, loaded=Loaded()), reports=reports)
    click.echo(f"{path}: written; `mechclaims power {claim} --model {model_id}` reads it")


@click.command()
@click.argument("claim")
@click.option("--model", "model_id", required=True, metavar="ID", help="The model that the pilot was measured on.")
@click.option("--clusters", multiple=True, type=click.IntRange(min=2), metavar="N", help="Half-widths at N too.")
@click.option("--sesoi", type=float, metavar="X", help="Instead of the one that the claim declared.")
@click.option("--pilot", "file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Another pilot.")
@claims_option
@reports_option
def power(
    claim: str,
    model_id: str,
    clusters: tuple[int, ...],
    sesoi: float | None,
    file: Path | None,
    claims: Path,
    reports: Path,
) -> None:
    """How many clusters CLAIM needs for 80 % power at twice its SESOI, and which half-width a number reaches.

    From the pilot of this claim on this model, which `mechclaims pilot` measures on the discovery split. No model is
    loaded, and nothing that confirmation found is read.
    """
    from harness.pilot import read_pilot

    if sesoi is not None and not (isfinite(TIMES * sesoi) and sesoi > 0):
        raise click.BadParameter(f"{sesoi:g} is not a finite number above 0", param_hint="--sesoi")
    path = file or _pilot_of(claim, model_id=model_id, claims=claims, reports=reports)
    record = read_pilot(path).as_dict()
    if (record["claim"]["id"], record["model"]["id"]) != (claim, model_id):
        raise StoreError(f"{path}: a pilot of {record['claim']['id']} on {record['model']['id']}, not of {claim}")
    design = design_of(record)
    if design is None:
        raise StoreError(f"{path}: this pilot sampled nothing that an interval could be made of ({_reason(record)})")
    wanted = design.sesoi if sesoi is None else sesoi
    _show(design, needed(design, sesoi=wanted), sesoi=wanted, unit=record["claim"]["metric"]["unit"], at=clusters)


def _pilot_of(claim: str, *, model_id: str, claims: Path, reports: Path) -> Path:
    """The file of the pilot; where there is none, an id that no pilot could have is named rather than the command."""
    from harness.catalog import find_claim
    from harness.pilot import pilot_path
    from harness.planning import check_model_ids

    try:
        return pilot_path(claim, model_id=model_id, reports=reports)
    except StoreError:
        find_claim(claim, claims=claims)
        check_model_ids([model_id])
        raise


def needed(design: Design, *, sesoi: float) -> Needed:
    """The clusters that a claim needs, from its pilot's design.

    A family of m components is asked at Holm's strictest level, alpha / m.
    """
    from harness.stats.power import Hurdle, clusters_for_hurdles

    alpha = design.alpha / len(design.components)
    all_clusters = max(len(question.clusters) for question in design.questions)
    shifts = moves(design.questions, sesoi=sesoi, alternative=design.alternative, times=TIMES)
    legs: list[Hurdle] = []
    rows, short = [], []
    for question, move in zip(design.questions, shifts, strict=True):
        sd, bars = question.sd(), _bars(question, move, sesoi=sesoi)
        if sd == 0:
            raise StatisticsError(f"{question.control!r} does not vary in the pilot; measure more units")
        share = len(question.clusters) / all_clusters
        own = [Hurdle(bar.beyond, sd, share, bar.reach) for bar in bars]
        passes = all(bar.beyond > 0 for bar in bars)
        rows.append((question, sd, clusters_for_hurdles(own, alpha=alpha) if passes else None))
        legs += own
        short += [] if passes else [question.control]
    if short:
        return Needed(None, ", ".join(map(repr, dict.fromkeys(short))), tuple(rows))
    return Needed(clusters_for_hurdles(legs, alpha=alpha), "", tuple(rows))


def _bars(question: Question, move: float, *, sesoi: float) -> list[_Bar]:
    """Each bar that the true value must pass, by a lower or an upper bound; the SESOI in place of the declared one."""
    true = question.truth() + move
    below, above = (0.0, 0.0) if question.limits is None else (true - question.limits[0], question.limits[1] - true)
    lower, upper = max(below, 0.0), max(above, 0.0)
    if question.rule == "equivalence":
        assert question.upper is not None
        return [_Bar(true - question.threshold, lower), _Bar(question.upper - true, upper)]
    reach = lower if question.alternative == "greater" else upper
    if question.rule == "superiority" and question.threshold != 0:
        return [_Bar(abs(true) - sesoi, reach)]
    return [_Bar(true - question.threshold if question.alternative == "greater" else question.threshold - true, reach)]


def _show(design: Design, found: Needed, *, sesoi: float, unit: str, at: Sequence[int]) -> None:
    measured = max(len(question.clusters) for question in design.questions)
    click.echo(f"{design.claim_id} on {design.model_id}: a pilot of {measured} clusters on the discovery split")
    if found.clusters is None:
        click.echo(f"no number of clusters gives power at {TIMES:g} x SESOI ({TIMES * sesoi:g} {unit}): it does not")
        click.echo(f"pass {found.why}")
    else:
        click.echo(f"{found.clusters} clusters have 80 % power at {TIMES:g} x SESOI ({TIMES * sesoi:g} {unit})")
    numbers = sorted({*at, *([found.clusters] if found.clusters else []), measured})
    columns = ["condition", "SD", "needs", *(f"+- at {number}" for number in numbers)]
    rows = [
        [
            f"{question.component}: {question.control}",
            f"{sd:.3g}",
            "-" if own is None else str(own),
            *(f"{_half_width(question, sd, number=number, measured=measured):.3g}" for number in numbers),
        ]
        for question, sd, own in found.rows
    ]
    show_table(columns, rows=rows)
    click.echo(f"SD between clusters and half-widths of 95 % intervals in {unit}; conditions are taken as independent.")


def _half_width(question: Question, sd: float, *, number: int, measured: int) -> float:
    """Of a condition that may be measured on a share of the clusters, by the bounds that decide it."""
    from harness.stats.power import bounded_half_width, half_width_of

    clusters = max(2, number * len(question.clusters) // measured)
    if question.limits is None:
        return half_width_of(sd, clusters=clusters)
    reaches = question.truth() - question.limits[0], question.limits[1] - question.truth()
    return bounded_half_width(sd, clusters=clusters, reaches=reaches)


def _reason(record: dict[str, object]) -> object:
    judgement = record.get("judgement")
    return judgement["reason"] if isinstance(judgement, dict) else "it was not run"
