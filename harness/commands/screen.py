"""Tables on the terminal: readable at 80 columns, in a pipe, and without colour."""

from __future__ import annotations

from collections.abc import Sequence


def show_table(columns: Sequence[str], *, rows: Sequence[Sequence[str]], fixed: Sequence[str] = ()) -> None:
    """Print a table whose cells are folded where they do not fit; `fixed` names the columns that stay whole."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in fixed)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False, markup=False, emoji=False).print(table)


def readable_bytes(count: int) -> str:
    """A size as people say it: `515 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
