"""What tcomp needs from the machine, checked by trying it, with a fix for each problem."""

import ctypes
import importlib.util
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from tcomp.cli.doctor_check import Check
from tcomp.cli.doctor_gpu import check_gpu_parts
from tcomp.codegen.c.limited import run_limited
from tcomp.codegen.cache import BuildCache
from tcomp.codegen.temporary import hold_folder
from tcomp.ir.errors import CacheError
from tcomp.settings import Settings, read_settings


def run_checks(settings: Settings | None = None) -> tuple[Check, ...]:
    """Check versions, compiler, instruction set, threads, OpenMP, cache, GPU and Triton; tcomp cannot work if one is "broken"."""
    settings = settings or read_settings()
    command = find_compiler(settings)
    return (
        check_versions(sys.version_info[:2], torch.__version__),
        check_compiler(command),
        check_instructions(read_macros(command) if command else frozenset()),
        check_threads(count_allowed_cpus(), read_quota(Path("/sys/fs/cgroup/cpu.max")), torch.get_num_threads()),
        check_openmp(find_loaded_openmp(Path("/proc/self/maps"))),
        check_cache(settings.cache_dir),
        *check_gpu_parts(),
        check_extras(),
    )


def check_versions(python: tuple[int, int], torch_version: str) -> Check:
    """Python 3.11 and PyTorch 2.9 are the oldest that are served."""
    found = f"Python {python[0]}.{python[1]}, PyTorch {torch_version}"
    if python < (3, 11):
        return Check("versions", "broken", found, "use Python 3.11 or later")
    if tuple(int(part) for part in re.findall(r"\d+", torch_version)[:2]) < (2, 9):
        return Check("versions", "broken", found, "pip install 'torch>=2.9'")
    return Check("versions", "ok", found)


def find_compiler(settings: Settings) -> tuple[str, ...]:
    """Return the C compiler's command: that of CC, else cc, gcc, clang, else zig's; empty if there is none."""
    if settings.compiler:
        return settings.compiler
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return (name,)
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "cc")
    return ()


def check_compiler(command: tuple[str, ...]) -> Check:
    """Build a library of one vectorised OpenMP function, load it, and compare what it computes."""
    install = "install a C compiler (apt install gcc), or name one in CC"
    if not command:
        return Check("compiler", "broken", "no cc, gcc or clang on PATH", install)
    spelled = " ".join(command)
    with hold_folder(Path(tempfile.gettempdir()), "tcomp-probe-") as folder:
        source, library = folder / "probe.c", folder / "probe.so"
        source.write_text(_PROBE)
        try:
            version = _run([*command, "--version"]).splitlines()[0]
            _run([*command, *_FLAGS, str(source), "-o", str(library)])
        except FileNotFoundError:
            return Check("compiler", "broken", f"{spelled} cannot be found", install)
        except (subprocess.SubprocessError, OSError, IndexError) as error:
            detail = (getattr(error, "stderr", "") or str(error)).strip()
            fix = "the compiler must accept GCC's vector extensions and -fopenmp; gcc does: set CC=gcc"
            return Check("compiler", "broken", f"{spelled} does not build a kernel: {detail[:500]}", fix)
        try:
            right = _call_probe(library)
        except OSError as error:
            fix = "is the folder for temporary files mounted noexec? Set TMPDIR to another"
            return Check("compiler", "broken", f"what {spelled} builds cannot be loaded: {error}", fix)
    if not right:
        return Check("compiler", "broken", f"{version} computes wrong sums", "use another compiler: set CC")
    return Check("compiler", "ok", f"{spelled}: {version}")


def read_macros(command: tuple[str, ...]) -> frozenset[str]:
    """Return the macros the compiler predefines for this machine; empty if it cannot be asked."""
    try:
        text = _run([*command, "-march=native", "-dM", "-E", "-x", "c", os.devnull])
    except (subprocess.SubprocessError, OSError):
        return frozenset()
    return frozenset(line.split()[1] for line in text.splitlines() if line.startswith("#define "))


def check_instructions(macros: frozenset[str]) -> Check:
    """Name the vector instructions the compiler will use here."""
    names = [name for macro, name in _INSTRUCTIONS.items() if macro in macros]
    found = f"{platform.machine()}: {', '.join(names) or 'no vector instructions known to tcomp'}"
    if {"AVX2", "NEON"} & set(names):
        return Check("instructions", "ok", found)
    fix = "kernels run, with narrow vectors: on x86 a machine or virtual machine type with AVX2 would help"
    return Check("instructions", "warning", found, fix)


def count_allowed_cpus() -> int:
    """Return on how many CPUs this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_quota(path: Path) -> float | None:
    """Return the control group's limit in CPUs, or None where there is none (`max`, or no such file)."""
    try:
        limit, period = path.read_text().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)


