"""Where the report's claims stand: the names of their sections, and links to them from another page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.report.reading import Entry
from harness.report.text import inline


@dataclass(frozen=True)
class Links:
    """Addresses of claims and mechanisms, seen from one page.

    Attributes:
        claims: address of the page that a claim stands in, by its id; without one it stands in the page itself.
        mechanisms: address of each mechanism's page, by its name; without one it has none.
    """

    claims: Mapping[str, str] = field(default_factory=dict)
    mechanisms: Mapping[str, str] = field(default_factory=dict)

    def claim(self, record: Entry) -> str:
        """Markdown of a record's claim: its id, linked to its section."""
        claim_id = str(record["claim"]["id"])
        return f"[{inline(claim_id)}]({self.claims.get(claim_id, '')}#{anchor(claim_id)})"

    def mechanism(self, name: str) -> str:
        """Markdown of a mechanism's name, linked to its page where it has one."""
        return f"[{inline(name)}]({self.mechanisms[name]})" if name in self.mechanisms else inline(name)


def anchor(claim_id: object) -> str:
    """The name of a claim's section, for links."""
    return "claim-" + "".join(char if char.isalnum() and char.isascii() else "-" for char in str(claim_id))
