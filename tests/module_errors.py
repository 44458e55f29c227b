"""What a call of a module leaves behind, and whether it is as near to float64 as what eager leaves."""

import contextlib
import copy
import functools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tcomp.reference import is_right, measure_error

ROUNDINGS = 64
"""Units in the last place, relative to the largest value of a result, by which it may differ from eager's without more ado."""
NEIGHBOURS = 16
"""Inputs and parameters on which errors are drawn again."""
DISTANCE = 2.0**-12
"""How far they lie from the sample's, relative to each element: by units in the last place only, what a saturated softmax rounds to
hardly changes, and all draws are one."""
SEED = 1234


@dataclass(frozen=True)
class Sample:
    """A module, how it is made, and what it is called with."""

    name: str
    make: Callable[[], nn.Module]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """How results differ from eager's."""

    fault: str | None = None
    note: str | None = None
    """What is right only by eager's errors on neighbouring inputs."""


@dataclass(frozen=True)
class Results:
    """What a call leaves behind: its outputs, the gradients, and the module's buffers."""

    outputs: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]
    buffers: tuple[Tensor, ...]

    def flat(self) -> tuple[Tensor, ...]:
        return (*self.outputs, *self.gradients, *self.buffers)


def seed_generators() -> None:
    """The same random numbers as in every other call."""
    torch.manual_seed(SEED)
    numpy.random.seed(SEED)
    random.seed(SEED)


def call(sample: Sample, module: nn.Module, run: Callable[..., Any], *, backward: bool) -> Results:
    """Call a module, by `run`, on copies of the sample's inputs."""
    args, kwargs = tree_map(functools.partial(_copy, differentiable=backward), (sample.args, sample.kwargs))
    seed_generators()
    with torch.set_grad_enabled(backward):
        result = run(*args, **kwargs)
    outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    gradients: list[Tensor] = []
    if backward:
        ends = [output for output in outputs if output.requires_grad]
        if not ends:
            raise RuntimeError("no output has a gradient")
        torch.autograd.backward(ends, [_weights(output) for output in ends])
        leaves = [*module.parameters(), *(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))]
        gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    return Results(tuple(o.detach() for o in outputs), tuple(g.detach() for g in gradients), tuple(module.buffers()))


def call_eager(sample: Sample, *, backward: bool) -> Results:
    """The same in eager."""
    module = sample.make()
    return call(sample, module, module, backward=backward)


def _copy(value: Any, differentiable: bool) -> Any:
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    fresh = value.detach().clone()
    return fresh.requires_grad_(differentiable and value.requires_grad)


def _weights(output: Tensor) -> Tensor:
    """What an output's elements count for in the loss: all differ, and are exact in every type."""
    numbers = torch.arange(output.numel(), device=output.device) % 7
    return ((numbers + 1) / 4).to(output.dtype).view(output.shape)


def judge(sample: Sample, got: Results, want: Results, backward: bool, run: Callable[[Sample], Results]) -> Verdict:
    """Say how results differ from eager's; `run` gives those of other samples."""
    for kind in ("outputs", "gradients", "buffers"):
        ours, theirs = getattr(got, kind), getattr(want, kind)
        if [(t.dtype, t.shape) for t in ours] != [(t.dtype, t.shape) for t in theirs]:
            return Verdict(f"{kind} are {[describe_tensor(t) for t in ours]} instead of {[describe_tensor(t) for t in theirs]}")
        if any(a.stride() != b.stride() for a, b in zip(ours, theirs, strict=True)) and kind == "outputs":
            return Verdict(f"{kind} have strides {[t.stride() for t in ours]} instead of {[t.stride() for t in theirs]}")
    if all(is_near(a, b) for a, b in zip(got.flat(), want.flat(), strict=True)):
        return Verdict()
    reference = run_wide(sample, backward).flat()
    far: dict[int, str] = {}
    lost: set[int] = set()
    for number, (ours, theirs, exact) in enumerate(zip(got.flat(), want.flat(), reference, strict=True)):
        error, eager_error = measure_error([ours], [exact]), measure_error([theirs], [exact])
        # Where the places of infinities or integers differ from those of float64, nothing is measured.
        if not is_near(ours, theirs) and not (math.isfinite(error) and is_right(error, eager_error, [theirs])):
            far[number] = f"result {number} errs by {error:.2g}, eager by {eager_error:.2g}"
            lost.update(() if math.isfinite(error) else (number,))
    if not far:
        return Verdict()
    drawn = draw_errors(sample, want, backward, run)
    said = {n: f"{text}; on inputs next to them by {drawn[n][0]:.2g}, eager by {drawn[n][1]:.2g}" for n, text in far.items()}
    wrong = [n for n in far if n in lost or not drawn[n][0] <= 2 * drawn[n][1]]
    return Verdict("; ".join(said[n] for n in wrong) or None, "; ".join(said[n] for n in far if n not in wrong) or None)