def check_threads(cpus: int, quota: float | None, threads: int) -> Check:
    """Kernels use as many threads as PyTorch; more than the process may run on makes each wait for the others."""
    usable = cpus if quota is None else max(1, min(cpus, math.floor(quota)))
    limit = "no quota" if quota is None else f"a quota of {quota:g}"
    found = f"{threads} threads; {cpus} of {os.cpu_count()} CPUs allowed, {limit}"
    if threads > usable:
        return Check("threads", "warning", found, f"set OMP_NUM_THREADS={usable}")
    return Check("threads", "ok", found)


def find_loaded_openmp(maps: Path) -> tuple[str, ...]:
    """Return the file names of the OpenMP runtimes in this process, which torch has loaded; empty where unknown."""
    try:
        lines = maps.read_text().splitlines()
    except OSError:
        return ()
    names = {Path(fields[5]).name for line in lines if len(fields := line.split(maxsplit=5)) == 6}
    return tuple(sorted(name for name in names if re.match(r"lib(g|i|)omp", name)))


def check_openmp(loaded: tuple[str, ...]) -> Check:
    """Kernels share PyTorch's thread pool if its runtime goes by the name kernels are linked against."""
    if not loaded:
        return Check(
            "OpenMP", "warning", "no OpenMP runtime seen in this process", "threads may not be shared with torch"
        )
    found = f"torch has loaded {', '.join(loaded)}"
    if len(loaded) > 1:
        return Check("OpenMP", "warning", found, "two pools compete for the CPUs: look who loads the second one")
    if loaded[0] != "libgomp.so.1":
        fix = "kernels start a second pool beside torch's: use a PyTorch build that ships libgomp.so.1 under that name"
        return Check("OpenMP", "warning", found, fix)
    return Check("OpenMP", "ok", f"{found}, the pool kernels share")


def check_cache(folder: Path) -> Check:
    """The cache directory can be made and written, and nobody else can write there, in its folders or above them."""
    try:
        for part in (folder, folder / "kernels"):
            BuildCache(part).check()
    except CacheError as error:
        found = f"{error.what}: {error.where}; programs are compiled again in each process"
        return Check("cache", "warning", found, error.help)
    return Check("cache", "ok", str(folder))


def check_extras() -> Check:
    """Name the optional packages that are there, and the extras that bring the others."""
    missing = {
        extra: [name for name in names if not importlib.util.find_spec(name)] for extra, names in _EXTRAS.items()
    }
    found = ", ".join(name for extra, names in _EXTRAS.items() for name in names if name not in missing[extra])
    absent = [f"{', '.join(names)} (pip install 'tcomp[{extra}]')" for extra, names in missing.items() if names]
    parts = [f"found {found}" if found else "", f"not installed: {'; '.join(absent)}" if absent else ""]
    return Check("extras", "ok", "; ".join(part for part in parts if part))


def _run(command: list[str]) -> str:
    done = run_limited(command, _LIMIT)
    if done.status is None:
        raise subprocess.TimeoutExpired(command, _LIMIT, done.output, done.errors)
    if done.status:
        raise subprocess.CalledProcessError(done.status, command, done.output, done.errors)
    return done.output


def _call_probe(library: Path) -> bool:
    count = 64
    values = (ctypes.c_float * count)(*range(count))
    ctypes.CDLL(str(library)).tcomp_probe(values, count // 8)
    return list(values) == [2 * index + 1 for index in range(count)]


_LIMIT = 60.0
"""Seconds that the compiler may take for each question."""

_FLAGS = ("-O2", "-march=native", "-fopenmp", "-shared", "-fPIC")

_PROBE = """\
typedef float vector __attribute__((vector_size(32), aligned(4)));
void tcomp_probe(float *values, int count) {
  #pragma omp parallel for
  for (int index = 0; index < count; ++index) {
    vector *place = (vector *)(values + 8 * index);
    *place = *place * 2.0f + 1.0f;
  }
}
"""

_INSTRUCTIONS = {
    "__SSE4_2__": "SSE4.2",
    "__AVX2__": "AVX2",
    "__FMA__": "FMA",
    "__AVX512F__": "AVX-512",
    "__AVX512VNNI__": "VNNI",
    "__AVX512BF16__": "BF16",
    "__AVX512FP16__": "FP16",
    "__AMX_TILE__": "AMX",
    "__ARM_NEON": "NEON",
    "__ARM_FEATURE_SVE": "SVE",
}

_EXTRAS = {
    "zoo": ("transformers",),
    "bench": ("openvino", "onnxruntime", "onnx", "onnxscript"),
    "gpu": ("triton",),
}
