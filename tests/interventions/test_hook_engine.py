"""The slow engine: edits in the model's own hooks, on every architecture, each hook fired exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import InterventionError
from harness.interventions import (
    SITES,
    Add,
    Edit,
    Engine,
    Frame,
    HookEngine,
    Replace,
    ablate,
    patch,
    zero,
)
from harness.interventions.hooks import HOOKS
from tests.interventions.bridges import KINDS, SLOW_KINDS, largest, normal, some_tokens, state_of
from tests.interventions.runs import measured, runs_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

TOKENS = (3, 11)  # batch, pos
all_kinds = pytest.mark.parametrize("bridge", [*KINDS, *SLOW_KINDS], indirect=True)


@dataclass(frozen=True, eq=False)
class Change:
    """Any function at any site."""

    layer: int
    site: str
    function: Callable[[Tensor], Tensor]

    def targets(self, frame: Frame) -> frozenset[str]:
        return frozenset({f"{self.site} of {self.layer}"})

    def check(self, frame: Frame) -> None:
        pass

    def apply(self, activation: Tensor) -> Tensor:
        return self.function(activation)


def reversed_prompts(activation: Tensor) -> Tensor:
    return activation.flip(0) * 0.7  # a pattern stays causal, and every element moves


def has_site(bridge: TransformerBridge, site: str) -> bool:
    return f"blocks.0.{HOOKS[site]}" in bridge.hook_dict


@all_kinds
def test_an_unedited_pass_gives_the_models_own_logits_and_stream(bridge: TransformerBridge) -> None:
    import torch

    run, logits = HookEngine.of(bridge).run_with_logits(some_tokens())
    with torch.inference_mode():
        expected = bridge(some_tokens())
    assert (logits == expected).all()
    assert run.resid.shape == (*TOKENS, 32)
    assert not run.change_norm


@all_kinds
def test_an_edit_is_the_same_function_in_the_hook_of_that_name(bridge: TransformerBridge) -> None:
    import torch

    engine = HookEngine.of(bridge)
    for site, hook in HOOKS.items():
        if site == "resid_mid" or not has_site(bridge, site):
            continue  # of resid_mid the bridge's hook reaches the MLP only
        edited = engine.run_with_logits(some_tokens(), edits=[Change(1, site, reversed_prompts)])[1]
        with torch.inference_mode():
            expected = bridge.run_with_hooks(
                some_tokens(), fwd_hooks=[(f"blocks.1.{hook}", lambda x, hook: reversed_prompts(x))]
            )
        assert largest(edited - expected) == 0.0, site
        assert largest(edited - engine.run_with_logits(some_tokens())[1]) > 1e-4, site


@pytest.mark.parametrize("bridge", ["gpt2", "llama", "native-mlp", "native-rotary-gated", "gemma"], indirect=True)
def test_what_is_changed_in_resid_mid_reaches_the_stream_and_in_mlp_in_the_mlp_only(bridge: TransformerBridge) -> None:
    engine, vector = HookEngine.of(bridge), normal(*TOKENS, 32)
    clean = engine.run(some_tokens(), keep=("resid_mid", "mlp_out", "resid_post"))
    in_stream = engine.run(some_tokens(), edits=[Add(0, vector, site="resid_mid")], keep=("mlp_out", "resid_post"))
    in_mlp = engine.run(some_tokens(), edits=[Add(0, vector, site="mlp_in")], keep=("mlp_out", "resid_post"))
    assert largest(in_stream.mlp_out[0] - in_mlp.mlp_out[0]) == 0.0
    assert largest(in_stream.mlp_out[0] - clean.mlp_out[0]) > 0.1
    for run, added in ((in_stream, vector), (in_mlp, 0 * vector)):
        expected = clean.resid_mid[0] + added + run.mlp_out[0]
        assert largest(run.resid_post[0] - expected) <= 1e-5
    assert largest(in_stream.change_norm[0] - vector.norm(dim=-1)) <= 1e-5


@pytest.mark.parametrize("bridge", KINDS, indirect=True)
def test_what_it_keeps_is_what_the_fast_engine_keeps(bridge: TransformerBridge) -> None:
    slow, fast = HookEngine.of(bridge), Engine.of(bridge)
    assert slow.frame(slow.run(some_tokens())) == fast.frame(fast.run(some_tokens()))
    sites = [site for site in HOOKS if has_site(bridge, site)]
    edits: list[Edit] = [Replace.z(0, 1, normal(*TOKENS, 8)), Add(1, normal(*TOKENS, 32), site="resid_pre")]
    one, two = (engine.run(some_tokens(), edits=edits, keep=sites) for engine in (slow, fast))
    for site in sites:
        for layer in (0, 1):
            assert largest(one.kept(site, layer) - two.kept(site, layer)) <= 1e-5, (site, layer)
    assert set(one.change_norm) == set(two.change_norm) == {0, 1}
    assert all(largest(one.change_norm[layer] - two.change_norm[layer]) <= 1e-5 for layer in (0, 1))
    assert largest(one.resid - two.resid) <= 1e-5


def test_keys_and_values_as_one_query_head_sees_them_are_the_fast_engines_alone(llama: TransformerBridge) -> None:
    runs = runs_of(llama, "slow")
    for target in ("1.0.k", "1.0.v"):
        with pytest.raises(InterventionError, match="exists in the fast engine only; the model's own hooks have resid"):
            measured(runs, ablate(runs, [target], by=zero(runs)))


@pytest.mark.parametrize(
    ("bridge", "site"),
    [("attention-only", "mlp_out"), ("attention-only-ln", "mlp_in"), ("gpt-neox", "resid_mid"), ("gpt-neox", "mlp_in")],
    indirect=["bridge"],
)
def test_a_hook_that_the_architecture_lacks_is_refused(bridge: TransformerBridge, site: str) -> None:
    before = state_of(bridge)
    with pytest.raises(InterventionError, match=rf"has no hook 'blocks\.0\.{HOOKS[site]}', so '{site}' cannot"):
        HookEngine.of(bridge).run(some_tokens(), keep=(site,))
    with pytest.raises(InterventionError, match=r"has no hook|attention-only, it has no"):
        HookEngine.of(bridge).run(some_tokens(), edits=[Add(0, normal(*TOKENS, 32), site=site)])
    assert state_of(bridge) == before


def test_every_site_has_a_hook_or_is_the_fast_engines_alone() -> None:
    assert {*HOOKS, "k_by_head", "v_by_head"} == set(SITES)


@pytest.mark.parametrize("bridge", SLOW_KINDS, indirect=True)
def test_architectures_that_the_fast_engine_refuses_are_measured_and_say_slow(bridge: TransformerBridge) -> None:
    with pytest.raises(InterventionError, match="is not covered by the fast engine"):
        Engine.of(bridge)
    runs = runs_of(bridge, "slow")
    assert measured(runs, patch(runs, ["1.2"])).path == "slow"


def test_a_model_that_carries_a_bridge_has_a_slow_engine_and_others_have_none(llama: TransformerBridge) -> None:
    assert HookEngine.of(SimpleNamespace(bridge=llama)).architecture == "LlamaForCausalLM"
    with pytest.raises(InterventionError, match="str is no TransformerBridge and carries none"):
        HookEngine.of("gpt2")


# Firings are counted: a bridge whose hooks misfire is refused.


@dataclass
class Misfiring:
    """One block, two heads of one dimension, whose hooks fire as often as is said; 1 unless named."""

    firings: dict[str, int] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import torch

        self.cfg = SimpleNamespace(
            architecture="Misfiring", n_layers=1, n_heads=2, d_head=1, d_model=2, d_vocab=4, d_mlp=3, n_ctx=8
        )
        self.blocks = [SimpleNamespace(_modules={"mlp": None})]
        self.original_model = torch.nn.Linear(1, 1)
        self.hook_dict = {f"blocks.0.{hook}": None for hook in HOOKS.values()}

    def run_with_hooks(self, tokens: Tensor, *, fwd_hooks: Sequence[tuple[str, Callable[..., Any]]]) -> Tensor:
        import torch

        shapes = {"z": (2, 1), "q": (2, 1), "pattern": (2, tokens.shape[1])}
        for name, hook in fwd_hooks:
            short = name.removeprefix("blocks.0.").removeprefix("attn.").removeprefix("hook_")
            shape = (self.widths[short],) if short in self.widths else shapes.get(short, (2,))
            for _ in range(self.firings.get(short, 1)):
                hook(torch.ones(*tokens.shape, *shape), hook=None)
        return torch.zeros(*tokens.shape, 4)


@pytest.mark.parametrize("count", [0, 2, 3])
def test_a_hook_that_does_not_fire_exactly_once_is_refused(count: int) -> None:
    import torch

    tokens, edit = some_tokens(batch=2, pos=3) % 4, Replace(0, "z", torch.zeros(2, 3, 2, 1))
    HookEngine.of(Misfiring()).run(tokens, edits=[edit], keep=("q",))
    for misfiring in ("z", "q", "resid_post", "attn_out"):  # edited, kept, read at the end, and for the dose
        engine = HookEngine.of(Misfiring({misfiring: count}))
        message = f"the hook on {misfiring} of layer 0 fired {count} times in one pass, expected 1"
        with pytest.raises(InterventionError, match=message):
            engine.run(tokens, edits=[edit], keep=("q",))


def test_a_hook_on_an_activation_of_another_size_is_refused() -> None:
    engine = HookEngine.of(Misfiring(widths={"z": 3}))
    with pytest.raises(InterventionError, match=r"z of layer 0 is \(2, 3, 3\), expected \(2, 3, 2, 1\)"):
        engine.run(some_tokens(batch=2, pos=3) % 4, keep=("z",))


def test_an_edit_that_returns_another_shape_is_refused_and_leaves_no_hook(llama: TransformerBridge) -> None:
    before = state_of(llama)
    with pytest.raises(InterventionError, match=r"Change\(layer=1, site='z'\) returned \(1, 11, 4, 8\), expected"):
        HookEngine.of(llama).run(some_tokens(), edits=[Change(1, "z", lambda z: z[:1])])
    assert state_of(llama) == before


def test_hooks_of_the_callers_own_stay(llama: TransformerBridge) -> None:
    fired = []
    llama.add_hook("blocks.1.hook_attn_out", lambda activation, hook: fired.append(activation.shape))
    try:
        runs = runs_of(llama, "slow")
        measured(runs, ablate(runs, ["1.2"], by=zero(runs)))
        before = len(fired)
        llama(some_tokens())
        assert len(fired) == before + 1
    finally:
        llama.reset_hooks()
