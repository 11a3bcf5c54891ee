"""Arguments of steering, checked at the door: rows of token ids and not text. numpy and torch integers are ids too."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index

from harness.errors import InterventionError

_REMEDY = "model.token_lists(texts, bos=True) makes rows of token ids of texts"


def token_ids(rows: object, *, what: str) -> tuple[tuple[int, ...], ...]:
    """The rows as tuples of int, which may be empty or of any length.

    Args:
        rows: one row of token ids for each text.
        what: what they are, for messages: `prompts`.

    Raises:
        InterventionError: they are text, or something else than rows of integers.
    """
    if isinstance(rows, str):
        raise _is_text(rows, what)
    if not isinstance(rows, Iterable):
        raise InterventionError(f"{what} are {shown(rows)}, and not rows of token ids; {_REMEDY}.")
    return tuple(_row(row, what) for row in rows)


def shown(value: object) -> str:
    """A value as it stands in a message: on one line and short."""
    whole = " ".join(repr(value).split())
    return whole if len(whole) <= 60 else f"{whole[:57]}..."


def _row(row: object, what: str) -> tuple[int, ...]:
    if isinstance(row, str):
        raise _is_text(row, what)
    try:
        return tuple(index(token) for token in row)  # type: ignore[attr-defined]
    except TypeError:
        raise InterventionError(f"{what} hold {shown(row)}, which is no row of token ids; {_REMEDY}.") from None


def _is_text(text: str, what: str) -> InterventionError:
    return InterventionError(f"{what} are text ({shown(text)}), and token ids are needed; {_REMEDY}.")
