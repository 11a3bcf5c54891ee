"""What a run was asked for, by the arguments of its invocation alone.

The gate forgives a record of the baseline that the user's own words left out: paths, `-k`, `-m`, `--deselect`,
`--ignore`, `--model` and the like. What a configuration left out (`addopts` of pyproject.toml or pytest.ini, the
variable PYTEST_ADDOPTS, `testpaths`, a conftest's `collect_ignore` or `pytest_collection_modifyitems`) was asked for:
else one line in a file that nobody reads would turn every gate green. So were the tests that `--lf`, `--sw` or another
plugin puts aside: which those are is no word of the user's.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from harness.planning import item_slug

_CHOSEN_BY = "mechclaims_chosen_by"


class Key(NamedTuple):
    """A record's place in a run: claim, model and data seed."""

    claim: str
    model: str
    data_seed: int


def key_of(record: Mapping[str, Any]) -> Key:
    """The place of a stored record."""
    return Key(str(record["claim"]["id"]), str(record["model"]["id"]), int(record["seeds"]["data_seed"]))


class Invocation:
    """The arguments that a user typed, read apart from what configuration adds to them.

    Attributes:
        config: of the session; an xdist worker's knows of the arguments only what its controller tells it.
        left_out: places of the tests that `-k` and `-m` left out, as far as they were collected.
    """

    def __init__(self, config: pytest.Config) -> None:
        """Read nothing yet: with `--help` the parser would print it a second time."""
        self.config = config
        self.left_out: set[Key] = set()

    def tell(self, node: Any) -> None:
        """Hand an xdist worker the two expressions that only the one who collects can judge by."""
        node.workerinput[_CHOSEN_BY] = (self._own.keyword, self._own.markexpr)

    def left_out_of(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """Those of the deselected tests that the invocation's own `-k` or `-m` leaves out, by pytest's own rules."""
        told = getattr(self.config, "workerinput", {}).get(_CHOSEN_BY)
        keyword, markexpr = (self._own.keyword, self._own.markexpr) if told is None else told
        left: list[pytest.Item] = []
        own: Any = SimpleNamespace(
            option=SimpleNamespace(keyword=keyword, markexpr=markexpr),
            hook=SimpleNamespace(pytest_deselected=lambda items: left.extend(items)),
            getini=lambda name: None,  # no strictness: pytest itself has checked the names of the markers
        )
        chooser: Any = self.config.pluginmanager.get_plugin("mark")
        chooser.pytest_collection_modifyitems(items=list(items), config=own)
        return left

    @property
    def measures(self) -> bool:
        """Whether tests were to run: a configuration that only collects leaves out everything."""
        return not (self._own.collectonly or self._own.dry_run)

    def asks_for(self, record: Mapping[str, Any]) -> bool:
        """Whether a record of the baseline was asked for again."""
        key = key_of(record)
        if key in self.left_out or not self._takes(key, profile=record["options"]["profile"]):
            return False
        file, _, test = str(record["claim"].get("source", "")).partition("::")
        item = f"{test}[{item_slug(key.model)}" + (f"-seed{key.data_seed}]" if key.data_seed else "]")
        if any(f"{file}::{item}".startswith(prefix) for prefix in self._own.deselect or ()):
            return False
        # A record names its file from the root; a configuration further down would move that root.
        sources = {(base / file).resolve() for base in (self.config.rootpath, self._dir)}
        return any(self._collects(source, test=test, item=item) for source in sources)

    def _takes(self, key: Key, *, profile: str) -> bool:
        """Whether options that choose models and seeds take a record: as typed, or as they were widened."""
        option, own = self.config.option, self._own
        if own.model is not None and key.model not in {*own.model, *(option.model or ())}:
            return False
        if key.data_seed not in {*(own.data_seed or [0]), *(option.data_seed or ())}:
            return False
        # Which models another profile takes is not known here.
        return own.model is not None or profile in (own.profile, option.profile)

    def _collects(self, source: Path, *, test: str, item: str) -> bool:
        """Whether the paths ask for a test in a file, and no `--ignore` keeps the file out."""
        above = (source, *source.parents)
        ignored = {(self._dir / path).resolve() for path in self._own.ignore or ()}
        patterns = [str(self._dir / pattern) for pattern in self._own.ignore_glob or ()]
        if any(path in ignored or any(fnmatch(str(path), pattern) for pattern in patterns) for path in above):
            return False
        return any(place in above and named in ("", test, item) for place, named in self._places)

    @property
    def _dir(self) -> Path:
        return self.config.invocation_params.dir

    @cached_property
    def _own(self) -> Namespace:
        """The options as if no configuration named any."""
        return self.config._parser.parse(self.config.invocation_params.args)

    @cached_property
    def _places(self) -> list[tuple[Path, str]]:
        """File or folder of every argument, and the test that it names; without any, all below where one stands."""
        return [self._place(argument) for argument in self._own.file_or_dir] or [(self._dir.resolve(), "")]

    def _place(self, argument: str) -> tuple[Path, str]:
        file, _, test = str(argument).partition("::")
        path = (self._dir / file).resolve()
        # No file of that name: a package of --pyargs. Which folder that is matters little, for it narrows nothing.
        return (path, test) if path.exists() else (Path(path.anchor), "")
