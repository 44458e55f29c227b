"""Compiled programs in a file: a zip archive of `manifest.json`, `report.json`, the libraries and lifted tensors.

    manifest   format, versions, the machine's instruction sets, the module (see identity.py), options, programs
    report     cascades, schedules and C sources, for people
    *.so *.py  the libraries, and the modules of Triton kernels, named by their hash
    *.tensor   tensors that the module made and no name in it reaches, as raw bytes
    sums       sizes and hashes of all of them

Loading traces and lowers nothing: it checks that machine and module are of the kind the file was made for, puts the libraries
into the cache and folds the weights. There is no pickle, and nothing in the JSON is executed; the libraries are code, so a file is
as trustworthy as its author.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tcomp.capture.reads import Reads, make_reads
from tcomp.codegen.c.machine import detect_target
from tcomp.codegen.temporary import hold_file
from tcomp.files import UNFINISHED
from tcomp.ir.errors import ParseError, RecordError, TcompError, Unsupported
from tcomp.ir.target import Cpu
from tcomp.machine.devices import CPU, find_device, list_tensors
from tcomp.machine.gpus import detect_gpu
from tcomp.options import Options, make_options
from tcomp.program.kernels import TritonLibrary
from tcomp.program.program import CompiledStage, Program, list_fallbacks
from tcomp.program.reports import StageReport
from tcomp.program.sizes import TensorSpec, make_evaluator
from tcomp.runtime.binding.weights import has_spec
from tcomp.saved.identity import describe_module
from tcomp.saved.libraries import LibraryReader, LibraryWriter
from tcomp.saved.reports import read_report, write_report
from tcomp.saved.seal import DAMAGE, SUMS, check_archive, sum_files
from tcomp.saved.values import Json, read_program, read_value, write_program, write_value
from tcomp.settings import read_settings
from tcomp.version import __version__

FORMAT = 8


@dataclass(frozen=True, slots=True)
class SavedProgram:
    """A program with what it was compiled for, and the tensors that the module made and no name in it reaches."""

    program: Program
    lifted: Mapping[str, Tensor]
    mode: Any
    is_dynamic: bool
    reads: Reads
    """The Python that it depends on."""


def save_programs(saved: Sequence[SavedProgram], module: nn.Module, options: Options, path: Path) -> None:
    """Write the programs of a module; the file appears whole or not at all.

    Raises TcompError if there is no program yet or the file cannot be written, Unsupported for operators left to PyTorch.
    """
    where = f"saving to {path}"
    if not saved:
        raise TcompError("nothing has been compiled yet", where=where, help="pass example_inputs to tcomp.compile, or call it once")
    for each in saved:
        left = list_fallbacks(each.program)
        if left:
            raise Unsupported(
                f"the program leaves operators to PyTorch: {', '.join(f'{f.operator} ({f.sources[0]})' for f in left)}",
                where=where,
                help="only programs that are compiled as a whole can be saved",
            )
    libraries = LibraryWriter()
    files = libraries.files
    paths = {part: name for name, part in module.named_modules()}
    programs, reports = [], []
    for number, each in enumerate(saved):
        lifted = {name: f"{number}.{name}.tensor" for name in each.lifted}
        files.update((file, _to_bytes(each.lifted[name])) for name, file in lifted.items())
        entry = write_program(each.program, libraries.write)
        # Modules that are not in the tree, and globals that they name, are compared when the program is loaded, and not watched later.
        reads = {paths[part]: names for part, names in each.reads.attributes.items() if part in paths}
        programs.append({**entry, "mode": write_value(each.mode), "dynamic": each.is_dynamic, "lifted": lifted, "reads": reads})
        reports.append([write_report(stage.report()) for stage in each.program.stages if isinstance(stage, CompiledStage)])
    manifest = {
        "format": FORMAT,
        "tcomp": __version__,
        "runtime": _describe_runtime(),
        "isa": detect_target().isa if any(name.endswith(".so") for name in files) else "",
        "module": describe_module(module),
        "options": asdict(options),
        "programs": programs,
    }
    _write(path, {"manifest.json": json.dumps(manifest).encode(), "report.json": json.dumps(reports).encode(), **files})


def load_programs(path: Path, module: nn.Module) -> tuple[Options, list[SavedProgram]]:
    """Read the programs of a module of the kind that they were made from, and the options of their compilation.

    Raises RecordError for a file that is damaged, of another version, for another machine or another module.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path)
            return _read_archive(path, archive, module)
    except RecordError:
        raise
    except (*DAMAGE, ParseError) as error:
        raise RecordError(
            "the file does not hold a compiled program that can be read",
            where=f"{path}: {type(error).__name__}: {error}",
            help="write it again with compiled.save(path)",
        ) from error


def _read_archive(path: Path, archive: zipfile.ZipFile, module: nn.Module) -> tuple[Options, list[SavedProgram]]:
    manifest = json.loads(archive.read("manifest.json"))
    _check_fits(manifest, module, path)
    options = make_options(manifest["options"])
    report_text = archive.read("report.json")
    programs: list[SavedProgram] = []
    libraries = LibraryReader(archive, read_settings().cache_dir / "kernels")
    for number, data in enumerate(manifest["programs"]):
        reports: list[Callable[[], StageReport]] = [
            functools.cache(functools.partial(_read_report, report_text, number, stage)) for stage in range(len(data["stages"]))
        ]
        program = read_program(data, _find_device(data["device"], module, path), libraries.read, reports)
        _check_gpu(program, path)
        _check_constants(program, module, data["lifted"], path)
        places = {name: CPU if name in program.moved else program.device for name in data["lifted"]}
        lifted = {name: _from_bytes(archive.read(file), program.constants[name], places[name]) for name, file in data["lifted"].items()}
        reads = make_reads({module.get_submodule(name): tuple(names) for name, names in data["reads"].items()})
        programs.append(SavedProgram(program, lifted, read_value(data["mode"]), data["dynamic"], reads))
    return options, programs


