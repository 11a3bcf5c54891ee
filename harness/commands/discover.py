"""`mechclaims discover`: the heads that play the parts of a mechanism, found on the discovery split."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from harness.commands.options import claims_option
from harness.commands.screen import show_table
from harness.errors import DeclarationError
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
    `pytest --subjects FILE` takes it. Without --out the file's text is printed.
    """
    opened = _discoverable(mechanism, claims=claims, model_ids=model_ids)
    if out is not None and out.exists() and not force:
        raise DeclarationError(f"{out} exists already; name another file, or replace it as a whole with --force.")
    found = [_found(opened, model_id=model_id, device=device) for model_id in dict.fromkeys(model_ids)]
    text = subjects_text(found)
    if out is None:
        click.echo(text)
        return
    from harness.store import write_atomically

    write_atomically(out, text=text)
    click.echo(f"{out}: written")


def subjects_text(found: list[Found]) -> str:
    """The text of a subjects file; classes in which no head was found are comments."""
    mechanism = found[0].mechanism
    lines = [f"# Written by `mechclaims discover {mechanism}`: found on the discovery split, claimed on other prompts."]
    for entry in found:
        lines += ["", f"# {_one_line(entry.model_id)}, fingerprint {entry.fingerprint[:16]}", *_model_lines(entry)]
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
    from harness.session import discovery_streams

    assert mechanism.discover is not None
    model = load(model_id, device=device, say=lambda line: click.echo(line, err=True))
    streams = discovery_streams(mechanism.name, fingerprint=model.fingerprint)
    found = Found(mechanism.name, model_id, model.fingerprint, mechanism.discover(model, streams))
    click.echo(f"{model_id} ({model.note})")
    for class_name, metric in found.discovery.selected_by.items():
        _show_class(found.discovery, class_name=class_name, metric=metric)
    if not any(found.discovery.classes.values()):
        raise DeclarationError(
            f"discovery of {mechanism.name!r} found no head of any class in {model_id!r}; nothing is written. Heads "
            "can be named by hand: pytest ... --subjects 5.1,5.5"
        )
    return found


def _show_class(discovery: Discovery, *, class_name: str, metric: str) -> None:
    heads = discovery.classes.get(class_name, ())
    scores = _scores(discovery, metric=metric)
    others = sorted((head for head in scores if head not in heads), key=lambda head: -scores[head])
    shown = [*heads, *others[: max(0, SHOWN - len(heads))]]
    numbers = [f"{scores[head]:.3f}" if head in scores else "-" for head in shown]
    rows = [(head, at, "selected" if head in heads else "") for head, at in zip(shown, numbers, strict=True)]
    show_table((f"{class_name} heads", metric, ""), rows=rows)
    if not heads:
        click.echo(f"no head of class {class_name!r} reached its threshold")


def _scores(discovery: Discovery, *, metric: str) -> Mapping[str, float]:
    return discovery.scores.get(metric, {})


def _model_lines(found: Found) -> Iterator[str]:
    discovery = found.discovery
    for class_name, heads in discovery.classes.items():
        yield ""
        if not heads:
            yield f"# no head of class {_one_line(class_name)} reached its threshold"
            continue
        metric = discovery.selected_by[class_name]
        scores = _scores(discovery, metric=metric)
        yield f"[models.{_quoted(found.model_id)}.classes.{_key(class_name)}]"
        yield f"heads = [{', '.join(_quoted(head) for head in heads)}]"
        if scores:
            yield "# " + ", ".join(f"{head}: {scores[head]:.3f}" for head in heads if head in scores)
        yield f"selected_by = {_quoted(metric)}"
        yield f"source = {_quoted(f'mechclaims discover {found.mechanism} --model {found.model_id}')}"
        yield 'split = "discovery"'


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, as long as other alphabets stay as they are."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _quoted(text)


def _one_line(text: str) -> str:
    return " ".join(text.split())
