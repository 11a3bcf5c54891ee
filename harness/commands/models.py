"""`mechclaims models`: which models there are, which are here and where, and the command that brings each."""

from __future__ import annotations

import json
from dataclasses import dataclass

import click

from harness.commands.options import json_option
from harness.commands.screen import readable_bytes, show_table
from harness.errors import ModelError
from harness.models.config_file import header
from harness.models.registry import Availability, ModelSpec, availability, known_models


@dataclass(frozen=True)
class Listed:
    """One model as it is listed; `weights_sha256` is None where only reading all the weights would tell."""

    spec: ModelSpec
    found: Availability
    weights_sha256: str | None

    def as_plain(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "id": self.spec.id,
            "kind": self.spec.kind,
            "note": self.spec.note,
            "licence": self.spec.licence,
            "here": self.found.here,
            "where": None if self.found.where is None else str(self.found.where),
            "bytes": self.found.bytes,
            "weights_sha256": self.weights_sha256,
            "remedy": self.found.remedy,
        }


@click.command()
@json_option
def models(as_json: bool) -> None:  # noqa: FBT001 (click passes it by name)
    """List the models: here or not, where, how large, the hash of their weights, and the command that brings each."""
    listed = [_listed(spec) for spec in known_models()]
    if as_json:
        click.echo(json.dumps([entry.as_plain() for entry in listed], indent=1))
        return
    rows = [
        (
            entry.spec.id,
            "yes" if entry.found.here else "no",
            readable_bytes(entry.found.bytes),
            (entry.weights_sha256 or "-")[:12],
            entry.spec.note,
        )
        for entry in listed
    ]
    show_table(("model", "here", "size", "weights", "what it is"), rows=rows, fixed=("here", "size", "weights"))
    click.echo("Where each is, and what brings it:")
    for entry in listed:  # never in the table: a command is there to be copied, and must not be folded
        click.echo(f"  {entry.spec.id}: {entry.found.where or 'not here'}\n    {entry.found.remedy}")
    click.echo("\nAny folder with a Hugging Face causal language model is a model too: --model path:DIR")


def _listed(spec: ModelSpec) -> Listed:
    found = availability(spec)
    return Listed(spec, found, _weights_sha256(found))


def _weights_sha256(found: Availability) -> str | None:
    """The hash that a checkpoint's header or a conversion's manifest states; nothing large is read."""
    if found.where is None:
        return None
    try:
        if found.where.suffix == ".safetensors":
            return header(found.where).get("sha256")
        manifest = found.where / "manifest.json"
        return str(json.loads(manifest.read_text(encoding="utf-8"))["tensors_sha256"]) if manifest.is_file() else None
    except (ModelError, OSError, ValueError, KeyError):
        return "damaged"
