"""What the repr of a compiled module says."""

import torch
from torch import nn

import tcomp
from tcomp.module.detour import Detour, Way
from tcomp.module.memory import Memory
from tcomp.module.summary import summarise
from tests.compiled import Function, make_linear, random


def test_before_anything_is_compiled_it_says_so():
    assert repr(tcomp.compile(make_linear())) == "tcomp.compile(Sequential): nothing compiled yet, the first call compiles"


def test_it_tells_kernels_sizes_and_memory():
    compiled = tcomp.compile(make_linear(), random(2, 8), dynamic=False)
    compiled(random(3, 8))
    lines = repr(compiled).splitlines()
    assert lines[0] == "tcomp.compile(Sequential):"
    assert lines[1].startswith("  float32[2, 8] on cpu: 1 call of 1 kernels")
    assert lines[2].startswith("  float32[3, 8] on cpu: 1 call of 1 kernels")
    assert lines[-1].startswith("  memory: weights 288 bytes, beside them")


def test_it_tells_operators_that_are_left_to_pytorch():
    compiled = tcomp.compile(Function(lambda x: torch.linalg.svdvals(x) + 1), random(3, 3), fallback="silent")
    assert "  left to PyTorch: aten._linalg_svd.default (1)" in repr(compiled)


def test_it_tells_why_calls_go_elsewhere_and_how_many_programs_are_not_listed():
    text = summarise("M", (), [Detour(reason) for reason in ("a\nb", "c", "d", "e")], Memory(0, 0, 0))
    where = "so the call goes to the original module"
    reasons = ["elsewhere: a", f"elsewhere: c, {where}", f"elsewhere: d, {where}", "elsewhere for 1 other reasons"]
    assert text.splitlines() == ["tcomp.compile(M):", *(f"  {reason}" for reason in reasons)]
    compiled = tcomp.compile(nn.ReLU(), dynamic=False)
    for size in range(1, 6):
        compiled(torch.ones(size))
    assert "  and programs for 2 other kinds of inputs" in repr(compiled).splitlines()


def test_it_tells_what_goes_through_torch_compile():
    """A module with hooks has no program of its own, but it is compiled."""
    module = make_linear()
    module.register_forward_hook(lambda *_: None)
    compiled = tcomp.compile(module, fallback="silent")
    compiled(random(2, 8))
    lines = repr(compiled).splitlines()
    assert "  elsewhere: the module has hooks, so the call goes through torch.compile" in lines
    assert "  torch.compile found 1 graph: 1 call of 1 kernels" in lines
    assert "graphs that torch.compile found: 1, kernels: 1 call of 1" in tcomp.explain(compiled)


def test_it_tells_what_runs_in_eager_unseen():
    assert "  torch.compile found no graph, so these calls run in eager" in summarise("M", (), [Detour("a", Way.TORCH)], Memory(0, 0, 0))
