"""The sha256 of the code that measures a claim: its test and everything of the project that the test calls.

The declaration's hash fixes what decides and not how it is measured. This hash does the second, for a warning: it is
of the syntax tree without docstrings, comments, annotations and layout, of the test and, by name, of what it uses from
its own file and from the project's other files (claims, prompts); not of the library's (`harness`) or of others'.
Decorators beside `@claim` count, and what changes a used name as its file is imported (`TABLE.update(...)`, a `for`).

Not seen: data files that the code reads (json and such), code that is found by a name made at run time
(`importlib.import_module`, `globals()`), what an assignment changes beside its targets (`_ = TABLE.pop(...)`), and what
a function of another file, called on import, changes without being handed it.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from harness.body_source import Place, Source, beside, declares, read

_NO_CODE = ("annotation", "returns", "type_comment", "kind", "ctx", "type_params")
"""Fields of the syntax tree that change nothing that is measured."""


def body_sha256(test: Callable[..., None], *, root: Path) -> str:
    """sha256 of the code that measures a claim.

    Args:
        test: the function that `@claim` was put on. Of its decorators all but that declaration are hashed.
        root: the folder that imports of the project start from: the one that holds `claims/`.
    """
    inner = inspect.unwrap(test)  # a decorator may stand in another file
    path = Path(inspect.getsourcefile(inner) or "").resolve()
    names = (name for name, value in getattr(inner, "__globals__", {}).items() if value is test)
    return _sha256(path, next(names, inner.__name__), root.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _sha256(path: Path, name: str, root: Path, _changed: int) -> str:
    found = dict(_reached(path, name, root=root))
    text = "\n".join(found[key] for key in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()


def _reached(path: Path, name: str, *, root: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """(file and name, code) of a definition and of all that it uses, each once."""
    waiting: list[Place] = [(path, name)]
    seen = set(waiting)
    while waiting:
        place, wanted = waiting.pop()
        source = _read(place, root=root)
        used: list[Place] = source.handed_on() if wanted is None else []
        for each in _wanted(source, wanted):
            used += source.places(each)
            for number, statement in enumerate(source.definitions.get(each, ())):
                yield (place.relative_to(root).as_posix(), f"{each}:{number}"), _code(statement)
                used += source.used(statement)
        waiting += [one for one in dict.fromkeys(used) if one not in seen]
        seen.update(used)
        if not waiting:
            waiting += _changed_elsewhere(seen, root=root)
            seen.update(waiting)


def _wanted(source: Source, name: str | None) -> Iterable[str]:
    """The name, or all of a file, with what it only hands on."""
    if name is not None:
        return (name,)
    return {**source.definitions, **source.imported}


def _changed_elsewhere(seen: set[Place], *, root: Path) -> list[Place]:
    """Names that a file imports and changes, though only the file that they come from uses them."""
    found: list[Place] = []
    files = {file for file, _ in seen}
    for file in _all_imported(files, root=root):
        source = _read(file, root=root)
        for name in source.imported.keys() & source.definitions.keys():
            used = any(one in seen or (one[1] is None and one[0] in files) for one in source.imported[name])
            found += [(file, name)] if used and (file, name) not in seen else []
    return found


def _all_imported(files: Iterable[Path], *, root: Path) -> set[Path]:
    """The files, and those of the project that are imported with them."""
    found = set(files)
    waiting = list(found)
    while waiting:
        source = _read(waiting.pop(), root=root)
        places = [*source.handed_on(), *(one for several in source.imported.values() for one in several)]
        new = {file for file, _ in places} - found
        found |= new
        waiting += new
    return found


def _read(path: Path, *, root: Path) -> Source:
    return read(path, root, path.stat().st_mtime_ns)


def _code(node: ast.AST) -> str:
    """A definition as text that is the same for the same code, in every version of Python that we run on."""
    return repr(_bare(node))


def _bare(value: object) -> object:
    if isinstance(value, list):
        return [_bare(each) for each in value if not _docstring(each)]
    if not isinstance(value, ast.AST):
        return value
    changed = {"decorator_list": beside(value)} if declares(value) else {}
    fields = {name: entry for name, entry in ast.iter_fields(value) if name not in _NO_CODE} | changed
    bare = ((name, _bare(entry)) for name, entry in fields.items())
    return (type(value).__name__, *((name, entry) for name, entry in bare if entry not in (None, [])))


def _docstring(node: object) -> bool:
    """A statement that is only a string: a docstring, of a module's constant too."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
