"""What a file of the project defines, what its import changes, and what it takes from the project's other files."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_LIBRARY = Path(__file__).resolve().parent
_NOT_RUN = ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")
"""Conditions that do not hold where a file is imported."""
_NO_EFFECT = ("Import", "ImportFrom", "Pass", "Assert", "TypeAlias")
"""Statements of a module that change no value, apart from those that define one."""


Place = tuple[Path, str | None]
"""A file of the project and a name in it; without a name all that it defines."""


@dataclass(frozen=True)
class Source:
    """A file's names, each with the statements that define or change it, and where its imported names come from.

    `import a.b` and `import a.c` both bind `a`. `stars` are its `from a import *`, from which any name may come.
    """

    path: Path
    root: Path
    definitions: Mapping[str, tuple[ast.stmt, ...]]
    imported: Mapping[str, tuple[Place, ...]]
    stars: tuple[ast.ImportFrom, ...]

    def places(self, name: str) -> list[Place]:
        """Where in other files of the project a name of this one may come from."""
        found = list(self.imported.get(name, ()))
        for star in self.stars:
            one = ast.ImportFrom(star.module, [ast.alias(name, None)], star.level)
            found += _from_project(one, path=self.path, root=self.root).values()
        return found

    def handed_on(self) -> list[Place]:
        """The files that all names are imported from."""
        places = [_from_project(star, path=self.path, root=self.root) for star in self.stars]
        return [(file, None) for found in places for file, _ in found.values()]

    def used(self, statement: ast.stmt) -> list[Place]:
        """The project's definitions that one of the file's statements mentions, but for a claim's declaration."""
        nodes = list(_nodes(statement))
        mentioned = {node.id for node in nodes if isinstance(node, ast.Name)}
        used: list[Place] = [(self.path, one) for one in mentioned if one in self.definitions]
        found = [place for one in mentioned for place in self.places(one)]
        for node in nodes:
            found += [place for places in _imported(node, path=self.path, root=self.root).values() for place in places]
        return [*used, *found]


@lru_cache(maxsize=256)
def read(path: Path, root: Path, _changed: int) -> Source:
    """The names of a file; `root` is the folder that imports of the project start from."""
    statements = list(_run(ast.parse(path.read_bytes()).body))
    stars = tuple(node for one in statements for node in _on_import(one) if _star(node))
    known = {name for one in statements for name in _bound(one)}
    functions = {one.name: one for one in statements if isinstance(one, ast.FunctionDef)}
    definitions: dict[str, tuple[ast.stmt, ...]] = {}
    imported: dict[str, tuple[Place, ...]] = {}
    for statement in statements:
        for name, places in _imported(statement, path=path, root=root).items():
            before = imported.get(name, ()) if isinstance(statement, ast.Import) else ()
            imported[name] = (*before, *places)
        for name in dict.fromkeys(_names(statement, known=None if stars else known, functions=functions)):
            definitions[name] = (*definitions.get(name, ()), statement)
    return Source(path, root, definitions, imported, tuple(one for one in stars if isinstance(one, ast.ImportFrom)))


# -- claims' tests -------------------------------------------------------------------------------------------------


def declares(node: ast.AST) -> bool:
    """A claim's test, whose declaration says what decides it and is registered field by field."""
    return any(_declaration(one) for one in getattr(node, "decorator_list", ()))


def beside(node: ast.AST) -> list[ast.expr]:
    """A definition's decorators without a claim's declaration."""
    return [one for one in getattr(node, "decorator_list", ()) if not _declaration(one)]


