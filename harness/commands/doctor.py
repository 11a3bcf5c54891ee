"""`mechclaims doctor`: what works here, what is missing, and how to mend it. One line for each."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import click

from harness.catalog import all_claims
from harness.commands.options import claims_option
from harness.commands.screen import readable_bytes
from harness.errors import MechclaimsError
from harness.lock import NAME, read_lock
from harness.models.folders import cache_folder
from harness.models.registry import SMOLLM2, availability, find, known_models, model_folder

OLDEST_PYTHON = (3, 11)
NEEDED_BYTES = 600_000_000
"""What the conversion of SmolLM2 takes in the cache folder, with some room."""
NEEDED_MEMORY = 4 * 1024**3
"""What one process may take in the default profile."""
PACKAGES = ("mechclaims", "torch", "transformers", "transformer-lens", "numpy", "scipy", "statsmodels", "pytest")


@dataclass(frozen=True)
class Finding:
    """One line: how it is, what was looked at, and what to do where something is wrong."""

    state: Literal["ok", "warn", "broken"]
    text: str


@click.command()
@claims_option
@click.pass_context
def doctor(ctx: click.Context, claims: Path) -> None:
    """Look at Python, versions, cache, memory, weights and claims; exit code 1 if something is broken."""
    broken = 0
    for finding in findings(claims):
        click.echo(f"{finding.state:<6}  {finding.text}")
        broken += finding.state == "broken"
    if broken:
        click.echo(f"{broken} broken; see above for what to do")
        ctx.exit(1)


def findings(claims: Path) -> Iterator[Finding]:
    """Everything that is looked at, in order; the slow import of torch comes late."""
    yield _python()
    yield from (_package(name) for name in PACKAGES)
    yield _transformer_lens()
    yield _offline()
    yield from _cache()
    yield _memory()
    yield from _weights()
    yield from _claims(claims)
    yield _torch()


def _python() -> Finding:
    found = platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Finding("broken", f"python {found}: 3.11 or newer is needed")
    return Finding("ok", f"python {found} ({sys.executable})")


def _package(name: str) -> Finding:
    try:
        return Finding("ok", f"{name} {version(name)}")
    except PackageNotFoundError:
        if name == "mechclaims":  # this module runs, so it is here: from a folder of sources
            return Finding("warn", "mechclaims runs from its sources and is not installed: pip install -e . in a clone")
        return Finding("broken", f"{name} is not installed: pip install -e . -c constraints.txt in a clone")


def _transformer_lens() -> Finding:
    try:
        found = version("transformer-lens")
        major, minor = (int(part) for part in found.split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return Finding("warn", "the version of transformer-lens is not known; it must be >= 4.3 and < 5")
    if not (4, 3) <= (major, minor) < (5, 0):
        return Finding("broken", f"transformer-lens {found}: it must be >= 4.3 and < 5; pip install -c constraints.txt")
    return Finding("ok", f"transformer-lens {found} is within >= 4.3, < 5")


def _offline() -> Finding:
    given = {name: os.environ[name] for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)}
    if not given:
        return Finding("ok", "the Hugging Face hub may be asked for models (HF_HUB_OFFLINE is not set)")
    listed = ", ".join(f"{name}={value}" for name, value in given.items())
    return Finding("ok", f"offline: {listed}; models of the hub are read from its cache only")


def _cache() -> Iterator[Finding]:
    place = cache_folder()
    existing = next(parent for parent in (place, *place.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        reason = error.strerror or error
        yield Finding("broken", f"cache {place} cannot be written ({reason}): set MECHCLAIMS_CACHE to another folder")
        return
    yield Finding("ok", f"cache {place} can be written")
    if free < NEEDED_BYTES and not model_folder(SMOLLM2).is_dir():
        sizes = f"{readable_bytes(free)} free, {SMOLLM2} needs {readable_bytes(NEEDED_BYTES)}"
        yield Finding("warn", f"cache: {sizes}; set MECHCLAIMS_CACHE to a folder with more room")


def _memory() -> Finding:
    try:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf, macOS no count of available pages
        return Finding("warn", "memory: not known on this system; a process of the default profile takes up to 4 GiB")
    text = f"memory: {total / 1024**3:.1f} GiB, of which {available / 1024**3:.1f} GiB lie free"
    if total < NEEDED_MEMORY:
        return Finding("warn", f"{text}; a process takes up to 4 GiB: use --profile quick")
    return Finding("ok", text)


def _weights() -> Iterator[Finding]:
    try:
        shipped = [spec for spec in known_models() if spec.kind == "shipped"]
        missing = [spec.id for spec in shipped if not availability(spec).here]
    except MechclaimsError as error:
        yield Finding("broken", str(error))
        return
    if missing:
        yield Finding("warn", f"trained here, and missing: {', '.join(missing)}; `mechclaims train ID`, or a clone")
    else:
        yield Finding("ok", f"all {len(shipped)} models that were trained here are there")
    yield _packaged()


def _packaged() -> Finding:
    from harness.models.gguf_cache import entry_problem

    spec = find(SMOLLM2)
    found = availability(spec)
    if not found.here:
        return Finding("warn", f"{spec.id} is not here, its claims will be not run: {spec.remedy}")
    problem = entry_problem(model_folder(spec.id))
    if problem is None:
        return Finding("ok", f"{spec.id} is converted and whole: {model_folder(spec.id)}")
    state: Literal["ok", "warn"] = "ok" if problem == "not converted yet" else "warn"
    return Finding(state, f"{spec.id}: {problem}; it is converted (15 s) when it is first used")


def _claims(claims: Path) -> Iterator[Finding]:
    if not claims.is_dir():
        yield Finding("warn", f"{claims}: no claims folder here; name it with --claims DIR, or go into the clone")
        return
    try:
        found = all_claims(claims)
    except MechclaimsError as error:
        yield Finding("broken", f"claims: {error}")
    else:
        yield Finding("ok" if found else "warn", f"{len(found)} claims below {claims.resolve()}")
    yield _lock(claims / NAME)


def _lock(path: Path) -> Finding:
    try:
        registered = len(read_lock(path).claims)
    except MechclaimsError as error:
        return Finding("broken", str(error))
    if not path.exists():
        return Finding("warn", f"{path}: not there, so that no claim is registered; `mechclaims register` writes it")
    return Finding("ok", f"{registered} claims registered in {path}")


def _torch() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        import torch

        threads = torch.get_num_threads()
    except Exception as error:  # a broken install fails in many ways
        return Finding("broken", f"torch cannot be imported ({type(error).__name__}: {error}); install it again")
    text = f"{cores} cores, torch uses {threads} threads"
    return Finding("warn" if threads > cores else "ok", text + ("; set OMP_NUM_THREADS" if threads > cores else ""))
