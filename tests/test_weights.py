"""Weights from checkpoints: equal to TransformerLens' processed ones, read without torch, and refused by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from harness.composition import composition_matrix, k_composition, k_composition_matrix
from harness.errors import ModelError, ModelNotHere
from harness.weights import AttentionWeights, open_weights, read_attention
from tests.models.tiny import tiny_gpt2, tiny_llama

# The tiny models: 32 dimensions, 4 heads of 8, three layers.
ROOT = Path(__file__).parents[1]
NATIVE: dict[str, dict[str, Any]] = {
    "native": {"normalization_type": None},
    "native-ln": {"normalization_type": "LN"},
    "native-lnpre": {"normalization_type": "LNPre"},
    "native-rms-rotary": {
        "normalization_type": "RMS",
        "positional_embedding_type": "rotary",
        "n_key_value_heads": 2,
    },
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One checkpoint of every kind, by name."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        "gpt2": tiny_gpt2(folder / "gpt2", n_layers=3),
        "llama": tiny_llama(folder / "llama", n_layers=3),
        **{name: save_native_checkpoint(folder / f"{name}.safetensors", NATIVE[name]) for name in NATIVE},
    }


def save_native_checkpoint(path: Path, changes: dict[str, Any]) -> Path:
    import torch

    from harness.models.native import boot_native, save_native

    config = {"n_layers": 3, "d_model": 32, "n_ctx": 16, "d_head": 8, "n_heads": 4, "d_vocab": 11, "attn_only": True}
    bridge = boot_native({**config, "act_fn": "relu", **changes})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in bridge.parameters():
            # Gains and biases away from 1 and 0, so that folding them wrongly would show.
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    save_native(bridge, path, metadata={})
    return path


def load_bridge(path: Path) -> Any:
    from harness.models.native import load_native

    if path.suffix == ".safetensors":
        return load_native(path)
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(path, local_files_only=True)
    bridge = TransformerBridge.boot_transformers(
        str(path), hf_model=model, tokenizer=AutoTokenizer.from_pretrained(path, local_files_only=True)
    )
    bridge.enable_compatibility_mode()
    return bridge


@pytest.mark.parametrize("kind", ["gpt2", "llama", *NATIVE])
def test_weights_and_scores_equal_those_of_the_processed_transformer_lens_model(
    checkpoints: dict[str, Path], kind: str
) -> None:
    bridge, weights = load_bridge(checkpoints[kind]), read_attention(checkpoints[kind])
    grouped = weights.n_heads // weights.n_kv_heads
    stored = {name: getattr(bridge, name).detach().double().numpy() for name in ("W_Q", "W_K", "W_V", "W_O")}
    for layer, head in np.ndindex(weights.n_layers, weights.n_heads):
        group = head // (grouped if stored["W_K"].shape[1] == weights.n_kv_heads else 1)
        for found, expected in zip(
            (*weights.qk(layer, head), *weights.ov(layer, head)),
            (
                stored["W_Q"][layer, head],
                stored["W_K"][layer, group],
                stored["W_V"][layer, group],
                stored["W_O"][layer, head],
            ),
            strict=True,
        ):
            np.testing.assert_allclose(found, expected, atol=2e-7)  # TransformerLens folds in float32
    for mode in ("q", "k", "v"):
        oracle = bridge.all_composition_scores(mode.upper()).scores.detach().numpy()
        scores = composition_matrix(weights, targets=["2.3", "1.1"], mode=mode)
        np.testing.assert_allclose(scores.of("2.3"), oracle[:2, :, 2, 3], atol=1e-6)
        np.testing.assert_allclose(scores.of("1.1"), oracle[:1, :, 1, 1], atol=1e-6)


@pytest.mark.parametrize("kind", ["gpt2", "native-ln", "native-lnpre"])
def test_layer_norm_models_neither_read_nor_write_the_mean(checkpoints: dict[str, Path], kind: str) -> None:
    weights = read_attention(checkpoints[kind])
    for reading in (*weights.qk(1, 2), weights.ov(1, 2).w_v, weights.ov(1, 2).w_o.T):
        np.testing.assert_allclose(reading.mean(axis=0), 0, atol=1e-15)
    assert "residual stream centred" in weights.notes[0]


@pytest.mark.parametrize("kind", ["llama", "native", "native-rms-rotary"])
def test_other_models_keep_the_mean(checkpoints: dict[str, Path], kind: str) -> None:
    weights = read_attention(checkpoints[kind])
    for reading in (*weights.qk(1, 2), weights.ov(1, 2).w_v, weights.ov(1, 2).w_o.T):
        assert np.abs(reading.mean(axis=0)).max() > 1e-3
    assert "residual stream not centred" in weights.notes[0]


def test_rotary_positions_and_grouped_queries_are_said_with_the_result(checkpoints: dict[str, Path]) -> None:
    for kind in ("llama", "native-rms-rotary"):
        notes = " ".join(k_composition_matrix(read_attention(checkpoints[kind]), targets=["2.0"]).notes)
        assert "relative offset 0" in notes
        assert "2 neighbouring heads share W_K and W_V" in notes
    assert len(read_attention(checkpoints["gpt2"]).notes) == 1


def test_heads_of_one_group_share_keys_and_values_and_nothing_else(checkpoints: dict[str, Path]) -> None:
    weights = read_attention(checkpoints["llama"])
    first, second, third = (weights.qk(0, head) for head in (0, 1, 2))
    np.testing.assert_array_equal(first.w_k, second.w_k)
    assert not np.allclose(second.w_k, third.w_k)
    assert not np.allclose(first.w_q, second.w_q)
    np.testing.assert_array_equal(weights.ov(0, 2).w_v, weights.ov(0, 3).w_v)
    assert not np.allclose(weights.ov(0, 2).w_o, weights.ov(0, 3).w_o)


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], to: Path) -> Path:
    """A copy of a checkpoint's tensors, changed, without its configuration."""
    save_file(change(load_file(path / "model.safetensors" if path.is_dir() else path)), to)
    return to


