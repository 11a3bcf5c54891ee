"""What one process holds between its claims: the model that is in memory, whether it is sane, what was discovered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.mechanism import Announce, Discovery, Mechanism

if TYPE_CHECKING:
    from harness.models.model import Model
    from harness.sanity import Battery


class Loaded:
    """The one model that is in memory; asking for another lets the first one go, with what was discovered on it."""

    def __init__(self, *, check: Callable[[Model], Battery] | None = None) -> None:
        """Start with no model.

        Args:
            check: asked of each model before its first claim (`harness.sanity.run_battery`); None asks nothing.
        """
        self._check = check
        self._batteries: dict[str, Battery] = {}
        self._model: Model | None = None
        self._key: tuple[str, str, str] | None = None
        self._discoveries: dict[tuple[Path, str], Discovery] = {}

    def get(self, model_id: str, *, device: str, dtype: str) -> Model:
        """The loaded model; ModelNotHere where its weights are not on this machine."""
        from harness.models.model import load

        key = (model_id, device, dtype)
        if self._key != key:
            self._model, self._key = None, None
            self._discoveries.clear()
            self._model, self._key = load(model_id, device=device, dtype=dtype), key
        assert self._model is not None
        return self._model

    @property
    def asks(self) -> bool:
        """Whether models are checked at all."""
        return self._check is not None

    def problem(self, model: Model) -> str | None:
        """Why no claim can be asked of a model, or None; checked once for each fingerprint."""
        if self._check is None:
            return None
        if model.fingerprint not in self._batteries:
            self._batteries[model.fingerprint] = self._check(model)
        return self._batteries[model.fingerprint].problem

    def discovery(self, mechanism: Mechanism, model: Model, *, say: Announce | None = None) -> Discovery:
        """What the mechanism discovers on a model: found once, for it may take minutes and every claim asks.

        The fingerprint names the model, so that a lesioned or untrained one is searched on its own.
        """
        key = (mechanism.folder.resolve(), model.fingerprint)
        if key not in self._discoveries:
            if say is not None:
                say(f"{mechanism.name}: discovering heads of {model.id} on the discovery split")
            self._discoveries[key] = mechanism.discovered(model, say=say)
        return self._discoveries[key]
