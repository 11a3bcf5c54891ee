"""Runs, budgets and metrics that do not fit are refused by name, on either path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness.errors import InterventionError
from harness.interventions import (
    Engine,
    HookEngine,
    Runs,
    ablate,
    corrupted,
    measure,
    patch,
    zero,
)
from harness.metrics import LogitDifference, LogProb, MeanLoss, Metric
from tests.interventions.bridges import some_tokens
from tests.interventions.runs import BATCH, POS, measured, metric, runs_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

    from harness.interventions.readout import Readout


@pytest.mark.parametrize("path", ["fast", "slow"])
def test_a_budget_below_one_mebibyte_is_refused(llama: TransformerBridge, path: str) -> None:
    runs = runs_of(llama, path)
    with pytest.raises(InterventionError, match="memory budget of 1048575 bytes is too small: give 1 MiB"):
        measure(runs, [patch(runs, ["0.1"])], metric=metric(), memory_budget=2**20 - 1)


@pytest.mark.parametrize("path", ["fast", "slow"])
def test_prompts_of_unequal_length_or_number_are_refused(llama: TransformerBridge, path: str) -> None:
    engine = Engine.of(llama) if path == "fast" else HookEngine.of(llama)
    for batch, pos in ((3, 7), (2, 6)):
        with pytest.raises(InterventionError, match=r"corrupted prompts are .* clean ones \(3, 6\) \[batch pos\]"):
            Runs.of(engine, some_tokens(batch=3, pos=6), corrupted=some_tokens(batch=batch, pos=pos))


@pytest.mark.parametrize("path", ["fast", "slow"])
@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (lambda: some_tokens() + 39, r"not all in the vocabulary \(0 to 39\)"),
        (lambda: some_tokens() - 40, "not all in the vocabulary"),
        (lambda: some_tokens(pos=25), "longer than n_ctx = 24"),
        (lambda: some_tokens().float(), r"are not integers \[batch pos\]"),
        (lambda: some_tokens()[0], r"are not integers \[batch pos\]"),
        (lambda: some_tokens() > 3, r"are not integers \[batch pos\]"),
    ],
)
def test_tokens_that_the_model_cannot_read_are_refused(
    llama: TransformerBridge, path: str, tokens: Callable[[], Tensor], message: str
) -> None:
    engine = Engine.of(llama) if path == "fast" else HookEngine.of(llama)
    with pytest.raises(InterventionError, match=message):
        Runs.of(engine, tokens())


@pytest.mark.parametrize("path", ["fast", "slow"])
def test_a_patch_without_corrupted_prompts_is_refused(llama: TransformerBridge, path: str) -> None:
    engine = Engine.of(llama) if path == "fast" else HookEngine.of(llama)
    runs = Runs.of(engine, some_tokens(batch=BATCH, pos=POS))
    for make in (lambda: patch(runs, ["0.1"]), lambda: corrupted(runs), runs.differ):
        with pytest.raises(InterventionError, match=r"give Runs\.of\(\.\.\., corrupted=tokens\)"):
            make()
    found = measured(runs, ablate(runs, ["0.1"], by=zero(runs)))  # nothing is missing for this one
    assert found.corrupted is None
    assert abs(found.effects).max() > 1e-4


@dataclass(frozen=True)
class NotFinite:
    """A metric that is infinite on the pass with this number, counted from the clean one."""

    of_pass: int
    passes: list[int]
    name: str = "infinite"
    unit: str = "none"

    def check(self, *, batch: int, pos: int, d_vocab: int) -> None:
        pass

    def __call__(self, read: Readout) -> Tensor:
        value = metric()(read)
        self.passes.append(len(self.passes))
        return value / 0 if self.passes[-1] == self.of_pass else value


@pytest.mark.parametrize("path", ["fast", "slow"])
@pytest.mark.parametrize(
    ("of_pass", "named"), [(0, "the clean pass"), (1, "the corrupted pass"), (2, r"intervention '0\.1'")]
)
def test_a_metric_that_is_not_finite_is_refused(llama: TransformerBridge, path: str, of_pass: int, named: str) -> None:
    runs = runs_of(llama, path)
    with pytest.raises(InterventionError, match=f"the metric of {named} is not finite"):
        measure(runs, [patch(runs, ["0.1"])], metric=NotFinite(of_pass, []))


def numbers(*values: int) -> Tensor:
    import torch

    return torch.tensor(values)


BAD_METRICS: dict[str, tuple[Callable[[], Metric], str]] = {
    "too few tokens": (
        lambda: LogitDifference(numbers(1, 2), numbers(1, 2, 3), numbers(5, 5, 5)),
        r"not integers \[batch\] = \(3,\)",
    ),
    "tokens as floats": (
        lambda: LogitDifference(numbers(1, 2, 3), numbers(1, 2, 3).float(), numbers(5, 5, 5)),
        "are not integers",
    ),
    "a token outside": (
        lambda: LogitDifference(numbers(1, 2, 3), numbers(1, 2, 40), numbers(5, 5, 5)),
        r"vocabulary \(0 to 39\)",
    ),
    "a token below": (lambda: LogProb(numbers(0, -1, 2), numbers(5, 5, 5)), "not all in the vocabulary"),
    "a position outside": (
        lambda: LogitDifference(numbers(1, 2, 3), numbers(1, 2, 3), numbers(5, 5, 6)),
        "in 0 to 5, got 5 to 6",
    ),
    "a position below": (lambda: LogProb(numbers(1, 2, 3), numbers(-1, 0, 0)), "must lie in 0 to 5"),
    "too few positions": (lambda: LogProb(numbers(1, 2, 3), numbers(5, 5)), r"are not integers \[3 n\]"),
    "positions as floats": (
        lambda: MeanLoss(numbers(5, 5, 5).unsqueeze(1).float(), numbers(5, 5, 5).unsqueeze(1)),
        r"are not integers \[3 n\]",
    ),
    "nothing follows": (
        lambda: MeanLoss(numbers(5, 5, 5).unsqueeze(1), numbers(5, 5, 5).unsqueeze(1)[:, :0]),
        "the token that follows each",
    ),
    "no position": (
        lambda: MeanLoss(numbers(5, 5, 5).unsqueeze(1)[:, :0], numbers(5, 5, 5).unsqueeze(1)[:, :0]),
        "at least one position",
    ),
    "a following token outside": (
        lambda: MeanLoss(numbers(5, 5, 5).unsqueeze(1), numbers(5, 5, 5).unsqueeze(1) + 40),
        "not all in the vocabulary",
    ),
    "following tokens as floats": (
        lambda: MeanLoss(numbers(5, 5, 5).unsqueeze(1), numbers(5, 5, 5).unsqueeze(1).float()),
        "are not integers",
    ),
}


@pytest.mark.parametrize("name", BAD_METRICS)
@pytest.mark.parametrize("path", ["fast", "slow"])
def test_a_metric_that_does_not_fit_is_refused(llama: TransformerBridge, path: str, name: str) -> None:
    make, message = BAD_METRICS[name]
    runs = runs_of(llama, path)
    with pytest.raises(InterventionError, match=message):
        measure(runs, [patch(runs, ["0.1"])], metric=make())
