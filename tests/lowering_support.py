"""Capture a function of tensors into an ATen graph, lower it, evaluate the cascade, and compare with eager torch.

    check(lambda x: x.softmax(-1), torch.randn(3, 5), terms=5)

Integers and bools must be equal. Floats may differ by `ulps + terms` roundings of their type, relative to the largest
magnitude of the result for reductions (`terms` elements folded), to each element itself otherwise.
"""

import functools
import math
import operator
from dataclasses import dataclass, replace

import numpy
import torch
from torch._decomp import core_aten_decompositions
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from tcomp.ir.cascade import Cascade
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.stages.lower_graph import find_unsupported, lower_graph

NARROW = (torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)


@functools.cache
def _decompositions():
    return core_aten_decompositions()


def capture(function, *arguments, dynamic=False, decompose=True) -> GraphModule:
    """Return the functional graph of core ATen operators that `function` runs on tensors like these."""
    table = _decompositions() if decompose else {}
    mode = "symbolic" if dynamic else "fake"

    def trace(function):
        functional = torch.func.functionalize(function, remove="mutations")
        return make_fx(functional, decomposition_table=table, tracing_mode=mode, _allow_non_fake_inputs=True)(*arguments)

    graph = trace(function)
    if any(getattr(node.target, "_schema", None) and node.target._schema.is_mutable for node in graph.graph.nodes):
        # Some decompositions write in place, below the layer that makes the function functional.
        graph = trace(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def to_numpy(tensor: torch.Tensor) -> numpy.ndarray:
    """An array as the evaluator holds it: narrow floats but f16 as float32."""
    if tensor.dtype in NARROW and tensor.dtype != torch.float16:
        tensor = tensor.float()
    return tensor.detach().resolve_conj().resolve_neg().numpy()


def bind_inputs(cascade: Cascade, graph: GraphModule, arguments) -> dict[str, numpy.ndarray]:
    """The cascade's inputs by name, from a flat list of arguments and the graph's own constants."""
    values = iter(arguments)
    tensors = []
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            tensors.append(next(values))
        elif node.op == "get_attr":
            tensors.append(operator.attrgetter(node.target)(graph))
    tensors = [t for t in tensors if isinstance(t, torch.Tensor)]
    return {tensor.name: as_pairs(to_numpy(t)) for tensor, t in zip(cascade.inputs, tensors, strict=True)}


def as_pairs(array: numpy.ndarray) -> numpy.ndarray:
    """Complex numbers with a last dimension of real and imaginary part, as cascades hold them; real ones as they are."""
    return numpy.stack((array.real, array.imag), -1) if numpy.iscomplexobj(array) else array


def execute(graph: GraphModule, arguments) -> list[numpy.ndarray]:
    """Run a graph through its cascade; one array for each tensor among its outputs."""
    cascade = lower_graph(graph)
    check_cascade(replace(cascade, outputs=tuple(dict.fromkeys(cascade.outputs))))
    results = evaluate(cascade, bind_inputs(cascade, graph, arguments))
    node = next(node for node in graph.graph.nodes if node.op == "output")
    values = [node.meta["val"] for node in torch.utils._pytree.tree_leaves(node.args) if isinstance(node, torch.fx.Node)]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return [from_pairs(results[name], tensor) for name, tensor in zip(cascade.outputs, tensors, strict=True)]


def from_pairs(array: numpy.ndarray, tensor: torch.Tensor) -> numpy.ndarray:
    """Undo `as_pairs` for a result that is to have the type of a tensor."""
    if not tensor.is_complex():
        return array
    return numpy.ascontiguousarray(array).view(numpy.complex128 if array.dtype == numpy.float64 else numpy.complex64)[..., 0]


@dataclass(frozen=True)
class Mismatch:
    """The first difference between a result and what eager gave."""

    text: str


def find_mismatch(got: numpy.ndarray, want: torch.Tensor, terms: int = 0, ulps: float = 4) -> Mismatch | None:
    """Compare one result with eager's."""
    expected = to_numpy(want)
    if got.shape != expected.shape:
        return Mismatch(f"shape {got.shape}, not {expected.shape}")
    if got.dtype != expected.dtype:
        return Mismatch(f"dtype {got.dtype}, not {expected.dtype}")
    if want.is_complex():
        got, want = as_pairs(got), torch.view_as_real(want.resolve_conj())
        expected = to_numpy(want)
    if not want.dtype.is_floating_point:
        return None if numpy.array_equal(got, expected) else Mismatch(f"{got!r} is not {expected!r}")
    epsilon = torch.finfo(want.dtype).eps
    tiny = torch.finfo(want.dtype).tiny
    g, w = got.astype(numpy.float64), expected.astype(numpy.float64)
    special = ~numpy.isfinite(w)
    if not numpy.array_equal(g[special], w[special], equal_nan=True) or not numpy.isfinite(g[~special]).all():
        return Mismatch(f"{got!r} is not {expected!r}")
    scale = numpy.abs(w[~special])
    if terms and scale.size:
        scale = numpy.full_like(scale, max(scale.max(), math.sqrt(terms) * tiny))
    excess = numpy.abs(g[~special] - w[~special]) - (ulps + terms) * epsilon * numpy.maximum(scale, tiny)
    if scale.size and excess.max() > 0:
        worst = excess.argmax()
        return Mismatch(f"{g[~special][worst]} is not {w[~special][worst]} within {ulps} + {terms} roundings of {want.dtype}")
    return None


def check(function, *arguments, terms=0, ulps=4, dynamic=False, decompose=True) -> Cascade:
    """Assert that `function` gives through its cascade what it gives in eager; return the cascade."""
    graph = capture(function, *arguments, dynamic=dynamic, decompose=decompose)
    assert not find_unsupported(graph), find_unsupported(graph)
    want = [t for t in torch.utils._pytree.tree_leaves(function(*arguments)) if isinstance(t, torch.Tensor)]
    got = execute(graph, torch.utils._pytree.tree_leaves(arguments))
    assert len(got) == len(want)
    for g, w in zip(got, want):
        mismatch = find_mismatch(g, w, terms, ulps)
        assert mismatch is None, f"{mismatch.text}\n{lower_graph(graph)}"
    return lower_graph(graph)
