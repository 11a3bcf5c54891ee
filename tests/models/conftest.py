"""Tiny models, saved once per session; a cache folder of each test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.tiny import tiny_gpt2, tiny_llama


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's cache, the hub's cache or the repository's checkpoints."""
    for variable in ("MECHCLAIMS_CHECKPOINTS", "MECHCLAIMS_DOWNLOAD", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MECHCLAIMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2 on disk; do not write into it."""
    return tiny_gpt2(tmp_path_factory.mktemp("tiny") / "gpt2")


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with grouped queries on disk; do not write into it."""
    return tiny_llama(tmp_path_factory.mktemp("tiny") / "llama")
