"""The compiler of single functional graphs, behind `torch.compile(backend="tcomp")`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx import GraphModule

from tcomp.capture.specialise import Signed, Specialised, find_signed
from tcomp.ir.errors import Illegal, IndexOutOfRange
from tcomp.options import Options
from tcomp.program.program import Program
from tcomp.progress import show_if_slow
from tcomp.runtime.execution import Execution
from tcomp.settings import read_settings
from tcomp.stages.faults import Fault, contain
from tcomp.stages.graph import compile_functional
from tcomp.stages.schedules import guess_instead
from tcomp.torch_types import UnsupportedSize

Run = Callable[[list[Any]], Sequence[Any]]


def compile_graph(
    gm: GraphModule, example_inputs: Sequence[Any], *, options: Options, note: Callable[[Program], None] = lambda program: None
) -> Run:
    """Compile a functional graph of AOTAutograd's; what it returns takes one flat list and gives one.

    Each program that is made is told to `note`. A graph with sizes that are no indices is compiled for each set of sizes it is called
    with, which is warned of. So is one that is called with a negative number.
    """
    compile_one = functools.partial(_compile_graph, note=note)
    try:
        compiled = compile_one(gm, options)
    except UnsupportedSize as error:
        return Specialised(gm, error, options, compile_one)
    signed = find_signed(gm)
    if not signed:
        return compiled
    reason = UnsupportedSize("a number that it is called with is negative", help="compile with dynamic=False")
    return Signed(compiled, signed, lambda: Specialised(gm, reason, options, compile_one))


def _compile_graph(gm: GraphModule, options: Options, note: Callable[[Program], None]) -> Run:
    with show_if_slow("compiling a graph"):
        return _make_run(gm, options, note)


def _make_run(gm: GraphModule, options: Options, note: Callable[[Program], None]) -> Run:
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
    note(program)

    def run(arguments: list[Any]) -> Sequence[Any]:
        with torch.no_grad():
            return execution.run(arguments)

    return run
