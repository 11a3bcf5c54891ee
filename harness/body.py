"""The sha256 of the code that measures a claim: its test and everything of the project that the test calls.

The declaration's hash fixes what decides and not how it is measured. This hash does the second, for a warning: it is
of the syntax tree without docstrings, comments, annotations and layout, of the test and, by name, of what it uses from
its own file and from the project's other files (claims, prompts); not of the library's (`harness`) or of others'.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_LIBRARY = Path(__file__).resolve().parent
_NO_CODE = ("annotation", "returns", "type_comment", "kind", "ctx", "type_params")
"""Fields of the syntax tree that change nothing that is measured."""


_Place = tuple[Path, str | None]
"""A file of the project and a name in it; without a name all that it defines."""


@dataclass(frozen=True)
class _Source:
    """A file's definitions, and where its imported names come from; `import a.b` and `import a.c` both bind `a`."""

    definitions: Mapping[str, tuple[ast.stmt, ...]]
    imported: Mapping[str, tuple[_Place, ...]]


def body_sha256(test: Callable[..., None], *, root: Path) -> str:
    """sha256 of the code that measures a claim.

    Args:
        test: the function that `@claim` was put on. Its decorators are the declaration and not hashed here.
        root: the folder that imports of the project start from: the one that holds `claims/`.
    """
    path = Path(inspect.getsourcefile(test) or "").resolve()
    return _sha256(path, test.__name__, root.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _sha256(path: Path, name: str, root: Path, _changed: int) -> str:
    found = dict(_reached(path, name, root=root))
    text = "\n".join(found[key] for key in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()


def _reached(path: Path, name: str, *, root: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """(file and name, code) of a definition and of all that it uses, each once."""
    waiting: list[_Place] = [(path, name)]
    seen = set(waiting)
    while waiting:
        place, wanted = waiting.pop()
        source = _read(place, root, place.stat().st_mtime_ns)
        used: list[_Place] = []
        for each in _wanted(source, wanted, path=place):
            used += source.imported.get(each, ())
            for number, statement in enumerate(source.definitions.get(each, ())):
                yield (place.relative_to(root).as_posix(), f"{each}:{number}"), _code(statement)
                used += _used(statement, source, path=place, root=root)
        waiting += [one for one in dict.fromkeys(used) if one not in seen]
        seen.update(used)


def _wanted(source: _Source, name: str | None, *, path: Path) -> Iterable[str]:
    """The name, or all of a file; of a package also what it only hands on."""
    if name is not None:
        return (name,)
    return {**source.definitions, **source.imported} if path.name == "__init__.py" else source.definitions


def _used(statement: ast.stmt, source: _Source, *, path: Path, root: Path) -> list[_Place]:
    """The project's definitions that one of a module's statements mentions, but for a claim's declaration."""
    nodes = [node for part in _parts(statement) for node in ast.walk(part)]
    mentioned = {node.id for node in nodes if isinstance(node, ast.Name)}
    used = [(path, one) for one in mentioned if one in source.definitions]
    found = [place for one in mentioned for place in source.imported.get(one, ())]
    for node in nodes:
        found += [place for places in _imported(node, path=path, root=root).values() for place in places]
    return [*used, *found]


def _parts(statement: ast.stmt) -> Sequence[ast.AST]:
    return statement.body if isinstance(statement, ast.FunctionDef) and _declares(statement) else [statement]


@lru_cache(maxsize=256)
def _read(path: Path, root: Path, _changed: int) -> _Source:
    definitions: dict[str, tuple[ast.stmt, ...]] = {}
    imported: dict[str, tuple[_Place, ...]] = {}
    for statement in ast.parse(path.read_bytes()).body:
        for name, places in _imported(statement, path=path, root=root).items():
            before = imported.get(name, ()) if isinstance(statement, ast.Import) else ()
            imported[name] = (*before, *places)
        for name in _names(statement):
            definitions[name] = (*definitions.get(name, ()), statement)
    return _Source(definitions, imported)


def _names(statement: ast.stmt) -> list[str]:
    """The names that a statement of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    return []


def _imported(node: ast.AST, *, path: Path, root: Path) -> dict[str, tuple[_Place, ...]]:
    """By the name that an import binds, where in the project it comes from; empty for anything else."""
    if isinstance(node, ast.ImportFrom):
        return {name: (place,) for name, place in _from_project(node, path=path, root=root).items()}
    found: dict[str, tuple[_Place, ...]] = {}
    for alias in node.names if isinstance(node, ast.Import) else ():
        parts = alias.name.split(".")
        # `import a.b` binds a, by which all of a.b is reached; `import a.b as c` binds a.b alone.
        modules = [parts] if alias.asname else [parts[:end] for end in range(1, len(parts) + 1)]
        files = (file for module in modules for file in _files(root.joinpath(*module)) if _own(file, root))
        name = alias.asname or parts[0]
        found[name] = (*found.get(name, ()), *((file, None) for file in files))
    return found


def _from_project(statement: ast.ImportFrom, *, path: Path, root: Path) -> dict[str, _Place]:
    """Where names imported from the project's own files come from; a whole file where that is what is imported."""
    module = (statement.module or "").split(".") if statement.module else []
    folder = path.parents[statement.level - 1] if statement.level else root
    place = folder.joinpath(*module)
    found: dict[str, _Place] = {}
    for alias in statement.names:
        choices = ((place / f"{alias.name}.py", None), *((file, alias.name) for file in _files(place)))
        for file, name in choices:
            if _own(file, root):
                found[alias.asname or alias.name] = (file, name)
                break
    return found


def _files(module: Path) -> tuple[Path, Path]:
    """Where a module's code can stand: its file, or that of a package."""
    return module.with_suffix(".py"), module / "__init__.py"


def _own(file: Path, root: Path) -> bool:
    return file.is_file() and root in file.parents and _LIBRARY not in file.parents


def _code(node: ast.AST) -> str:
    """A definition as text that is the same for the same code, in every version of Python that we run on."""
    return repr(_bare(node, top=True))


def _bare(value: object, *, top: bool = False) -> object:
    if isinstance(value, list):
        return [_bare(each) for each in value if not _docstring(each)]
    if not isinstance(value, ast.AST):
        return value
    left_out = (*_NO_CODE, *(("decorator_list",) if top and _declares(value) else ()))
    fields = ((name, _bare(entry)) for name, entry in ast.iter_fields(value) if name not in left_out)
    return (type(value).__name__, *((name, entry) for name, entry in fields if entry not in (None, [])))


def _docstring(node: object) -> bool:
    """A statement that is only a string: a docstring, of a module's constant too."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _declares(node: ast.AST) -> bool:
    """A claim's test, whose decorators say what decides it and are registered field by field."""
    decorators = getattr(node, "decorator_list", [])
    return any(isinstance(one, ast.Call) and getattr(one.func, "id", "") == "claim" for one in decorators)
