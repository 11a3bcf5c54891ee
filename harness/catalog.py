"""Every claim in a claims folder: which there are, where they stand, which verdicts are registered. Loads no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from harness.claim import declared
from harness.declaration import Claim
from harness.errors import DeclarationError, MechclaimsError, did_you_mean
from harness.mechanism import Mechanism, folder_of, import_file, open_mechanism
from harness.papers import place_problems
from harness.subjects import Expectation


@dataclass(frozen=True)
class CatalogEntry:
    """One claim: its declaration, the test that measures it, and the mechanism whose folder it lies in."""

    claim: Claim
    test: Callable[..., None]
    source: str
    mechanism: Mechanism

    def registered(self) -> dict[str, Expectation]:
        """The verdict on record for each model that the claim makes sense on; empty where there is none."""
        from harness.session import applies

        found, file = {}, self.mechanism.subjects
        for model_id in dict.fromkeys((*file.models, *file.expectations.get(self.claim.id, {}))):
            expected = file.expectation(self.claim.id, model_id=model_id)
            if expected is not None and applies(self.claim, model_id):
                found[model_id] = expected
        return found


def all_claims(claims: Path, *, mechanism: str | None = None) -> list[CatalogEntry]:
    """All claims below a claims folder, sorted by file and in their order there.

    Args:
        claims: the folder that holds the mechanisms.
        mechanism: keep to the folder of this name.

    Raises:
        DeclarationError: there is no such folder, or files or declarations are wrong; all problems at once.
    """
    if not claims.is_dir():
        raise DeclarationError(
            f"{claims}: no claims folder here. Run this where one lies (a clone of the repository), name it with "
            "--claims DIR, or make one with `mechclaims new MECHANISM`."
        )
    found: list[CatalogEntry] = []
    problems: list[str] = []
    for folder in sorted({path.parent for path in claims.glob(f"{mechanism or '*'}/test_*.py")}):
        try:
            opened = open_mechanism(folder)
        except MechclaimsError as error:
            problems.append(str(error))
        except Exception as error:  # whatever a user's mechanism.py raises on import
            problems.append(f"{folder / 'mechanism.py'} cannot be imported: {type(error).__name__}: {error}")
        else:
            wrong: list[str] = []
            claims_here = list(_claims_of(opened, problems=wrong))
            problems += wrong or _misnamed(opened, claims_here)
            found += claims_here
    problems += _repeated(found)
    if problems:
        raise DeclarationError("\n".join(problems))
    return found


def find_claim(claim_id: str, *, claims: Path) -> CatalogEntry:
    """The claim of this id; DeclarationError that lists what there is."""
    folder = folder_of(claim_id, claims=claims)
    found = {entry.claim.id: entry for entry in all_claims(claims, mechanism=folder.name)}
    if claim_id not in found:
        listed = ", ".join(found) or "none"
        hint = did_you_mean(claim_id, found)
        raise DeclarationError(f"no claim {claim_id!r} below {folder}; there are: {listed}.{hint}")
    return found[claim_id]


def misnamed_expectations(mechanism: Mechanism) -> list[str]:
    """What is wrong with the ids under `[expectations.]`: a verdict for no claim would be registered by nobody.

    Ids that a test file spells out are believed; only for another one are the folder's files imported. Where those
    cannot be, nothing is said: the claims are not known then, and whoever reads the files says what is wrong.
    """
    text = b"".join(path.read_bytes() for path in mechanism.folder.glob("test_*.py"))
    named = mechanism.subjects.expectations
    if all(f'"{claim_id}"'.encode() in text or f"'{claim_id}'".encode() in text for claim_id in named):
        return []
    wrong: list[str] = []
    found = list(_claims_of(mechanism, problems=wrong))
    return [] if wrong else _misnamed(mechanism, found)


def _misnamed(mechanism: Mechanism, found: Sequence[CatalogEntry]) -> list[str]:
    ids = [entry.claim.id for entry in found]
    file = mechanism.subjects
    return [
        f'{file.path}: [expectations."{claim_id}"] is of no claim of this folder; there are: '
        f"{', '.join(ids) or 'none'}.{did_you_mean(claim_id, ids)}"
        for claim_id in file.expectations
        if claim_id not in ids
    ]


def _claims_of(mechanism: Mechanism, *, problems: list[str]) -> Iterator[CatalogEntry]:
    """The claims in a mechanism's files; what is wrong is added to `problems`."""
    for path in sorted(mechanism.folder.glob("test_*.py")):
        try:
            module = import_file(path)
        except Exception as error:  # a test file may raise anything on import
            problems.append(f"{path} cannot be imported: {type(error).__name__}: {error}")
            continue
        for name, test in _tests_in(module):
            source = f"{path.as_posix()}::{name}"
            try:
                claim = declared(test, where=source, also=partial(place_problems, mechanism=mechanism.folder))
                yield CatalogEntry(claim, test, source, mechanism)
            except MechclaimsError as error:
                problems.append(str(error))


def _tests_in(module: ModuleType) -> Iterator[tuple[str, Callable[..., None]]]:
    """Claims that are defined in this module, not those that it imports from another one."""
    for name, value in vars(module).items():
        if hasattr(value, "__claim__") and getattr(value, "__module__", None) == module.__name__:
            yield name, value


def split_family(claim: Claim, seen: dict[tuple[str, str], str]) -> str:
    """What is wrong with a claim that says of the same class of heads what another one says; empty where none does.

    Heads of one class under one statement are one family, whose errors are shared out (Holm) within one claim.

    Args:
        claim: the claim.
        seen: ids of the claims met before, by class and statement; this one is added.
    """
    if claim.subject is None:
        return ""
    statement = " ".join(claim.statement.casefold().rstrip(".").split())
    first = seen.setdefault((f"{claim.mechanism}.{claim.subject}", statement), claim.id)
    if first == claim.id:
        return ""
    return (
        f"claims {first!r} and {claim.id!r} make the same statement about the same class {claim.subject!r}: heads of "
        "one class under one statement are one family, to be judged by one claim with a row for each"
    )


def _repeated(found: list[CatalogEntry]) -> list[str]:
    seen: dict[str, str] = {}
    families: dict[tuple[str, str], str] = {}
    problems = [problem for entry in found if (problem := split_family(entry.claim, families))]
    for entry in found:
        first = seen.setdefault(entry.claim.id, entry.source)
        if first != entry.source:
            problems.append(f"claim id {entry.claim.id!r} is declared twice: in {first} and in {entry.source}")
    return problems
