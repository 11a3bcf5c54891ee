"""How shipped models are trained again: a registry that mechanisms fill, and `train`, which runs an entry of it.

The recipe itself (data, optimiser, resuming after an interruption) belongs to the mechanism that ships the model.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import ModelError
from harness.models import folders, registry
from harness.models.config_file import header
from harness.models.registry import ModelSpec
from harness.models.unfinished import Progress, between_steps

__all__ = [
    "Progress",
    "Recipe",
    "Train",
    "checkpoint_path",
    "known_recipes",
    "recipe_for",
    "register_recipe",
    "train",
]


class Train(Protocol):
    """Trains one seed and writes the checkpoint with `save_native`; a second call resumes an interrupted one.

    It reports after every step, and first of all with the text `GOING_ON` where it resumes. A report may raise
    KeyboardInterrupt: the state is saved then (`harness.models.unfinished`).
    """

    def __call__(self, spec: ModelSpec, seed: int, *, out: Path, progress: Progress) -> None:
        """Train `spec` with this seed, report to `progress`, and write `out`."""
        ...


@dataclass(frozen=True)
class Recipe:
    """How one family is trained.

    Attributes:
        family: `induction-2l`.
        train: does it.
        minutes: about how long it takes on two cores.
        loss_tolerance_nats: how far a repeated training may end from the shipped `train_loss`.
    """

    family: str
    train: Train
    minutes: float
    loss_tolerance_nats: float


def register_recipe(recipe: Recipe) -> None:
    """Announce a recipe; announcing the same one again changes nothing.

    Raises:
        ModelError: the family has another recipe already.
    """
    if _recipes.setdefault(recipe.family, recipe) != recipe:
        raise ModelError(f"family {recipe.family!r} has two recipes. Remove one of them.")


def known_recipes() -> tuple[Recipe, ...]:
    """Every announced recipe."""
    return tuple(_recipes.values())


def recipe_for(spec: ModelSpec) -> Recipe:
    """The recipe of a shipped model.

    Raises:
        ModelError: the model is not trained here, or its mechanism has not announced a recipe.
    """
    if spec.kind != "shipped":
        raise ModelError(f"model {spec.id!r} is not trained here. To bring it: {spec.remedy}")
    if spec.family not in _recipes:
        known = ", ".join(_recipes) or "none"
        raise ModelError(
            f"no recipe trains {spec.family!r} (announced: {known}). Recipes live in the claims folder: run the "
            "command in a clone of the repository, or set MECHCLAIMS_CHECKPOINTS to its fixtures/checkpoints, where "
            "the shipped models lie."
        )
    return _recipes[spec.family]


def checkpoint_path(spec: ModelSpec, *, out: Path | None) -> Path:
    """Where the checkpoint goes: `out`, or the user's folder of trained models. The folder is made.

    Raises:
        ModelError: nothing can be written there, or the file could not be loaded under that name.
    """
    path = out or folders.trained_folder() / registry.checkpoint_name(spec.id)
    if path.suffix != ".safetensors" or path.is_dir():
        raise ModelError(f"{path} cannot be the checkpoint of {spec.id}: name a file that ends in .safetensors.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ModelError(
            f"{path}: nothing can be written in its folder ({error.strerror or error}); name another file with --out."
        ) from error
    return path


def train(model_id: str, *, out: Path | None = None, progress: Progress | None = None) -> Path:
    """The checkpoint of `model_id`, trained now and written to `out` (default: the user's folder of trained models).

    Ctrl-C and SIGTERM end it after the step that they came in, and the next call goes on there.

    Raises:
        ModelError: no such model, no recipe, nothing can be written, or the recipe wrote no valid checkpoint.
    """
    spec = registry.find(model_id)
    recipe = recipe_for(spec)
    path = checkpoint_path(spec, out=out)
    with between_steps(progress or (lambda done, total, text: None)) as report:
        recipe.train(spec, spec.training_seed or 0, out=path, progress=report)
    if not path.is_file() or "sha256" not in header(path):
        raise ModelError(f"the recipe of {spec.family!r} ended without writing a checkpoint to {path}.")
    return path


_recipes: dict[str, Recipe] = {}
