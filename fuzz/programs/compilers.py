"""The compilers that can be examined: each gives what is called in a module's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

import tcomp
from tcomp.fuzz.programs.converters import CONVERTERS
from tcomp.fuzz.programs.program import Program
from tcomp.fuzz.programs.run import Compile
from tcomp.fuzz.programs.source import list_options


def compile_here(program: Program, module: nn.Module) -> Callable[..., Any]:
    """This compiler, in the way that the program asks for."""
    torch._dynamo.reset()
    options: dict[str, Any] = {"fallback": "silent", **list_options(program)}
    if program.way == "compile":
        return tcomp.compile(module, **options)
    return torch.compile(module, backend="tcomp", options=options)


def _by_dynamo(backend: str) -> Compile:
    def compile(program: Program, module: nn.Module) -> Callable[..., Any]:
        torch._dynamo.reset()
        dynamic = list_options(program).get("dynamic")
        return torch.compile(module, backend=backend, dynamic=None if dynamic is None else bool(dynamic))

    return compile


COMPILERS: Mapping[str, Compile] = {
    "tcomp": compile_here,
    "inductor": _by_dynamo("inductor"),
    "aot_eager": _by_dynamo("aot_eager"),
    "dynamo": _by_dynamo("eager"),
    **CONVERTERS,
}
"""By name. aot_eager and dynamo compute as eager does: what they do otherwise is what PyTorch changes before a compiler sees it."""
