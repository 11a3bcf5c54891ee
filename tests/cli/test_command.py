"""The `mechclaims` command as a whole, and `list`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.catalog import all_claims, find_claim
from harness.cli import main
from harness.commands.listing import seed_ranges
from harness.errors import DeclarationError
from tests.cli.calling import CLAIM, call, refused

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "transformer_lens", "scipy", "statsmodels", "pandas", "matplotlib")


def test_importing_and_asking_for_versions_and_claims_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom harness.cli import main\n"
        "for words in (['--version'], ['list', '--json'], ['models'], ['cache']):\n"
        "    main(words, standalone_mode=False)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version_names_what_numbers_depend_on() -> None:
    lines = call("--version").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["mechclaims", "torch", "transformers", "transformer-lens"]


def test_every_command_says_in_a_sentence_what_it_does() -> None:
    for name, command in main.commands.items():
        result = call(name, "--help")
        assert result.exit_code == 0
        assert re.search(r"[A-Z][^\n]{15,}", command.help or ""), name


def test_list_shows_what_decides_each_claim(toy: Path) -> None:
    shown = call("list").stdout
    for text in ("toy.copies", "toy2026", "Toys copy.", "at least 0.25 nats", "n = 24 sequences", "other toys"):
        assert text in shown
    assert "supported: induction-2l@0..2" in shown


def test_list_as_json_holds_the_declaration_and_the_registered_verdicts(toy: Path) -> None:
    with (toy / "subjects.toml").open("a", encoding="utf-8") as file:
        file.write('\n[expectations."toy.copies"]\n"induction-2l@1" = { verdict = "refuted", reason = "too young" }\n')
    (entry,) = json.loads(call("list", "--json").stdout)
    found = (entry["id"], entry["sesoi"], entry["units"]["default"], entry["tier"])
    assert found == ("toy.copies", 0.25, 24, "inference")
    assert entry["registered"]["induction-2l@0"] == {"verdict": "supported", "reason": ""}
    assert entry["registered"]["induction-2l@1"] == {"verdict": "refuted", "reason": "too young"}
    assert entry["source"].endswith("claims/toy/test_toy.py::test_toys_copy")


def test_list_of_this_repository_finds_the_induction_claims() -> None:
    ids = [entry["id"] for entry in json.loads(call("list", "--json", "--claims", ROOT / "claims").stdout)]
    assert "induction.prefix-matching" in ids
    assert len(ids) == len(set(ids)) >= 7


def test_list_names_everything_that_is_wrong_at_once(toy: Path) -> None:
    (toy / "test_broken.py").write_text("import no_such_module_anywhere\n", encoding="utf-8")
    vague = CLAIM.replace("sesoi=0.25,", "").replace("toy.copies", "toy.vague")
    (toy / "test_vague.py").write_text(vague, encoding="utf-8")
    (toy / "test_twice.py").write_text(CLAIM, encoding="utf-8")
    text = refused("list")
    assert "no_such_module_anywhere" in text
    assert "'toy.vague'" in text
    assert "sesoi" in text
    assert "declared twice" in text


def test_list_without_a_claims_folder_says_where_to_go(folder: Path) -> None:
    text = refused("list", "--claims", "nowhere")
    assert "nowhere" in text
    assert "--claims DIR" in text


def test_claims_that_a_file_only_imports_are_not_listed_twice(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(toy)
    (toy / "toy_shared.py").write_text(CLAIM, encoding="utf-8")
    (toy / "test_other.py").write_text("from toy_shared import test_toys_copy\n", encoding="utf-8")
    (entry,) = all_claims(toy.parent)
    assert entry.source.endswith("test_toy.py::test_toys_copy")


def test_a_claim_is_found_by_its_id_and_a_near_miss_is_named(toy: Path) -> None:
    assert find_claim("toy.copies", claims=toy.parent).claim.sesoi == 0.25
    with pytest.raises(DeclarationError, match=r"there are: toy\.copies\. Did you mean 'toy\.copies'\?"):
        find_claim("toy.copiez", claims=toy.parent)


def test_a_claim_is_found_in_a_folder_that_python_can_import() -> None:
    found = find_claim("greater-than.behaviour", claims=ROOT / "claims")
    assert found.mechanism.folder.name == "greater_than"


def test_training_seeds_are_drawn_together() -> None:
    ids = ["a@0", "a@1", "a@2", "b@3", "b@5", "b@6", "gpt2-small", "path:/x@1"]
    assert seed_ranges(ids) == ["a@0..2", "b@3,5..6", "gpt2-small", "path:/x@1"]
