"""Drawing once: keys that change with what a figure shows, and processes that draw the same bytes as one."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.report import drawing, figures
from harness.report.drawing import draw_new, key_of
from harness.report.figure_files import draw_files
from harness.report.forests import claim_forest_job, summary_forest_job
from tests.report.sample_pictures import pictures
from tests.report.sample_records import claim, exact_record, not_run, record

ROOT = Path(__file__).parents[2]


def jobs(count: int) -> dict[str, Any]:
    """Different small figures by their keys."""
    bars = [{**pictures()[5], "name": f"{place}"} for place in range(count)]
    made = [partial(figures.draw, picture) for picture in bars]
    return {key_of(job): job for job in made}


def test_processes_draw_the_same_bytes_as_one() -> None:
    of = {**jobs(11), "forest": claim_forest_job([record()]), "broken": partial(figures.draw, {"kind": "none"})}
    draw = partial(draw_files, formats=("png", "svg"))
    together = draw_new(of, draw=draw, known={}, workers=2)
    assert together == draw_new(of, draw=draw, known={}, workers=1)
    assert list(together) == list(of)
    assert "is not one of" in together["broken"].problem


class NoPool:
    """A pool that this machine cannot make."""

    error: BaseException

    def __init__(self, *_: object, **__: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),  # a semaphore in a full /dev/shm
        PermissionError("no /dev/shm"),
        NotImplementedError("no sem_open"),
        ImportError("no _multiprocessing"),
        BrokenProcessPool("a script that cannot be imported again"),
    ],
)
def test_where_there_can_be_no_pool_one_process_draws(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(NoPool, "error", error, raising=False)
    monkeypatch.setattr(drawing, "ProcessPoolExecutor", NoPool)
    made = draw_new(dict.fromkeys("abcdefghijklmnop", partial(int)), draw=_called, known={}, workers=2)
    assert made == dict.fromkeys("abcdefghijklmnop", 0)


def _called(job: Any) -> Any:
    return job()


def _boom(_: Any) -> Any:
    raise OSError("of the drawing itself")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_drawing_itself_is_not_hidden(workers: int) -> None:
    """Nor in a process of a pool, where the same class of error says that there can be none."""
    with pytest.raises(OSError, match="of the drawing itself"):
        draw_new({f"{place}": partial(int) for place in range(12)}, draw=_boom, known={}, workers=workers)


@pytest.mark.parametrize(("cores", "count", "pooled"), [(1, 100, False), (8, 11, False), (2, 12, True)])
def test_a_pool_is_made_only_where_it_pays(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    count: int,
    pooled: bool,  # noqa: FBT001 (a parameter)
) -> None:
    asked = []

    class Asked(NoPool):
        error = OSError("counted")

        def __init__(self, workers: int, **_: object) -> None:
            asked.append(workers)
            raise self.error

    monkeypatch.setattr(drawing, "ProcessPoolExecutor", Asked)
    monkeypatch.setattr(drawing, "_cores", lambda: cores)
    draw_new({f"{place}": partial(int) for place in range(count)}, draw=_called, known={})
    assert asked == ([2] if pooled else [])


def test_a_script_without_a_guard_and_one_from_standard_input_are_drawn_all_the_same(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        from functools import partial
        from harness.report import drawing
        jobs = {str(place): partial(int) for place in range(12)}
        print(len(drawing.draw_new(jobs, draw=drawing._cores_of, known={}, workers=2)))
        """
    ).replace("drawing._cores_of", "str")
    path = tmp_path / "script.py"
    path.write_text(script, encoding="utf-8")
    for how in ({"args": [sys.executable, str(path)]}, {"args": [sys.executable, "-"], "input": script}):
        done = subprocess.run(
            **how, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.splitlines()[-1:] == ["12"], done.stderr


def test_only_what_is_not_known_is_drawn() -> None:
    of = jobs(3)
    first, *others = of
    drawn = []
    made = draw_new(of, draw=lambda job: drawn.append(job) or "new", known={first: "old", "other": "x"}, workers=1)
    assert made == {first: "old", **dict.fromkeys(others, "new")}
    assert drawn == [of[key] for key in others]


def test_a_key_follows_what_is_shown_and_not_when_it_was_measured() -> None:
    def key(**changes: Any) -> str:
        return key_of(claim_forest_job([record(heads=1, **changes)]))

    assert key() == key()
    cheap = {"cost": {"seconds": 1.0}, "command": "another", "notes": ["n"], "pictures": pictures()}
    assert key() == key(**cheap)
    assert key() != key(claim=claim(sesoi=0.3))
    assert key() != key(verdict="refuted")
    assert key_of(summary_forest_job([record()])) != key_of(claim_forest_job([record()]))


def test_a_forest_job_draws_what_its_records_would(tmp_path: Path) -> None:
    for some in ([record(), not_run()], [exact_record()]):
        whole = figures.encoded(figures.forest(some[:1]), suffix="png")
        assert figures.encoded(claim_forest_job(some)(), suffix="png") == whole


def test_a_key_follows_the_code_that_draws(tmp_path: Path) -> None:
    job = next(iter(jobs(1).values()))
    source = tmp_path / "code.py"
    source.write_text("1", encoding="utf-8")
    assert key_of(job) != key_of(job, sources=(source,))
