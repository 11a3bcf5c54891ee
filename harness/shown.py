"""What a claim's body may read but not change, and what it tells a reader besides the numbers that decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from harness.declaration import Claim
from harness.errors import DeclarationError
from harness.evidence import jsonable

if TYPE_CHECKING:
    from harness.values import UnitValues

Item = TypeVar("Item")
AXIS_TITLES: Mapping[str, tuple[str, ...]] = {
    "matrix": ("unit", "xlabel", "ylabel"),
    "head_map": ("unit",),
    "distribution": ("unit",),
    "bars": ("unit",),
    "curve": ("xlabel", "ylabel"),
    "dose_response": ("xlabel", "ylabel"),
    "trade_off": ("xlabel", "ylabel"),
}
"""What says, for each kind of picture, what its axes and its colours mean and in which unit."""


class Shown:
    """Prompts, notes, tables, pictures and progress of a claim; what is registered stays as it is."""

    claim: Claim
    sections: dict[str, Any]
    announce: Callable[[str], None] | None
    _FIXED = frozenset({"claim", "n_units", "profile", "subject", "ignore_preconditions", "assay_shown"})

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute once, if it is one of these."""
        if name in self._FIXED and name in self.__dict__:
            raise DeclarationError(f"evidence.{name} is as registered or asked for; a claim's body cannot change it")
        super().__setattr__(name, value)

    def prompts(self, *, sha256: str, n: int, clusters: int, examples: Sequence[str]) -> None:
        """Record which prompts were used, by hash and a few examples."""
        self.sections["prompts"] = {"sha256": sha256, "n": n, "clusters": clusters, "examples": list(examples)}

    def share(self, component: str, *, values: UnitValues) -> None:
        """Record a member's share of a joint effect; its interval tells passengers from parts."""
        self._append("shares", {"component": component, "values": values})

    def note(self, text: str) -> None:
        """Record a caveat that the report prints with this record."""
        self._append("notes", text)

    def table(self, name: str, *, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Record a table for the report."""
        self._append("tables", {"name": name, "columns": list(columns), "rows": jsonable(list(rows))})

    def picture(self, kind: str, name: str, *, caption: str, n: str = "", **data: Any) -> None:
        """Record data for the function of `harness.report.figures` that `kind` names; `n`: `60 pairs`, if not units."""
        check_picture(self.claim, kind, name=name, data=data)
        own = jsonable({"n": n, **data} if n else data)
        self._append("pictures", {"kind": kind, "name": name, "caption": caption, **own})

    def track(self, items: Iterable[Item], what: str, *, total: int | None = None) -> Iterator[Item]:
        """The same items, announcing progress on the way."""
        known = total if total is not None else (len(items) if isinstance(items, Sequence) else None)
        for done, item in enumerate(items):
            if self.announce is not None:
                self.announce(f"{self.claim.id}: {what} {done + 1}{f'/{known}' if known else ''}")
            yield item

    def _append(self, section: str, entry: object) -> None:
        self.sections.setdefault(section, []).append(entry)


def check_picture(claim: Claim, kind: str, *, name: str, data: Mapping[str, object]) -> None:
    """Refuse a picture without the titles of its axes: a stored one cannot be given them later."""
    missing = [title for title in AXIS_TITLES.get(kind, ()) if not str(data.get(title) or "").strip()]
    if missing:
        raise DeclarationError(
            f"claim {claim.id!r}: picture {name!r} of kind {kind!r} has no {', '.join(missing)}; give "
            f"evidence.picture({', '.join(f'{one}=...' for one in missing)}) what each of these is, with its unit"
        )
