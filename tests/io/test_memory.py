"""What this machine has left, told from files of the system."""

from __future__ import annotations

from pathlib import Path

import pytest

from seenn_deploy.errors import ResourceError, SeennError
from seenn_deploy.io import memory

MIB = 1 << 20


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc and a /sys/fs/cgroup of our own; the kernel has 800 MiB available."""
    for name, folder in (("_PROC", "proc/self"), ("_CGROUPS", "cgroup")):
        (tmp_path / folder).mkdir(parents=True)
        monkeypatch.setattr(memory, name, tmp_path / folder.split("/", maxsplit=1)[0])
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {800 * 1024} kB\n")
    monkeypatch.setattr(memory, "_address_space", lambda: iter(()))
    return tmp_path


def test_without_control_groups_the_kernel_tells(system: Path) -> None:
    assert memory.available() == 800 * MIB


def test_a_container_may_have_less_than_the_kernel(system: Path) -> None:
    """Version 2: the limit of the group or of any above it; files in memory can be given up."""
    (system / "proc/self/cgroup").write_text("0::/pod/box\n")
    (system / "cgroup/pod/box").mkdir(parents=True)
    for folder, limit, used, files in (("pod", 500, 100, 0), ("pod/box", 400, 350, 200)):
        group = system / "cgroup" / folder
        (group / "memory.max").write_text(f"{limit * MIB}\n")
        (group / "memory.current").write_text(f"{used * MIB}\n")
        (group / "memory.stat").write_text(f"anon 7\ninactive_file {files * MIB}\n")
    assert memory.available() == 250 * MIB
    (system / "cgroup/pod/box/memory.max").write_text("max\n")
    assert memory.available() == 400 * MIB


def test_control_groups_of_version_1(system: Path) -> None:
    """Inside a container the path is often that of the host; the root then has the limit."""
    (system / "proc/self/cgroup").write_text("5:cpu,memory:/host/path\n4:pids:/x\n")
    group = system / "cgroup/memory"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(f"{300 * MIB}\n")
    (group / "memory.usage_in_bytes").write_text(f"{310 * MIB}\n")
    (group / "memory.stat").write_text(f"total_inactive_file {60 * MIB}\n")
    assert memory.available() == 50 * MIB


def test_other_systems_tell_what_there_is_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_PROC", "_CGROUPS"):
        monkeypatch.setattr(memory, name, tmp_path / "none")
    installed = memory.available()
    assert installed is not None and installed > 100 * MIB
    monkeypatch.setattr(memory.os, "sysconf_names", {})
    assert memory.available() is None
    memory.require(1 << 60, "anything", str)  # nobody knows, so nobody refuses


def test_a_refusal_says_figures_and_a_remedy(system: Path) -> None:
    memory.require(800 * MIB, "this", str)
    with pytest.raises(ResourceError) as error:
        memory.require(3000 * MIB, "this", lambda there: f"{there >> 20} would do")
    assert str(error.value) == (
        "this needs 2.9 GiB of memory and 0.78 GiB are available; 800 would do"
    )
    assert isinstance(error.value, SeennError) and isinstance(error.value, MemoryError)
