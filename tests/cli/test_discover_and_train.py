"""`mechclaims discover` and `train`: what they write, and that nothing half-written is left."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from harness.mechanism import Discovery
from harness.models import recipes, registry
from harness.subjects import read_subjects
from tests.cli.calling import call, refused


def test_discover_writes_a_subjects_file_that_can_be_read_back(toy: Path, tiny: str) -> None:
    result = call("discover", "toy", "--model", tiny, "--out", "heads.toml")
    assert result.exit_code == 0, result.output
    assert "1.2" in result.stdout
    assert "0.900" in result.stdout
    assert "no head of class 'missing'" in result.stdout
    subject = read_subjects(Path("heads.toml")).subject(tiny, class_name="copier")
    assert subject is not None
    assert (subject.heads, subject.selected_by, subject.split) == (("1.2", "1.0"), 'a "score"', "discovery")
    assert subject.source == f"mechclaims discover toy --model {tiny}"
    assert list(subject.classes) == ["copier"], "an empty class would not be readable"


def test_discover_prints_the_file_without_out(toy: Path, tiny: str) -> None:
    shown = call("discover", "toy", "--model", tiny).stdout
    text = shown[shown.index("# Written by") :]
    assert tomllib.loads(text)["models"][tiny]["classes"]["copier"]["heads"] == ["1.2", "1.0"]


def test_discover_replaces_a_file_only_with_force_and_leaves_none_half_written(
    toy: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("heads.toml").write_text("mine", encoding="utf-8")
    assert "--force" in refused("discover", "toy", "--model", tiny, "--out", "heads.toml")

    def interrupted(*_: object) -> Discovery:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("harness.mechanism.Mechanism.discover", property(lambda _: interrupted))
        assert call("discover", "toy", "--model", tiny, "--out", "heads.toml", "--force").exit_code == 1
    assert Path("heads.toml").read_text(encoding="utf-8") == "mine"
    assert call("discover", "toy", "--model", tiny, "--out", "heads.toml", "--force").exit_code == 0
    assert "[models." in Path("heads.toml").read_text(encoding="utf-8")
    assert list(Path().glob("*.tmp")) == list(Path().glob(".*.tmp")) == []


def test_discover_refuses_before_anything_is_loaded(toy: Path) -> None:
    assert "Did you mean 'toy'?" in refused("discover", "toi", "--model", "induction-2l@0")
    assert "Did you mean" in refused("discover", "toy", "--model", "induction-2l@9")
    assert "holds no model" in refused("discover", "toy", "--model", f"path:{toy}")
    (toy / "mechanism.py").unlink()
    assert "discover(model, streams)" in refused("discover", "toy", "--model", "induction-2l@0")


@pytest.fixture
def recipe(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A family `toy-1l` whose recipe writes a checkpoint with the loss that stands in the file `loss`."""
    monkeypatch.setattr(registry, "_known", dict(registry._known))
    monkeypatch.setattr(recipes, "_recipes", dict(recipes._recipes))
    registry.register(registry.shipped_spec("toy-1l", 0, note="a toy", n_layers=1, n_heads=2, size_bytes=1))
    (toy / "mechanism.py").write_text(
        "from pathlib import Path\n"
        "from harness.models.native import boot_native, save_native\n"
        "from harness.models.recipes import Recipe, register_recipe\n"
        "def train(spec, seed, *, out, progress):\n"
        "    config = dict(n_layers=1, d_model=4, n_ctx=4, d_head=2, n_heads=2, d_vocab=5, attn_only=True,\n"
        "        act_fn='relu', normalization_type='LN', positional_embedding_type='standard', init_mode='gpt2')\n"
        "    progress(1, 2, 'loss 2.0')\n"
        "    loss = Path('loss').read_text()\n"
        "    if loss == 'interrupt':\n"
        "        raise KeyboardInterrupt\n"
        "    save_native(boot_native(config), out, metadata={'train_loss': loss})\n"
        "    progress(2, 2, 'loss 1.0')\n"
        "register_recipe(Recipe('toy-1l', train, minutes=0.1, loss_tolerance_nats=0.1))\n",
        encoding="utf-8",
    )
    return toy.parents[1] / "loss"


def test_train_compares_with_the_shipped_loss(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = recipe.parent / "shipped"
    recipe.write_text("1.00", encoding="utf-8")
    first = call("train", "toy-1l@0", "--out", shipped / "toy-1l-0.safetensors")
    assert first.exit_code == 0, first.output
    assert "loss 1.0000 nats per token" in first.stdout
    assert "no other checkpoint" in first.stdout

    monkeypatch.setenv("MECHCLAIMS_CHECKPOINTS", str(shipped))
    recipe.write_text("1.05", encoding="utf-8")
    near = call("train", "toy-1l@0")
    assert near.exit_code == 0
    assert "difference of +0.0500 is within the recipe's tolerance of 0.1" in near.stdout
    assert (recipe.parent / "cache" / "checkpoints" / "toy-1l-0.safetensors").is_file()

    recipe.write_text("1.25", encoding="utf-8")
    far = call("train", "toy-1l@0")
    assert far.exit_code == 1
    assert "OUTSIDE" in far.stdout


def test_train_interrupted_says_how_it_goes_on(recipe: Path) -> None:
    recipe.write_text("interrupt", encoding="utf-8")
    result = call("train", "toy-1l@0")
    assert result.exit_code == 1
    assert "the same command goes on" in result.stderr


def test_train_refuses_what_it_cannot_train(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "_recipes", {})
    assert "Did you mean" in refused("train", "induction-2l@7")
    assert "hf download" in refused("train", "gpt2-small")
    assert "in a clone of the repository" in refused("train", "induction-2l@0", "--claims", "nowhere")
    assert "no recipe trains 'induction-2l'" in refused("train", "induction-2l@0")
