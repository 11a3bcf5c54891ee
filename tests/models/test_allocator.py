"""Freed memory is kept where the C library can, and nothing is asked of another one."""

from __future__ import annotations

import platform
import sys
from types import SimpleNamespace

import pytest

from harness.models import allocator


@pytest.fixture(autouse=True)
def asked_anew():
    allocator.keep_freed_memory.cache_clear()
    yield
    allocator.keep_freed_memory.cache_clear()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_glibc_takes_the_settings():
    assert allocator.keep_freed_memory()


def test_nothing_is_asked_of_another_system(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("asked"))
    assert not allocator.keep_freed_memory()


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not allocator.keep_freed_memory()


def test_a_setting_that_is_refused_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda which, size: 0))
    assert not allocator.keep_freed_memory()
