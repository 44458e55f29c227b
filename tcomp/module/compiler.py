"""`tcomp.compile`, and the compiler of single graphs behind `torch.compile(backend="tcomp")`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx import GraphModule

from tcomp.capture.specialise import Signed, Specialised, find_signed
from tcomp.ir.errors import Illegal, IndexOutOfRange, RecordError, TcompError
from tcomp.ir.parse.schedule import parse_schedules
from tcomp.module.compiled_module import CompiledModule
from tcomp.options import Options
from tcomp.runtime.binding.weights import Stale
from tcomp.runtime.execution import Execution
from tcomp.saved.archive import load_programs
from tcomp.settings import read_settings
from tcomp.stages.faults import Fault, contain
from tcomp.stages.graph import compile_functional
from tcomp.stages.schedules import guess_instead
from tcomp.torch_types import UnsupportedSize


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
            compiled.add(saved.program, saved.lifted, saved.mode, is_dynamic=saved.is_dynamic)
        except Stale as error:
            raise RecordError(f"the weight {error} does not fit the program", where=str(path)) from error
    return compiled


def compile_graph(gm: GraphModule, example_inputs: Sequence[Any], *, options: Options) -> Callable[[list[Any]], Sequence[Any]]:
    """Compile a functional graph of AOTAutograd's; what it returns takes one flat list and gives one.

    A graph with sizes that are no indices is compiled for each set of sizes it is called with, which is warned of. So is one that
    is called with a negative number.
    """
    try:
        compiled = _compile_graph(gm, options)
    except UnsupportedSize as error:
        return Specialised(gm, error, options, _compile_graph)
    signed = find_signed(gm)
    if not signed:
        return compiled
    reason = UnsupportedSize("a number that it is called with is negative", help="compile with dynamic=False")
    return Signed(compiled, signed, lambda: Specialised(gm, reason, options, _compile_graph))


def _compile_graph(gm: GraphModule, options: Options) -> Callable[[list[Any]], Sequence[Any]]:
    try:
        program, constants = compile_functional(gm, options)
    except Illegal as error:
        # Of a module that is trained there are several graphs.
        options = guess_instead(error, options)
        program, constants = compile_functional(gm, options)
    # AOTAutograd compiles under its fake tensors; what is folded needs memory.
    with unset_fake_temporarily():
        load = functools.partial(Execution, program, lambda: constants, options)
        execution = contain(load, options, read_settings(), passing=(IndexOutOfRange,))
    if isinstance(execution, Fault):
        program, constants = compile_functional(gm, options, execution)
        execution = Execution(program, lambda: constants, options)

    def run(arguments: list[Any]) -> Sequence[Any]:
        with torch.no_grad():
            return execution.run(arguments)

    return run
