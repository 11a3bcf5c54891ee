from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from harness.errors import ModelError
from harness.models.native import boot_native
from harness.models.unfinished import Interrupted, Progress, State, Unfinished, between_steps
from tests.models.test_native import CONFIG


def quiet(done: int, total: int, text: str) -> None:
    """Nobody listens."""


def steps(report: Progress, *, signals: dict[int, int], total: int = 4) -> list[int]:
    """The steps that were finished, with a signal sent in the middle of some."""
    finished = []
    for step in range(1, total + 1):
        if step in signals:
            os.kill(os.getpid(), signals[step])
        finished.append(step)
        try:
            report(step, total, "")
        except KeyboardInterrupt:
            return finished
    return finished


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_its_step_is_done(number: int) -> None:
    before = signal.getsignal(number)
    with between_steps(quiet) as report:
        assert steps(report, signals={3: number}) == [1, 2, 3]
    assert signal.getsignal(number) is before


def test_the_interruption_says_which_step_was_the_last() -> None:
    with between_steps(quiet) as report:
        report(1, 4, "")
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted) as caught:
            report(2, 4, "")
    assert (caught.value.done, caught.value.total) == (2, 4)


def twice(report: Progress) -> None:
    report(1, 4, "")
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)


def before_the_first(report: Progress) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def after_the_last(report: Progress) -> None:
    report(4, 4, "")
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("ends", [twice, before_the_first, after_the_last])
def test_a_second_signal_or_one_outside_the_steps_ends_at_once(ends) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, between_steps(quiet) as report:
        ends(report)
    assert not isinstance(caught.value, Interrupted)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with between_steps(quiet) as report:
            assert steps(report, signals={2: signal.SIGINT}) == [1, 2, 3, 4]
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_held_back() -> None:
    finished: list[int] = []

    def run() -> None:
        with between_steps(quiet) as report:
            finished.extend(steps(report, signals={}))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert finished == [1, 2, 3, 4]


def state(tmp_path: Path, *, recipe: str = "a recipe"):
    bridge = boot_native(CONFIG)
    optimizer = torch.optim.AdamW(bridge.parameters())
    return Unfinished(tmp_path / "a.resume", recipe), bridge, optimizer


def test_a_state_is_saved_where_it_is_due_or_interrupted_and_comes_back(tmp_path: Path) -> None:
    unfinished, bridge, optimizer = state(tmp_path)
    generator = torch.Generator().manual_seed(1)
    with unfinished.saving(bridge, optimizer, state=State(1, [0.5]), due=False, generator=generator):
        pass
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(KeyboardInterrupt),
        unfinished.saving(bridge, optimizer, state=State(2, [0.5, 0.25]), due=False, generator=generator),
    ):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.resume"]
    drawn = torch.rand(3, generator=generator)
    assert unfinished.restore(bridge, optimizer, generator=generator) == State(2, [0.5, 0.25])
    assert torch.equal(torch.rand(3, generator=generator), drawn)
    with unfinished.saving(bridge, optimizer, state=State(3, []), due=True):
        assert unfinished.restore(bridge, optimizer).done == 3


def test_a_save_that_fails_leaves_the_old_state_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished, bridge, optimizer = state(tmp_path)
    unfinished.save(bridge, optimizer, state=State(1, []))

    def half(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(ModelError, match=r"a\.resume: the state of the training cannot be written \(No space"):
        unfinished.save(bridge, optimizer, state=State(2, []))
    assert [path.name for path in tmp_path.iterdir()] == ["a.resume"]
    assert unfinished.restore(bridge, optimizer).done == 1


def test_a_damaged_state_is_refused_by_name(tmp_path: Path) -> None:
    unfinished, bridge, optimizer = state(tmp_path)
    for content in (b"", b"half of it"):
        unfinished.path.write_bytes(content)
        with pytest.raises(ModelError, match=r"a\.resume holds no unfinished training that can be read. Delete it"):
            unfinished.restore(bridge, optimizer)
    torch.save({"model": {}, "step": 3}, unfinished.path)
    with pytest.raises(ModelError, match="Delete it"):
        unfinished.restore(bridge, optimizer)
