"""What changed since the programs that a module has were compiled: sizes, which become symbols, and Python values among the inputs.

An integer becomes a symbol with its second value; of anything else, and where the module does not allow that, each value has a program
of its own, up to a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node, Proxy
from torch.fx.node import map_aggregate
from torch.utils._pytree import TreeSpec

from tcomp.capture.arguments import name_leaf
from tcomp.capture.capture import capture
from tcomp.capture.refusals import EagerOnly
from tcomp.capture.symbols import LARGEST
from tcomp.capture.types import Captured
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import Index
from tcomp.program.program import Given, Program
from tcomp.stages.partition import is_size
from tcomp.structure import UNREAD, Structure
from tcomp.torch_types import UnsupportedSize

MOST_VALUES = 8
"""Values of one argument, or of what the module reads, for which a program each is compiled, as many as Dynamo's."""


MOST_STRUCTURES = 16
"""Structures of objects among the arguments for which a program each is compiled."""


class TooManyValues(Unsupported):
    """An argument keeps changing, and what it is decides what the module computes."""


class TooManyKinds(TooManyValues, EagerOnly):
    """It does in a way that torch.compile would compile for as well, each time."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be symbols in the next program: sizes, and the flattened inputs `numbers`."""

    sizes: bool
    numbers: frozenset[int]


def find_changes(programs: Sequence[Program], leaves: Sequence[Any]) -> Changes:
    """Compare flattened inputs with those that programs for the same structure were compiled for."""
    numbers: set[int] = set()
    are_sizes = False
    for program in programs:
        changed = [i for i, (given, leaf) in enumerate(zip(program.inputs, leaves, strict=True)) if _is_changed(given, leaf)]
        numbers.update(i for i in changed if _is_number(leaves[i]))
        numbers.update(i for i, given in enumerate(program.inputs) if isinstance(given, Given) and isinstance(given.value, Index))
        are_sizes = are_sizes or not changed
    return Changes(are_sizes, frozenset(i for i in numbers if _is_number(leaves[i])))


def check_count(
    programs: Sequence[Program], leaves: Sequence[Any], module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Raise TooManyValues where an argument has had as many values as may have programs of their own."""
    for index, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            continue
        given = [g.value for program in programs if isinstance(g := program.inputs[index], Given) and g.value is not UNREAD]
        values = {_tell(value) for value in given if not isinstance(value, Index)}
        if len(values) >= MOST_VALUES and _tell(leaf) not in values:
            text = f"{name_leaf(index, module.forward, args, kwargs)} has had {MOST_VALUES} values, each with a program"
            if isinstance(leaf, (int, float)) and not isinstance(programs[0].in_spec, Structure):
                raise TooManyValues(f"{text} (pass it as a tensor if you can)")
            raise TooManyKinds(text)


def check_structures(programs: Iterable[Program], structure: TreeSpec | Structure) -> None:
    """Raise TooManyKinds where objects among the arguments keep changing what they are made of, as a list does that grows."""
    if not isinstance(structure, Structure):
        return
    others: list[Structure] = []
    for program in programs:
        other = program.in_spec
        if isinstance(other, Structure) and other.spec == structure.spec and other != structure and other not in others:
            others.append(other)
    if len(others) >= MOST_STRUCTURES:
        raise TooManyKinds(f"objects among the arguments have been made of other things {MOST_STRUCTURES} times, each with a program")


def is_traced(leaves: Sequence[Any]) -> bool:
    """Whether torch.fx traces a call: inputs stand for what they are in its graph."""
    return any(isinstance(leaf, Proxy) for leaf in leaves)


def capture_numbers(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], changes: Changes) -> Captured:
    """Capture with symbols in place of numbers, and check that the module does the same as for the numbers themselves.

    Raises UnsupportedSize where it does not: Python can tell a symbol from an int.
    """
    captured = capture(module, args, kwargs, dynamic=changes.sizes, numbers=changes.numbers)
    plain = capture(module, args, kwargs, dynamic=changes.sizes)
    if _list_operators(captured) != _list_operators(plain):
        raise UnsupportedSize("the module does not take a symbol for a number", help="pass the number as a tensor")
    return captured


def _list_operators(captured: Captured) -> list[object]:
    """The operators with their arguments: tensors by what made them, symbols by the values they stand for."""
    numbers: dict[Node, int] = {}
    found: list[object] = []

    def tell(argument: Any) -> Any:
        if isinstance(argument, Node):
            value = argument.meta.get("val")
            return _tell(value.node.hint) if isinstance(value, torch.SymInt) else numbers[argument]
        return _tell(argument)

    for node in captured.graph.graph.nodes:
        if node.op == "output" or is_size(node):
            continue
        numbers[node] = len(numbers)
        args, kwargs = map_aggregate((node.args, dict(node.kwargs)), tell)
        found.append((node.op, node.target, args, kwargs))
    return found


def _is_changed(given: object, leaf: Any) -> bool:
    if not isinstance(given, Given) or isinstance(given.value, Index) or given.value is UNREAD:
        return False
    return isinstance(leaf, Tensor) or _tell(given.value) != _tell(leaf)


def _tell(value: Any) -> tuple[type, str]:
    return type(value), repr(value)


def _is_number(leaf: Any) -> bool:
    return type(leaf) is int and 0 <= leaf <= LARGEST
