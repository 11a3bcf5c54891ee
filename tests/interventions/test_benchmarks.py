"""The sweeps of the benchmark on a tiny model: loops and fast path agree. Times are asserted in `nox -s bench` only."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.interventions.bridges import some_tokens
from tests.paths import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge


@pytest.fixture(scope="module")
def speed() -> ModuleType:
    return _of_file("intervention_speed")


def _of_file(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def tiny_model(bridge: TransformerBridge) -> SimpleNamespace:
    def tokens(texts: list[str], *, bos: bool) -> Tensor:
        made = some_tokens(batch=len(texts))
        if texts[0].split()[1] == texts[0].split()[8]:  # the corrupted prompts: another third name
            made[:, 7] = some_tokens(batch=len(texts), seed=3)[:, 7]
        return made

    return SimpleNamespace(bridge=bridge, tokens=tokens)


def test_every_sweep_of_the_benchmark_equals_its_loop(speed: ModuleType, llama: TransformerBridge) -> None:
    cases = speed.cases(tiny_model(llama), n_sets=10, prompts=3)
    assert len(cases) == 5
    for case in cases:
        values, seconds = case.theirs()
        found = case.ours()
        assert abs(found.values[:: case.loop_share] - values).max() < 1e-5, case.name
        assert abs(found.effects).max() > 1e-4, case.name
        assert seconds > 0
        needed, of_loop = case.gflop()
        assert 0 < needed < of_loop


def test_the_operations_that_are_not_redundant_are_counted_by_hand(speed: ModuleType, llama: TransformerBridge) -> None:
    patched_at_last = speed.cases(tiny_model(llama), n_sets=4, prompts=3)[1]
    # Llama of 32 dimensions: q, o 32x32, k, v 16x32, three of 40x32 in the MLP; 40 words, 11 positions, 2 layers.
    block = 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 40 * 32)
    assert patched_at_last.gflop() == pytest.approx(
        ((4 * 2 + 4 * 1) * 3 * block / 1e9, 8 * 3 * 11 * (2 * block + 2 * 40 * 32) / 1e9)
    )


def test_the_peak_and_the_rate_are_measured(speed: ModuleType, llama: TransformerBridge) -> None:
    assert speed.gemm_gflop_per_second(tiny_model(llama), 64) > 0
    peak = speed.peak_mib(lambda: None)
    assert peak != peak or peak > 10  # not a number where the system does not tell


def test_the_table_is_written_between_its_marks(
    speed: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = _of_file("test_intervention_speed")
    readme = tmp_path / "README.md"
    readme.write_text((REPOSITORY / "benchmarks" / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(table, "HERE", tmp_path)
    table._write([{"sweep": "of heads", "loop (s)": 100.0, "ratio": 6.54, "of the GEMM rate": 0.8}])
    text = readme.read_text(encoding="utf-8")
    assert "| of heads | 100 | 6.5 | 80% |" in text
    assert text.count("<!-- table -->") == text.count("<!-- end of table -->") == 1
    assert "null_worlds.py" in text  # what stands below the table is kept