def _declaration(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "claim"


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, but for claims' declarations."""
    yield node
    if isinstance(node, ast.FunctionDef) and declares(node):
        children: Sequence[ast.AST] = (*node.body, *_head(node))
    else:
        children = tuple(ast.iter_child_nodes(node))
    for child in children:
        yield from _nodes(child)


# -- what runs as a file is imported -------------------------------------------------------------------------------


def _run(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """A module's statements, without those that only type checkers read or that only run as a script."""
    for statement in body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) in _NOT_RUN:
            yield from _run(statement.orelse)
        else:
            yield statement


def _on_import(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it that belong to the module itself: nothing inside functions, classes or comprehensions."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        children = _head(node)
    elif isinstance(node, ast.comprehension):
        children = (node.iter, *node.ifs)  # its variable is its own
    else:
        children = (node.args,) if isinstance(node, ast.Lambda) else tuple(ast.iter_child_nodes(node))
    for child in children:
        yield from _on_import(child)


def _head(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Sequence[ast.AST]:
    """What of a definition runs where it stands: decorators, default arguments and base classes."""
    if isinstance(node, ast.ClassDef):
        return (*beside(node), *node.bases, *node.keywords)
    return (*beside(node), *node.args.defaults, *(one for one in node.args.kw_defaults if one is not None))


def _names(statement: ast.stmt, *, known: set[str] | None, functions: Mapping[str, ast.FunctionDef]) -> list[str]:
    """The names that a statement of a module defines or may change: of most kinds all that it mentions.

    Args:
        statement: the statement.
        known: names that the module binds; None where they cannot be told, and any mentioned one counts.
        functions: the module's functions; what they mention may be changed where the statement mentions them.
    """
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        named = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        return [*named, *_bound(statement)]
    if type(statement).__name__ in _NO_EFFECT:
        return []
    mentioned = _mentioned(_on_import(statement))
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        mentioned = {} if declares(statement) else mentioned
        changed = [name for name in _through(mentioned, functions) if name not in mentioned]
    else:
        changed = _through(mentioned, functions)
    return [*_bound(statement), *(name for name in changed if known is None or name in known)]


def _through(names: Iterable[str], functions: Mapping[str, ast.FunctionDef]) -> list[str]:
    """The names, and those that the functions among them mention, and so on."""
    found = dict.fromkeys(names)
    waiting = list(found)
    while waiting:
        function = functions.get(waiting.pop())
        new = [one for one in _mentioned(_nodes(function)) if one not in found] if function is not None else []
        found.update(dict.fromkeys(new))
        waiting += new
    return list(found)


def _mentioned(nodes: Iterable[ast.AST]) -> dict[str, None]:
    return dict.fromkeys(node.id for node in nodes if isinstance(node, ast.Name))


def _bound(statement: ast.stmt) -> list[str]:
    """The names of the module that a statement binds, imports among them."""
    found: list[str] = []
    for node in _on_import(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append(node.id)
        elif isinstance(node, ast.alias):
            found.append(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.MatchMapping):
            found.append((node.rest if isinstance(node, ast.MatchMapping) else node.name) or "_")
    return found


# -- imports -------------------------------------------------------------------------------------------------------


def _star(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and node.names[0].name == "*"


def _imported(node: ast.AST, *, path: Path, root: Path) -> dict[str, tuple[Place, ...]]:
    """By the name that an import binds, where in the project it comes from; empty for anything else."""
    if isinstance(node, ast.ImportFrom):
        found = {} if _star(node) else _from_project(node, path=path, root=root)
        return {name: (place,) for name, place in found.items()}
    bound: dict[str, tuple[Place, ...]] = {}
    for alias in node.names if isinstance(node, ast.Import) else ():
        parts = alias.name.split(".")
        # `import a.b` binds a, by which all of a.b is reached; `import a.b as c` binds a.b alone.
        modules = [parts] if alias.asname else [parts[:end] for end in range(1, len(parts) + 1)]
        for folder in _folders(path, root):
            files = [file for module in modules for file in _files(folder.joinpath(*module)) if _own(file, root)]
            if files:
                name = alias.asname or parts[0]
                bound[name] = (*bound.get(name, ()), *((file, None) for file in files))
                break
    return bound


def _from_project(statement: ast.ImportFrom, *, path: Path, root: Path) -> dict[str, Place]:
    """Where names imported from the project's own files come from; a whole file where that is what is imported."""
    module = (statement.module or "").split(".") if statement.module else []
    folders = [path.parents[statement.level - 1]] if statement.level else _folders(path, root)
    found: dict[str, Place] = {}
    for alias in statement.names:
        choices: list[Place] = []
        for place in (folder.joinpath(*module) for folder in folders):
            choices += [(place / f"{alias.name}.py", None), *((file, alias.name) for file in _files(place))]
        for file, name in choices:
            if _own(file, root):
                found[alias.asname or alias.name] = (file, name)
                break
    return found


def _folders(path: Path, root: Path) -> list[Path]:
    """Where a file's imports are looked for: from the root, else beside the file and in the folders around it."""
    return [root, *(folder for folder in path.parents if root in folder.parents)]


def _files(module: Path) -> tuple[Path, Path]:
    """Where a module's code can stand: its file, or that of a package."""
    return module.with_suffix(".py"), module / "__init__.py"


def _own(file: Path, root: Path) -> bool:
    return file.is_file() and root in file.parents and _LIBRARY not in file.parents