def _check_fits(manifest: Json, module: nn.Module, path: Path) -> None:
    """Raise RecordError if versions, machine or module are not what the file was made for."""
    if manifest["format"] != FORMAT or manifest["tcomp"] != __version__:
        raise RecordError(
            f"the program was saved by tcomp {manifest['tcomp']}, this is {__version__}",
            where=str(path),
            help="compile and save it again",
        )
    if manifest["runtime"] != _describe_runtime():
        raise RecordError(
            f"the program was compiled under {manifest['runtime']}, this is {_describe_runtime()}, whose operators may differ",
            where=str(path),
            help="compile and save it again, or load it under the versions it was compiled under",
        )
    here: Cpu = detect_target()
    missing = [feature for feature in manifest["isa"].split() if not here.has(feature)]
    if missing:
        raise RecordError(
            f"the program uses instructions that this machine lacks: {', '.join(missing)}",
            where=str(path),
            help="compile it on this machine",
        )
    saved, given = manifest["module"], describe_module(module)
    if saved != given:
        differs = next(((a, b) for a, b in zip(saved, given) if a != b), (f"{len(saved)} modules", f"{len(given)}"))
        raise RecordError(
            f"the program was compiled from another module: it has {differs[0]}, this one {differs[1]}",
            where=str(path),
            help="load it with a module built the same way",
        )


def _describe_runtime() -> str:
    return f"PyTorch {torch.__version__} on Python {sys.version_info.major}.{sys.version_info.minor}"


def _find_device(kind: str, module: nn.Module, path: Path) -> torch.device:
    """Where a program for a kind of device is to run: where the module's tensors are. Raises RecordError if that is no such device."""
    tensors = list(list_tensors(module, ()))
    device = find_device(tensors)
    if not tensors and kind == "cuda" and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if device.type != kind:
        here = "" if kind == "cpu" or torch.cuda.is_available() else ", and this machine shows no CUDA device"
        raise RecordError(
            f"the program was compiled for tensors on {kind}, the module's are on {device}{here}",
            where=str(path),
            help=f"move the module first: module.to({kind!r}); or compile it for where it is",
        )
    return device


def _check_gpu(program: Program, path: Path) -> None:
    """Raise RecordError for kernels that were made for another GPU than the one that is to run them."""
    libraries = [library for s in program.stages if isinstance(s, CompiledStage) for library in (s.prelude, s.main)]
    for library in libraries:
        if isinstance(library, TritonLibrary) and program.device.type == "cuda":
            here = detect_gpu(program.device)
            if library.target.architecture != here.architecture:
                raise RecordError(
                    f"the program was compiled for sm_{library.target.architecture}, {program.device} is sm_{here.architecture}",
                    where=str(path),
                    help="compile it on this machine",
                )


def _check_constants(program: Program, module: nn.Module, lifted: Json, path: Path) -> None:
    tensors: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    tensors.update(module.named_buffers(remove_duplicate=False))
    for name, spec in program.constants.items():
        if name not in lifted and (name not in tensors or not has_spec(tensors[name], spec)):
            found = "is not there" if name not in tensors else f"is {tensors[name].dtype}{list(tensors[name].shape)}"
            shape = [size.constant for size in spec.shape]
            raise RecordError(
                f"the weight {name} {found}, the program expects {spec.dtype}{shape}",
                where=str(path),
                help="load it with a module of the same sizes and element types",
            )


def find_lifted(module: nn.Module, program: Program) -> list[str]:
    """The constants of a program that no name in the module reaches."""
    named = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    named.update(name for name, _ in module.named_buffers(remove_duplicate=False))
    return [name for name in program.constants if name not in named]


def _read_report(text: bytes, program: int, stage: int) -> StageReport:
    return read_report(json.loads(text)[program][stage])


def _to_bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes())


def _from_bytes(data: bytes, spec: TensorSpec, device: torch.device) -> Tensor:
    shape, strides = (make_evaluator((), sizes)(()) for sizes in (spec.shape, spec.strides))
    flat = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(spec.dtype) if data else torch.empty(0, dtype=spec.dtype)
    return torch.empty_strided(shape, strides, dtype=spec.dtype, device=device).copy_(flat.reshape(shape))


def _write(path: Path, files: dict[str, bytes]) -> None:
    try:
        with hold_file(path.parent, f".{path.name}.", UNFINISHED) as (unfinished, handle):
            with os.fdopen(os.dup(handle), "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for member, data in (*files.items(), (SUMS, sum_files(files))):
                    archive.writestr(member, data)
            os.fsync(handle)
            os.chmod(unfinished, 0o644)
            os.replace(unfinished, path)
    except OSError as error:
        raise TcompError(f"the program cannot be written: {error.strerror}", where=str(path), help="choose another folder") from error
