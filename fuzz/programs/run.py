"""Runs a program: its module is built, called as the program says, and all that can be seen of each call is written down.

A program can be run in several ways from the same random numbers: as it is, compiled, in float64 (`WIDE`), and on inputs and parameters
that differ from the given ones by units in the last place (`moved`).
"""

from __future__ import annotations

import contextlib
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._pytree import tree_flatten

from tcomp.fuzz.programs.program import Program, Spec
from tcomp.fuzz.programs.source import BOX, WIDER, is_box, list_inputs, print_arguments, print_base, print_forward, print_view

Compile = Callable[[Program, nn.Module], Callable[..., Any]]
"""Gives what is called in a module's place."""
Treat = Callable[[Tensor], Tensor]
"""What is done to the numbers of a tensor before it is laid out."""
REACH = 4
"""By how many units in the last place elements are moved at most."""


@dataclass(frozen=True)
class Seen:
    """A tensor as it was after a call."""

    values: Tensor
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool


@dataclass
class Record:
    """What could be seen of a call."""

    error: BaseException | None = None
    structure: str = ""
    """Of the results: what they are nested in, and those that are no tensors."""
    results: dict[str, Seen] = field(default_factory=dict)
    after: dict[str, Seen] = field(default_factory=dict)
    """Inputs, parameters and buffers after the call."""
    gradients: dict[str, Seen] = field(default_factory=dict)
    aliases: frozenset[tuple[str, str, int]] = frozenset()
    """Which tensors share memory, and by how many bytes the one begins after the other."""
    written: frozenset[str] = frozenset()
    """Inputs, parameters and buffers whose version the call counted up."""
    state: dict[str, str] = field(default_factory=dict)
    """Attributes of the module and its parts afterwards, and how many of which kind of tensor there are."""


@dataclass(frozen=True)
class Variant:
    """In which way a program is run."""

    treat: Treat = lambda tensor: tensor
    is_wide: bool = False


PLAIN = Variant()


def widen(tensor: Tensor) -> Tensor:
    """The tensor in the type in which sums are exact, as far as anybody cares."""
    wide = WIDER.get(_name(tensor.dtype))
    return tensor if wide is None else tensor.to(getattr(torch, wide))


WIDE = Variant(widen, is_wide=True)


