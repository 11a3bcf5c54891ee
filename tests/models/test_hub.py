from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import ModelError, ModelNotHere
from harness.models import hub, registry
from harness.models.fingerprint import file_sha256
from harness.models.model import load
from harness.models.registry import ModelSpec, find


@pytest.fixture
def spec(gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """`gpt2-small` as if the tiny GPT-2 were the pinned one."""
    sha = file_sha256(gpt2_folder / "model.safetensors")
    tiny = replace(find("gpt2-small"), n_layers=2, n_heads=4, n_kv_heads=4, weights_sha256=sha)
    monkeypatch.setitem(registry._known, "gpt2-small", tiny)
    return tiny


def test_absent_model_is_not_downloaded_unasked() -> None:
    with pytest.raises(ModelNotHere, match="nothing is downloaded unless you ask") as caught:
        load("gpt2-small")
    assert caught.value.remedy.startswith("hf download openai-community/gpt2 ")
    assert "--revision 607a30d783dfa663caf39e06633721c8d4cfcd7e" in caught.value.remedy


def test_offline_wins_over_a_wish_to_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MECHCLAIMS_DOWNLOAD", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotHere, match="HF_HUB_OFFLINE forbids"):
        load("gpt2-small")


def test_failed_download_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(ModelNotHere, match="OSError: no route to host"):
        load("gpt2-small", allow_download=True)


def test_download_asks_for_the_pinned_revision(
    spec: ModelSpec, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def deliver(repo: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.append((repo, revision))
        return str(gpt2_folder)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", deliver)
    assert load("gpt2-small", allow_download=True).n_layers == 2
    assert asked == [("openai-community/gpt2", spec.revision)]


def test_model_in_the_hub_cache_loads_offline(spec: ModelSpec, gpt2_folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "hf/hub/models--openai-community--gpt2/snapshots" / str(spec.revision)
    shutil.copytree(gpt2_folder, snapshot)
    model = load("gpt2-small")
    assert (model.id, model.source) == ("gpt2-small", snapshot)
    assert model.fingerprint == load(f"path:{gpt2_folder}").fingerprint


def test_other_weights_than_the_pinned_ones_are_refused(spec: ModelSpec, gpt2_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache/models/gpt2-small"
    shutil.copytree(gpt2_folder, folder)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="is not gpt2-small at 607a30d") as caught:
        hub.hub_folder(spec)
    assert str(folder) in str(caught.value)
    assert "hf download" in str(caught.value)


def test_weights_without_a_pinned_hash_are_refused(spec: ModelSpec, gpt2_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache/models/gpt2-small"
    shutil.copytree(gpt2_folder, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        hub.hub_folder(spec)
