"""`mechclaims steer`: what it writes, that it writes it again, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.calling import call, refused
from tests.one_thread import one_thread  # noqa: F401

pytestmark = pytest.mark.usefixtures("one_thread")
MECHANISM = """
from harness.steering import ContrastPairs, SteeringContrast

def pairs(model):
    words = [f"w{number}" for number in range(8)]
    rows = [[tuple(row) for row in model.token_lists([f"{word} {end}" for word in words], bos=True)]
            for end in ("w30", "w31")]
    return ContrastPairs(tuple(rows[0]), tuple(rows[1]))

def contrasts():
    return (
        SteeringContrast("thirty", "w30", "w31", pairs, layers={"elsewhere": 0}),
        SteeringContrast("other", "a", "b", pairs),
    )
"""


@pytest.fixture
def steering(toy: Path) -> Path:
    """The claims folder with a mechanism that announces two contrasts, beside one that announces none."""
    place = toy.parent / "steering"
    place.mkdir()
    (place / "test_nothing.py").write_text("", encoding="utf-8")
    (place / "mechanism.py").write_text(MECHANISM, encoding="utf-8")
    return place


def test_steer_writes_continuations_without_and_with_the_direction(steering: Path, tiny: str) -> None:
    options = ("--model", tiny, "--contrast", "thirty", "--dose", "40", "--dose", "-40", "--tokens", "6")
    result = call("steer", *options, "w1 w2", "w3")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout, "no colours in a pipe"
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert any(line.startswith("thirty: w30 minus w31, mean difference of 8 pairs at resid_pre of") for line in lines)
    assert "no working layer is declared" in result.stdout
    assert "dose 1 is 0.1 of the mean norm" in result.stdout
    assert [line for line in lines if line in ("w1 w2", "w3")] == ["w1 w2", "w3"]
    written = {
        start: [line.removeprefix(start) for line in lines if line.startswith(start)]
        for start in ("without", "dose 40", "dose -40")
    }
    assert all(len(found) == 2 for found in written.values())
    assert written["without"] != written["dose 40"] != written["dose -40"]
    assert call("steer", *options, "w1 w2", "w3").stdout == result.stdout
    assert "reading the pairs of the discovery split" in result.stderr


def test_steer_takes_layer_method_temperature_and_seed(steering: Path, tiny: str) -> None:
    options = ("--model", tiny, "--contrast", "thirty", "--layer", "0", "--method", "probe", "--temperature", "2")
    one, again, other = (call("steer", *options, "--seed", seed, "w1").stdout for seed in (1, 1, 2))
    assert "probe of 8 pairs at resid_pre of layer 0" in " ".join(one.split())
    assert "temperature 2, seed 1" in one
    assert one == again
    assert one.replace("seed 1", "seed 2") != other
    assert "dose 2 " in one, "the default"


def test_steer_lists_the_contrasts_that_there_are(steering: Path, tiny: str) -> None:
    said = " ".join(refused("steer", "--model", tiny, "--contrast", "thirsty", "w1").split())
    assert "no contrast 'thirsty' below claims; there are: other, thirty. Did you mean 'thirty'?" in said


def test_steer_says_where_contrasts_come_from_if_there_are_none(toy: Path, tiny: str) -> None:
    said = refused("steer", "--model", tiny, "--contrast", "a", "w1")
    assert "no mechanism.py beside a test file there announces contrasts()" in " ".join(said.split())


def test_steer_refuses_two_contrasts_of_one_name(steering: Path, tiny: str) -> None:
    second = steering.parent / "steering_again"
    second.mkdir()
    for path in steering.iterdir():
        if path.is_file():
            (second / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    said = refused("steer", "--model", tiny, "--contrast", "thirty", "w1")
    assert "contrast 'thirty' is announced twice" in said


def test_steer_refuses_what_cannot_be_steered_by_name(steering: Path, tiny: str) -> None:
    options = ("--contrast", "thirty", "--tokens", "3")
    assert "induction-2l@0' has no tokenizer" in refused("steer", "--model", "induction-2l@0", *options, "w1")
    for given, said in (
        (("--layer", "9"), "layer 9 does not exist, the model has 2 layers"),
        (("--dose", "1e30"), "dose 1e+30"),
        (("--tokens", "100"), "more than the 64"),
    ):
        result = call("steer", "--model", tiny, *options, *given, "w1")  # it said first that it reads the pairs
        written = re.findall(r"\bw1\b", result.stdout)  # a worker's folder, gw1, may stand in the model's name
        assert (result.exit_code, written) == (2, []), "nothing half-written"
        assert said in " ".join(result.stderr.partition("error: ")[2].split())
    assert "none of them empty" in refused("steer", "--model", tiny, *options, "")
    assert call("steer", "--model", tiny, *options).exit_code == 2, "a text is needed"
    assert call("steer", "--model", tiny, *options, "--method", "magic", "w1").exit_code == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--dose", "nan"), "nan is not a finite number"),
        (("--dose", "1", "--dose", "1.00000001"), "1 is named twice"),
        (("--tokens", "0"), "0 is not in the range"),
        (("--temperature", "-1"), "-1.0 is not in the range"),
        (("--temperature", "nan"), "temperature nan"),
    ],
)
def test_numbers_that_mean_nothing_are_refused_before_a_model_is_loaded(steering: Path, given, said) -> None:
    result = call("steer", "--model", "path:nowhere", "--contrast", "thirty", *given, "w1")
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_steer_takes_the_declared_dose_and_says_where_it_was_chosen(steering: Path, tiny: str) -> None:
    path = steering / "mechanism.py"
    declared = f'layers={{"{tiny}": 1}}, doses={{"{tiny}": 3.0}}'
    path.write_text(MECHANISM.replace('layers={"elsewhere": 0}', declared), encoding="utf-8")
    options = ("--model", tiny, "--contrast", "thirty", "--tokens", "2")
    plain = call("steer", *options, "w1").stdout
    assert "the declared dose is 3\n" in plain
    assert "dose 3 " in plain
    elsewhere = call("steer", *options, "--layer", "0", "w1").stdout
    assert "the declared dose is 3, chosen for layer 1" in elsewhere
    assert "no working dose is declared" in call("steer", *options, "--contrast", "other", "w1").stdout
