"""`tcomp.compile` and `tcomp.load`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tcomp.ir.errors import RecordError, TcompError, Unsupported
from tcomp.ir.parse.schedule import parse_schedules
from tcomp.module.compiled_module import CompiledModule
from tcomp.options import Options
from tcomp.runtime.binding.weights import Stale
from tcomp.saved.archive import load_programs


def compile_module(module: nn.Module, example_inputs: Any, options: Options) -> CompiledModule:
    """Compile a module, at once for `example_inputs` if they are given; this is `tcomp.compile`.

    `example_inputs` are the positional arguments as a tuple or list, one tensor, or keyword arguments as a dictionary.
    Raises TcompError (see its subclasses) for what cannot be compiled, ParseError for a schedule that is none.
    """
    if options.schedule is not None:
        parse_schedules(options.schedule)
    if isinstance(module, CompiledModule):
        module = module.original
    if not isinstance(module, nn.Module):
        raise TcompError(
            f"only a torch.nn.Module can be compiled, not {type(module).__name__}",
            where="tcomp.compile",
            help="wrap the function in a module, or use torch.compile(function, backend='tcomp')",
        )
    check_module(module)
    compiled = CompiledModule(module, options)
    match example_inputs:
        case None:
            pass
        case Tensor():
            compiled.prepare(example_inputs)
        case Mapping():
            compiled.prepare(**example_inputs)
        case tuple() | list():
            compiled.prepare(*example_inputs)
        case _:
            raise TcompError(
                f"example_inputs must be a tuple, not {type(example_inputs).__name__}",
                where="tcomp.compile",
                help="pass the positional arguments of one call: tcomp.compile(module, (x, y))",
            )
    return compiled


def check_module(module: nn.Module) -> None:
    """Raise Unsupported for a module with parts that run outside Python."""
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise Unsupported(
                "a module of TorchScript, whose operators no recorder sees",
                where=name or type(module).__name__,
                help="compile the module that it was scripted or traced from",
            )


def load_module(path: Path, module: nn.Module) -> CompiledModule:
    """Bind saved programs to a module of the kind they were made from; this is `tcomp.load`.

    Raises RecordError for a file that is damaged, of another version, for another machine or another module.
    """
    if isinstance(module, CompiledModule):
        module = module.original
    options, programs = load_programs(path, module)
    compiled = CompiledModule(module, options)
    for saved in programs:
        try:
            compiled.add(saved.program, saved.lifted, saved.mode, is_dynamic=saved.is_dynamic, reads=saved.reads)
        except Stale as error:
            raise RecordError(f"the weight {error} does not fit the program", where=str(path)) from error
    return compiled


def refresh_module(compiled: object) -> None:
    """Forget the programs of a compiled module; this is `tcomp.refresh`."""
    if not isinstance(compiled, CompiledModule):
        raise TcompError(
            f"a {type(compiled).__name__} has no programs to forget",
            where="tcomp.refresh",
            help="pass what tcomp.compile returned; torch.compile(backend='tcomp') keeps nothing of weights",
        )
    compiled.refresh()
