"""The hash of the code that measures a claim, in every form in which code can reach a test."""

from __future__ import annotations

import importlib
import sys
import textwrap
from pathlib import Path

import pytest

from harness.body import body_sha256

SUMS = """
import functools

N = 1

class Table:
    n = N

def draw():
    return Table.n

def doubled(test):
    @functools.wraps(test)
    def twice(**given):
        return test(**given), test(**given)
    return twice
"""

TEST = """
from harness.claim import claim
{top}
@claim(id="toy.copies"){decorator}
def test_it(model{default}):
    {body}
"""


OTHERS = {
    "__init__": "",
    "handing": "from .sums import *",
    "passing": "from .sums import draw",
    "changing": "import beyond\nfrom .sums import N\nbeyond.Table.n = N",
}
"""Other files beside the test."""


def measured(body: str, top: str = "", decorator: str = "", default: str = "") -> str:
    return TEST.format(body=body, top=top, decorator=decorator and f"\n{decorator}", default=default)


def hash_of(root: Path, test: str, sums: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hash of a test that is really imported, with its folder and the one around it on `sys.path`."""
    folder = root / "measured" / "toy"
    folder.mkdir(parents=True)
    for name, text in {**OTHERS, "test_it": test, "sums": sums}.items():
        (folder / f"{name}.py").write_text(text)
    (folder.parent / "beyond.py").write_text(SUMS)
    (folder.parent / "around.py").write_text(sums)
    monkeypatch.setattr(sys, "path", [str(root), str(folder), str(folder.parent), *sys.path])
    module = importlib.import_module("measured.toy.test_it")
    for name in [one for one in sys.modules if one.partition(".")[0] in ("measured", "sums", "beyond", "around")]:
        del sys.modules[name]
    return body_sha256(module.test_it, root=root)


IMPORTED = "from measured.toy.sums import"
UNWRAPPED = SUMS.replace("@functools.wraps(test)", "")


def both(body: str, top: str = "", decorator: str = "", default: str = "") -> tuple[str, str]:
    """The same test with 1 and with 2 where it says `<n>`."""
    one, two = (measured(body, top, decorator, default).replace("<n>", number) for number in "12")
    return one, two


def inside_if(test: str) -> str:
    """A test that stands in an `if` of its module."""
    top, claim, rest = test.partition("@claim")
    return f"{top}if True:\n{textwrap.indent(claim + rest, '    ')}"


FORMS = {
    "a decorator": (measured("return 1", SUMS), measured("return 1", SUMS, "@doubled")),
    "a decorator of the same file": both("return 1", SUMS.replace("test(**given), ", "<n>, "), "@doubled"),
    "a decorator without wraps": both("return <n>", UNWRAPPED, "@doubled"),
    "a body under a decorator of another file": both("return <n>", f"{IMPORTED} doubled", "@doubled"),
    "a test inside if": (inside_if(measured("return 1")), inside_if(measured("return 2"))),
    "a def inside if": both("f()", "import sys\nif sys.path:\n    def f(): return <n>"),
    "an assignment inside try": both("return K", "try:\n    K = <n>\nexcept ValueError:\n    K = 0"),
    "an assignment inside with": both("return K", "import contextlib\nwith contextlib.nullcontext():\n    K = <n>"),
    "the name of a with": both("return K", "import contextlib\nwith contextlib.nullcontext(<n>) as K:\n    pass"),
    "an assignment inside for": both("return K", "for _ in range(3):\n    K = <n>"),
    "the variable of a for": both("return K", "for K in (<n>,):\n    pass"),
    "a name that match binds": both("return K", "match <n>:\n    case K:\n        pass"),
    "a walrus": both("return K", "L = (K := <n>)"),
    "a default argument": both("return k", "K = <n>", default=", k=K"),
    "a default argument by name": both("return k", "K = <n>", default=", *, k=K"),
    "an update": both("return D", "D = {}\nD.update(a=<n>)"),
    "an order of updates": (
        measured("return D", "D = {}\nD.update(a=1)\nD.update(a=2)"),
        measured("return D", "D = {}\nD.update(a=2)\nD.update(a=1)"),
    ),
    "a del": (measured("return D", "D = {1: 2}"), measured("return D", "D = {1: 2}\ndel D[1]")),
    "a function that fills": both("return D", "D = {}\ndef fill(): D[1] = <n>\nfill()"),
    "a decorator that fills": both(
        "return D", "D = {}\ndef kept(f):\n    D[1] = f\n    return f\n@kept\ndef g(): return <n>"
    ),
    "a for that fills": both("return D", "D = {}\nfor i in range(3):\n    D[i] = <n>"),
    "setattr": both("Table.n", f"{IMPORTED} Table\nsetattr(Table, 'n', <n>)"),
    "setattr on what another file uses": both("draw()", f"{IMPORTED} Table, draw\nsetattr(Table, 'n', <n>)"),
    "setattr on a module": both("draw()", f"{IMPORTED} draw\nimport measured.toy.sums as s\ns.Table.n = <n>"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_hash_sees_a_change_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    first, second = (hash_of(tmp_path / str(i), text, SUMS, monkeypatch) for i, text in enumerate(FORMS[form]))
    assert first != second


@pytest.mark.parametrize(
    ("top", "body"),
    [
        pytest.param(f"try:\n    {IMPORTED} draw\nexcept ImportError:\n    draw = None", "draw()", id="in try"),
        pytest.param("try:\n    import measured.toy.sums as s\nfinally:\n    pass", "s.draw()", id="a module in try"),
        pytest.param(f"{IMPORTED} *", "draw()", id="star"),
        pytest.param(f"try:\n    {IMPORTED} *\nfinally:\n    pass", "draw()", id="star in try"),
        pytest.param("from .sums import *", "draw()", id="relative star"),
        pytest.param("from measured.toy.handing import *", "draw()", id="star of a star"),
        pytest.param("from measured.toy.handing import draw", "draw()", id="from a star"),
        pytest.param("import measured.toy.handing as h", "h.draw()", id="a module of a star"),
        pytest.param("import measured.toy.passing as p", "p.draw()", id="a module that hands on"),
        pytest.param("import measured.toy.changing\nfrom beyond import Table", "Table.n", id="a module that changes"),
        pytest.param("from sums import draw", "draw()", id="beside"),
        pytest.param("from sums import *", "draw()", id="star beside"),
        pytest.param("import sums", "sums.draw()", id="a module beside"),
        pytest.param("import sums as s", "s.draw()", id="a module beside as"),
        pytest.param("", "import sums; sums.draw()", id="beside, in the test"),
        pytest.param("from around import draw", "draw()", id="around"),
    ],
)
def test_the_hash_follows_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top: str, body: str) -> None:
    sums = (SUMS, SUMS.replace("N = 1", "N = 2"), SUMS.replace("N = 1", "N = 1  # the same"))
    first, changed, same = (
        hash_of(tmp_path / str(i), measured(body, top), each, monkeypatch) for i, each in enumerate(sums)
    )
    assert first != changed
    assert first == same


@pytest.mark.parametrize(
    "top",
    [
        "E = {}\nE.update(a=1)",
        "for i in range(3):\n    pass",
        "if True:\n    def unused(D): return D",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    D = {1: 2}",
        "if __name__ == '__main__':\n    print(D)",
        "assert D == {}",
    ],
)
def test_the_hash_leaves_out_what_changes_nothing_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top: str
) -> None:
    texts = (measured("return D", "D = {}"), measured("return D", f"D = {{}}\n{top}"))
    first, second = (hash_of(tmp_path / str(i), text, SUMS, monkeypatch) for i, text in enumerate(texts))
    assert first == second


def test_the_declaration_is_no_part_of_the_hash_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = measured("return 1", f"{IMPORTED} doubled", "@doubled")
    for name, one in (("top", text), ("if", inside_if(text))):
        texts = (one, one.replace('"toy.copies"', '"toy.copies", sesoi=1'))
        first, second = (hash_of(tmp_path / f"{name}{i}", each, SUMS, monkeypatch) for i, each in enumerate(texts))
        assert first == second
