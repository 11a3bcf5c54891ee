"""Where models are kept on this machine. Paths only: nothing is created, loaded or downloaded here."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import ModelError


def cache_folder() -> Path:
    """The folder for conversions and newly trained checkpoints: `MECHCLAIMS_CACHE`, or the user's cache folder."""
    named = os.environ.get("MECHCLAIMS_CACHE", "").strip()
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("mechclaims", appauthor=False))


def trained_folder() -> Path:
    """The folder into which `mechclaims train` writes checkpoints."""
    return cache_folder() / "checkpoints"


def checkpoint_folders() -> tuple[Path, ...]:
    """Folders in which shipped checkpoints are looked for, the first that has the file wins.

    `MECHCLAIMS_CHECKPOINTS`, then `fixtures/checkpoints` beside this package (a clone of the repository; an installed
    wheel has none), then the user's own trained ones.

    Raises:
        ModelError: `MECHCLAIMS_CHECKPOINTS` names something that is no folder.
    """
    beside = Path(__file__).resolve().parents[2] / "fixtures" / "checkpoints"
    named = os.environ.get("MECHCLAIMS_CHECKPOINTS", "").strip()
    if not named:
        return (beside, trained_folder())
    folder = Path(named).expanduser().absolute()
    if not folder.is_dir():
        raise ModelError(
            f"MECHCLAIMS_CHECKPOINTS names {folder}, which is no folder. Unset it, or set it to the folder that holds "
            "the .safetensors files of the shipped models."
        )
    return (folder, beside, trained_folder())


def hub_cache_folder() -> Path:
    """The Hugging Face hub's cache folder, found by its own rules, without importing it."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"]).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface" / "hub"


def bytes_in(place: Path) -> int:
    """Bytes of a file, or of all files below a folder (links are followed: the hub's snapshots are links)."""
    if place.is_file():
        return place.stat().st_size
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
