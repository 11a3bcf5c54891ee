"""What was not run, and the commands that bring what it lacks."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.reading import Entry, grouped, verdict_of
from harness.report.reasons import reason_of
from harness.report.text import code, plural, sentence

_PLACEHOLDER = "=FILE"
"""Stands in a command of `--weights` for a path on the reader's machine."""


def not_run_page(records: Sequence[Entry]) -> str:
    """Models that were not there, with how to bring each, and what FILE is in a command; empty where all ran."""
    absent = [record for record in records if verdict_of(record) == "not run"]
    if not absent:
        return ""
    lines: dict[tuple[str, str, str], int] = {}
    for members in grouped(absent, by="claim").values():
        for record in members:
            remedy = str((record.get("not_run") or {}).get("remedy", ""))
            key = (str(record["model"]["id"]), reason_of(record), remedy)
            lines[key] = lines.get(key, 0) + 1
    listed = []
    for (model, reason, remedy), count in sorted(lines.items()):
        bring = f" To bring it: {code(remedy)}" if remedy else ""
        listed.append(f"- {code(model)}, {plural(count, 'claim')}: {sentence(reason)}{bring}")
    said = (
        "These claims make sense on models that were not on the machine. With the model there, the command in a "
        "claim's section measures it. Claims that read weights alone need no model, only a file of its weights, which "
        f"{code('--weights ID=FILE')} names. {FILE_IS}"
    )
    return "\n\n".join(["### What was not run", said, "\n".join(listed)])


FILE_IS = (
    f"{code('FILE')} stands for the path, on your machine, of the model's weights in safetensors format, such as the "
    f"{code('model.safetensors')} of its repository on the hub."
)
"""What the placeholder of a command is, in Markdown."""


def placeholder_text(command: str) -> str:
    """What is to be put in the place of FILE, for a command that has it; else empty."""
    return FILE_IS if _PLACEHOLDER in command else ""
