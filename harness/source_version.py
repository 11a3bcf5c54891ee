"""Raising the version of a claim in its test file: one number of one decorator, found by its place in the file."""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DeclarationError


@dataclass(frozen=True)
class Rewritten:
    """A test file before and after its claim's version was raised; nothing is written yet."""

    path: Path
    before: str
    after: str

    def diff(self) -> str:
        """The changed lines as a unified diff."""
        name = self.path.as_posix()
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), fromfile=name, tofile=name, lineterm="", n=1
        )
        return "\n".join(lines)


def with_version(path: Path, *, test: str, version: int) -> Rewritten:
    """The file with `version=` of a claim's decorator set; it is added where the claim has none.

    Raises:
        DeclarationError: the decorator does not state its version as a number; it is then to be raised by hand.
    """
    before = _text(path, test, version)
    call = _decorator(ast.parse(before), test)
    stated = None if call is None else next((word for word in call.keywords if word.arg == "version"), None)
    if call is None or not call.keywords or (stated is None and any(word.arg is None for word in call.keywords)):
        raise _by_hand(path, test, version)
    if stated is None:
        last = call.keywords[-1]
        on_own_line = last.lineno != call.lineno
        start = end = _offset(before, last.value.end_lineno, last.value.end_col_offset)
        new = f",\n{' ' * last.col_offset}version={version}" if on_own_line else f", version={version}"
    else:
        if not isinstance(stated.value, ast.Constant) or type(stated.value.value) is not int:
            raise _by_hand(path, test, version)
        start = _offset(before, stated.value.lineno, stated.value.col_offset)
        end = _offset(before, stated.value.end_lineno, stated.value.end_col_offset)
        new = str(version)
    raw = before.encode()
    after = (raw[:start] + new.encode() + raw[end:]).decode()
    if not _says(after, test, version):
        raise _by_hand(path, test, version)
    return Rewritten(path, before, after)


def _text(path: Path, test: str, version: int) -> str:
    """The file as it is, line ends included."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise _by_hand(path, test, version) from error


def _decorator(tree: ast.Module, test: str) -> ast.Call | None:
    """The `@claim(...)` of a test, or None where the file has not exactly one."""
    calls = [
        decorator
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == test
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        and (getattr(decorator.func, "id", "") == "claim" or getattr(decorator.func, "attr", "") == "claim")
    ]
    return calls[0] if len(calls) == 1 else None


def _offset(text: str, line: int | None, column: int | None) -> int:
    """The byte at which a node begins or ends: its lines count from 1, its columns in bytes."""
    lines = text.encode().split(b"\n")[: (line or 1) - 1]
    return sum(len(one) + 1 for one in lines) + (column or 0)


def _says(text: str, test: str, version: int) -> bool:
    """Whether the changed file declares that version."""
    try:
        call = _decorator(ast.parse(text), test)
    except SyntaxError:
        return False
    stated = [] if call is None else [word.value for word in call.keywords if word.arg == "version"]
    return [getattr(value, "value", None) for value in stated] == [version]


def _by_hand(path: Path, test: str, version: int) -> DeclarationError:
    return DeclarationError(
        f"{path}: the version of {test} is not a number that stands in its @claim(...); set it to {version} by hand, "
        "then amend again"
    )
