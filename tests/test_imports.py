"""Who imports whom: one direction only, and nothing heavy before it is needed."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

HEAVY = {"torch", "transformers", "transformer_lens", "scipy", "statsmodels", "sklearn", "pandas", "matplotlib"}
"""Collecting tests must not import these."""

# A new module gets its place here; what lies in a listed package shares the package's layer.
LAYERS = {
    "harness": "front door",
    "harness.errors": "ground",
    "harness.guard": "ground",
    "harness.models.folders": "ground",
    "harness.declaration": "ground",
    "harness.declaration_parts": "ground",
    "harness.seeding": "ground",
    "harness.values": "ground",
    "harness.subjects": "ground",
    "harness.stats.records": "ground",
    "harness.stats": "statistics",
    "harness.selection": "statistics",
    "harness.models": "models",
    "harness.interventions": "models",
    "harness.sequences": "models",
    "harness.attention": "models",
    "harness.attribution": "models",
    "harness.roles": "models",
    "harness.logit_lens": "models",
    "harness.direct_logits": "models",
    "harness.neurons": "models",
    "harness.probes": "statistics",
    "harness.probe_intervals": "statistics",
    "harness.fourier": "statistics",
    "harness.clock_pizza": "statistics",
    "harness.edge_attribution": "models",
    "harness.ranking": "models",
    "harness.loss": "models",
    "harness.sanity": "models",
    "harness.weight_order": "models",
    "harness.metrics": "models",
    "harness.ablation": "models",
    "harness.checkpoint_layout": "models",
    "harness.tensor_file": "models",
    "harness.weights": "models",
    "harness.composition": "models",
    "harness.evidence": "records",
    "harness.outcomes": "records",
    "harness.store": "records",
    "harness.lock": "records",
    "harness.looks": "records",
    "harness.record_text": "records",
    "harness.underpowered": "records",
    "harness.miscalibrated": "records",
    "harness.calibrated": "records",
    "harness.lock_changes": "claim",
    "harness.compare": "records",
    "harness.bibtex": "records",
    "harness.report": "records",
    "harness.reporting": "records",
    "harness.population": "claim",
    "harness.importance": "claim",
    "harness.circuits": "claim",
    "harness.steering": "claim",
    "harness.effects": "models",
    "harness.contrasts": "claim",
    "harness.judging": "claim",
    "harness.restoring": "claim",
    "harness.rejudging": "claim",
    "harness.designs": "claim",
    "harness.verifying": "claim",
    "harness.claim": "claim",
    "harness.filling": "claim",
    "harness.shown": "claim",
    "harness.papers": "claim",
    "harness.mechanism": "claim",
    "harness.bound_claim": "claim",
    "harness.recording": "claim",
    "harness.memory": "claim",
    "harness.matrix": "claim",
    "harness.freshness": "claim",
    "harness.weights_stamp": "claim",
    "harness.session": "claim",
    "harness.soundness": "claim",
    "harness.chosen_subject": "claim",
    "harness.pilot": "claim",
    "harness.body": "claim",
    "harness.body_source": "claim",
    "harness.registration": "claim",
    "harness.registering": "claim",
    "harness.source_version": "claim",
    "harness.planning": "claim",
    "harness.catalog": "claim",
    "harness.negatives": "claim",
    "harness.plugin": "shells",
    "harness.plugin_options": "shells",
    "harness.plugin_faults": "shells",
    "harness.plugin_folders": "shells",
    "harness.plugin_scope": "shells",
    "harness.plugin_checks": "shells",
    "harness.plugin_left_out": "shells",
    "harness.plugin_compare": "shells",
    "harness.workers": "shells",
    "harness.progress": "shells",
    "harness.cli": "shells",
    "harness.commands": "shells",
}
MAY_IMPORT = {
    "front door": {"records", "claim"},
    "ground": {"ground"},
    "statistics": {"ground", "statistics"},
    "models": {"ground", "models"},
    "records": {"ground", "statistics", "records"},
    "claim": {"front door", "ground", "statistics", "models", "records", "claim"},
    "shells": {"front door", "ground", "statistics", "models", "records", "claim", "shells"},
}


@dataclass(frozen=True)
class Import:
    """One import statement: who imports what, where, and whether it happens as the module is imported."""

    importer: str
    imported: str
    at: str
    early: bool

    @property
    def top(self) -> str:
        """The top-level package that is imported."""
        return self.imported.partition(".")[0]


def modules(folder: str) -> dict[str, Path]:
    """Dotted name of every module below a folder of the project."""
    names = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(importer: str, path: Path) -> list[Import]:
    """Every import in a file, those within functions and under TYPE_CHECKING included."""
    finder = _Finder(importer, path)
    finder.visit(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
    return finder.found


def layer(name: str) -> str | None:
    """The layer of a module, or of a name imported from one."""
    while name and name not in LAYERS:
        name = name.rpartition(".")[0]
    return LAYERS.get(name)


def all_imports(*folders: str) -> list[Import]:
    """The imports of every module below these folders."""
    return [found for folder in folders for name, path in modules(folder).items() for found in imports(name, path)]


def test_every_module_of_the_library_has_its_layer() -> None:
    unlisted = [name for name in modules("harness") if name != "harness" and layer(name) == "front door"]
    assert unlisted == [], "add these to LAYERS in this file"


def test_imports_point_one_way() -> None:
    wrong = []
    for found in all_imports("harness"):
        importer, imported = layer(found.importer), layer(found.imported)
        if imported is not None and importer != imported and imported not in MAY_IMPORT[str(importer)]:
            wrong.append(f"{found.at}: {importer} imports {found.imported} ({imported})")
    assert wrong == []


def test_library_imports_neither_claims_nor_fixtures_nor_tests() -> None:
    wrong = [found for found in all_imports("harness") if found.top in {"claims", "fixtures", "tests", "benchmarks"}]
    assert wrong == []


def test_statistics_and_records_import_neither_torch_nor_pytest_even_in_functions() -> None:
    banned = {"torch", "transformers", "transformer_lens", "pytest", "_pytest"}
    lean = {"ground", "statistics", "records", "front door"}
    wrong = [found for found in all_imports("harness") if layer(found.importer) in lean and found.top in banned]
    assert wrong == []


def test_nothing_heavy_is_imported_at_the_top_of_a_module() -> None:
    wrong = [found.at for found in all_imports("harness", "claims", "fixtures") if found.early and found.top in HEAVY]
    assert wrong == [], "import it in the function that needs it, or under TYPE_CHECKING"


def test_finder_sees_relative_nested_and_type_checking_imports(tmp_path: Path) -> None:
    source = (
        "import torch.nn\n"
        "from . import values\n"
        "from .stats import records\n"
        "if TYPE_CHECKING:\n    import pandas\nelse:\n    import scipy\n"
        "def late():\n    from harness.models import registry\n"
        "try:\n    import matplotlib\nexcept ImportError:\n    pass\n"
    )
    path = tmp_path / "example.py"
    path.write_text(source, encoding="utf-8")
    found = [(each.imported, each.early) for each in imports("harness.example", path)]
    assert sorted(found) == [
        ("harness.models.registry", False),
        ("harness.stats.records", True),
        ("harness.values", True),
        ("matplotlib", True),
        ("pandas", False),
        ("scipy", True),
        ("torch.nn", True),
    ]


def test_every_module_imports_without_anything_heavy() -> None:
    names = [name for name in modules("harness") if not name.endswith("__main__")]
    code = f"import importlib\nfor name in {names!r}:\n    importlib.import_module(name)\n"
    assert _in_subprocess(code + _PRINT_HEAVY)["heavy"] == []


def test_collecting_the_claims_is_quick_and_imports_nothing_heavy() -> None:
    # Without Hypothesis' plugin, which imports all of Hypothesis when a session ends: half of all the time, and only
    # those who develop the harness have it installed.
    options = ["claims/", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    code = f"import pytest\ncode = pytest.main({options!r})\n"
    seen = _in_subprocess(code + _PRINT_HEAVY)
    assert seen["code"] == 0
    assert seen["heavy"] == []
    # Promised: under 2 s. Processor time, because the clock also counts what else the machine is doing.
    assert seen["cpu_seconds"] < 2.0


_PRINT_HEAVY = f"""
import json, sys, time
heavy = [name for name in {sorted(HEAVY)!r} if name in sys.modules]
code = int(globals().get("code", 0))
print(json.dumps({{"heavy": heavy, "code": code, "cpu_seconds": time.process_time()}}))
"""


class _Finder(ast.NodeVisitor):
    """Collects imports and knows which of them run when the module is imported."""

    def __init__(self, importer: str, path: Path) -> None:
        self.found: list[Import] = []
        self._importer = importer
        self._path = path
        self._package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
        self._early = True

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        packages = self._package.split(".")
        origin = packages[: len(packages) - node.level + 1] if node.level else []
        for alias in node.names:
            self._add(".".join([*origin, *filter(None, [node.module]), alias.name]), node.lineno)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_late(node.body)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in ast.unparse(node.test):
            self._visit_late(node.body)
        else:
            for child in node.body:
                self.visit(child)
        for child in node.orelse:
            self.visit(child)

    def _visit_late(self, body: list[ast.stmt]) -> None:
        early, self._early = self._early, False
        for child in body:
            self.visit(child)
        self._early = early

    def _add(self, imported: str, line: int) -> None:
        at = f"{os.path.relpath(self._path, ROOT)}:{line}"
        self.found.append(Import(self._importer, imported, at, self._early))


def _in_subprocess(code: str) -> dict[str, Any]:
    """The JSON of the last line that the code prints in a fresh interpreter at the root of the project."""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return dict(json.loads(ran.stdout.splitlines()[-1]))
