"""Memory while recording: which tensors share storage, and what an in-place operator means without one.

Every tensor is a view of the base of its storage, through a chain of view steps. Writing to a view computes the base anew
(`write x[1] = y` is `base = select_scatter(base, y, 0, 1)`); the other views replay their chain when they are read next.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch._prims_common import is_non_overlapping_and_dense_or_false
from torch.utils._python_dispatch import _disable_current_modes

from tcomp.capture.refusals import EagerOnly
from tcomp.capture.types import Origin, ViewStep
from tcomp.ir.errors import Unsupported

aten: Any = torch.ops.aten


@dataclass(slots=True)
class Storage:
    """One piece of memory: the node with its present contents, as the base that all chains start from."""

    node: torch.fx.Node
    base: Tensor
    origin: Origin | None = None
    version: int = 0


@dataclass(slots=True)
class Value:
    """A tensor the module can hold: its fake, the chain from the storage's base, and the node of its contents.

    `node` is current while `version` is the storage's; `maker` is the node it began with. `key` stands for shape, strides, dtype
    and device. `twin` is the view that made it another object of the same elements, as detach does.
    """

    tensor: Tensor
    key: object
    storage: Storage
    steps: tuple[ViewStep, ...]
    node: torch.fx.Node
    version: int
    maker: torch.fx.Node
    twin: ViewStep | None = None


def refuse_meetings(written: Iterable[Value], read: Sequence[Value | None], find_source: Callable[[], object]) -> None:
    """Raise EagerOnly where an operator writes to a tensor, and reads another that has some elements in common, as eager refuses."""
    if any(_meet(value, other) for value in written for other in read if other is not None):
        raise EagerOnly("the module writes to elements that it reads in another place meanwhile", where=str(find_source()))


def _meet(written: Value, read: Value) -> bool:
    """Of the same elements in the same order there is nothing to say; of tensors that are not dense eager asks nothing."""
    if written is read or written.storage is not read.storage:
        return False
    a, b = written.tensor, read.tensor
    if not (is_non_overlapping_and_dense_or_false(a) and is_non_overlapping_and_dense_or_false(b)):
        return False
    (first, last), (start, end) = ((t.storage_offset(), t.storage_offset() + t.numel()) for t in (a, b))
    if first == start and last == end:
        return bool(a.stride() != b.stride())
    return bool(first < end and start < last)


@dataclass(frozen=True, slots=True)
class Functional:
    """The pure partner of a mutating operator: its results are the new values of the arguments `written`, in order.

    The partner takes the same positional arguments, `defaults` for those left out, and of the others the `keywords`.
    """

    op: Callable[..., Any]
    written: tuple[int | str, ...]
    defaults: tuple[Any, ...]
    keywords: frozenset[str]


@functools.cache
def find_functional(op: OpOverload) -> Functional | None:
    """Return the pure partner of an in-place or out= operator, or None if it has none."""
    arguments = op._schema.arguments
    written: list[int | str] = []
    kept = []
    for position, argument in enumerate(arguments):
        is_written = argument.alias_info is not None and argument.alias_info.is_write
        if is_written:
            if not isinstance(argument.type, torch.TensorType):
                return None
            written.append(argument.name if argument.kwarg_only else position)
        if not (is_written and argument.kwarg_only):
            kept.append(argument)
    name = op._schema.name.split("::")[1]
    names = [_FUNCTIONAL_NAMES[name]] if name in _FUNCTIONAL_NAMES else [name.removesuffix("_"), name]
    signature = [(argument.name, str(argument.type)) for argument in kept]
    for candidate_name in names:
        packet = getattr(getattr(torch.ops, op.namespace), candidate_name, None)
        for overload in packet.overloads() if packet is not None else ():
            candidate = getattr(packet, overload)
            schema = candidate._schema
            if not schema.is_mutable and signature == [(a.name, str(a.type)) for a in schema.arguments]:
                # bernoulli_() may leave out a probability that bernoulli(p) may not.
                defaults = tuple(argument.default_value for argument in kept if not argument.kwarg_only)
                keywords = frozenset(argument.name for argument in kept if argument.kwarg_only)
                return Functional(_DRAWS.get(candidate, candidate), tuple(written), defaults, keywords)
    return None


_FUNCTIONAL_NAMES: Mapping[str, str] = {"normal_": "normal_functional", "bernoulli_": "bernoulli"}


def _draw_bernoulli(target: Tensor, p: float, *, generator: torch.Generator | None = None) -> Any:
    """What bernoulli_ would write: it draws in the order of memory, its pure partner in that of indices."""
    if target.device.type != "cpu" or target.is_contiguous() or not _draws_by_memory():
        return aten.bernoulli.p(target, p, generator=generator)
    strides = target.stride()
    order = sorted(range(target.dim()), key=lambda dim: strides[dim], reverse=True)
    drawn = aten.bernoulli.p(aten.permute.default(target, order), p, generator=generator)
    return aten.permute.default(drawn, [order.index(dim) for dim in range(len(order))])


@functools.cache
def _draws_by_memory() -> bool:
    """Whether bernoulli_ does: on Intel's CPUs PyTorch has MKL draw, in the order of indices."""
    with _disable_current_modes():
        by_index, by_memory = (
            tensor.bernoulli_(0.5, generator=torch.Generator().manual_seed(0))
            for tensor in (torch.empty(8, 8, device="cpu"), torch.empty(8, 8, device="cpu").t())
        )
        return torch.equal(by_index, by_memory.t())


