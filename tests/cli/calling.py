"""Calling the command in this process, and what a mechanism of one claim looks like."""

from __future__ import annotations

from click.testing import CliRunner, Result

from harness.cli import main

CLAIM = """
from harness.claim import Control, Metric, Units, claim

@claim(
    id="toy.copies", paper="toy2026", statement="Toys copy.", metric=Metric("score", unit="nats"), sesoi=0.25,
    sesoi_reason="half of what discovery finds", alternative="greater", subject="copier",
    controls=(Control("other toys", "component"), Control("shuffled toys", "input")),
    rival="toys guess", exposed_by="shuffled toys", units=Units(default=24, quick=12, reason="power"),
)
def test_toys_copy(model, subject, evidence, rng):
    evidence.decide()
"""
SUBJECTS = "\n".join(
    f'[models."induction-2l@{seed}".classes.copier]\nheads = ["1.0"]\nselected_by = "s"\nsource = "s"\nsplit = "s"'
    for seed in range(3)
)
MECHANISM = """
from harness.mechanism import Discovery

def discover(model, streams):
    draw = streams.for_("sequences").random()
    return Discovery(
        classes={"copier": ("1.2", "1.0"), "missing": ()},
        selected_by={"copier": 'a "score"', "missing": "another"},
        scores={'a "score"': {"1.2": 0.9, "1.0": 0.5, "0.1": draw / 10}, "another": {"0.0": 0.01}},
    )
"""


def call(*arguments: object, given: str | None = None) -> Result:
    """The command's result; an exception that is not ours is a failure of the test."""
    result = CliRunner().invoke(main, [str(each) for each in arguments], input=given)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(*arguments: object) -> str:
    """What stands on stderr where the command refuses: one `error:` and no traceback, exit code 2."""
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    return result.stderr
