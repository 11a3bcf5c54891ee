"""Who plays which role in a five-digit sum, seen from each answer place: pairs by number, or by where they lie."""

from __future__ import annotations

from fixtures.prompts.sums import ANSWERS, DIGITS, answer_position, operand_positions
from harness.roles import RoleMap

PLUS_AT, EQUALS_AT = DIGITS, 2 * DIGITS + 1
"""Positions of "+" and "="."""
OWN, RIGHT, FURTHER_RIGHT, LEFT = "own pair", "pair to the right", "further right", "further left"
OPERATOR, EQUALS, EARLIER = "+", "=", "earlier answer digits"


def by_pair() -> RoleMap:
    """Roles `pair 0` to `pair 4`, "+", "=" and earlier answer digits."""
    pairs = {f"pair {pair}": operand_positions(pair) for pair in range(DIGITS)}
    return _with_signs({place: dict(pairs) for place in range(ANSWERS)})


def by_distance() -> RoleMap:
    """Roles as each answer place sees them: its own pair, the pair to the right, pairs further right and left, signs.

    The first answer place has no pair of its own, the last none to its right.
    """
    roles: dict[int, dict[str, tuple[int, ...]]] = {place: {} for place in range(ANSWERS)}
    for place, found in roles.items():
        for pair in range(DIGITS):
            distance = pair - (place - 1)
            role = {0: OWN, 1: RIGHT}.get(distance, FURTHER_RIGHT if distance > 1 else LEFT)
            found[role] = (*found.get(role, ()), *operand_positions(pair))
    return _with_signs(roles)


def _with_signs(roles: dict[int, dict[str, tuple[int, ...]]]) -> RoleMap:
    keys = {
        f"answer {place}": {**found, OPERATOR: (PLUS_AT,), EQUALS: (EQUALS_AT,), **_earlier(place)}
        for place, found in roles.items()
    }
    return RoleMap({f"answer {place}": answer_position(place) for place in roles}, keys)


def _earlier(place: int) -> dict[str, tuple[int, ...]]:
    """Answer digits that stand already, at place 1 the first; the query of a place is the digit before it."""
    written = tuple(range(EQUALS_AT + 1, answer_position(place) + 1))
    return {EARLIER: written} if written else {}
