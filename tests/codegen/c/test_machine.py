"""Finding out which machine this is, on made-up machines."""

import os
import platform

import pytest

from tcomp.codegen.c.machine import SMALL_CACHES, classify, count_cores, detect_target, read_caches, read_flags, read_quota
from tcomp.ir.parse.target import parse_target

X86 = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu sse2 fma avx2 avx512f\n\nprocessor\t: 1\nflags\t\t: fpu\n"


def write(root, **files):
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")


def write_cache(root, index, level, kind, size):
    folder = f"sys/devices/system/cpu/cpu0/cache/index{index}"
    write(root, **{f"{folder}/level": str(level), f"{folder}/type": kind, f"{folder}/size": size})


def test_this_machine_is_described_and_its_text_parses_back():
    target = detect_target("gcc 12.2.0")
    assert parse_target(str(target)) == target
    assert detect_target("gcc 12.2.0") == target
    assert 1 <= target.cores <= (os.cpu_count() or 1)
    assert target.isa.split()[0] in (platform.machine().lower(), "x86_64", "aarch64")
    assert target.compiler == "gcc 12.2.0"


def test_a_made_up_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    write(tmp_path, **{"proc/cpuinfo": X86})
    for row in ((0, 1, "Data", "48K"), (1, 1, "Instruction", "64K"), (2, 2, "Unified", "2048K"), (3, 3, "Unified", "30M")):
        write_cache(tmp_path, *row)
    target = detect_target("cc", root=tmp_path, cpus=frozenset({0, 1, 2}))
    assert (target.name, target.isa) == ("avx512 3 cores", "x86_64 avx2 fma avx512f")
    assert (target.vector_bits, target.vector_registers, target.cores) == (512, 32, 3)
    assert (target.l1, target.l2, target.l3) == (48 * 1024, 2048 * 1024, 30 * 1024 * 1024)


def test_without_any_files_a_small_machine_is_assumed(tmp_path):
    target = detect_target(root=tmp_path, cpus=frozenset({0}))
    assert target.cores == 1
    assert target.name.endswith(" 1 core")
    assert (target.l1, target.l2, target.l3) == SMALL_CACHES


@pytest.mark.parametrize(
    ("architecture", "flags", "family"),
    [
        ("x86_64", {"avx2", "avx512f"}, ("avx512", 512, 32)),
        ("x86_64", {"avx2"}, ("avx2", 256, 16)),
        ("x86_64", set(), ("sse2", 128, 16)),
        ("aarch64", {"asimd", "sve"}, ("neon", 128, 32)),
        ("riscv64", set(), ("riscv64", 128, 16)),
    ],
)
def test_families(architecture, flags, family):
    assert classify(architecture, flags) == family


def test_arm_calls_its_flags_features(tmp_path):
    write(tmp_path, **{"proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd bf16"})
    assert read_flags(tmp_path) == {"fp", "asimd", "bf16"}


def test_hardware_threads_of_one_core_count_once(tmp_path):
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        write(tmp_path, **{f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": siblings})
    assert count_cores(tmp_path, frozenset({0, 1, 2, 3})) == 2
    assert count_cores(tmp_path, frozenset({0, 2})) == 1
    assert count_cores(tmp_path, frozenset({7, 8})) == 2


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, float("inf")),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "max 100000"}, float("inf")),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "150000 100000"}, 1.5),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpu.max": "400000 100000"}, 4),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
        ({"proc/self/cgroup": "0::/gone", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        (
            {
                "proc/self/cgroup": "4:memory:/m\n1:cpu,cpuacct:/a",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            float("inf"),
        ),
    ],
)
def test_quotas_of_control_groups(tmp_path, files, quota):
    write(tmp_path, **files)
    assert read_quota(tmp_path) == quota


def test_a_quota_lowers_the_cores_but_never_below_one(tmp_path):
    write(tmp_path, **{"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "250000 100000"})
    assert detect_target(root=tmp_path, cpus=frozenset(range(8))).cores == 2
    write(tmp_path, **{"sys/fs/cgroup/cpu.max": "50000 100000"})
    assert detect_target(root=tmp_path, cpus=frozenset(range(8))).cores == 1


def test_a_cache_level_that_is_missing_is_0(tmp_path):
    write_cache(tmp_path, 0, 1, "Data", "32K")
    write_cache(tmp_path, 1, 2, "Unified", "odd")
    assert read_caches(tmp_path, 0) == (32 * 1024, 0, 0)
