"""`mechclaims discover` and `train`: what they write, and that nothing half-written is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.errors import SubjectNotFound
from harness.mechanism import Discovery
from harness.models import recipes, registry
from harness.subjects import read_subjects
from tests.cli.calling import call, refused
from tests.paths import REPOSITORY


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
    assert subject.classes["missing"] == ()
    with pytest.raises(SubjectNotFound, match=r"discovery found no head of class 'missing' \(mechclaims discover toy"):
        read_subjects(Path("heads.toml")).subject(tiny, class_name="missing")


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


STABLE = """
from harness.mechanism import Discovery
from harness.selection import overlap, permuted

def discover(model, streams, *, say):
    say("half-sample 1 of 20")
    return Discovery(
        classes={"copier": ("1.2", "1.0"), "missing": ()},
        selected_by={"copier": "score", "missing": "another"},
        scores={"score": {"1.2": 0.9, "1.0": 0.5, "0.1": 0.1}},
        frequencies={"copier": {"1.2": 1.0, "1.0": 0.95, "0.1": 0.05}, "missing": {}},
        half_samples=20,
        overlaps={"copier": overlap(["1.2", "1.0"], ["1.2"], of=4), "missing": overlap([], [], of=4)},
        permuted={"copier": permuted(["1.2", "1.0"], [[], ["0.1"]], of=4), "missing": permuted([], [[]], of=4)},
        notes=("a \\"note\\"\\nof two lines",),
        prompts_sha256="ab" * 32,
        n_prompts=60,
    )
"""


def test_discover_writes_how_stable_the_heads_are_and_where_they_came_from(toy: Path, tiny: str) -> None:
    (toy / "mechanism.py").write_text(STABLE, encoding="utf-8")
    result = call("discover", "toy", "--model", tiny, "--out", "heads.toml")
    assert result.exit_code == 0, result.output
    model = tomllib.loads(Path("heads.toml").read_text(encoding="utf-8"))["models"][tiny]
    copier, missing = model["classes"]["copier"], model["classes"]["missing"]
    assert (copier["heads"], copier["selection_frequency"]) == (["1.2", "1.0"], [1.0, 0.95])
    assert copier["half_samples"] == 20
    # {1.2, 1.0} and {1.2}: one of two. One of four is in a pair with probability 1/2, index 1/2: 1/4 by chance.
    assert (copier["jaccard"], copier["jaccard_by_chance"]) == (0.5, 0.25)
    # 0 and 1 heads; they share nothing, and a random head would have index 1/4 in one of the two draws.
    assert (copier["permutations"], copier["permuted_heads"]) == (2, 0.5)
    assert (copier["permuted_jaccard"], copier["permuted_jaccard_by_chance"]) == (0.0, 0.125)
    assert (missing["heads"], missing["selection_frequency"]) == ([], [])
    assert "jaccard" not in missing, "two empty samples agree in nothing that could be reported"
    found = model["discovery"]
    assert (found["prompts_sha256"], found["n_prompts"], found["notes"]) == ("ab" * 32, 60, ['a "note"\nof two lines'])
    assert len(found["fingerprint"]) == 64
    subject = read_subjects(Path("heads.toml")).subject(tiny, class_name="copier")
    assert subject is not None
    assert (subject.frequencies, subject.half_samples) == ({"1.2": 1.0, "1.0": 0.95}, 20)


def test_discover_says_what_it_does_and_how_stable_the_heads_are(toy: Path, tiny: str) -> None:
    (toy / "mechanism.py").write_text(STABLE, encoding="utf-8")
    result = call("discover", "toy", "--model", tiny, "--out", "heads.toml")
    assert "discovering heads of" in result.stderr
    assert "half-sample 1 of 20" in result.stderr
    shown = " ".join(result.stdout.split())
    for said in (
        "19 of 20",
        "two disjoint samples: 2 and 1 of 4 selected, 1 shared: Jaccard 0.500 (0.250 by chance)",
        "permuted labels: 2 permutations select 0.50 of 4 on average: Jaccard 0.000 with the selection (0.125 by",
        "two disjoint samples: neither sample selected any of 4",
        'note: a "note" of two lines',
        "found on 60 prompts of the discovery split, sha256 abababababababab",
    ):
        assert said in shown
    text = Path("heads.toml").read_text(encoding="utf-8")
    assert "# not selected, but in some half-samples: 0.1: 0.05" in text
    assert "# no head of class 'missing' reached its threshold" in text


INTERRUPTED = """
import time

