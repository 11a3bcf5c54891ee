"""What this process may use where pytest-xdist runs several of them."""

from __future__ import annotations

import os

import pytest


def is_worker(config: pytest.Config) -> bool:
    """Whether another process runs the session, and this one a part of its tests."""
    return hasattr(config, "workerinput")


def share_cores(config: pytest.Config) -> None:
    """Give each worker its part of the cores; alone a process keeps torch's own choice."""
    workers = getattr(config, "workerinput", {}).get("workercount")
    if workers:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(workers)))
