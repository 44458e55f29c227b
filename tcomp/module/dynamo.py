"""`torch.compile(module, backend="tcomp")`: Dynamo finds the graphs, AOTAutograd makes them functional, forward and backward."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch.autograd import forward_ad
from torch.fx import GraphModule, Interpreter

from tcomp.capture.decompositions.losses import correct_losses
from tcomp.capture.decompositions.table import decompositions
from tcomp.capture.decompositions.typed import RefusedType
from tcomp.ir.errors import InvalidData
from tcomp.module.dynamo_errors import let_through
from tcomp.module.graphs import compile_graph
from tcomp.options import Options, make_options
from tcomp.stages.faults import describe_trace

Compiled = Callable[[list[Any]], Sequence[Tensor | None]]


class CompileGraph(Protocol):
    """Compiles a functional graph of ATen operators; what it returns takes and gives flat lists."""

    def __call__(self, gm: GraphModule, example_inputs: Sequence[Any], *, options: Options) -> Compiled:
        """Compile `gm`, whose placeholders are tensors and SymInts and whose nodes carry meta["val"]."""


def tcomp_backend(
    gm: GraphModule, example_inputs: Sequence[Any], *, options: Mapping[str, object] | None = None
) -> Callable[..., Any]:
    """Compile a graph of Dynamo's; `options` are the keyword arguments of `tcomp.compile`.

    Raises TcompError for an unknown option, and for a graph that cannot be compiled; it passes through Dynamo.
    """
    with let_through(tcomp_backend):
        return compile_with(compile_graph, gm, example_inputs, make_options(options or {}))


def compile_with(
    compile_graph: CompileGraph, gm: GraphModule, example_inputs: Sequence[Any], options: Options
) -> Callable[..., Any]:
    """Give the functional forward, backward or inference graph of `gm` to `compile_graph`.

    Parameters are inputs like any other in these graphs, in-place updates come back as extra outputs that AOTAutograd
    copies, and random operators stay, so that they draw what eager draws. Raises InvalidData for element types that eager refuses.
    """

    def compile_one(graph: GraphModule, inputs: Sequence[Any]) -> Compiled:
        compiled = compile_graph(graph, inputs, options=options)

        def run(arguments: list[Any]) -> Sequence[Tensor | None]:
            # Dynamo has no guard on this unless the module itself enters a level.
            if forward_ad._current_level >= 0:
                return run_by_operators(graph, arguments, options)
            return compiled(arguments)

        # AOTAutograd then passes one list instead of spreading it.
        run._boxed_call = True  # type: ignore[attr-defined]
        return run

    backend = aot_autograd(
        fw_compiler=compile_one,
        bw_compiler=compile_one,
        inference_compiler=compile_one,
        decompositions=dict(decompositions()),
        partition_fn=min_cut_rematerialization_partition,
    )
    correct_losses(gm)
    try:
        compiled: Callable[..., Any] = backend(gm, example_inputs)
    except RefusedType as error:
        where = describe_trace(error.stack_trace)
        raise InvalidData(error.what, where=where, help="convert what is passed in, as by x.to(dtype)") from None
    return compiled


def run_by_operators(graph: GraphModule, arguments: list[Any], options: Options) -> Sequence[Tensor | None]:
    """Compute a graph in eager, where tangents pass from operator to operator; kernels would drop them."""
    if options.fallback != "silent":
        warnings.warn("tcomp: forward-mode differentiation is active, so graphs of torch.compile's run in eager", stacklevel=2)
    results: Sequence[Tensor | None] = Interpreter(graph).boxed_run(arguments)
    return results