def discover(model, streams, *, say):
    say("it has begun")
    time.sleep(60)
"""
RUN = """
import signal, sys
from types import SimpleNamespace
import harness.models.model
from harness.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background hands on that it is ignored
harness.models.model.load = lambda *_, **__: SimpleNamespace(id="m", fingerprint="f" * 64, note="")
main(["discover", "toy", "--model", "induction-2l@0", "--out", "out/heads.toml", "--force"])
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as a terminal sends them")
@pytest.mark.parametrize("before", [None, "mine"])
def test_discover_interrupted_by_a_signal_leaves_the_folder_as_it_was(toy: Path, before: str | None) -> None:
    (toy / "mechanism.py").write_text(INTERRUPTED, encoding="utf-8")
    Path("out").mkdir()
    if before is not None:
        Path("out/heads.toml").write_text(before, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([sys.executable, "-c", RUN], stderr=subprocess.PIPE, text=True, env=environment) as started:
        assert started.stderr is not None
        lines = iter(started.stderr.readline, "")
        assert any("it has begun" in line for line in lines)
        started.send_signal(signal.SIGINT)
        assert started.wait(timeout=30) == 1
    assert {path.name: path.read_text(encoding="utf-8") for path in Path("out").iterdir()} == (
        {} if before is None else {"heads.toml": before}
    )


def test_discover_interrupted_leaves_no_file_where_there_was_none(
    toy: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Discovery:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.mechanism.Mechanism.discover", property(lambda _: interrupted))
    result = call("discover", "toy", "--model", tiny, "--out", "new/heads.toml")
    assert result.exit_code == 1
    assert not Path("new").exists()
    assert "Traceback" not in result.output


def test_discover_refuses_a_file_that_cannot_be_written_before_it_begins(toy: Path) -> None:
    Path("file").write_text("", encoding="utf-8")
    said = refused("discover", "toy", "--model", "induction-2l@0", "--out", "file/heads.toml")
    assert "--out file/heads.toml: nothing can be written in its folder" in said


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
    assert "interrupted; the same command goes on where the training was last saved" in result.stderr


STEPS = """
import os, signal
from harness.models.recipes import Recipe, register_recipe
from harness.models.unfinished import GOING_ON
from pathlib import Path

def train(spec, seed, *, out, progress):
    done = int(Path("state").read_text()) if Path("state").exists() else 0
    if done:
        progress(done, 5, GOING_ON)
    while done < 5:
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)
        done += 1
        try:
            progress(done, 5, "")
        except KeyboardInterrupt:
            Path("state").write_text(str(done))
            raise
    from harness.models.native import boot_native, save_native
    config = dict(n_layers=1, d_model=4, n_ctx=4, d_head=2, n_heads=2, d_vocab=5, attn_only=True,
        act_fn="relu", normalization_type="LN", positional_embedding_type="standard", init_mode="gpt2")
    save_native(boot_native(config), out, metadata={"train_loss": "1.0"})

register_recipe(Recipe("toy-1l", train, minutes=0.1, loss_tolerance_nats=0.1))
"""


def test_train_says_where_it_was_stopped_and_where_it_goes_on(recipe: Path) -> None:
    (recipe.parent / "claims" / "toy" / "mechanism.py").write_text(STEPS, encoding="utf-8")
    stopped = call("train", "toy-1l@0", "--out", "a.safetensors")
    assert stopped.exit_code == 1
    assert "interrupted and saved after step 3 of 5; the same command goes on there" in stopped.stderr
    again = call("train", "toy-1l@0", "--out", "a.safetensors")
    assert again.exit_code == 0, again.output
    assert "going on at step 3 of 5" in again.stdout


@pytest.mark.parametrize("out", ["file/a.safetensors", "a.resume"])
def test_train_refuses_a_file_that_cannot_be_written_before_it_begins(recipe: Path, out: str) -> None:
    Path("file").write_text("", encoding="utf-8")
    recipe.write_text("interrupt", encoding="utf-8")  # it would end otherwise, had it begun
    assert out in refused("train", "toy-1l@0", "--out", out)


def test_train_refuses_what_it_cannot_train(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "_recipes", {})
    assert "Did you mean" in refused("train", "induction-2l@7")
    assert "hf download" in refused("train", "gpt2-small")
    assert "in a clone of the repository" in refused("train", "induction-2l@0", "--claims", "nowhere")
    assert "no recipe trains 'induction-2l'" in refused("train", "induction-2l@0")
