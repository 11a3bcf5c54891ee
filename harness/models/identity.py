"""Whether a checkpoint is the shipped model in whose place it lies: read from its header, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.errors import ModelError
from harness.models.config_file import header, native_config
from harness.models.registry import ModelSpec

VOCABULARY: Mapping[str, int] = {
    "induction-1l": 65,
    "induction-2l": 65,
    "addition-5d-1l": 12,
    "addition-5d-2l": 12,
    "modular-addition-113": 114,
}
"""Vocabulary of each shipped family: with layers and heads it tells them apart."""


def require_identity(spec: ModelSpec, path: Path) -> None:
    """Refuse a file that is another model than the shipped one in whose place it lies; other kinds have no such place.

    Raises:
        ModelError: its layers, heads, vocabulary or training seed are not those of the id.
    """
    if spec.kind != "shipped":
        return
    config, metadata = native_config(path), header(path)
    expected = {"n_layers": spec.n_layers, "n_heads": spec.n_heads, "d_vocab": VOCABULARY.get(spec.family)}
    problems = [
        f"{name} = {config.get(name)} in place of {value}"
        for name, value in expected.items()
        if value is not None and config.get(name) != value
    ]
    seed = metadata.get("train_seed")
    if seed != str(spec.training_seed):
        problems.append(f"train_seed = {'not stated' if seed is None else seed} in place of {spec.training_seed}")
    if problems:
        raise ModelError(
            f"{path} is not {spec.id!r}, though it lies in its place: its header says {', '.join(problems)}. Restore "
            f"the file from the repository, train it again with `mechclaims train {spec.id}`, or name it by path:FILE."
        )
