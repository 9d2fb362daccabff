"""What is known of the machine, and what is said where the system does not tell."""

import ctypes
import os
import time
from pathlib import Path

import pytest

from incoming.platform import host, mounts

NOWHERE = Path("/nonexistent")


def test_the_processors_that_may_be_used_are_counted_or_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 5})
    assert host.usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert host.usable_cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert host.usable_cores() == 1


def test_memory_is_measured_or_the_most_that_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    now = host.resident_memory()
    monkeypatch.setattr(host, "_STATM", NOWHERE)
    assert 0 < now <= 2 * host.resident_memory()


def test_the_boot_is_named_by_the_kernel_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.boot_id() == host.boot_id() != ""
    assert host.boot_id(NOWHERE) == "", "glibc has no sysctlbyname"


def test_the_boot_session_of_macos_is_a_boot_id(monkeypatch: pytest.MonkeyPatch) -> None:
    class MacLibrary:
        @staticmethod
        def sysctlbyname(name: bytes, text: ctypes.Array[ctypes.c_char], *_: object) -> int:
            text.value = b"of " + name
            return 0

    monkeypatch.setattr(host, "_LIBC", MacLibrary)
    assert host.boot_id(NOWHERE) == "of kern.bootsessionuuid"


def test_a_machine_without_an_id_has_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_MACHINE_ID", NOWHERE)
    assert host.machine_id() == ""


def test_the_clock_since_boot_has_a_substitute(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.time_since_boot() > 0
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    assert before <= host.time_since_boot() <= time.clock_gettime(time.CLOCK_MONOTONIC)


def test_a_system_without_mounts_in_proc_names_no_file_system() -> None:
    assert mounts.kind_of("/") != ""
    assert mounts.kind_of("/", NOWHERE) == ""
