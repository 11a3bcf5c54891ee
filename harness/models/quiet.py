"""A guard around other libraries' loading: no network, no progress bars, nothing printed."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def offline_and_quiet() -> Iterator[None]:
    """Run the block with the Hugging Face hub offline, progress bars off, and both output streams discarded.

    TransformerLens may ask the hub for what lies in the folder and prints on moving a model; transformers draws one of
    its bars past its own switch. What goes wrong arrives as an exception, never on these streams.
    """
    import huggingface_hub.constants as hub
    from transformers.utils import logging as untyped

    logging: Any = untyped
    offline, variable, bars = hub.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE"), logging.is_progress_bar_enabled()
    hub.HF_HUB_OFFLINE = True
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        hub.HF_HUB_OFFLINE = offline
        _restore("HF_HUB_OFFLINE", variable)
        if bars:
            logging.enable_progress_bar()


def _restore(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value
