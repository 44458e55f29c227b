"""GPUs that need not be there, and the kernels a model gets on one."""

from dataclasses import replace

import torch

from tcomp.capture.capture import capture
from tcomp.ir.target import Gpu
from tcomp.passes.pipeline import compile_cascade
from tcomp.stages.lower_graph import lower_graph

HOPPER = Gpu("sm_90 132 multiprocessors", 90, 132, 232448, 65536, 50 << 20, "triton")
AMPERE = Gpu("sm_80 108 multiprocessors", 80, 108, 166912, 65536, 40 << 20, "triton")


def compile_model(module, inputs, target, dynamic=False):
    """The main program of a module for a GPU, or another target."""
    captured = capture(module, inputs, {}, dynamic=dynamic)
    cascade = lower_graph(captured.graph)
    nodes = [n for n in captured.graph.graph.nodes if n.op in ("placeholder", "get_attr") and isinstance(n.meta.get("val"), torch.Tensor)]
    tensors = tuple(replace(tensor, weight=node.op == "get_attr") for tensor, node in zip(cascade.inputs, nodes, strict=True))
    return compile_cascade(replace(cascade, inputs=tensors), {}, target).main
