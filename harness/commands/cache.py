"""`mechclaims cache`: the folder of converted and newly trained models."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from harness.commands.screen import readable_bytes
from harness.errors import StoreError
from harness.models.folders import bytes_in, cache_folder

OURS = ("models", "checkpoints")
"""What we put there. Nothing else is ever removed: MECHCLAIMS_CACHE may name a folder that holds other things too."""


@click.group(invoke_without_command=True)
@click.pass_context
def cache(ctx: click.Context) -> None:
    """The folder that holds converted and newly trained models; MECHCLAIMS_CACHE moves it. Alone: folder and size."""
    if ctx.invoked_subcommand is None:
        click.echo(f"{cache_folder()} ({readable_bytes(_size())})")


@cache.command("dir")
def folder() -> None:
    """Print the folder."""
    click.echo(str(cache_folder()))


@cache.command()
def size() -> None:
    """Print what lies in the folder and how large it is."""
    for name in OURS:
        place = cache_folder() / name
        for entry in sorted(place.iterdir()) if place.is_dir() else ():
            click.echo(f"{readable_bytes(bytes_in(entry)):>8}  {name}/{entry.name}")
    click.echo(f"{readable_bytes(_size()):>8}  {cache_folder()}")


@cache.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear(yes: bool) -> None:  # noqa: FBT001 (click passes it by name)
    """Remove converted and newly trained models. Conversions are made again when needed; training takes minutes."""
    places = [place for name in OURS if (place := cache_folder() / name).exists() or place.is_symlink()]
    if not places:
        click.echo(f"{cache_folder()} holds no models")
        return
    freed = _size()
    listed = " and ".join(str(place) for place in places)
    if not yes:
        click.confirm(f"Remove {listed} ({readable_bytes(freed)})?", abort=True)
    for place in places:
        _remove(place)
    click.echo(f"removed {listed} ({readable_bytes(freed)})")


def _size() -> int:
    return sum(bytes_in(cache_folder() / name) for name in OURS)


def _remove(place: Path) -> None:
    try:
        if place.is_symlink() or place.is_file():
            place.unlink()
        else:
            shutil.rmtree(place)
    except OSError as error:
        raise StoreError(f"{place}: cannot be removed ({error}). End what uses it, or remove it by hand.") from error
