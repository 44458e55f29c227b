"""Compiles the harnesses of the C support headers for an instruction set and measures the vector functions through ctypes."""

import ctypes
import functools
import os
import platform
import re
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tcomp.codegen.c.toolchain import SANITIZED_FLAGS, SUPPORT
from tcomp.settings import read_settings

TESTS = Path(__file__).parent
FLAGS = ("-O3", "-ffp-contract=fast", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-shared", "-fPIC", "-D_GNU_SOURCE")
BINARY = ("pow", "atan2", "fmod", "remainder")
ALL_PATTERNS = 1 << 32
PAIRS = 1 << 18


class _Measurement(ctypes.Structure):
    _fields_ = (
        ("max_ulp", ctypes.c_double),
        ("worst", ctypes.c_uint32 * 2),
        ("failures", ctypes.c_uint64),
        ("failure", ctypes.c_uint32 * 2),
        ("count", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class Measurement:
    """The largest error of a function, where it occurred, and how many results were wrong in kind."""

    max_ulp: float
    worst: tuple[float, float]
    failures: int
    failure: tuple[float, float]
    count: int


@dataclass(frozen=True, slots=True)
class Bound:
    """The error stated in vector.h, in ulps, on machines with fused multiply-add and without."""

    fused: float
    unfused: float


def compiler() -> tuple[str, ...]:
    """Return the C compiler as a command with arguments; empty if there is none."""
    found = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    return read_settings().compiler or ((found,) if found else ())


def sanitizer_flags() -> tuple[str, ...]:
    """What the environment asks to compile with, for errors at run time."""
    sanitizers = read_settings().sanitizers
    return (f"-fsanitize={','.join(sanitizers)}", *SANITIZED_FLAGS) if sanitizers else ()


@functools.cache
def predefined(march: str) -> frozenset[str]:
    """Return the names of the macros that the compiler predefines for an instruction set."""
    command = [*compiler(), f"-march={march}", "-dM", "-E", "-x", "c", os.devnull]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return frozenset(line.split()[1] for line in text.splitlines())


@functools.cache
def instruction_sets() -> tuple[str, ...]:
    """Return the values of -march that this machine can run, widest first."""
    if platform.machine() != "x86_64":
        return ("native",)
    has_haswell = predefined("native") >= {"__AVX2__", "__FMA__", "__F16C__", "__BMI2__"}
    return ("native", "haswell", "x86-64") if has_haswell else ("native", "x86-64")


def is_fused(march: str) -> bool:
    """Tell whether a product and a sum contract to one rounding there."""
    return "__FMA__" in predefined(march) or platform.machine() == "aarch64"


def build(source: str, march: str, *flags: str) -> ctypes.CDLL:
    """Compile tests/<source> and load it."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "harness.so"
        flags = (*FLAGS, *sanitizer_flags(), f"-march={march}", f"-I{SUPPORT}", *flags)
        subprocess.run([*compiler(), *flags, str(TESTS / source), "-o", str(library), "-lm"], check=True)
        return ctypes.CDLL(str(library))


def stated_bounds() -> dict[str, Bound]:
    """Read the table of errors in the head of vector.h."""
    rows = re.findall(r"^ \*   (\w+) +(\d+\.\d+) +(\d+\.\d+)$", (SUPPORT / "vector.h").read_text(), re.MULTILINE)
    return {name: Bound(float(fused), float(unfused)) for name, fused, unfused in rows}


def measure(library: ctypes.CDLL, name: str, stride: int, *, compare_scalar: bool) -> Measurement:
    """Scan every stride-th bit pattern of a unary function, or a quarter of a million pairs (more for a small stride) of a binary one."""
    found = _Measurement()
    scan = library[f"scan_{name}"]
    scan.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int, ctypes.POINTER(_Measurement)]
    scan.restype = None
    start, stop = (1, max(PAIRS, ALL_PATTERNS // stride)) if name in BINARY else (0, ALL_PATTERNS)
    scan(start, stop, stride, compare_scalar, ctypes.byref(found))
    return Measurement(found.max_ulp, _floats(found.worst), found.failures, _floats(found.failure), found.count)


def _floats(bits: "ctypes.Array[ctypes.c_uint32]") -> tuple[float, float]:
    first, second = struct.unpack("2f", struct.pack("2I", *bits))
    return first, second
