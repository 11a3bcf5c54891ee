"""`mechclaims new`: a folder with one claim that runs at once, to be turned into your own."""

from __future__ import annotations

import re
from pathlib import Path

import click

from harness.commands import template
from harness.commands.options import claims_option
from harness.errors import DeclarationError, StoreError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.command()
@click.argument("mechanism")
@claims_option
def new(mechanism: str, claims: Path) -> None:
    """Make a folder for MECHANISM with one claim that runs at once, its subjects and a README.

    The claim measures on induction-2l@0, in seconds; its comments say what to replace.
    """
    folder = new_mechanism(mechanism, claims=claims)
    click.echo(f"{folder}: one claim. Run it:\n  pytest {folder.as_posix()}")
    if not any((place / "conftest.py").is_file() for place in (claims, claims.absolute().parent)):
        click.echo(f"first put this line into {claims.absolute().parent / 'conftest.py'}:")
        click.echo('  pytest_plugins = ["harness.plugin"]')


def new_mechanism(name: str, *, claims: Path) -> Path:
    """The folder of the new mechanism.

    Raises:
        DeclarationError: the name cannot begin a claim's id, or the folder exists.
        StoreError: it cannot be written.
    """
    if not _NAME.fullmatch(name):
        nearest = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")
        hint = f" Did you mean {nearest!r}?" if _NAME.fullmatch(nearest) else ""
        raise DeclarationError(
            f"{name!r} cannot name a mechanism: claim ids begin with it, so it takes lower-case letters, digits and "
            f"single hyphens, and begins with a letter.{hint}"
        )
    if claims.exists() and not claims.is_dir():
        raise DeclarationError(f"{claims} is a file; --claims names the folder that holds those of mechanisms.")
    folder = claims / name.replace("-", "_")  # so that its claims can import from it
    try:
        claims.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        for file_name, text in template.files(name, folder=folder.as_posix()).items():
            (folder / file_name).write_text(text, encoding="utf-8", newline="\n")
    except FileExistsError as error:
        raise DeclarationError(f"{folder} exists already; choose another name, or remove it first.") from error
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"{folder} cannot be written ({reason}); name another place with --claims.") from error
    return folder
