"""What a capture is: a functional graph of ATen operators, and how its inputs and outputs meet the caller's.

    Captured  = graph, constants, inputs, in_spec, outputs, out_spec, mutations, symbols, guards
    Input     = TensorInput(node) | NumberInput(node) | ValueInput(value)  one per leaf of (args, kwargs)
    Output    = NodeOutput(node, val) | AliasOutput(of, steps, val) | ValueOutput(value)     one per leaf of the result
    Origin    = InputOrigin(index) | ConstantOrigin(name), in AliasOutput also OutputOrigin(index)
    Mutation  = Mutation(of: Origin, node)                                 of now holds what node computes
    Symbol    = Symbol(input, dim, minimum, maximum)                       dim is None of a NumberInput

The graph's own output node returns the new values of the mutations followed by those of the NodeOutputs, in order. Such a
node may be a placeholder, a constant or a view of one where the module copied it: what the caller gets is memory of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import TreeSpec

from tcomp.capture.reads import Reads
from tcomp.structure import Structure


@dataclass(frozen=True, slots=True)
class Source:
    """Where an operator came from: the path of the module that ran it and the user's own line, as `file.py:12`."""

    module_path: str
    line: str

    def __str__(self) -> str:
        return f"{self.module_path or 'the module itself'} ({self.line})"


@dataclass(frozen=True, slots=True)
class TensorInput:
    """A flattened input that is a tensor: its placeholder in the graph."""

    node: torch.fx.Node


@dataclass(frozen=True, slots=True)
class NumberInput:
    """A flattened input that is an integer and a symbol: its placeholder in the graph, whose value is a SymInt."""

    node: torch.fx.Node


@dataclass(frozen=True, slots=True)
class ValueInput:
    """A flattened input that is a Python value burnt into the graph, which serves equal values only, or UNREAD."""

    value: Any


Input = TensorInput | NumberInput | ValueInput


@dataclass(frozen=True, slots=True)
class InputOrigin:
    """The flattened input of this index."""

    index: int


@dataclass(frozen=True, slots=True)
class ConstantOrigin:
    """The constant of this get_attr target."""

    name: str


@dataclass(frozen=True, slots=True)
class OutputOrigin:
    """Another flattened output, which owns its memory."""

    index: int


Origin = InputOrigin | ConstantOrigin


@dataclass(frozen=True, slots=True)
class ViewStep:
    """One view operator to replay: `op(x, *args, **kwargs)`, of several results the one at `index`; sizes may be SymInts."""

    op: OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    index: int | None = None


@dataclass(frozen=True, slots=True)
class NodeOutput:
    """A fresh tensor the graph computes; `val` has the shape, strides and dtype eager would have returned.

    Two different parts of one intermediate (`y[:2], y[1:]`) are two of these, each with memory of its own.
    """

    node: torch.fx.Node
    val: Tensor


@dataclass(frozen=True, slots=True)
class AliasOutput:
    """A tensor that shares memory with an input, a constant or another output: the steps replayed on that one."""

    of: Origin | OutputOrigin
    steps: tuple[ViewStep, ...]
    val: Tensor


@dataclass(frozen=True, slots=True)
class ValueOutput:
    """A Python value that is the same at every call, or a SymInt over the symbols."""

    value: Any


Output = NodeOutput | AliasOutput | ValueOutput


@dataclass(frozen=True, slots=True)
class Mutation:
    """An input or constant that the module writes to in place, and the node with all of its new value."""

    of: Origin
    node: torch.fx.Node


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbolic size, or number where `dim` is None: where it can be read, and the range served; `maximum` is None without a bound."""

    input: int
    dim: int | None
    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class Captured:
    """A module recorded for one kind of input; see the module's docstring for the parts."""

    graph: torch.fx.GraphModule
    constants: Mapping[str, Tensor]
    """get_attr target -> the live parameter or buffer; lifted constants are those whose name no module has."""
    inputs: tuple[Input, ...]
    in_spec: TreeSpec | Structure
    outputs: tuple[Output, ...]
    out_spec: TreeSpec | Structure
    mutations: tuple[Mutation, ...]
    symbols: Mapping[str, Symbol]
    guards: tuple[sympy.Basic, ...]
    """Conditions over the symbols, beyond their ranges, under which the graph was recorded."""
    offsets: Mapping[int, int]
    """Where in their storage the flattened inputs begin of which operators read the storage itself, as as_strided does."""
    reads: Reads
    """What Python the module read."""
    is_current: Callable[[], bool]
    """Whether all that it could read is as it was before it was recorded: other threads may write meanwhile."""
