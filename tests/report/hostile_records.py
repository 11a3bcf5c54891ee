"""A record whose every text tries to break out of a table, an attribute, a script or a style."""

from __future__ import annotations

from typing import Any

from tests.report.sample_pictures import pictures
from tests.report.sample_records import claim, judgement, outcome, record

HOSTILE = " ".join(
    [
        "</script><img src=x onerror=alert(1)>",
        "'\"><svg onload=alert(2)>",
        "`code` ```",
        "a|b",
        "two\nlines",
        "]]> --> </style></title></textarea>",
        "[x](javascript:alert(3)) ![y](figure-1) {{ 7 * 7 }} {% raw %}",
        "<details><summary>&lt;b&gt;\\",
        "\u202eback\u2028wards",
    ]
)


def hostile() -> dict[str, Any]:
    """The record; its claim's id is one that a declaration may have, everything else is not."""
    outcomes = [outcome(HOSTILE, HOSTILE, estimate=0.6), outcome("1.1", HOSTILE, estimate=0.6)]
    head_map, matrix, pattern = pictures()[:3]
    units = claim()["units"]
    return record(
        HOSTILE,
        claim=claim(
            "hostile.names",
            statement=HOSTILE,
            mechanism=HOSTILE,
            rival=HOSTILE,
            exposed_by=HOSTILE,
            sesoi_reason=HOSTILE,
            paper=HOSTILE,
            source=HOSTILE,
            metric={"name": HOSTILE, "unit": HOSTILE, "binary": False},
            controls=[{"name": HOSTILE, "kind": HOSTILE}],
            units={**units, "of": HOSTILE, "reason": HOSTILE},
        ),
        subject={"class": HOSTILE, "components": [HOSTILE], "source": HOSTILE, "selected_by": HOSTILE},
        prompts={"sha256": "ab" * 32, "n": 2, "clusters": 2, "examples": [HOSTILE]},
        judgement=judgement("supported", outcomes, reason=HOSTILE),
        expectation={"verdict": "refuted", "reason": HOSTILE},
        notes=[HOSTILE],
        tables=[{"name": HOSTILE, "columns": [HOSTILE, "b"], "rows": [[HOSTILE, True], [None, 1.5]]}],
        pictures=[
            {**head_map, "name": HOSTILE, "caption": HOSTILE, "unit": HOSTILE},
            {**matrix, "name": HOSTILE, "rows": [HOSTILE, "b", "c"], "marked": [], "unit": HOSTILE},
            {**pattern, "name": HOSTILE, "tokens": [HOSTILE, *pattern["tokens"][1:]], "head": HOSTILE},
            {"kind": HOSTILE, "name": HOSTILE, "caption": HOSTILE},
        ],
        command=HOSTILE,
    )
