from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import ModelError
from harness.models.fingerprint import model_fingerprint, tensors_sha256
from harness.models.model import Model, lesioned, load, untrained_twin
from tests.models.tiny import BOS_ID, SPECIAL, VOCABULARY, tiny_gpt2, tiny_llama

TOKENS = torch.tensor([[BOS_ID, 5, 9, 17, 5, 9], [BOS_ID, 8, 8, 30, 21, 4]])
FAMILIES = {"gpt2": tiny_gpt2, "llama": tiny_llama}


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def loaded(request: pytest.FixtureRequest) -> Model:
    """A tiny model of each family, loaded through the path that a user's own model takes."""
    return load(f"path:{request.getfixturevalue(request.param + '_folder')}")


def hugging_face_log_probs(folder: Path) -> torch.Tensor:
    """The oracle: transformers' own forward pass on the raw weights."""
    from transformers import AutoModelForCausalLM

    from harness.models.quiet import offline_and_quiet

    with offline_and_quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    with torch.inference_mode():
        return model(TOKENS).logits.log_softmax(-1)  # type: ignore[no-any-return]


def log_probs(model: Model) -> torch.Tensor:
    with torch.inference_mode():
        return model.bridge(TOKENS).log_softmax(-1)  # type: ignore[no-any-return]


def test_folded_model_computes_what_transformers_computes(loaded: Model) -> None:
    assert torch.allclose(log_probs(loaded), hugging_face_log_probs(loaded.source), atol=1e-4)  # design, section 6


def test_untied_llama_is_loaded_too(tmp_path: Path) -> None:
    model = load(f"path:{tiny_llama(tmp_path / 'untied', tied=False)}")
    assert torch.allclose(log_probs(model), hugging_face_log_probs(model.source), atol=1e-4)


def test_loaded_model_is_folded_in_eval_mode_and_differentiable(loaded: Model) -> None:
    assert loaded.bridge._weights_processed
    assert not any(module.training for module in loaded.bridge.modules())
    assert not any(parameter.is_inference() for parameter in loaded.bridge.parameters())


def test_shape_is_that_of_the_configuration(loaded: Model) -> None:
    shape = (loaded.n_layers, loaded.n_heads, loaded.d_head, loaded.d_model, loaded.d_vocab, loaded.n_ctx)
    assert shape == (2, 4, 8, 32, 40, 64)  # as built in tiny.py
    assert loaded.heads() == ("0.0", "0.1", "0.2", "0.3", "1.0", "1.1", "1.2", "1.3")
    assert loaded.spec.heads == loaded.heads()


def test_key_value_groups_are_named_and_shared(gpt2_folder: Path, llama_folder: Path) -> None:
    gpt2, llama = load(f"path:{gpt2_folder}"), load(f"path:{llama_folder}")
    assert [llama.kv_group(f"1.{head}") for head in range(4)] == ["1.kv0", "1.kv0", "1.kv1", "1.kv1"]
    assert llama.sharers("1.3") == ("1.2", "1.3")
    assert [gpt2.kv_group(f"1.{head}") for head in range(4)] == ["1.kv0", "1.kv1", "1.kv2", "1.kv3"]
    assert gpt2.sharers("1.3") == ("1.3",)
    for wrong in ("2.0", "0.4", "0", "0.-1", "a.b", "01.1", "kv"):
        with pytest.raises(ModelError, match="is not in model"):
            llama.kv_group(wrong)


def test_random_token_pool_leaves_out_special_tokens(loaded: Model) -> None:
    assert loaded.random_token_pool() == list(range(len(SPECIAL), len(VOCABULARY)))


def test_bos_is_there_exactly_when_asked_for(loaded: Model) -> None:
    # w0 has id 3: three special tokens come first in the tiny vocabulary
    assert loaded.tokens(["w0 w1", "w5 w0"], bos=True).tolist() == [[0, 3, 4], [0, 8, 3]]
    assert loaded.tokens(["w0 w1"], bos=False).tolist() == [[3, 4]]
    assert loaded.token_lists(["w0", "w0 w1"], bos=True) == [[0, 3], [0, 3, 4]]


def test_texts_that_cannot_make_one_tensor_are_refused(loaded: Model) -> None:
    with pytest.raises(ModelError, match="2 tokens in 'w0', 3 in 'w0 w1'"):
        loaded.tokens(["w0", "w0 w1"], bos=True)
    with pytest.raises(ModelError, match=r"65 tokens; .* at most 64"):
        loaded.tokens([" ".join(["w0"] * 64)], bos=True)
    for wrong in ([], ["w0", ""], "w0 w1"):
        with pytest.raises(ModelError, match="at least one text"):
            loaded.tokens(wrong, bos=False)


