"""The libraries of saved programs, as JSON and files: shared libraries, and the Python modules of Triton kernels.

    *.so    a shared library, named by its hash
    *.py    the module of one Triton kernel, named by its hash

Both are code that loading runs, so a file is as trustworthy as its author.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any, assert_never

from tcomp.codegen.cache import BuildCache
from tcomp.codegen.triton.files import keep_module
from tcomp.codegen.triton.kernel import TritonParameter, TritonUnit
from tcomp.ir.dtypes import DTYPES
from tcomp.ir.errors import RecordError
from tcomp.ir.expressions import print_index
from tcomp.ir.parse.target import parse_target
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.plan import Place
from tcomp.ir.target import Gpu
from tcomp.program.kernels import AnyLibrary, Check, KernelStep, Library, LibraryStep, TensorPlace, TritonKernel, TritonLibrary, TritonStep
from tcomp.saved.sizes import read_size, write_size

Json = Any


class LibraryWriter:
    """Writes libraries as JSON, and gathers the files that go with them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def write(self, library: AnyLibrary) -> Json:
        """A library as JSON."""
        common = {
            "externals": library.externals,
            "symbols": library.symbols,
            "arena": print_index(library.arena),
            "checks": [[check.into, check.where, print_index(check.extent)] for check in library.checks],
        }
        match library:
            case Library():
                return {"kind": "c", **common, "file": self._add(library.path), "most_threads": library.most_threads}
            case TritonLibrary():
                return {
                    "kind": "triton",
                    **common,
                    "target": str(library.target),
                    "precision": library.precision,
                    "kernels": [self._write_kernel(kernel) for kernel in library.kernels],
                    "steps": [_write_step(step) for step in library.steps],
                }
            case _:
                assert_never(library)

    def _write_kernel(self, kernel: TritonKernel) -> Json:
        unit = kernel.unit
        return {
            "names": kernel.names,
            "file": self._add(kernel.path),
            "symbol": unit.symbol,
            "tile": str(unit.kernel),
            "source": unit.source,
            "parameters": [[parameter.name, parameter.type] for parameter in unit.parameters],
            "scratch": unit.scratch,
            "checks": unit.checks,
        }

    def _add(self, path: Path) -> str:
        data = path.read_bytes()
        name = f"{hashlib.sha256(data).hexdigest()}{path.suffix}"
        self.files[name] = data
        return name


class LibraryReader:
    """Reads libraries from JSON, and puts the files of an archive into the cache, from where they are loaded."""

    def __init__(self, archive: zipfile.ZipFile, folder: Path) -> None:
        self._archive = archive
        self._folder = folder

    def read(self, data: Json) -> AnyLibrary:
        """A library from JSON. Raises ValueError for a file that is not what was saved."""
        externals, symbols, arena = tuple(data["externals"]), tuple(data["symbols"]), read_size(data["arena"])
        checks = tuple(Check(into, where, read_size(extent)) for into, where, extent in data["checks"])
        match data["kind"]:
            case "c":
                return Library(self._place(data["file"]), externals, symbols, arena, data["most_threads"], checks)
            case "triton":
                kernels, steps = tuple(map(self._read_kernel, data["kernels"])), tuple(map(_read_step, data["steps"]))
                target = parse_target(data["target"])
                if not isinstance(target, Gpu):
                    raise ValueError(f"{target.name} is no GPU")
                return TritonLibrary(kernels, steps, externals, symbols, arena, checks, target, data["precision"])
        raise RecordError(f"no library is of kind {data['kind']!r}")

    def _read_kernel(self, data: Json) -> TritonKernel:
        parameters = tuple(TritonParameter(name, kind) for name, kind in data["parameters"])
        unit = TritonUnit(data["symbol"], parse_kernel(data["tile"]), data["source"], parameters, data["scratch"], data["checks"])
        return TritonKernel(tuple(data["names"]), unit, keep_module(self._open(data["file"]).decode(), self._folder))

    def _place(self, name: str) -> Path:
        if re.fullmatch(r"[0-9a-f]{64}\.so", name) is None:
            raise ValueError(f"{name!r} is no name of a library")
        cache = BuildCache(self._folder)
        key, suffix = Path(name).stem, Path(name).suffix
        path = cache.find(key, suffix)
        if path is not None:
            return path
        content = self._open(name)
        with cache.workspace() as folder:
            built = folder / f"program{suffix}"
            built.write_bytes(content)
            return cache.add(key, suffix, built)

    def _open(self, name: str) -> bytes:
        content = self._archive.read(name)
        if hashlib.sha256(content).hexdigest() != Path(name).stem:
            raise ValueError(f"{name} is not what was saved")
        return content


def _write_step(step: TritonStep) -> Json:
    match step:
        case KernelStep(kernel, places, grid, first_check):
            return ["kernel", kernel, list(map(_write_place, places)), print_index(grid), first_check]
        case LibraryStep(name, operation, operands, out):
            return ["library", name, operation, list(map(_write_tensor, operands)), _write_tensor(out)]
        case _:
            assert_never(step)


def _read_step(data: Json) -> TritonStep:
    match data:
        case ["kernel", kernel, places, grid, first_check]:
            return KernelStep(kernel, tuple(map(_read_place, places)), read_size(grid), first_check)
        case ["library", name, operation, operands, out]:
            return LibraryStep(name, operation, tuple(map(_read_tensor, operands)), _read_tensor(out))
    raise RecordError(f"no step is written as {data!r}")


def _write_place(place: Place) -> Json:
    return [place.base, write_size(place.offset)]


def _read_place(data: Json) -> Place:
    base, offset = data
    return Place(base, read_size(offset))


def _write_tensor(tensor: TensorPlace) -> Json:
    return [_write_place(tensor.place), tensor.dtype.name, list(map(write_size, tensor.shape)), list(map(write_size, tensor.strides))]


def _read_tensor(data: Json) -> TensorPlace:
    place, dtype, shape, strides = data
    return TensorPlace(_read_place(place), DTYPES[dtype], tuple(map(read_size, shape)), tuple(map(read_size, strides)))
