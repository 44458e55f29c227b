"""What this machine can do at most, measured once for each number of threads and then kept in the cache folder."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path

from tcomp.codegen.c.build import hash_support
from tcomp.codegen.c.machine import read_processor
from tcomp.codegen.c.roofline import Rate, Roofline, measure_roofline
from tcomp.codegen.c.roofline import __file__ as roofline_source
from tcomp.codegen.c.toolchain import Toolchain
from tcomp.codegen.cache import BuildCache, hash_parts
from tcomp.ir.target import Cpu
from tcomp.progress import report_progress

SUFFIX = ".roofline.json"


def find_roofline(toolchain: Toolchain, target: Cpu, cache_directory: Path, threads: int, *, again: bool = False) -> Roofline:
    """The roofline of this machine with so many threads, of the cache or, if that has none or `again`, measured, which takes seconds.

    Raises as `tcomp.codegen.c.roofline.measure_roofline`, and CacheError if there is nowhere to build.
    """
    cache = BuildCache(cache_directory)
    machine = (platform.node(), platform.machine(), read_processor(), str(target))
    method = Path(roofline_source).read_text(), hash_support(), toolchain.identity, *toolchain.flags
    key = hash_parts("roofline", *method, *machine, str(threads))
    found = None if again else _read(cache.find(key, SUFFIX))
    if found is not None:
        return found
    cache.discard(key, SUFFIX)
    roofline = measure_roofline(toolchain, target, cache_directory, threads, report_progress)
    with cache.workspace() as folder:
        built = folder / "roofline.json"
        built.write_text(json.dumps(asdict(roofline)))
        cache.add(key, SUFFIX, built)
    return roofline


def _read(path: Path | None) -> Roofline | None:
    """A roofline from a file; None if it holds none."""
    if path is None:
        return None
    try:
        data = json.loads(path.read_text())
        peaks = tuple((str(name), float(peak)) for name, peak in data["peaks"])
        rates = tuple(Rate(int(r["bytes"]), float(r["read"]), float(r["copy"])) for r in data["rates"])
        found = Roofline(int(data["threads"]), peaks, rates)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if "f32" in dict(peaks) and rates else None
