"""Finds out which machine this is, from what the kernel of the operating system tells.

Where a file is missing (another system, a container without /sys) a common small machine is assumed.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

from tcomp.ir.target import Cpu

# The flags that change which code is best, as Linux names them, in the order in which `isa` lists them.
FEATURES = (
    *("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx_vnni", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2"),
)
SMALL_CACHES = (32 * 1024, 512 * 1024, 8 * 1024 * 1024)
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Other systems' names for the architectures, in Linux's words."""


def detect_target(compiler: str = "", *, root: Path = Path("/"), cpus: frozenset[int] | None = None) -> Cpu:
    """Describe this machine; `compiler` identifies the compiler and is part of the result.

    `root` is where /proc and /sys are looked for and `cpus` the CPUs one may run on, unless given those of this process.
    """
    machine = platform.machine().lower()
    architecture = ARCHITECTURES.get(machine, machine)
    flags = read_flags(root)
    allowed = cpus if cpus is not None else find_allowed_cpus()
    family, bits, registers = classify(architecture, flags)
    isa = " ".join([architecture, *(feature for feature in FEATURES if feature in flags)])
    cores = int(max(1, min(count_cores(root, allowed), read_quota(root))))
    l1, l2, l3 = read_caches(root, min(allowed))
    return Cpu(f"{family} {cores} core{'s' * (cores > 1)}", isa, bits, registers, cores, l1, l2, l3, compiler)


def classify(architecture: str, flags: Iterable[str]) -> tuple[str, int, int]:
    """The family of vector instructions, the bits of a register, and the number of registers."""
    if "avx512f" in flags:
        return "avx512", 512, 32
    if "avx2" in flags:
        return "avx2", 256, 16
    if architecture == "aarch64":
        return "neon", 128, 32
    return ("sse2" if architecture == "x86_64" else architecture), 128, 16


def read_flags(root: Path) -> frozenset[str]:
    """The instruction sets of the first CPU in /proc/cpuinfo: `flags` on x86, `Features` on ARM."""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", _read(root / "proc/cpuinfo"), re.MULTILINE)
    return frozenset(match.group(1).split()) if match else frozenset()


def read_processor(root: Path = Path("/")) -> str:
    """What the processor is called."""
    match = re.search(r"^model name\s*:(.*)$", _read(root / "proc/cpuinfo"), re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def find_allowed_cpus() -> frozenset[int]:
    """The CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def count_cores(root: Path, cpus: frozenset[int]) -> int:
    """How many cores the CPUs belong to: two hardware threads of a core share its vector units and count once."""
    siblings = (_read(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").strip() for cpu in sorted(cpus))
    return len({found or str(cpu) for cpu, found in zip(sorted(cpus), siblings)})


def read_quota(root: Path) -> float:
    """The smallest CPU quota of this process's control group and those above it, in CPUs; infinite if there is none."""
    quotas = [float("inf")]
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = Path(path.lstrip("/"))
        # In a container the path may be one of the host's, while the root of the mount is the container's own group.
        for folder in (group, *group.parents):
            if controllers:
                base = root / "sys/fs/cgroup/cpu" / folder
                quotas.append(_divide(f"{_read(base / 'cpu.cfs_quota_us')} {_read(base / 'cpu.cfs_period_us')}"))
            else:
                quotas.append(_divide(_read(root / "sys/fs/cgroup" / folder / "cpu.max")))
    return min(quotas)


def _divide(text: str) -> float:
    """Quota and period as CPUs: "150000 100000" is 1.5, while "max 100000", -1 or nothing is no limit."""
    numbers = text.split()
    if len(numbers) != 2 or not numbers[0].isdecimal() or not numbers[1].isdecimal() or int(numbers[1]) == 0:
        return float("inf")
    return int(numbers[0]) / int(numbers[1])


def read_caches(root: Path, cpu: int) -> tuple[int, int, int]:
    """Bytes of the data caches of levels 1 to 3 of a CPU; a level it lacks is 0."""
    sizes: dict[int, int] = {}
    for folder in sorted((root / f"sys/devices/system/cpu/cpu{cpu}/cache").glob("index*")):
        level, kind, size = (_read(folder / name).strip() for name in ("level", "type", "size"))
        match = re.fullmatch(r"(\d+)([KM]?)", size)
        if match and level.isdecimal() and kind in ("Data", "Unified"):
            sizes[int(level)] = int(match.group(1)) * {"": 1, "K": 1024, "M": 1024 * 1024}[match.group(2)]
    if not sizes:
        return SMALL_CACHES
    return sizes.get(1, 0), sizes.get(2, 0), sizes.get(3, 0)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
