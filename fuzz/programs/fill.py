"""Fills the holes of a template (see `rules.py`) with what there is; makes inputs, parameters and buffers where something is missing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

from tcomp.fuzz.choices import Choices, chance
from tcomp.fuzz.programs.program import Named, Spec
from tcomp.fuzz.programs.run import make_tensor

HOLE = re.compile(r"<(\w+)((?::[^<>]*)?)>")
SIZES = (1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 8, 9, 16, 17)
RARE_SIZES = (0, 1, 31, 32, 33, 63, 64, 65, 127, 128)
LARGEST = 1 << 14
"""Elements of one tensor, but for those that are large on purpose."""
NUMBERS = ("0.5", "2.0", "-1.5", "0.0", "1.0", "3", "-1", "0.25")
FLOATS = ("float32",) * 8 + ("float64", "bfloat16", "float16")
TYPES = ("torch.float32", "torch.float64", "torch.bfloat16", "torch.float16",
         "torch.int64", "torch.int32", "torch.bool", "torch.uint8", "torch.int8")  # fmt: skip


class NoFit(Exception):  # noqa: N818 (nothing is wrong)
    """There is nothing that a hole can be filled with."""


@dataclass
class Scope:
    """The values there are, each with the tensor that it is in one run, and what has been made for holes."""

    values: dict[str, Any] = field(default_factory=dict)
    members: list[Named] = field(default_factory=list)
    inputs: list[Named] = field(default_factory=list)
    trains: bool = False

    def fresh(self, letter: str) -> str:
        """A name that nothing has."""
        used = {named.name for named in (*self.members, *self.inputs)} | self.values.keys()
        return next(f"{letter}{number}" for number in range(len(used) + 1) if f"{letter}{number}" not in used)


def fill(choices: Choices, template: str, scope: Scope) -> str:
    """A statement of a template. Members and inputs that it needs are added to the scope. Raises NoFit."""
    state: dict[str, Any] = {"s": (), "d": 0, "c": 1}
    first: list[str] = []
    mentioned: dict[str, str] = {}

    def put(match: re.Match[str]) -> str:
        hole, rest = match[1], match[2]
        if re.fullmatch(r"[fxibgcF]\d?", hole) and not rest:
            # A template that names the same kind of tensor twice means the same one now and then, most of all where shapes have to fit.
            if hole in mentioned and not chance(choices, 1, 8):
                return mentioned[hole]
            name = mentioned[hole] = _pick_tensor(choices, hole, scope)
            if not first:
                first.append(name)
                state["s"], state["t"] = tuple(scope.values[name].shape), scope.values[name]
            return name
        return _fill_rest(choices, hole, rest.removeprefix(":"), scope, state, first[0] if first else "")

    text = HOLE.sub(put, template)
    return text.replace("torch.arange(s0)", f"torch.arange({state['s'][0] if state['s'] else 1})")


def _fill_rest(choices: Choices, hole: str, rest: str, scope: Scope, state: dict[str, Any], first: str) -> str:
    shape: tuple[int, ...] = state["s"]
    rank = len(shape)
    match hole:
        case "d" | "e":
            state["d"] = choices.integer(0, max(0, rank - 1))
            return str(state["d"] - rank if chance(choices, 1, 3) and rank else state["d"])
        case "ds":
            return f"({', '.join(map(str, sorted(choices.shuffle(range(rank))[: choices.integer(1, 2)])))},)"
        case "at":
            return str(choices.integer(0, max(0, shape[state["d"]] - 1) if shape else 0))
        case "at0":
            return str(choices.integer(-1, 0))
        case "len":
            return str(shape[state["d"]] if shape else 1)
        case "num":
            return choices.pick(NUMBERS)
        case "small":
            return str(choices.integer(-2, 3))
        case "count":
            state["c"] = choices.integer(1, 4)
            return str(state["c"])
        case "zero1":
            return str(choices.integer(0, 1))
        case "yes":
            return str(chance(choices, 1, 2))
        case "dtype":
            return f"torch.{choices.pick(FLOATS)}"
        case "to":
            return choices.pick(TYPES)
        case "perm":
            return ", ".join(str(d - rank if chance(choices, 1, 4) else d) for d in choices.shuffle(range(rank))) or "()"
        case "shape":
            return f"({', '.join(map(str, _reshape(choices, shape)))},)"
        case "bigger":
            longer = [choices.pick((2, 3))] * choices.integer(0, 1) + [choices.integer(1, 3) if size == 1 else size for size in shape]
            return f"({', '.join(map(str, longer))},)"
        case "same" | "like" | "o":
            return _pick_partner(choices, hole, scope, state, first)
        case "mask":
            return _pick_mask(choices, scope, shape, first)
        case "w" | "b":
            return _make_member(choices, hole, _sizes(rest, state), scope)
        case "ids":
            most, _, sizes = rest.partition(":")
            return _make_indices(choices, max(1, int(eval(most, {}, state))), _sizes(sizes, state), scope)
    raise AssertionError(f"<{hole}> is no hole")


def _sizes(text: str, state: dict[str, Any]) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in eval(f"({text},)", {}, state))
    except IndexError as error:
        raise NoFit(text) from error


def _pick_tensor(choices: Choices, hole: str, scope: Scope) -> str:
    """The name of a tensor of a kind; a new input now and then, and where there is none."""
    kind, rank = hole[0], int(hole[1:] or 0)

    def fits(value: object) -> bool:
        if not isinstance(value, Tensor):
            return False
        right = {
            "f": value.is_floating_point(), "F": value.is_floating_point(), "x": True, "b": value.dtype == torch.bool,
            "i": not value.is_floating_point() and not value.is_complex() and value.dtype != torch.bool, "c": value.is_complex(),
            "g": value.is_floating_point() or value.is_complex(),
        }[kind]  # fmt: skip
        return right and (value.dim() == rank if kind == "F" else value.dim() >= rank)

    fitting = [name for name, value in scope.values.items() if fits(value)]
    if fitting and not chance(choices, 1, 6 + 2 * len(fitting)):
        # What came last is taken more often: chains are what fusion is about.
        return choices.pick(fitting[-2:] if chance(choices, 1, 2) else fitting)
    exact = rank if kind == "F" else max(rank, choices.pick((0, 1, 2, 2, 2, 3, 3, 4)))
    return make_input(choices, kind, exact, scope)


def make_input(choices: Choices, kind: str, rank: int, scope: Scope) -> str:
    """A new input of a kind and a rank; its name."""
    known = [size for value in scope.values.values() if isinstance(value, Tensor) for size in value.shape if size]
    sizes = [choices.pick(known) if known and chance(choices, 1, 2) else choices.pick(SIZES) for _ in range(rank)]
    if chance(choices, 1, 12) and rank:
        sizes[choices.integer(0, rank - 1)] = choices.pick(RARE_SIZES)
    while prod(sizes) > LARGEST:
        sizes = [max(1, size // 2) for size in sizes]
    dtype, values = choices.pick(FLOATS), choices.pick(("",) * 8 + ("positive", "special"))
    if kind == "i" or (kind == "x" and chance(choices, 1, 4)):
        dtype, values = choices.pick(("int64", "int64", "int32", "uint8", "int8")), choices.pick(("", "below 3"))
    elif kind == "b":
        dtype, values = "bool", ""
    elif kind == "c":
        dtype, values = "complex64", ""
    grad = scope.trains and dtype.startswith(("float", "bfloat", "complex")) and chance(choices, 2, 3)
    return add_input(scope, Spec(dtype, tuple(sizes), pick_layout(choices, rank), values, grad))


def pick_layout(choices: Choices, rank: int) -> str:
    """A layout that a tensor of a rank can have; mostly the usual one."""
    if rank == 0 or chance(choices, 2, 3):
        return "contiguous"
    able = ["sliced", "offset", "expanded", "reversed", *(["transposed"] * (rank > 1)), *(["channels_last"] * 3 * (rank == 4))]
    return choices.pick(able)


def add_input(scope: Scope, made: Spec) -> str:
    """A new input, made for the run too; its name."""
    name = scope.fresh("x")
    scope.inputs.append(Named("input", name, made))
    scope.values[name] = make_tensor(made)
    return name


def _make_member(choices: Choices, hole: str, shape: tuple[int, ...], scope: Scope) -> str:
    """A parameter (with `self.`), or a buffer (`self.` comes before the hole, or is put here)."""
    if prod(shape) > LARGEST:
        raise NoFit(f"{shape} is too large")
    kind = "parameter" if hole == "w" else "buffer"
    fitting = [m.name for m in scope.members if m.kind == kind and isinstance(m.made, Spec) and m.made.shape == shape]
    if fitting and chance(choices, 3, 4):
        return f"self.{choices.pick(fitting)}"
    layout = choices.pick(("contiguous",) * 5 + ("transposed", "sliced"))
    name = scope.fresh(hole)
    member = Named(kind, name, Spec("float32", shape, layout))
    scope.members.append(member)
    assert isinstance(member.made, Spec)
    scope.values[f"self.{name}"] = make_tensor(member.made)
    return f"self.{name}"


def _make_indices(choices: Choices, most: int, shape: tuple[int, ...], scope: Scope) -> str:
    """Indices below a number: an input, or made of a range."""
    if len(shape) == 1 and chance(choices, 1, 3):
        return f"torch.arange({shape[0]})" if shape[0] <= most and chance(choices, 2, 3) else f"torch.arange({shape[0]}) % {most}"
    made = Spec("int64", shape, "contiguous", f"below {most}")
    found = next((named.name for named in scope.inputs if named.made == made), None)
    return found or add_input(scope, made)


def _pick_partner(choices: Choices, hole: str, scope: Scope, state: dict[str, Any], first: str) -> str:
    tensor: Tensor | None = state.get("t")
    if tensor is None:
        raise NoFit("no tensor comes before")

    def fits(value: object) -> bool:
        if not isinstance(value, Tensor) or value.dtype != tensor.dtype:
            return False
        if hole == "like":
            return value.shape == tensor.shape
        if hole == "o":
            return True
        return all(a == b or a == 1 or b == 1 for a, b in zip(reversed(value.shape), reversed(tensor.shape)))

    fitting = [name for name, value in scope.values.items() if fits(value)]
    others = [name for name in fitting if name != first]
    if hole == "same" and chance(choices, 1, 6):
        return choices.pick(NUMBERS)
    if others and chance(choices, 3, 4):
        return choices.pick(others)
    if chance(choices, 1, 3) and first in fitting:
        return first
    shape: list[int] = [*tensor.shape]
    if hole == "same":
        shape = [1 if chance(choices, 1, 4) else size for size in shape[choices.integer(0, len(shape)) if chance(choices, 1, 3) else 0 :]]
    dtype = str(tensor.dtype).removeprefix("torch.")
    grad = scope.trains and tensor.is_floating_point() and chance(choices, 1, 2)
    return add_input(scope, Spec(dtype, tuple(shape), pick_layout(choices, len(shape)), "", grad))


def _pick_mask(choices: Choices, scope: Scope, shape: tuple[int, ...], first: str) -> str:
    fitting = [name for name, v in scope.values.items() if isinstance(v, Tensor) and v.dtype == torch.bool and tuple(v.shape) == shape]
    if fitting and chance(choices, 2, 3):
        return choices.pick(fitting)
    if chance(choices, 1, 2):
        return f"({first} {choices.pick(('>', '<=', '!='))} {choices.pick(('0', '0.5'))})"
    return add_input(scope, Spec("bool", shape, pick_layout(choices, len(shape))))


def _reshape(choices: Choices, shape: tuple[int, ...]) -> list[int]:
    """Neighbouring dimensions merged, or one split, or all in one."""
    sizes: list[int] = [*shape]
    match choices.pick(("merge", "merge", "split", "flat", "infer")):
        case "merge" if len(sizes) > 1:
            at = choices.integer(0, len(sizes) - 2)
            sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
        case "split" if sizes:
            at = choices.integer(0, len(sizes) - 1)
            factor = next((f for f in choices.shuffle((2, 3, 4, 5)) if sizes[at] % f == 0), 1)
            sizes[at : at + 1] = [sizes[at] // factor, factor]
        case "infer" if sizes and 0 not in sizes:
            sizes[choices.integer(0, len(sizes) - 1)] = -1
        case _:
            return [-1] if prod(shape) else [prod(shape)]
    return sizes