def moved(seed: int, *, is_wide: bool = False) -> Variant:
    """A variant all of whose floats are up to `REACH` units in the last place from the given ones."""
    generator = torch.Generator().manual_seed(seed)

    def treat(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            # Rounded to their type, however it is called: float8 has no nextafter, nor needs one.
            steps = torch.randint(-REACH, REACH + 1, tensor.shape, generator=generator)
            near = (tensor.double() * (1 + steps * torch.finfo(tensor.dtype).eps)).to(tensor.dtype)
            tensor = torch.where(tensor.isfinite(), near, tensor)
        return widen(tensor) if is_wide else tensor

    return Variant(treat, is_wide)


def build(program: Program, variant: Variant = PLAIN) -> nn.Module:
    """The module of a program."""
    source = "\n".join(["class M(nn.Module):", *(f"    {line}" for line in print_forward(program))])
    scope: dict[str, Any] = {"torch": torch, "nn": nn}
    exec(compile(widen_text(source) if variant.is_wide else source, "<program>", "exec"), scope)
    module: nn.Module = scope["M"]()
    torch.manual_seed(program.option("numbers"))
    for member in program.members:
        if isinstance(member.made, Spec):
            made = make_tensor(member.made, variant)
            if member.kind == "parameter":
                is_float = made.is_floating_point() or made.is_complex()
                module.register_parameter(member.name, nn.Parameter(made, requires_grad=is_float))
            else:
                module.register_buffer(member.name, made)
        else:
            made = eval(member.made, {"torch": torch})
            if isinstance(made, nn.Module):
                _treat_module(made, variant)
            setattr(module, member.name, made)
    return module


def make_tensor(spec: Spec, variant: Variant = PLAIN) -> Tensor:
    """A tensor of a kind, of the numbers that come next."""
    base = variant.treat(eval(print_base(spec), {"torch": torch}))
    made: Tensor = eval(f"base{print_view(spec)}", {"torch": torch, "base": base})
    return made.requires_grad_() if spec.grad else made


# A module of its own, which is neither PyTorch's nor ours, and which Dynamo finds.
_MODULE = sys.modules.setdefault("program_objects", ModuleType("program_objects"))
exec(BOX, vars(_MODULE))
Box: type = _MODULE.Box


def make_inputs(program: Program, number: int, variant: Variant = PLAIN, kept: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a program gives to a call, by name; objects that are `kept` are those of the call before."""
    torch.manual_seed(program.option("numbers") + number + 1)
    scope: dict[str, Any] = {}
    for named in list_inputs(program, program.calls[number]):
        made = named.made
        if kept is not None and named.name in kept:
            scope[named.name] = kept[named.name]
        elif isinstance(made, Spec):
            scope[named.name] = make_tensor(made, variant)
        else:
            scope[named.name] = eval(widen_text(made) if variant.is_wide else made, {"torch": torch, "Box": Box, **scope})
            if kept is not None and is_box(named) and program.option("keep"):
                kept[named.name] = scope[named.name]
    return scope


def widen_text(text: str) -> str:
    """Python in which types that are named are those of `WIDER`."""
    return re.sub(r"\btorch\.(float32|float16|bfloat16|complex64)\b", lambda m: f"torch.{WIDER[m[1]]}", text)


def run_program(program: Program, compile: Compile | None = None, variant: Variant = PLAIN) -> list[Record]:
    """All calls of a program, up to the first that fails; in eager where there is no compiler."""
    module = build(program, variant)
    run = module if compile is None else compile(program, module)
    records: list[Record] = []
    kept: dict[str, Any] = {}
    with _default_dtype(torch.float64 if variant.is_wide else torch.float32):
        for number, call in enumerate(program.calls):
            record = Record()
            records.append(record)
            try:
                for action in call.actions:
                    exec(widen_text(action) if variant.is_wide else action, {"torch": torch, "m": module})
                inputs = make_inputs(program, number, variant, kept)
                _call(program, module, run, inputs, record)
            # Whatever it is, it is to be compared with what the other side raises.
            except Exception as error:  # noqa: BLE001
                record.error = error
                break
    return records


def _call(program: Program, module: nn.Module, run: Callable[..., Any], inputs: dict[str, Any], record: Record) -> None:
    holders = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    boxes = {name: value for name, value in inputs.items() if isinstance(value, Box)}
    holders.update(_list_held(boxes))
    before = {name: (tensor, tensor._version) for name, tensor in (*holders.items(), *_list_members(module))}
    arguments = eval(f"[{print_arguments(program)}]", dict(inputs))
    with torch.set_grad_enabled(program.trains):
        results = run(*arguments)
    leaves, structure = tree_flatten(results)
    tensors = {f"result {place}": leaf for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)}
    record.structure = f"{structure} of {[_name(leaf) for leaf in leaves]}"
    # Before the backward pass, which counts versions too.
    record.results = {name: look(tensor) for name, tensor in tensors.items()}
    holders = {name: tensor for name, tensor in holders.items() if "." not in name}
    holders.update(_list_held(boxes))
    holders.update(_list_members(module))
    kept = {name: (tensor, version) for name, (tensor, version) in before.items() if holders.get(name) is tensor}
    record.written = frozenset(name for name, (tensor, version) in kept.items() if tensor._version != version)
    record.aliases = find_aliases({**tensors, **holders})
    if program.trains:
        ends = [tensor for tensor in tensors.values() if tensor.requires_grad]
        if ends:
            torch.autograd.backward(ends, [weigh(end) for end in ends])
        for name, tensor in holders.items():
            if tensor.is_leaf and tensor.grad is not None:
                record.gradients[name] = look(tensor.grad)
                tensor.grad = None
    record.after = {name: look(tensor) for name, tensor in holders.items()}
    record.state = describe_state(module)
    record.state.update({name: _describe(vars(box)) for name, box in boxes.items()})
    record.state["returned"] = str([[name for name, box in boxes.items() if leaf is box] for leaf in leaves])


def _list_held(boxes: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors in objects, by where they are."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()

    def follow(name: str, value: object) -> None:
        if isinstance(value, Tensor):
            found[name] = value
        elif id(value) not in seen:
            seen.add(id(value))
            items = vars(value) if isinstance(value, Box) else value
            if isinstance(items, dict):
                for key, item in items.items():
                    follow(f"{name}.{key}", item)
            elif isinstance(items, (list, tuple)):
                for place, item in enumerate(items):
                    follow(f"{name}.{place}", item)

    for name, box in boxes.items():
        follow(name, box)
    return found


def weigh(end: Tensor) -> Tensor:
    """What the elements of a result count for in the loss: all differ."""
    return torch.linspace(0.25, 1, end.numel(), dtype=end.dtype).view(end.shape)


def look(tensor: Tensor) -> Seen:
    """A tensor as it is now."""
    values = tensor.detach().resolve_conj().resolve_neg().clone()
    return Seen(values, _name(tensor.dtype), tuple(tensor.shape), tuple(tensor.stride()), tensor.requires_grad)


def find_aliases(tensors: dict[str, Tensor]) -> frozenset[tuple[str, str, int]]:
    """Which of some tensors that have elements share memory."""
    found = set()
    named = [(name, tensor) for name, tensor in tensors.items() if tensor.numel() and type(tensor) in (Tensor, nn.Parameter)]
    for place, (a, first) in enumerate(named):
        for b, second in named[:place]:
            if first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr():
                found.add((b, a, first.data_ptr() - second.data_ptr()))
    return frozenset(found)


def describe_state(module: nn.Module) -> dict[str, str]:
    """What the attributes of a module and its parts are, tensors by their type and shape."""
    found = {}
    for path, part in module.named_modules():
        names = {**part.__dict__, **part._parameters, **part._buffers}
        for name, value in names.items():
            if not name.startswith("_"):
                found[f"{path}.{name}".removeprefix(".")] = _describe(value)
        found[f"{path} has".strip()] = f"{type(part).__name__} {sorted(part._parameters)} {sorted(part._buffers)} {list(part._modules)}"
    return found


def _describe(value: object) -> str:
    if isinstance(value, FakeTensor):
        return "a tensor without data"
    if isinstance(value, Tensor):
        return f"{type(value).__name__} {_name(value.dtype)}{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__} [{', '.join(map(_describe, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_describe(item)}' for key, item in value.items())}}}"
    if isinstance(value, (bool, int, float, str, type(None), torch.SymInt)):
        return f"{type(value).__name__} {value}" if not isinstance(value, float) or math.isnan(value) else f"float {value:.3e}"
    return type(value).__name__


def _list_members(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        yield f"self.{name}", tensor


def _name(value: object) -> str:
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else type(value).__name__


def _treat_module(made: nn.Module, variant: Variant) -> None:
    for part in made.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(variant.treat(parameter.detach()), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = variant.treat(buffer)


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
