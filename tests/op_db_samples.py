"""The samples of PyTorch's operator database, traced and sorted by what their graphs consist of."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from tests.lowering_support import capture

DTYPES = (torch.float32, torch.int64, torch.bool)
NARROW = (torch.bfloat16, torch.float16)
GRADIENTS = (torch.float32,)
"""The types in which gradients are taken."""
QUERIES = frozenset({torch.ops.aten.sym_size.int, torch.ops.aten.sym_numel.default})


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample: its tensors, what eager makes of them, and the graph of that."""

    name: str
    tensors: tuple[Tensor, ...]
    wanted: tuple[Tensor, ...]
    graph: GraphModule

    def copy_tensors(self) -> list[Tensor]:
        """The tensors to run on: the samples of an entry share some, and operators may write to them."""
        return [copy_memory(tensor) for tensor in self.tensors]


@dataclass(frozen=True)
class Untraced:
    """A sample that torch itself cannot run or trace."""

    name: str
    error: str


def find_entries(names: str = "") -> list:
    """The entries of op_db whose name contains `names`."""
    return [entry for entry in op_db if names in name_entry(entry)]


def name_entry(entry) -> str:
    return entry.name + (f".{entry.variant_test_name}" if entry.variant_test_name else "")


def find_samples(entry, limit: int, dtypes: Sequence[torch.dtype] = DTYPES, gradients: bool = False) -> Iterator[Sample | Untraced]:
    """Trace up to `limit` samples of an entry in each dtype, the same ones every time; with `gradients` those of its operands."""
    for dtype in dtypes:
        if not entry.supports_dtype(dtype, "cpu") or (gradients and not entry.supports_autograd):
            continue
        torch.manual_seed(0)
        numpy.random.seed(0)
        random.seed(0)
        label = f"{name_entry(entry)}[{str(dtype).removeprefix('torch.')}{', gradients' if gradients else ''}]"
        try:
            found = list((_list_gradients if gradients else _list_functions)(entry, dtype, limit))
        # Some entries need devices or libraries that are not here.
        except Exception as error:  # noqa: BLE001
            yield Untraced(label, type(error).__name__)
            continue
        for number, (function, tensors) in enumerate(found):
            yield trace(f"{label} {number}", function, tensors)


def trace(name: str, function: Callable, tensors: list[Tensor]) -> Sample | Untraced:
    """Run a function in eager and trace it."""

    def flat(*arguments):
        return tuple(leaf for leaf in tree_leaves(function(*arguments)) if isinstance(leaf, Tensor))

    if any(tensor.layout != torch.strided for tensor in tensors):
        return Untraced(name, "tensors that are not dense, which capture refuses")
    try:
        wanted = flat(*[copy_memory(t) for t in tensors])
        return Sample(name, tuple(tensors), wanted, capture(flat, *tensors))
    # Whatever torch itself cannot run or trace is not ours to judge, but it is shown.
    except Exception as error:  # noqa: BLE001
        return Untraced(name, type(error).__name__)


def copy_memory(tensor: Tensor) -> Tensor:
    """A copy that lies in memory as the tensor does, with what else is there."""
    memory = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage().clone())
    return memory.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def _list_functions(entry, dtype: torch.dtype, limit: int) -> Iterator[tuple[Callable, list[Tensor]]]:
    """Samples as a function of a flat list of tensors, and those tensors."""
    for number, sample in enumerate(entry.sample_inputs("cpu", dtype, requires_grad=False)):
        if number >= limit:
            return
        leaves, spec = tree_flatten((sample.input, sample.args, sample.kwargs))
        places = [n for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

        def function(*tensors, leaves=leaves, spec=spec, places=places):
            filled = list(leaves)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            first, args, kwargs = tree_unflatten(filled, spec)
            return entry.op(first, *args, **kwargs)

        yield function, [leaves[n] for n in places]


def _list_gradients(entry, dtype: torch.dtype, limit: int) -> Iterator[tuple[Callable, list[Tensor]]]:
    """Samples as functions that return gradients: of sums of results, each element with a weight of its own, by what is differentiable."""
    for number, sample in enumerate(entry.sample_inputs("cpu", dtype, requires_grad=True)):
        if number >= limit:
            return
        leaves, spec = tree_flatten((sample.input, sample.args, sample.kwargs))
        places = [n for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        chosen = [k for k, n in enumerate(places) if leaves[n].requires_grad]
        if not chosen:
            continue

        def function(*tensors, leaves=leaves, spec=spec, places=places, chosen=chosen, sample=sample):
            def results(*operands):
                filled = list(leaves)
                for place, tensor in zip(places, tensors, strict=True):
                    filled[place] = tensor
                for k, operand in zip(chosen, operands, strict=True):
                    # Operators that write to their operand may not write to a leaf.
                    filled[places[k]] = operand.clone()
                first, args, kwargs = tree_unflatten(filled, spec)
                found = sample.output_process_fn_grad(entry.op(first, *args, **kwargs))
                return tuple(t for t in tree_leaves(found) if isinstance(t, Tensor) and t.dtype.is_floating_point)

            found, pull = torch.func.vjp(results, *(tensors[k] for k in chosen))
            return pull(tuple(_weights(t) for t in found))

        yield function, [leaves[n].detach() for n in places]


def _weights(result: Tensor) -> Tensor:
    """What the elements of a result count for: numbers that are exact in every type."""
    return (torch.arange(result.numel()) % 7 + 1).to(result.dtype).div(4).view(result.shape)


def find_foreign(graph: GraphModule) -> list[str]:
    """What makes a graph more than core ATen over real numbers: operators beyond it, or complex numbers."""
    foreign = {}
    for node in graph.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            if torch.Tag.core not in node.target.tags and node.target not in QUERIES:
                foreign.setdefault(str(node.target))
        elif node.op == "call_function" and node.target.__module__ not in ("_operator", "operator", "math"):
            foreign.setdefault(str(node.target))
    values = (leaf for node in graph.graph.nodes for leaf in tree_leaves(node.meta.get("val")))
    if any(isinstance(v, Tensor) and v.dtype.is_complex for v in values):
        foreign.setdefault("complex numbers")
    return list(foreign)


def is_random(graph: GraphModule) -> bool:
    """Whether a graph draws random numbers, which tcomp leaves to eager, or leaves memory uninitialised."""
    return any(
        torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) or "empty" in str(node.target)
        for node in graph.graph.nodes
        if node.op == "call_function"
    )
