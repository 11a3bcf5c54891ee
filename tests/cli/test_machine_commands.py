"""`mechclaims models`, `cache` and `doctor`: what is on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.commands.doctor import Finding, findings
from harness.models import registry
from tests.cli.calling import call, refused

ROOT = Path(__file__).resolve().parents[2]


def test_models_says_of_each_whether_it_is_here_and_how_to_bring_it(folder: Path) -> None:
    shown = call("models").stdout
    for spec in registry.known_models():
        assert f"  {spec.id}: " in shown
        assert f"    {spec.remedy}" in shown.splitlines(), "a command must not be folded"
    listed = {entry["id"]: entry for entry in json.loads(call("models", "--json").stdout)}
    assert listed["gpt2-small"]["remedy"].startswith("hf download openai-community/gpt2")
    assert "dequantised" in listed["smollm2-135m-q4"]["note"]


def test_models_calls_a_damaged_checkpoint_damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "induction-2l-0.safetensors").write_bytes(b"not a checkpoint")
    monkeypatch.setenv("MECHCLAIMS_CHECKPOINTS", str(checkpoints))
    listed = {entry["id"]: entry for entry in json.loads(call("models", "--json").stdout)}
    assert (listed["induction-2l@0"]["here"], listed["induction-2l@0"]["weights_sha256"]) == (True, "damaged")


def test_cache_names_and_measures_its_folder(folder: Path) -> None:
    (folder / "cache" / "models" / "some").mkdir(parents=True)
    (folder / "cache" / "models" / "some" / "weights").write_bytes(b"x" * 2_500)
    assert call("cache", "dir").stdout.strip() == str(folder / "cache")
    assert call("cache").stdout.strip() == f"{folder / 'cache'} (2 kB)"  # 2.5 rounds to even
    assert "models/some" in call("cache", "size").stdout


def test_cache_clear_asks_and_removes_only_what_is_ours(folder: Path) -> None:
    for name in ("models", "checkpoints", "photos"):
        (folder / "cache" / name).mkdir(parents=True)
        (folder / "cache" / name / "file").touch()
    assert call("cache", "clear", given="n\n").exit_code == 1
    assert (folder / "cache" / "models" / "file").exists()
    assert call("cache", "clear", "--yes").exit_code == 0
    assert [path.name for path in (folder / "cache").iterdir()] == ["photos"]
    assert "holds no models" in call("cache", "clear", "--yes").stdout


def test_cache_clear_does_not_follow_a_link(folder: Path) -> None:
    (folder / "precious").mkdir()
    (folder / "precious" / "file").touch()
    (folder / "cache").mkdir()
    (folder / "cache" / "models").symlink_to(folder / "precious")
    assert call("cache", "clear", "--yes").exit_code == 0
    assert (folder / "precious" / "file").exists()


def test_doctor_finds_nothing_broken_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = call("doctor", "--claims", ROOT / "claims")
    assert result.exit_code == 0, result.stdout
    assert {line.split()[0] for line in result.stdout.splitlines()} <= {"ok", "warn"}
    for text in ("python 3", "torch ", "HF_HUB_OFFLINE=1", "can be written", "memory", "smollm2-135m-q4"):
        assert text in result.stdout


def test_doctor_exits_with_1_where_something_is_broken(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = toy / "a file, not a folder"
    blocked.touch()
    monkeypatch.setenv("MECHCLAIMS_CACHE", str(blocked / "cache"))
    (toy / "test_toy.py").write_text("this is no Python", encoding="utf-8")
    result = call("doctor")
    assert result.exit_code == 1
    assert "set MECHCLAIMS_CACHE" in result.stdout
    assert "test_toy.py cannot be imported: SyntaxError" in result.stdout


def test_doctor_says_whether_claims_are_registered(toy: Path) -> None:
    def said() -> Finding:
        (found,) = [each for each in findings(toy.parent) if "registry.lock" in each.text]
        return found

    assert said().state == "warn"
    assert "`mechclaims register` writes it" in said().text
    call("register")
    assert said() == Finding("ok", f"1 claims registered in {toy.parent / 'registry.lock'}")
    (toy.parent / "registry.lock").write_text("{", encoding="utf-8")
    assert said().state == "broken"
    assert "not readable as a lock" in said().text


def test_doctor_and_register_name_a_verdict_that_is_expected_of_no_claim(toy: Path) -> None:
    with (toy / "subjects.toml").open("a", encoding="utf-8") as file:
        file.write('\n[expectations."toy.copeis"]\n"induction-2l@0" = { verdict = "refuted", reason = "it is" }\n')
    said = '[expectations."toy.copeis"] is of no claim of this folder; there are: toy.copies. Did you mean'
    result = call("doctor")
    assert result.exit_code == 1
    assert said in result.stdout
    assert said in refused("register", "--check")


def test_doctor_warns_where_there_are_no_claims(folder: Path) -> None:
    (found,) = [each for each in findings(Path("nowhere")) if each.text.startswith("nowhere")]
    assert found == Finding("warn", "nowhere: no claims folder here; name it with --claims DIR, or go into the clone")
