"""What making and measuring interventions refuses, by name; and the model as it was, also after an exception."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness.errors import InterventionError
from harness.interventions import (
    Frame,
    Intervention,
    Replace,
    Runs,
    Target,
    ablate,
    freeze_patterns,
    keep_only,
    mean,
    patch,
    resample,
    steer,
    together,
    zero,
)
from tests.interventions.bridges import normal, state_of
from tests.interventions.runs import BATCH, POS, everywhere, measured, runs_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge


@pytest.mark.parametrize(
    "written",
    ["", "5", "5.", ".1", "5.1.", "5.1.x", "5.1.Q", "5.kv0", "5.kv0.q", "5.kv.k", "5.q", "5.1.2", "-1.0", "5.-1", "5,1",
     "head 1", "5.neuron", "5.neuron1.z", "5.embed", "5.hook_z", "blocks.5.attn.hook_z", "5.resid", "logits"],
)  # fmt: skip
def test_what_names_no_target_is_refused(written: str) -> None:
    with pytest.raises(InterventionError, match=f"^{written!r} names no target. Write '5.1'".replace(".", r"\.")):
        Target.parse(written)


@pytest.mark.parametrize(
    "written",
    ["5.1", "5.1.q", "5.1.k", "5.1.v", "5.1.pattern", "5.kv0.k", "5.kv0.v", "5.attn", "5.mlp", "5.mlp_in",
     "5.resid_pre", "5.resid_mid", "5.resid_post", "5.neuron12"],
)  # fmt: skip
def test_a_target_is_written_as_it_is_read(written: str) -> None:
    assert str(Target.parse(written)) == written
    assert str(Target.parse("5.1.z")) == "5.1"


@pytest.mark.parametrize(
    "fields", [(0, "z"), (0, "mlp_post"), (0, "resid_pre", 1), (0, "hook_z", 1), (0, "attn_out", 0)]
)
def test_a_target_with_a_part_too_few_or_too_many_is_refused(fields: tuple[int, str]) -> None:
    with pytest.raises(InterventionError, match=f"site {fields[1]!r}, part .* is no target"):
        Target(*fields)


def some(*, pos: int = POS, true: bool = True) -> Tensor:
    import torch

    return torch.full((BATCH, pos), true)


BAD_MAKES: dict[str, tuple[Callable[[Runs], object], str]] = {
    "no target": (lambda runs: patch(runs, []), "nothing to ablate"),
    "one string for a list": (lambda runs: patch(runs, "1.0"), "'1' names no target"),
    "a target twice": (lambda runs: patch(runs, ["1.0", "0.1", "1.0.z"]), r"^1\.0 is named more than once"),
    "a layer that is not there": (lambda runs: patch(runs, ["7.0"]), "z of layer 7 was not kept; this run has layers"),
    "a site that was not kept": (lambda runs: patch(runs, ["0.mlp_in"]), r"mlp_in of layer 0 was not kept.*keep="),
    "kept, but not among": (
        lambda runs: keep_only(runs, ["1.0"], among=["0.1"], by=zero(runs)), r"1\.0 cannot be kept",
    ),
    "among twice": (lambda runs: keep_only(runs, [], among=["0.1", "0.1"], by=zero(runs)), "named more than once"),
    "patterns of no layer": (lambda runs: freeze_patterns(runs, [0, 2]), "pattern of layer 2 was not kept"),
    "a direction of another width": (
        lambda runs: steer(runs, 0, direction=normal(31), dose=1.0), r"\(31,\), not \[d_model\] = \(32,\)",
    ),
    "positions of another length": (
        lambda runs: patch(runs, ["0.0"], positions=some(pos=POS + 1)),
        r"positions \(3, 7\) torch.bool are not booleans \[batch pos\] = \(3, 6\)",
    ),
    "positions that would broadcast": (lambda runs: patch(runs, ["0.0"], positions=some()[:1]), r"positions \(1, 6\)"),
    "positions as numbers": (lambda runs: patch(runs, ["0.0"], positions=some().long()), "torch.int64 are not boolean"),
    "steered positions that would broadcast": (
        lambda runs: steer(runs, 0, direction=normal(32), dose=1.0, positions=some()[:, :1]), r"positions \(3, 1\)",
    ),
    "steered positions as weights": (
        lambda runs: steer(runs, 0, direction=normal(32), dose=1.0, positions=some().float()), "torch.float32 are not",
    ),
    "a donor that is not there": (lambda runs: resample(runs.source(), donors=some(pos=0).sum(1) + 3), "of the 3"),
    "donors as floats": (lambda runs: resample(runs.source(), donors=normal(3).abs()), "donors are row numbers"),
    "no donors": (lambda runs: resample(runs.source(), donors=some()[0, :0].long()), "donors are row numbers"),
    "donors in rows": (lambda runs: resample(runs.source(), donors=some().long()), "one for each prompt"),
    "a label missing": (
        lambda runs: mean(runs.source(), batch=BATCH, groups="ab"), "2 groups for 3 reference prompts and 3 prompts",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_MAKES)
@pytest.mark.parametrize("path", ["fast", "slow"])
def test_an_intervention_that_cannot_be_made_is_refused(llama: TransformerBridge, path: str, name: str) -> None:
    make, message = BAD_MAKES[name]
    runs = runs_of(llama, path)
    with pytest.raises(InterventionError, match=message):
        make(runs)


def add(runs: Runs, layer: int = 0, **changes: object) -> Intervention:
    return steer(runs, layer, **{"direction": normal(32), "dose": 1.0, **changes})  # type: ignore[arg-type]


BAD_SETS: dict[str, tuple[Callable[[Runs], list[Intervention]], str]] = {
    "none": (lambda runs: [], "nothing to measure"),
    "two of one name": (lambda runs: [patch(runs, ["0.1"]), patch(runs, ["0.1"])], "interventions are called '0.1'"),
    "keys of one head twice": (
        lambda runs: [ablate(runs, ["1.kv0.k", "1.1.k"], by=zero(runs), name="both")],
        r"^intervention 'both': Replace\(layer=1, site='k', .* both write the k of head 1\.1: merge them",
    ),
    "values of one head twice": (
        lambda runs: [together("both", [patch(runs, ["1.kv1.v"]), patch(runs, ["1.3.v"])])], "the v of head 1.3",
    ),
    "a stream twice": (lambda runs: [together("both", [add(runs), patch(runs, ["0.resid_pre"])])], "both write the"),
    "a frozen pattern patched": (
        lambda runs: [together("both", [patch(runs, ["1.0.pattern"])], also=freeze_patterns(runs, [1]))],
        "both write the pattern of head 1.0",
    ),
    "a head that is not there": (
        lambda runs: [patch(runs, ["1.0"]), patch(runs, ["1.4"])], r"^intervention '1.4': .*head 4 does not exist",
    ),
    "a key-value head that is not there": (lambda runs: [patch(runs, ["1.kv2.k"])], "kv_head 2 does not exist"),
    "a neuron that is not there": (lambda runs: [patch(runs, ["1.neuron40"])], "neuron 40 does not exist"),
    "a scale above one": (lambda runs: [patch(runs, ["1.0"], scale=1.1)], "0 to 1"),
    "a scale below zero": (lambda runs: [patch(runs, ["1.0"], scale=-0.1)], "0 to 1"),
    "a scale that is no number": (lambda runs: [patch(runs, ["1.0"], scale=float("nan"))], "0 to 1"),
    "a dose that is no number": (lambda runs: [add(runs, dose=float("nan"))], "NaN or infinity"),
    "a vector at a head": (lambda runs: [add(runs, site="z")], "'z' takes no vector"),
    "a layer that cannot be steered": (lambda runs: [add(runs, 2)], "layer 2 does not exist"),
    "means of too few": (
        lambda runs: [ablate(runs, ["1.0"], by=mean(runs.source(), batch=2))], r"is not \[batch pos head d_head\]",
    ),
    "ablated positions that would broadcast": (
        lambda runs: [ablate(runs, ["1.0"], by=zero(runs), positions=some()[:1])], r"is not \[batch pos\] = \(3, 6\)",
    ),
    "a change that is too large": (
        lambda runs: [patch(runs, ["1.0"]), add(runs, dose=1e30, name="far")], "intervention 'far' is not finite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SETS)
@pytest.mark.parametrize("path", ["fast", "slow"])
def test_a_set_that_cannot_be_measured_is_refused_and_the_model_is_as_it_was(
    llama: TransformerBridge, path: str, name: str
) -> None:
    make, message = BAD_SETS[name]
    runs, before = runs_of(llama, path), state_of(llama)
    with pytest.raises(InterventionError, match=message):
        measured(runs, *make(runs))
    assert state_of(llama) == before


def test_keys_of_heads_that_share_nothing_are_no_common_target(llama: TransformerBridge) -> None:
    runs = runs_of(llama, "fast")
    measured(runs, patch(runs, ["1.kv0.k", "1.2.k", "1.3.k", "1.kv0.v", "1.1.q"]))


@dataclass(frozen=True, eq=False)
class Raises:
    """An edit that fails half-way."""

    layer: int
    site: str

    def targets(self, frame: Frame) -> frozenset[str]:
        return frozenset()

    def check(self, frame: Frame) -> None:
        pass

    def apply(self, activation: Tensor) -> Tensor:
        raise ZeroDivisionError("inside an edit")


@everywhere
def test_an_exception_inside_an_edit_leaves_the_model_as_it_was(bridge: TransformerBridge, path: str) -> None:
    runs, before = runs_of(bridge, path), state_of(bridge)
    clean = measured(runs, patch(runs, ["0.1"]))
    for site in ("resid_pre", "k", "pattern", "z", "resid_post"):
        first = Replace(0, "q", runs.source().q[0])
        with pytest.raises(ZeroDivisionError, match="inside an edit"):
            measured(runs, patch(runs, ["0.2"]), Intervention("breaks", (first, Raises(1, site))))
    assert state_of(bridge) == before
    assert (measured(runs, patch(runs, ["0.1"])).values == clean.values).all()


@everywhere
def test_measuring_leaves_the_model_as_it_was(bridge: TransformerBridge, path: str) -> None:
    before = state_of(bridge)
    runs = runs_of(bridge, path)
    measured(runs, patch(runs, ["0.1", "1.kv0.v", "1.resid_post"]), ablate(runs, ["0.0.pattern"], by=zero(runs)))
    assert state_of(bridge) == before


@pytest.mark.parametrize("path", ["fast", "slow"])
def test_an_mlp_of_an_attention_only_model_is_refused(attention_only: TransformerBridge, path: str) -> None:
    runs = runs_of(attention_only, path)
    for target in ("0.mlp", "0.neuron0", "0.mlp_in", "0.resid_mid"):
        with pytest.raises(InterventionError, match="the model is attention-only, it has no"):
            measured(runs, ablate(runs, [target], by=zero(runs)))
        with pytest.raises(InterventionError, match="layer 0 was not kept"):
            patch(runs, [target])
