"""`mechclaims discover`: the heads that play the parts of a mechanism, found on the discovery split."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from harness.commands.options import claims_option
from harness.commands.screen import show_table
from harness.errors import DeclarationError, StoreError
from harness.mechanism import Discovery, Mechanism, named

SHOWN = 8
"""Heads that are printed for each class: the selected ones and the runners-up."""


@dataclass(frozen=True)
class Found:
    """What discovery found on one model."""

    mechanism: str
    model_id: str
    fingerprint: str
    discovery: Discovery


@click.command()
@click.argument("mechanism")
@click.option("--model", "model_ids", multiple=True, required=True, metavar="ID", help="A model (repeatable).")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a subjects file.")
@click.option("--force", is_flag=True, help="Replace FILE as a whole where it exists already.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@claims_option
def discover(
    mechanism: str,
    model_ids: tuple[str, ...],
    out: Path | None,
    force: bool,  # noqa: FBT001 (click passes it by name)
    device: str,
    claims: Path,
) -> None:
    """Find the heads of MECHANISM in a model, on prompts that no claim is measured on.

    Prints the heads of each class with their scores. FILE gets the format of subjects.toml, and
    `pytest --subjects FILE` takes it. Without --out the file's text is printed. It may take minutes, and says on
    stderr what it is doing; FILE is written at the end and as a whole, so interrupting it leaves FILE as it was.
    """
    opened = _discoverable(mechanism, claims=claims, model_ids=model_ids)
    if out is not None:
        _check_out(out, force=force)
    found = [_found(opened, model_id=model_id, device=device) for model_id in dict.fromkeys(model_ids)]
    text = subjects_text(found)
    if out is None:
        click.echo(text)
        return
    from harness.store import write_atomically

    write_atomically(out, text=text)
    click.echo(f"{out}: written")


def subjects_text(found: list[Found]) -> str:
    """The text of a subjects file; classes in which no head was found stand there as empty ones."""
    mechanism = found[0].mechanism
    lines = [f"# Written by `mechclaims discover {mechanism}`: found on the discovery split, claimed on other prompts."]
    for entry in found:
        lines += ["", *_provenance_lines(entry)]
        for class_name in entry.discovery.classes:
            lines += ["", *_class_lines(entry, class_name=class_name)]
    return "\n".join(lines) + "\n"


def _discoverable(name: str, *, claims: Path, model_ids: tuple[str, ...]) -> Mechanism:
    from harness.planning import check_model_ids

    opened = named(name, claims=claims)
    if opened.discover is None:
        raise DeclarationError(
            f"mechanism {name!r} has no discovery procedure: define discover(model, streams) in "
            f"{opened.folder / 'mechanism.py'}, or name heads with --subjects 5.1,5.5."
        )
    check_model_ids(model_ids)
    return opened


def _found(mechanism: Mechanism, *, model_id: str, device: str) -> Found:
    from harness.models.model import load

    model = load(model_id, device=device, say=_say)
    _say(f"{mechanism.name}: discovering heads of {model_id} on the discovery split")
    found = Found(mechanism.name, model_id, model.fingerprint, mechanism.discovered(model, say=_say))
    click.echo(f"{model_id} ({model.note})")
    for class_name in found.discovery.classes:
        _show_class(found.discovery, class_name=class_name)
    for line in _said_of(found):
        click.echo(line)
    if not any(found.discovery.classes.values()):
        raise DeclarationError(
            f"discovery of {mechanism.name!r} found no head of any class in {model_id!r}; nothing is written. Heads "
            "can be named by hand: pytest ... --subjects 5.1,5.5"
        )
    return found


def _show_class(discovery: Discovery, *, class_name: str) -> None:
    heads, metric = discovery.classes[class_name], discovery.selected_by[class_name]
    scores = discovery.scores.get(metric, {})
    others = sorted((head for head in scores if head not in heads), key=lambda head: -scores[head])
    shown = [*heads, *others[: max(0, SHOWN - len(heads))]]
    numbers = [f"{scores[head]:.3f}" if head in scores else "-" for head in shown]
    columns = [shown, numbers, ["selected" if head in heads else "" for head in shown]]
    titles = [f"{class_name} heads", metric, ""]
    if class_name in discovery.frequencies:
        shares, halves = discovery.frequencies[class_name], discovery.half_samples
        columns.append([f"{round(shares.get(head, 0.0) * halves)} of {halves}" for head in shown])
        titles.append("half-samples")
    show_table(titles, rows=list(zip(*columns, strict=True)))
    for line in _stability_lines(discovery, class_name=class_name):
        click.echo(line)


def _stability_lines(discovery: Discovery, *, class_name: str) -> Iterator[str]:
    """What can be said of the selection of a class in words; the same in the file as on the screen."""
    if not discovery.classes[class_name]:
        yield f"no head of class {_one_line(class_name)!r} reached its threshold"
    if class_name in discovery.overlaps:
        yield f"two disjoint samples: {discovery.overlaps[class_name].text()}"
    if class_name in discovery.permuted:
        yield f"permuted labels: {discovery.permuted[class_name].text()}"


def _said_of(found: Found) -> Iterator[str]:
    """Notes of the procedure and the prompts that it saw."""
    discovery = found.discovery
    yield from (f"note: {_one_line(note)}" for note in discovery.notes)
    if discovery.prompts_sha256:
        yield f"found on {discovery.n_prompts} prompts of the discovery split, sha256 {discovery.prompts_sha256[:16]}"


def _provenance_lines(found: Found) -> Iterator[str]:
    discovery = found.discovery
    yield f"# {_one_line(found.model_id)}, fingerprint {found.fingerprint[:16]}"
    yield f"[models.{_quoted(found.model_id)}.discovery]"
    yield f"fingerprint = {_quoted(found.fingerprint)}"
    if discovery.prompts_sha256:
        yield f"prompts_sha256 = {_quoted(discovery.prompts_sha256)}"
    if discovery.n_prompts:
        yield f"n_prompts = {discovery.n_prompts}"
    if discovery.notes:
        yield "notes = [" + "".join(f"\n    {_quoted(note)}," for note in discovery.notes) + "\n]"


def _class_lines(found: Found, *, class_name: str) -> Iterator[str]:
    discovery = found.discovery
    heads, metric = discovery.classes[class_name], discovery.selected_by[class_name]
    scores = discovery.scores.get(metric, {})
    yield f"[models.{_quoted(found.model_id)}.classes.{_key(class_name)}]"
    yield f"heads = [{', '.join(_quoted(head) for head in heads)}]"
    known = [f"{head}: {scores[head]:.3f}" for head in heads if head in scores]
    if known:
        yield "# " + ", ".join(known)
    settings = discovery.settings.get(class_name, {})
    if settings:
        listed = ", ".join(f"{_key(name)} = {_number(value)}" for name, value in settings.items())
        yield f"settings = {{ {listed} }}"
    yield f"selected_by = {_quoted(metric)}"
    yield f"source = {_quoted(f'mechclaims discover {found.mechanism} --model {found.model_id}')}"
    yield 'split = "discovery"'
    yield from _frequency_lines(discovery, class_name=class_name)
    yield from (f"# {line}" for line in _stability_lines(discovery, class_name=class_name))
    yield from (f"{key} = {value}" for key, value in _numbers(discovery, class_name=class_name))


def _frequency_lines(discovery: Discovery, *, class_name: str) -> Iterator[str]:
    if class_name not in discovery.frequencies:
        return
    selected = discovery.selection_frequency(class_name)
    yield f"selection_frequency = [{', '.join(_number(share) for share in selected.values())}]"
    yield f"half_samples = {discovery.half_samples}"
    shares = discovery.frequencies[class_name]
    others = [f"{head}: {_number(share)}" for head, share in shares.items() if head not in selected]
    if others:
        yield "# not selected, but in some half-samples: " + ", ".join(others)


def _numbers(discovery: Discovery, *, class_name: str) -> Iterator[tuple[str, str]]:
    """Overlaps as numbers; none where there is nothing to compare."""
    overlap, permuted = discovery.overlaps.get(class_name), discovery.permuted.get(class_name)
    if overlap is not None and overlap.comparable:
        yield "jaccard", _number(overlap.jaccard)
        yield "jaccard_by_chance", _number(overlap.chance)
    if permuted is not None:
        yield "permutations", str(permuted.draws)
        yield "permuted_heads", _number(permuted.selected)
    if permuted is not None and permuted.comparable:
        yield "permuted_jaccard", _number(permuted.jaccard)
        yield "permuted_jaccard_by_chance", _number(permuted.chance)


def _check_out(out: Path, *, force: bool) -> None:
    """Refuse a file that cannot be written before minutes are spent on what would stand in it."""
    from harness.store import check_writable

    if out.exists() and not force:
        raise DeclarationError(f"{out} exists already; name another file, or replace it as a whole with --force.")
    try:
        check_writable(out.absolute().parent)
    except StoreError as error:
        raise DeclarationError(f"--out {out}: nothing can be written in its folder; name another file.") from error


def _say(line: str) -> None:
    click.echo(line, err=True)


def _number(value: float) -> str:
    return f"{value:.4g}" if value % 1 else f"{value:.1f}"


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, as long as other alphabets stay as they are."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _quoted(text)


def _one_line(text: str) -> str:
    return " ".join(text.split())
