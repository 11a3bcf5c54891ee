"""The smallest complete claim: tests vary it with `dataclasses.replace`."""

from __future__ import annotations

from harness.declaration import Claim, Control, Metric, Units

CLAIM = Claim(
    id="toy.larger",
    paper="none2026",
    statement="Treated values are larger.",
    metric=Metric("value", unit="nats"),
    sesoi=0.5,
    sesoi_reason="a toy",
    alternative="greater",
    controls=(Control("same dose", "same-dose"), Control("shuffled", "input")),
    rival="noise",
    exposed_by="shuffled",
    units=Units(default=24, quick=16, reason="a toy"),
    subject="induction",
)
