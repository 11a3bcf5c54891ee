"""A training that can be stopped at any moment: its state on disk, and Ctrl-C held back until a step is done."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import ModelError
from harness.models.native import weights_by_name

if TYPE_CHECKING:
    from torch import Generator
    from torch.optim import Optimizer
    from transformer_lens.model_bridge import TransformerBridge

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a short text such as the loss."""

GOING_ON = "going on"
"""The text of the first report of a training that goes on where it was stopped."""

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A training was stopped between two steps; the recipe saves its state as this passes through."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"stopped after step {done} of {total}")
        self.done = done
        self.total = total


class State(NamedTuple):
    """How far a training is: steps done, and the recipe's own history, such as losses."""

    done: int
    history: list[float]


@dataclass(frozen=True)
class Unfinished:
    """The state of an unfinished training on disk, beside the checkpoint that it will become.

    A training that is stopped at any moment goes on from the last state saved, to the same bits: the file is replaced
    whole, and what a step draws follows from the seed and the step alone, or from a generator that is saved too.

    Attributes:
        path: the file.
        recipe: what the training is (name, model, schedule): a state of another recipe is refused.
    """

    path: Path
    recipe: str

    @classmethod
    def beside(cls, out: Path, recipe: str) -> Unfinished:
        """The state that belongs to a checkpoint."""
        return cls(out.with_suffix(".resume"), recipe)

    @contextmanager
    def saving(
        self,
        bridge: TransformerBridge,
        optimizer: Optimizer,
        *,
        state: State,
        due: bool,
        generator: Generator | None = None,
    ) -> Iterator[None]:
        """Save now where it is due; otherwise only where what stands within, a report of progress, is interrupted."""
        if due:
            self.save(bridge, optimizer, state=state, generator=generator)
        try:
            yield
        except KeyboardInterrupt:
            if not due:
                self.save(bridge, optimizer, state=state, generator=generator)
            raise

    def save(
        self, bridge: TransformerBridge, optimizer: Optimizer, *, state: State, generator: Generator | None = None
    ) -> None:
        """Replace the file by this state.

        Raises:
            ModelError: it cannot be written, as on a full disk; the file is as it was.
        """
        import torch

        model = {name: tensor.detach() for name, tensor in weights_by_name(bridge).items()}
        content = {"model": model, "optimizer": optimizer.state_dict(), "recipe": self.recipe, **state._asdict()}
        if generator is not None:
            content["generator"] = generator.get_state()
        partial = self.path.with_suffix(".partial")
        try:
            torch.save(content, partial)
            os.replace(partial, self.path)
        except (OSError, RuntimeError) as error:
            raise ModelError(f"{self.path}: the state of the training cannot be written ({error}).") from error
        finally:
            partial.unlink(missing_ok=True)

    def restore(self, bridge: TransformerBridge, optimizer: Optimizer, *, generator: Generator | None = None) -> State:
        """How far the training is, with the saved state put into model, optimizer and generator; 0 steps without one.

        Raises:
            ModelError: the file is damaged, or belongs to another recipe.
        """
        import torch

        if not self.path.exists():
            return State(0, [])
        content = self._read()
        with torch.no_grad():
            for name, tensor in weights_by_name(bridge).items():
                tensor.copy_(content["model"][name])
        optimizer.load_state_dict(content["optimizer"])
        if generator is not None:
            generator.set_state(content["generator"])
        return State(int(content["done"]), list(content["history"]))

    def discard(self) -> None:
        """Delete the file: the training is finished."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        import torch

        try:
            content: dict[str, Any] = torch.load(self.path, weights_only=True)
            recipe = content["recipe"]
        except (OSError, RuntimeError, ValueError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise ModelError(
                f"{self.path} holds no unfinished training that can be read. Delete it to train from the beginning."
            ) from error
        if recipe != self.recipe:
            raise ModelError(
                f"{self.path} holds an unfinished training of {recipe!r}, not of {self.recipe!r}. Delete it to train "
                "from the beginning."
            )
        return content


@contextmanager
def between_steps(progress: Progress) -> Iterator[Progress]:
    """`progress`, which raises `Interrupted` after a step during which Ctrl-C or SIGTERM came.

    A second signal ends the training at once, and so does one before the first report or after the last, when there is
    no step to be finished. Outside the main thread no signal arrives, and nothing is held back.
    """
    held = _Held(progress)
    before = {}
    if threading.current_thread() is threading.main_thread():
        # a signal that the caller ignores (a job in the background) stays ignored; None is a handler not of Python
        heard = [number for number in _STOPPING if signal.getsignal(number) not in (signal.SIG_IGN, None)]
        before = {number: signal.signal(number, held.receive) for number in heard}
    try:
        yield held.report
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Held:
    """A signal that waits for the end of a step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._within = False
        self._wanted = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; the second one, or one outside the steps, is not held back."""
        if self._wanted or not self._within:
            raise KeyboardInterrupt
        self._wanted = True

    def report(self, done: int, total: int, text: str) -> None:
        """Hand the report on, and end the training here where a signal waits."""
        self._progress(done, total, text)
        self._within = done < total
        if self._wanted:
            raise Interrupted(done, total)