_DRAWS: Mapping[OpOverload, Callable[..., Any]] = {aten.bernoulli.p: _draw_bernoulli}


def undo_view(step: ViewStep, base: Tensor, new: Tensor) -> Any:
    """Return `base` with the part that `step` shows replaced by `new`, in pure operators.

    Raises Unsupported for a view that cannot be written through.
    """
    match step.op:
        case aten.view.default | aten.unsqueeze.default | aten.squeeze.dims:
            return aten.reshape.default(new, base.shape)
        case aten.permute.default:
            order = [dim % base.dim() for dim in step.args[0]]
            return aten.permute.default(new, [order.index(dim) for dim in range(len(order))])
        case aten.select.int:
            return aten.select_scatter.default(base, new, *step.args)
        case aten.slice.Tensor:
            return aten.slice_scatter.default(base, new, *step.args)
        case aten.diagonal.default:
            return aten.diagonal_scatter.default(base, new, *step.args, **step.kwargs)
        case aten.split_with_sizes.default:
            return _undo_split(step, base, new)
        case aten.expand.default if math.prod(new.shape) == math.prod(base.shape):
            return aten.reshape.default(new, base.shape)
        case aten._neg_view.default:
            return aten.neg.default(new)
        case aten._conj.default:
            return aten._conj_physical.default(new)
        case aten.view_as_real.default:
            return aten.view_as_complex.default(new)
        case aten.view_as_complex.default:
            return aten.view_as_real.default(new)
        case aten.view.dtype:
            return aten.view.dtype(new, base.dtype)
        case _:
            raise Unsupported(
                f"an in-place write through a view made by {step.op}",
                help="clone the view before writing to it, or write to the tensor it was taken from",
            )


def _undo_split(step: ViewStep, base: Tensor, new: Tensor) -> Any:
    sizes: Sequence[int] = step.args[0]
    dim = step.args[1] if len(step.args) > 1 else step.kwargs.get("dim", 0)
    assert step.index is not None, "a split has several results"
    start = sum(sizes[: step.index])
    return aten.slice_scatter.default(base, new, dim, start, start + sizes[step.index])


def replay(steps: Sequence[ViewStep], base: Tensor) -> Tensor:
    """Apply a chain of views to a tensor, as eager would."""
    for step in steps:
        result: Any = step.op(base, *step.args, **step.kwargs)
        base = result if step.index is None else result[step.index]
    return base