def scores_of(weights: AttentionWeights) -> Any:
    return k_composition_matrix(weights, targets=["1.1"]).of("1.1")


def test_only_the_attention_tensors_of_the_layers_in_question_are_read(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    needed = ("attn.c_attn.weight", "attn.c_proj.weight", "ln_1.weight")

    def poison(tensors: dict[str, Any]) -> dict[str, Any]:
        # Anything else that was read would raise: it is gone, of a foreign type, or not finite.
        kept = {name: t for name, t in tensors.items() if ".h.0." in name or ".h.1." in name}
        kept = {name: t if name.endswith(needed) else t.astype(np.int8) for name, t in kept.items()}
        return kept | {name: np.full_like(t, np.nan) for name, t in tensors.items() if ".h.2.attn" in name}

    file = rewrite(checkpoints["gpt2"], poison, tmp_path / "x.safetensors")
    np.testing.assert_array_equal(
        scores_of(read_attention(file, n_heads=4)), scores_of(read_attention(checkpoints["gpt2"]))
    )
    with pytest.raises(ModelError, match=r"h\.2\.attn\.c_attn\.weight' in .* holds NaN"):
        k_composition(read_attention(file, n_heads=4), source="0.0", target="2.0")


def test_scores_come_without_importing_torch_or_scipy(checkpoints: dict[str, Path]) -> None:
    script = (
        "import sys; from pathlib import Path; from harness.weights import read_attention as read; "
        "from harness.composition import k_composition as score; "
        f"score(read(Path({str(checkpoints['llama'])!r})), source='0.0', target='1.0'); "
        "heavy = {'torch', 'transformers', 'transformer_lens', 'scipy', 'pandas'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("kind", "prefix"), [("gpt2", "transformer."), ("llama", "model.")])
def test_names_with_and_without_the_outer_prefix_are_known(
    checkpoints: dict[str, Path], tmp_path: Path, kind: str, prefix: str
) -> None:
    def strip(tensors: dict[str, Any]) -> dict[str, Any]:
        assert all(name.startswith((prefix, "lm_head")) for name in tensors)
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}

    file = rewrite(checkpoints[kind], strip, tmp_path / "x.safetensors")
    np.testing.assert_array_equal(
        scores_of(read_attention(file, n_heads=4)), scores_of(read_attention(checkpoints[kind]))
    )


def test_a_sharded_checkpoint_gives_the_same_and_needs_no_later_shard(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copy(checkpoints["llama"] / "config.json", tmp_path)
    tensors = load_file(checkpoints["llama"] / "model.safetensors")
    shard_of = {name: "late.safetensors" if "layers.2." in name else "early.safetensors" for name in tensors}
    for shard in set(shard_of.values()):
        save_file({name: t for name, t in tensors.items() if shard_of[name] == shard}, tmp_path / shard)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shard_of}))
    whole, sharded = read_attention(checkpoints["llama"]), read_attention(tmp_path)
    assert sharded.fingerprint == whole.fingerprint
    (tmp_path / "late.safetensors").unlink()
    np.testing.assert_array_equal(scores_of(read_attention(tmp_path)), scores_of(whole))


