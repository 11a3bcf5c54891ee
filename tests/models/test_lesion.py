from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import ModelError
from harness.models.fingerprint import tensors_sha256
from harness.models.lesion import HeadWeight, Lesion, head_weight, lesioned, with_head_weights
from harness.models.model import Model, load, untrained_twin
from harness.models.native import boot_native, save_native

TOKENS = torch.tensor([[0, 5, 9, 7, 5, 9], [0, 8, 8, 3, 2, 4]])
NATIVE: dict[str, Any] = {
    "n_layers": 2, "d_model": 32, "n_ctx": 24, "d_head": 8, "n_heads": 4, "d_vocab": 11, "attn_only": True,
    "normalization_type": "LN", "positional_embedding_type": "standard", "act_fn": "relu", "initializer_range": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module", params=["gpt2", "llama", "native"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny model of each family that can be lesioned."""
    if request.param != "native":
        return load(f"path:{request.getfixturevalue(request.param + '_folder')}")
    path = tmp_path_factory.mktemp("native") / "tiny.safetensors"
    save_native(boot_native(NATIVE), path, metadata={})
    return load(f"path:{path}")


def logits(model: Model) -> torch.Tensor:
    with torch.inference_mode():
        return model.bridge(TOKENS)  # type: ignore[no-any-return]


def state_sha256(model: Model) -> str:
    return tensors_sha256(model.bridge.state_dict())


def changed_names(before: Model, after: Model) -> set[str]:
    new = after.bridge.state_dict()
    return {name for name, old in before.bridge.state_dict().items() if not torch.equal(old, new[name])}


def test_output_lesion_does_what_a_hook_with_the_new_matrix_does(model: Model) -> None:
    """Oracle: on the original, z @ (W_O' - W_O) of that head is added to what its layer writes."""
    damaged = lesioned(model, ["1.2"], which="W_O", seed=3)
    change = head_weight(damaged, "1.2", "W_O") - head_weight(model, "1.2", "W_O")
    seen: dict[str, torch.Tensor] = {}

    def remember(z: torch.Tensor, hook: object) -> None:
        seen["z"] = z[:, :, 2]

    def add(output: torch.Tensor, hook: object) -> torch.Tensor:
        return output + seen["z"] @ change

    with torch.inference_mode():
        hooks: list[Any] = [("blocks.1.attn.hook_z", remember), ("blocks.1.hook_attn_out", add)]
        expected = model.bridge.run_with_hooks(TOKENS, fwd_hooks=hooks)
    assert (logits(damaged) - logits(model)).abs().max() > 0.01
    assert torch.allclose(logits(damaged), expected, atol=1e-4)


def test_pattern_lesion_changes_the_pattern_of_its_heads_only(model: Model) -> None:
    damaged = lesioned(model, ["0.2"], which="W_QK", seed=3)
    patterns = []
    for each in (model, damaged):
        with torch.inference_mode():
            _, cache = each.bridge.run_with_cache(TOKENS, names_filter=["blocks.0.attn.hook_pattern"])
        patterns.append(cache["blocks.0.attn.hook_pattern"])
    moved = (patterns[0] - patterns[1]).abs().amax(dim=(0, 2, 3))
    assert moved[2] > 0.01
    assert torch.equal(moved[[0, 1, 3]], torch.zeros(3))


@pytest.mark.parametrize("which", ["W_O", "W_QK"])
def test_original_stays_bit_identical_and_hooks_of_the_copy_are_its_own(model: Model, which: Lesion) -> None:
    before, state = logits(model), state_sha256(model)
    damaged = lesioned(model, ["0.1", "1.2"], which=which, seed=3)
    with torch.inference_mode():
        damaged.bridge.run_with_hooks(TOKENS, fwd_hooks=[("blocks.0.attn.hook_z", lambda z, hook: z * 0)])
    assert state_sha256(model) == state
    assert torch.equal(logits(model), before)
    assert not torch.equal(logits(damaged), before)


def test_lesion_keeps_the_norm_and_every_other_head(model: Model) -> None:
    damaged = lesioned(model, ["1.2"], which="W_O", seed=3)
    for head in model.heads():
        old, new = head_weight(model, head, "W_O"), head_weight(damaged, head, "W_O")
        assert torch.equal(old, new) == (head != "1.2")
        assert new.norm().item() == pytest.approx(old.norm().item(), rel=1e-5)
    assert changed_names(model, damaged) == {"blocks.1.attn.o.weight"}


def test_shared_keys_are_lesioned_only_with_all_their_sharers(model: Model) -> None:
    grouped = model.n_kv_heads < model.n_heads
    one = changed_names(model, lesioned(model, ["1.2"], which="W_QK", seed=3))
    both = changed_names(model, lesioned(model, ["1.3", "1.2"], which="W_QK", seed=3))
    assert one == {"blocks.1.attn.q.weight"} | (set() if grouped else {"blocks.1.attn.k.weight"})
    assert both == {"blocks.1.attn.q.weight", "blocks.1.attn.k.weight"}


def test_lesion_is_seeded_and_each_head_has_its_own_stream(model: Model) -> None:
    one, same, other = (lesioned(model, ["1.2"], which="W_O", seed=seed) for seed in (3, 3, 4))
    pair = lesioned(model, ["0.0", "1.2"], which="W_O", seed=3)
    assert one.fingerprint == same.fingerprint
    assert len({model.fingerprint, one.fingerprint, other.fingerprint, pair.fingerprint}) == 4
    assert torch.equal(head_weight(one, "1.2", "W_O"), head_weight(pair, "1.2", "W_O"))
    assert one.id == f"{model.id}~lesion-W_O-1.2@3"
    assert "changed copy" in one.note


def test_copy_shares_what_it_does_not_change(model: Model) -> None:
    damaged = lesioned(model, ["1.2"], which="W_O", seed=3)
    ours = {parameter.data_ptr() for parameter in model.bridge.parameters()}
    own = [parameter for parameter in damaged.bridge.parameters() if parameter.data_ptr() not in ours]
    assert [tuple(parameter.shape) for parameter in own] == [(32, 32)]


def test_head_weights_are_those_of_the_bridge(model: Model) -> None:
    for weight in ("W_Q", "W_K", "W_V", "W_O"):
        of_layer = getattr(model.bridge.blocks[1].attn, weight)
        for head in range(4):
            number = head * len(of_layer) // 4
            assert torch.equal(head_weight(model, f"1.{head}", weight), of_layer[number])


def test_hand_set_weights_are_in_force(model: Model) -> None:
    """Zero queries attend to every earlier position alike."""
    zero = torch.zeros(model.d_model, model.d_head)
    weights: dict[tuple[str, HeadWeight], torch.Tensor] = {("1.0", "W_Q"): zero}
    if model.id.endswith(("gpt2", ".safetensors")):
        weights["1.0", "b_Q"] = torch.zeros(model.d_head)
    flat = with_head_weights(model, weights, label="flat")
    with torch.inference_mode():
        _, cache = flat.bridge.run_with_cache(TOKENS, names_filter=["blocks.1.attn.hook_pattern"])
    # position p sees p + 1 keys, each with probability 1 / (p + 1)
    expected = torch.ones(6, 6).tril() / torch.arange(1, 7)[:, None]
    assert torch.allclose(cache["blocks.1.attn.hook_pattern"][:, 0], expected.expand(2, 6, 6), atol=1e-6)
    assert flat.id == f"{model.id}~flat"


def test_twin_of_a_changed_copy_is_the_twin_of_the_model(model: Model) -> None:
    damaged = lesioned(model, ["1.2"], which="W_O", seed=3)
    assert untrained_twin(damaged, 5).fingerprint == untrained_twin(model, 5).fingerprint


def test_wrong_requests_are_refused_by_name(model: Model) -> None:
    with pytest.raises(ModelError, match=r"head '2\.0' is not in model"):
        lesioned(model, ["2.0"], which="W_O", seed=0)
    with pytest.raises(ModelError, match="at least one, each once"):
        lesioned(model, ["1.0", "1.0"], which="W_O", seed=0)
    with pytest.raises(ModelError, match="at least one, each once"):
        lesioned(model, [], which="W_O", seed=0)
    with pytest.raises(ModelError, match="lesion 'W_V' is not one of"):
        lesioned(model, ["1.0"], which="W_V", seed=0)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"W_O of head '1\.0' .* must have shape \[8, 32\]"):
        with_head_weights(model, {("1.0", "W_O"): torch.zeros(32, 8)}, label="x")
    with pytest.raises(ModelError, match="be finite"):
        with_head_weights(model, {("1.0", "W_O"): torch.full((8, 32), torch.nan)}, label="x")
    with pytest.raises(ModelError, match="weight 'W_X'"):
        with_head_weights(model, {("1.0", "W_X"): torch.zeros(8, 32)}, label="x")  # type: ignore[dict-item]


def test_bias_that_does_not_exist_cannot_be_replaced(llama_folder: Path) -> None:
    with pytest.raises(ModelError, match="layer 0 has no bias in its q projection"):
        with_head_weights(load(f"path:{llama_folder}"), {("0.0", "b_Q"): torch.zeros(8)}, label="x")
