"""What the tests of capture share: modules of one function, and the comparison with eager."""

import operator

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves

from tcomp.capture.capture import capture
from tcomp.capture.run import run_captured
from tcomp.capture.types import Captured
from tcomp.torch_types import STRIDE_FREE


class Function(nn.Module):
    """A module of one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def targets(captured: Captured) -> list:
    return [node.target for node in captured.graph.graph.nodes if node.op == "call_function"]


def check_graph(captured: Captured) -> None:
    """Check what every consumer of a capture relies on: pure operators, vals, sources, constants that are there."""
    for node in captured.graph.graph.nodes:
        assert node.op in ("placeholder", "get_attr", "call_function", "output")
        if node.op == "call_function":
            assert node.target is operator.getitem or isinstance(node.target, OpOverload) or node.meta["val"] is not None
            assert not (isinstance(node.target, OpOverload) and node.target._schema.is_mutable), node.target
        if node.op == "get_attr":
            assert node.target in captured.constants
        if node.op != "output":
            assert "val" in node.meta
        if isinstance(node.target, OpOverload):
            check_val(node)


def check_val(node: Node) -> None:
    """Check that the val of a node has the types and shapes that its operator makes of the vals it reads."""
    args, kwargs = map_arg((node.args, node.kwargs), lambda argument: argument.meta["val"])
    fakes = [leaf for leaf in tree_leaves((args, kwargs, node.meta["val"])) if isinstance(leaf, FakeTensor)]
    if fakes:
        with fakes[0].fake_mode:
            made = STRIDE_FREE.get(node.target, node.target)(*args, **kwargs)
        vals = [[(leaf.dtype, leaf.shape) for leaf in tree_leaves(val) if isinstance(leaf, Tensor)] for val in (node.meta["val"], made)]
        assert vals[0] == vals[1], node.format_node()


def check(function, *args, **kwargs) -> Captured:
    """Capture, run the graph twice and compare results, strides, aliasing and the inputs afterwards with eager."""
    module = function if isinstance(function, nn.Module) else Function(function)
    captured = capture(module, args, kwargs)
    check_graph(captured)
    for _ in range(2):
        theirs = torch.utils._pytree.tree_map_only(Tensor, clone, (args, kwargs))
        ours = torch.utils._pytree.tree_map_only(Tensor, clone, (args, kwargs))
        state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        with torch.no_grad():
            want = module(*theirs[0], **theirs[1])
        state_after = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        module.load_state_dict(state)
        got = run_captured(captured, *ours)
        check_same(got, want)
        check_same(ours, theirs)
        check_same(dict(module.state_dict()), state_after)
        check_same_memory([*tree_leaves(ours), *tree_leaves(got)], [*tree_leaves(theirs), *tree_leaves(want)])
    return captured


def clone(tensor: Tensor) -> Tensor:
    fresh = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    return fresh.copy_(tensor)


def check_same(got, want) -> None:
    assert torch.utils._pytree.tree_structure(got) == torch.utils._pytree.tree_structure(want)
    for ours, theirs in zip(tree_leaves(got), tree_leaves(want), strict=True):
        if isinstance(theirs, Tensor):
            torch.testing.assert_close(ours, theirs, check_stride=True, equal_nan=True)
        else:
            assert ours == theirs
            assert type(ours) is type(theirs)


def check_same_memory(ours: list, theirs: list) -> None:
    def find_shared(leaves: list) -> set[tuple[int, int]]:
        memory = [leaf.untyped_storage().data_ptr() if isinstance(leaf, Tensor) else None for leaf in leaves]
        size = range(len(leaves))
        return {(i, j) for i in size for j in size if i < j and memory[i] is not None and memory[i] == memory[j]}

    assert find_shared(ours) == find_shared(theirs)