def test_the_fingerprint_tells_weights_and_head_counts_apart(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    def nudge(tensors: dict[str, Any]) -> dict[str, Any]:
        tensors["transformer.h.2.attn.c_proj.weight"][3, 3] += 1e-3
        return tensors

    same = rewrite(checkpoints["gpt2"], lambda tensors: tensors, tmp_path / "same.safetensors")
    other = rewrite(checkpoints["gpt2"], nudge, tmp_path / "other.safetensors")
    known = read_attention(checkpoints["gpt2"]).fingerprint
    assert read_attention(same, n_heads=4).fingerprint == known
    assert len({known, *(read_attention(p, n_heads=n).fingerprint for p, n in ((same, 8), (other, 4)))}) == 3


@pytest.mark.parametrize("head", [(3, 0), (0, 4), (-1, 0), (0, -1)])
def test_a_head_that_is_not_there_is_refused(checkpoints: dict[str, Path], head: tuple[int, int]) -> None:
    weights = read_attention(checkpoints["gpt2"])
    for read in (weights.qk, weights.ov):
        with pytest.raises(ModelError, match=rf"head '{head[0]}\.{head[1]}' is not in .* \(3 layers of 4 heads"):
            read(*head)


def test_an_unknown_layout_is_refused_with_its_names_and_the_known_ones(tmp_path: Path) -> None:
    save_file({"decoder.block.0.q": np.ones((2, 2)), "shared": np.ones(2)}, tmp_path / "t5.safetensors")
    with pytest.raises(ModelError) as caught:
        read_attention(tmp_path / "t5.safetensors")
    for part in ("t5.safetensors", "decoder.block.0.q", "GPT-2 (h.N.attn.c_attn.weight)", "Llama (", "native ("):
        assert part in str(caught.value)


def test_a_file_without_configuration_needs_the_number_of_heads(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    file = rewrite(checkpoints["gpt2"], lambda tensors: tensors, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"does not say how many heads a layer has; put the model's config\.json"):
        read_attention(file)
    with pytest.raises(ModelError, match="d_model = 32 is not a multiple of n_heads = 5"):
        read_attention(file, n_heads=5)
    for n_heads in (0, -4, True):
        with pytest.raises(ModelError, match="number of heads is given as"):
            read_attention(file, n_heads=n_heads)
    with pytest.raises(ModelError, match="number of heads is given as 4 and as 8"):
        read_attention(checkpoints["gpt2"], n_heads=8)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("gpt2", {"model_type": "imagegpt"}, "says model_type 'imagegpt': its tensors are named as GPT-2's"),
        ("llama", {"model_type": "gemma"}, "says model_type 'gemma': its tensors are named as Llama's"),
        ("gpt2", {"n_embd": 64}, "n_embd = 64, its tensors d_model = 32; the two belong to different models"),
        ("llama", {"head_dim": 16}, "head_dim = 16, its tensors d_head = 8"),
        ("llama", {"num_key_value_heads": 4}, "num_key_value_heads = 4, its tensors n_kv_heads = 2"),
        ("llama", {"num_attention_heads": 3}, "the query matrix's rows = 32 is not a multiple of n_heads = 3"),
        ("llama", {"num_attention_heads": "4"}, "number of heads is given as '4'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    checkpoints: dict[str, Path], tmp_path: Path, kind: str, change: dict[str, Any], message: str
) -> None:
    shutil.copy(checkpoints[kind] / "model.safetensors", tmp_path)
    config = json.loads((checkpoints[kind] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelError, match=message):
        read_attention(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"{\xff}"])
def test_a_configuration_that_is_no_json_object_is_refused(
    checkpoints: dict[str, Path], tmp_path: Path, content: bytes
) -> None:
    shutil.copy(checkpoints["gpt2"] / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        read_attention(tmp_path)


@pytest.mark.parametrize(
    ("kind", "name", "change", "message"),
    [
        ("gpt2", "transformer.h.1.attn.c_proj.weight", None, r"no tensor 'transformer\.h\.1\.attn\.c_proj\.weight'"),
        ("gpt2", "transformer.h.1.ln_1.weight", None, r"no tensor 'transformer\.h\.1\.ln_1\.weight'"),
        ("gpt2", "transformer.h.1.attn.c_attn.weight", (32, 64), r"shape \(32, 64\), expected \(32, 96\) for 4 heads"),
        ("gpt2", "transformer.h.0.attn.c_attn.weight", (96,), r"shape \(96,\), expected a matrix"),
        ("gpt2", "transformer.h.1.ln_1.weight", (16,), r"shape \(16,\), expected \(32,\)"),
        ("gpt2", "transformer.h.0.attn.c_attn.weight", None, "attention up to layer 2, but none of layer 0"),
        ("llama", "model.layers.1.self_attn.v_proj.weight", None, r"no tensor .*v_proj\.weight"),
        ("llama", "model.layers.1.self_attn.o_proj.weight", (32, 16), r"shape \(32, 16\), expected \(32, 32\)"),
        ("llama", "model.layers.0.self_attn.k_proj.weight", (12, 32), "rows = 12 is not a multiple of d_head = 8"),
        (
            "llama",
            "model.layers.0.self_attn.k_proj.weight",
            (24, 32),
            "n_heads = 4 is not a multiple of n_kv_heads = 3",
        ),
        ("llama", "model.layers.0.self_attn.q_norm.weight", (8,), "which Llama has not"),
        ("llama", "model.layers.0.input_layernorm.bias", (32,), "which Llama has not"),
    ],
)
def test_missing_misshapen_and_foreign_tensors_are_refused_by_name(
    checkpoints: dict[str, Path], tmp_path: Path, kind: str, name: str, change: tuple[int, ...] | None, message: str
) -> None:
    def damage(tensors: dict[str, Any]) -> dict[str, Any]:
        if change is None:
            del tensors[name]
        else:
            tensors[name] = np.ones(change, dtype=np.float32)
        return tensors

    file = rewrite(checkpoints[kind], damage, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=message):
        k_composition_matrix(read_attention(file, n_heads=4), targets=["2.0", "1.0"])


def test_a_truncated_checkpoint_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    whole = checkpoints["native"].read_bytes()
    (tmp_path / "x.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="is truncated"):
        read_attention(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "without 'config' in its metadata"),
        ({"config": "{"}, "is no JSON"),
        ({"config": "{}"}, "does not say how many heads"),
        ({"config": '{"n_heads": 4, "normalization_type": "DyT"}'}, "normalization_type 'DyT' is not one of"),
        ({"config": '{"n_heads": 4, "d_head": 4}'}, "d_head = 4, its tensors d_head = 8"),
    ],
)
def test_a_native_checkpoint_must_carry_its_configuration(
    checkpoints: dict[str, Path], tmp_path: Path, metadata: dict[str, str] | None, message: str
) -> None:
    save_file(load_file(checkpoints["native"]), tmp_path / "x.safetensors", metadata)
    with pytest.raises(ModelError, match=message):
        read_attention(tmp_path / "x.safetensors")


def test_a_model_id_opens_its_own_weights_or_a_file_in_their_place(checkpoints: dict[str, Path]) -> None:
    for kind in ("gpt2", "llama", "native"):
        opened = open_weights(f"path:{checkpoints[kind]}")
        assert opened.fingerprint == read_attention(checkpoints[kind]).fingerprint
    other = checkpoints["native"]
    assert open_weights(f"path:{checkpoints['gpt2']}", file=other).layout.tensors.path == other
    with pytest.raises(ModelError, match=r"has 3 layers and 4 key-value heads, but path:.* has 3 and 2; it is another"):
        open_weights(f"path:{checkpoints['llama']}", file=other)


def test_weights_that_are_not_here_say_how_to_bring_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MECHCLAIMS_CACHE", "HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(ModelNotHere, match="--weights gpt2-small=FILE"):
        open_weights("gpt2-small")