def draw_errors(sample: Sample, here: Results, backward: bool, run: Callable[[Sample], Results]) -> list[tuple[float, float]]:
    """Errors of each result of `run` and of eager's, the root mean squares on neighbours of a sample.

    Both are measured against float64; of a sample in float64 against eager itself, whose errors are those that random roundings make.
    """
    errors: list[list[tuple[float, float]]] = []
    is_wide = all(tensor.dtype == torch.float64 for tensor in here.flat() if tensor.is_floating_point())
    for seed in range(NEIGHBOURS):
        moved = _move(sample, seed)
        exact = run_wide(moved, backward).flat()
        with Roundings(seed) if is_wide else contextlib.nullcontext():
            eager = call_eager(moved, backward=backward).flat()
        found = [(measure_error([a], [e]), measure_error([b], [e])) for a, b, e in zip(run(moved).flat(), eager, exact, strict=True)]
        # Where places of infinities or integers differ nothing is measured of eager, and everything is wrong of the other.
        errors.append([(ours, theirs if math.isfinite(theirs) else 0.0) for ours, theirs in found])
    return [(_mean_square([a for a, _ in column]), _mean_square([b for _, b in column])) for column in zip(*errors, strict=True)]


class Roundings(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Rounds the results of operators in float64 at random: this moves a result as far as it is from an exact one.

    This is Monte Carlo arithmetic (Parker, 1997). A twelfth of the elements moves to a neighbour, which has the variance of rounding to
    nearest. Operators that round several times, such as softmax's backward, are taken apart by PyTorch's own definitions.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable or func.is_view:
            return func(*args, **kwargs)
        decomposed = decomposition_table.get(func)
        if decomposed is not None:
            with self:
                return decomposed(*args, **kwargs)
        return tree_map(self._round, func(*args, **kwargs))

    def _round(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float64:
            return value
        drawn = torch.rand(value.shape, generator=self.generator, dtype=torch.float64)
        above, below = value.nextafter(value.new_tensor(math.inf)), value.nextafter(value.new_tensor(-math.inf))
        return torch.where(drawn < 1 / 24, above, torch.where(drawn > 23 / 24, below, value))


def _mean_square(errors: Sequence[float]) -> float:
    return math.sqrt(sum(error * error for error in errors) / len(errors))


def _move(sample: Sample, seed: int) -> Sample:
    """The sample with every float of its inputs and parameters nearer to zero by up to DISTANCE, or a unit in the last place or two."""
    generator = torch.Generator().manual_seed(seed)

    def move(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        distance = max(DISTANCE, 2 * torch.finfo(value.dtype).eps)
        factors = 1 - distance * torch.rand(value.shape, generator=generator, dtype=torch.float64)
        return (value.detach().double() * factors).to(value.dtype).requires_grad_(value.requires_grad)

    args, kwargs = tree_map(move, (sample.args, sample.kwargs))

    def make() -> nn.Module:
        module = sample.make()
        generator.manual_seed(seed + NEIGHBOURS)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(move(parameter))
        return module

    return Sample(sample.name, make, args, kwargs)


def describe_tensor(tensor: Tensor) -> str:
    """Its type and shape."""
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def is_near(ours: Tensor, theirs: Tensor) -> bool:
    """Whether a result is some roundings from eager's."""
    if not theirs.is_floating_point():
        return torch.equal(ours, theirs)
    return measure_error([ours], [theirs.double()]) <= ROUNDINGS * torch.finfo(theirs.dtype).eps


def run_wide(sample: Sample, backward: bool) -> Results:
    """The sample in eager with all arithmetic in float64."""
    return call_eager(cast(sample, torch.float64), backward=backward)


def cast(sample: Sample, dtype: torch.dtype) -> Sample:
    """The sample with all its floats in another type."""

    def change(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return value.detach().to(dtype).requires_grad_(value.requires_grad)

    args, kwargs = tree_map(change, (sample.args, sample.kwargs))
    return Sample(sample.name, lambda: sample.make().to(dtype), args, kwargs)
