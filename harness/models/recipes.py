"""How shipped models are trained again: a registry that mechanisms fill, and `train`, which runs an entry of it.

The recipe itself (data, optimiser, resuming after an interruption) belongs to the mechanism that ships the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import ModelError
from harness.models import folders, registry
from harness.models.config_file import header
from harness.models.registry import ModelSpec

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a short text such as the loss."""


class Train(Protocol):
    """Trains one seed and writes the checkpoint with `save_native`; a second call resumes an interrupted one."""

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
            "command in a clone of the repository."
        )
    return _recipes[spec.family]


def train(model_id: str, *, out: Path | None = None, progress: Progress | None = None) -> Path:
    """The checkpoint of `model_id`, trained now and written to `out` (default: the user's folder of trained models).

    Raises:
        ModelError: no such model, no recipe, or the recipe wrote no valid checkpoint.
    """
    spec = registry.find(model_id)
    recipe = recipe_for(spec)
    path = out or folders.trained_folder() / registry.checkpoint_name(spec.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    recipe.train(spec, spec.training_seed or 0, out=path, progress=progress or (lambda done, total, text: None))
    if not path.is_file() or "sha256" not in header(path):
        raise ModelError(f"the recipe of {spec.family!r} ended without writing a checkpoint to {path}.")
    return path


_recipes: dict[str, Recipe] = {}
