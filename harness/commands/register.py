"""`mechclaims register` and `mechclaims amend`: what is fixed before measuring, and how it is changed with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from harness.commands.listing import seed_ranges
from harness.commands.options import claims_option, reports_option
from harness.lock import NAME


@click.command()
@click.argument("claim", nargs=-1)
@click.option("--model", "models", multiple=True, metavar="ID", help="Only on this model (repeatable).")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where the lock and the claims are not the same.")
@claims_option
@reports_option
@click.pass_context
def register(
    ctx: click.Context,
    claim: tuple[str, ...],
    models: tuple[str, ...],
    check: bool,  # noqa: FBT001 (click passes it by name)
    claims: Path,
    reports: Path,
) -> None:
    """Write what decides each CLAIM (default: all) into registry.lock, with the commit; entries there stay.

    A run of a claim that is not as registered fails; `mechclaims amend` changes one. The measurements that stand in
    the store of --reports are written down with it: the report says "set after looking" where there are any. What
    the calibration there found underpowered is refused; entries that are there already stay, and are named.
    """
    from harness.registering import register as fix

    found = fix(claims, ids=claim, models=models, reports=reports, write=not check)
    lock = claims / NAME
    said = "not registered yet" if check else "registered"
    _say_pairs(f"{lock}: {said}", found.new)
    for claim_id, changes in found.differing.items():
        click.echo(f"{claim_id} is not as it was registered:")
        for change in changes:
            click.echo(f"  {change.line()}")
        click.echo(f'  put that back, or: mechclaims amend {claim_id} --reason "..."')
    for entry in found.gone:
        click.echo(f"{entry}: in {lock}, and no longer among the claims")
        click.echo(f'  bring it back, or: mechclaims amend {entry.partition(" on ")[0]} --reason "..."')
    for claim_id in found.other_code:
        click.echo(f"{claim_id}: as it was registered, but measured by other code")
    for weak in found.underpowered:
        click.echo(f"{weak.claim} on {weak.model}: underpowered at twice its SESOI ({weak.line()})")
    _say_pairs("no verdict on record in subjects.toml, so not registered", found.without_verdict)
    if not (found.new or found.differing or found.gone):
        click.echo(f"{lock}: {'every' if not claim else 'each of these'} claim with a verdict on record is registered")
    if found.differing or found.gone or (check and found.new):
        ctx.exit(1)


@click.command()
@click.argument("claim")
@click.option("--reason", required=True, help="Why; the report prints it.")
@click.option("--code-only", is_flag=True, help="Accept that other code measures the same: version and prompts stay.")
@claims_option
@reports_option
def amend(
    claim: str,
    reason: str,
    code_only: bool,  # noqa: FBT001 (click passes it by name)
    claims: Path,
    reports: Path,
) -> None:
    """Change a registered CLAIM to what it says now, with a reason: its version is raised and new prompts are drawn.

    The version is raised in the claim's test file where that was not done by hand. A claim that is no longer there is
    withdrawn; its entry stays in the lock.
    """
    from harness.registering import amend as change

    amendment, rewritten = change(claim, claims=claims, reason=reason, reports=reports, code_only=code_only)
    if rewritten is not None:
        click.echo(rewritten.diff())
    for one in amendment.changes:
        click.echo(f"  {one.line()}")
    if amendment.to_version is None:
        click.echo(f"{claim} is withdrawn in {claims / NAME}")
    elif amendment.to_version == amendment.from_version:
        click.echo(f"{claim}: its code is accepted in {claims / NAME}; version {amendment.to_version} stays")
    else:
        click.echo(
            f"{claim}: version {amendment.from_version} became {amendment.to_version} in {claims / NAME}; its prompts "
            "are new, so measure it again. Add a line to the changelog in its folder's README."
        )


def _say_pairs(title: str, pairs: Iterable[tuple[str, str]]) -> None:
    by_claim: dict[str, list[str]] = {}
    for claim_id, model in pairs:
        by_claim.setdefault(claim_id, []).append(model)
    if by_claim:
        click.echo(f"{title}: {sum(map(len, by_claim.values()))}")
    for claim_id, models in by_claim.items():
        click.echo(f"  {claim_id} on {', '.join(seed_ranges(models))}")