def test_two_loads_share_a_fingerprint_and_different_weights_do_not(tmp_path: Path, loaded: Model) -> None:
    assert load(loaded.id).fingerprint == loaded.fingerprint
    builder = FAMILIES["gpt2" if loaded.n_kv_heads == 4 else "llama"]
    assert load(f"path:{builder(tmp_path / 'same', seed=0)}").fingerprint == loaded.fingerprint
    assert load(f"path:{builder(tmp_path / 'other', seed=1)}").fingerprint != loaded.fingerprint


def test_fingerprint_hears_of_every_part() -> None:
    one, two = {"a": torch.zeros(2, 3)}, {"a": torch.zeros(3, 2)}
    hashes = {
        tensors_sha256(each)
        for each in (one, two, {"b": torch.zeros(2, 3)}, {"a": torch.ones(2, 3)}, {"a": torch.zeros(2, 3).double()})
    }
    assert len(hashes) == 5
    base: dict[str, Any] = {"tensors": "t", "config": {"n_ctx": 1}, "dtype": "float32"}
    others = [{**base, "tensors": "u"}, {**base, "config": {"n_ctx": 2}}, {**base, "dtype": "float64"}]
    assert len({model_fingerprint(**each) for each in (base, *others)}) == 4


def test_tensor_hash_is_independent_of_order_and_strides() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    flipped = tensor.T.contiguous().T
    assert not flipped.is_contiguous()
    assert tensors_sha256({"a": tensor, "b": tensor}) == tensors_sha256({"b": flipped, "a": flipped})


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_dtype_is_the_weights_and_part_of_the_fingerprint(loaded: Model, dtype: str) -> None:
    other = load(loaded.id, dtype=dtype)
    assert {parameter.dtype for parameter in other.bridge.parameters()} == {getattr(torch, dtype)}
    assert other.fingerprint != loaded.fingerprint
    if dtype == "float64":
        assert torch.allclose(log_probs(other).float(), log_probs(loaded), atol=1e-4)


def test_the_fingerprint_in_float32_is_the_same_in_float64_and_unknown_of_rounded_weights_and_changed_copies(
    loaded: Model,
) -> None:
    assert loaded.float32_fingerprint == loaded.fingerprint
    double = load(loaded.id, dtype="float64")
    assert double.float32_fingerprint == loaded.fingerprint != double.fingerprint
    assert load(loaded.id, dtype="bfloat16").float32_fingerprint is None
    assert lesioned(loaded, ["0.0"], which="W_O", seed=0).float32_fingerprint is None


def test_unusable_options_are_refused(loaded: Model) -> None:
    with pytest.raises(ModelError, match="dtype is 'int8'"):
        load(loaded.id, dtype="int8")
    with pytest.raises(ModelError, match="device 'nonsense' cannot be used"):
        load(loaded.id, device="nonsense")
    with torch.inference_mode(), pytest.raises(ModelError, match="load it outside"):
        load(loaded.id)


def test_untrained_twin_has_the_architecture_and_other_weights(loaded: Model) -> None:
    twin, again, other = (untrained_twin(loaded, seed) for seed in (3, 3, 4))
    assert twin.id == f"{loaded.id}~untrained@3"
    assert twin.fingerprint == again.fingerprint
    assert len({loaded.fingerprint, twin.fingerprint, other.fingerprint}) == 3
    assert torch.equal(log_probs(twin), log_probs(again))
    assert not torch.allclose(log_probs(twin), log_probs(loaded), atol=0.1)
    assert twin.tokens(["w0"], bos=True).tolist() == [[0, 3]]
    assert twin.bridge._weights_processed


def test_twin_leaves_the_global_generator_and_the_model_alone(loaded: Model) -> None:
    before, state = log_probs(loaded), torch.get_rng_state()
    untrained_twin(loaded, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(log_probs(loaded), before)


def test_loading_a_folder_opens_no_connection(
    loaded: Model, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load(loaded.id)
    untrained_twin(loaded, 1)
    assert capfd.readouterr() == ("", "")


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def drop_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors.pop(max(name for name in tensors if name.endswith("weight") and "1" in name))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def without(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("model.safetensors"), "but no weights"),
        (without("tokenizer.json"), "holds no tokenizer"),
        (truncate, "cannot be loaded"),
        (drop_a_tensor, "1 tensors are missing"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "the tokenizer in .* cannot be loaded"),
    ],
)
def test_damaged_folder_is_refused_by_name(
    loaded: Model, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(loaded.source, folder)
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load(f"path:{folder}")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
