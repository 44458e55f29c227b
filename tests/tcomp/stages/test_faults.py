"""Planted faults inside tcomp: the stage runs in eager, the model is right, one warning says so; what is the user's stays an error."""

import ctypes
import warnings
from dataclasses import replace

import pytest
import torch
from compiled import Function, check_same, random
from torch import nn

import tcomp
from tcomp.codegen.c import build
from tcomp.codegen.c import program as c_program
from tcomp.ir.errors import BudgetError, CacheError, Illegal, TcompError, ToolchainError, Unsupported, VerifyError
from tcomp.lowerings import LOWERINGS
from tcomp.passes import choose, pipeline
from tcomp.program.program import CompiledStage, EagerStage
from tcomp.runtime import runners as runtime_stages
from tcomp.runtime.gpu import runner as triton_runtime
from tcomp.settings import read_settings
from tcomp.stages import graph as compile_graph
from tcomp.stages import makers
from tcomp.stages import stage as compile_stage

aten = torch.ops.aten


@pytest.fixture
def contained(monkeypatch):
    """As users have it, not as tests do."""
    assert read_settings().raise_faults
    monkeypatch.delenv("TCOMP_RAISE_FAULTS")
    torch._dynamo.reset()


def raising(error):
    def fail(*arguments, **keywords):
        raise error

    return fail


def plant(monkeypatch, error):
    """Let a pass fail."""
    monkeypatch.setattr(choose, "fuse", raising(error))


def refuse_to_compile(monkeypatch):
    """Print kernels that the C compiler refuses."""
    real = c_program.kernel_units

    def print_nonsense(*arguments):
        for name, unit in real(*arguments):
            yield name, replace(unit, source=f"{unit.source}\nnonsense;", content=f"{unit.content} ")

    monkeypatch.setattr(build, "kernel_units", print_nonsense)


PLACES = {
    "a lowering": lambda patch: patch.setitem(LOWERINGS, aten.relu.default, raising(KeyError("planted"))),
    "a pass over cascades": lambda patch: patch.setattr(
        pipeline, "PIPELINE", (pipeline.Pass("cascade", raising(AssertionError("planted")), "to fail"),)
    ),
    "fusion": lambda patch: plant(patch, ValueError("planted")),
    "a schedule": lambda patch: patch.setattr(choose, "propose", raising(Illegal("planted"))),
    "a kernel": lambda patch: patch.setattr(choose, "lower_group", raising(VerifyError("planted"))),
    "recursion": lambda patch: plant(patch, RecursionError("planted")),
    "printing": lambda patch: patch.setattr(build, "kernel_units", raising(Unsupported("planted"))),
    "the C compiler": refuse_to_compile,
    "the linker": lambda patch: patch.setattr(build, "link_library", raising(ToolchainError("planted", where="cc\nld: planted"))),
    "loading": lambda patch: patch.setattr(runtime_stages, "load_program", raising(ToolchainError("planted"))),
    "checks": lambda patch: patch.setattr(compile_stage, "program_checks", raising(IndexError("planted"))),
}


class Net(nn.Module):
    """Some of what models do: weights, a buffer that is written, several results, one of them a view of another."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 10), nn.Linear(10, 4)
        self.register_buffer("count", torch.zeros(4))

    def forward(self, x):
        h = self.first(x).relu()
        y = self.second(h)
        self.count.add_(y.detach().sum(0))
        low, high = h.chunk(2, -1)
        return y, y.t(), torch.var_mean(low * high, -1)


def compile_with_torch(module, **options):
    return torch.compile(module, backend="tcomp", **options)


def compare(compiled, module, *inputs):
    with torch.no_grad():
        for _ in range(2):
            check_same(compiled(*inputs), module(*inputs))


@pytest.mark.usefixtures("contained")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("compile", [tcomp.compile, compile_with_torch], ids=["tcomp", "torch"])
def test_a_fault_leaves_its_stage_to_eager(place, compile, monkeypatch):
    PLACES[place](monkeypatch)
    ours, theirs = Net().requires_grad_(False), Net().requires_grad_(False)
    compiled = compile(ours)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compare(compiled, theirs, random(5, 6))
    check_same(ours.count, theirs.count)
    (text,) = [str(warning.message) for warning in caught if "tcomp" in str(warning.message)]
    first, operators, places, failed, *rest = text.splitlines()
    assert first.startswith("tcomp failed to compile a stage of ")
    assert "nonsense" in first if place == "the C compiler" else "planted" in first
    assert "aten." in operators
    assert "test_faults.py" in places
    assert " in " in failed
    assert "report" in rest[0] and "TCOMP_DEBUG" in rest[1] and 'fallback="error"' in rest[1]


def compile_broken(monkeypatch, error=None, **options):
    plant(monkeypatch, error or KeyError("planted"))
    return tcomp.compile(Net().requires_grad_(False), (random(5, 6),), **options)


@pytest.mark.usefixtures("contained")
def test_explain_and_fallbacks_list_it_and_saving_refuses(monkeypatch, tmp_path):
    with pytest.warns(UserWarning, match="KeyError: 'planted'"):
        compiled = compile_broken(monkeypatch)
    reason = "tcomp failed: KeyError: 'planted' (test_faults.py:"
    assert {fallback.operator for fallback in compiled.fallbacks} >= {"aten.addmm.default", "aten.relu.default"}
    assert all(fallback.reason.startswith(reason) for fallback in compiled.fallbacks)
    text = tcomp.explain(compiled)
    assert f"  aten.addmm.default, 2 calls: {reason}" in text
    assert "    at first (test_faults.py:" in text
    with pytest.raises(Unsupported, match=r"leaves operators to PyTorch: .*addmm"):
        compiled.save(tmp_path / "file")


@pytest.mark.usefixtures("contained")
def test_a_fault_is_raised_on_request(monkeypatch):
    error = KeyError("planted")
    with pytest.raises(KeyError) as caught:
        compile_broken(monkeypatch, error, fallback="error")
    assert caught.value is error
    monkeypatch.setenv("TCOMP_RAISE_FAULTS", "1")
    for fallback in ("warn", "silent"):
        with pytest.raises(KeyError):
            compile_broken(monkeypatch, error, fallback=fallback)


@pytest.mark.usefixtures("contained")
def test_a_fault_can_be_silent(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = compile_broken(monkeypatch, fallback="silent")
    compare(compiled, Net(), random(5, 6))


@pytest.mark.usefixtures("contained")
@pytest.mark.parametrize(
    "error",
    [
        MemoryError("planted"),
        torch.OutOfMemoryError("planted"),
        KeyboardInterrupt("planted"),
        BudgetError("planted"),
        CacheError("planted"),
        TcompError("planted"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_a_fault_of_tcomp_stays_an_error(error, monkeypatch):
    with pytest.raises(type(error), match="planted"):
        compile_broken(monkeypatch, error)


@pytest.mark.usefixtures("contained")
def test_what_has_no_lowering_is_told_as_before():
    with pytest.warns(UserWarning, match="tcomp leaves 1 operators to PyTorch"):
        compiled = tcomp.compile(Function(torch.linalg.matrix_exp), (random(3, 3),))
    assert compiled.fallbacks[0].reason == "the operator aten.linalg_matrix_exp.default has no lowering"
    with pytest.raises(tcomp.Unsupported, match="device meta"):
        tcomp.compile(nn.Linear(2, 2, device="meta"), (torch.ones(2, device="meta"),))


@pytest.mark.usefixtures("contained")
def test_a_compiler_that_cannot_be_used_stays_an_error(monkeypatch):
    monkeypatch.setenv("CC", "/nowhere/cc")
    with pytest.raises(ToolchainError, match="compiler"):
        tcomp.compile(Net(), (random(5, 6),))


@pytest.mark.usefixtures("contained")
def test_a_sanitizer_that_is_not_loaded_stays_an_error(monkeypatch):
    if hasattr(ctypes.CDLL(None), "__asan_init"):
        pytest.skip("the address sanitizer is loaded")
    monkeypatch.setenv("TCOMP_SANITIZE", "address")
    with pytest.raises(ToolchainError, match="has to be loaded before Python is"):
        tcomp.compile(Function(torch.exp), (random(5, 6),))


@pytest.mark.usefixtures("contained")
def test_the_traceback_is_dumped(monkeypatch, tmp_path):
    monkeypatch.setenv("TCOMP_DEBUG", str(tmp_path))
    compile_broken(monkeypatch, fallback="silent")
    names = sorted(path.name for path in (tmp_path / "000").iterdir())
    assert names[0] == "000_cascade.txt"
    (fault,) = (tmp_path / "000").glob("*_fault.txt")
    assert "in fail" in fault.read_text() and "KeyError: 'planted'" in fault.read_text()


def failing_for(condition):
    """A stand-in for the pass pipeline that fails on some cascades."""
    real = compile_stage.compile_cascade

    def compile_cascade(cascade, *arguments, **keywords):
        if condition(cascade):
            raise KeyError("planted")
        return real(cascade, *arguments, **keywords)

    return compile_cascade


@pytest.mark.usefixtures("contained")
@pytest.mark.parametrize("bad", ["exp", "sin"])
def test_other_stages_stay_compiled(bad, monkeypatch):
    function = lambda x: torch.linalg.matrix_exp(x.exp()).sin()  # noqa: E731 (as short as it gets)
    monkeypatch.setattr(compile_stage, "compile_cascade", failing_for(lambda cascade: f" = {bad}(" in str(cascade)))
    x = random(3, 3)
    with pytest.warns(UserWarning, match="a stage of 1 operators"):
        compiled = tcomp.compile(Function(function), (x,))
    kinds = [type(stage) for stage in compiled.programs[0].stages]
    assert kinds.count(CompiledStage) == 1 and kinds.count(EagerStage) == 2
    compare(compiled, function, x)


@pytest.mark.usefixtures("contained")
def test_a_lowering_that_fails_beside_one_that_is_missing(monkeypatch):
    function = lambda x: torch.linalg.matrix_exp(x).sin()  # noqa: E731 (as short as it gets)
    monkeypatch.setitem(LOWERINGS, aten.sin.default, raising(KeyError("planted")))
    x = random(3, 3)
    with pytest.warns(UserWarning, match="a stage of 2 operators"):
        compiled = tcomp.compile(Function(function), (x,))
    compare(compiled, function, x)


@pytest.mark.usefixtures("contained")
def test_numbers_that_are_data_are_read_where_all_is_left_to_eager(monkeypatch):
    def function(x, at):
        return x.exp().narrow(0, at, 2).sin()

    monkeypatch.setitem(LOWERINGS, aten.exp.default, raising(KeyError("planted")))
    x, at = random(6, 3), torch.tensor(3)
    with torch._dynamo.config.patch(capture_scalar_outputs=True):
        compiled = torch.compile(function, backend="tcomp", fullgraph=True)
        with pytest.warns(UserWarning, match="KeyError: 'planted'"):
            compare(compiled, function, x, at)


def train(module, function, steps=3):
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for step in range(steps):
        y, _, (variance, mean) = function(random(5, 6, seed=step))
        optimizer.zero_grad()
        (y.square().sum() + variance.sum() + mean.sum()).backward()
        optimizer.step()
    return [parameter.detach() for parameter in module.parameters()]


@pytest.mark.usefixtures("contained")
@pytest.mark.parametrize("compile", [tcomp.compile, compile_with_torch], ids=["tcomp", "torch"])
def test_a_fault_in_the_backward_graph_leaves_the_forward_graph_alone(compile, monkeypatch):
    compiled_stages, left = [], []
    monkeypatch.setattr(compile_stage, "compile_cascade", failing_for(lambda cascade: "tangents" in str(cascade)))
    real = compile_graph.compile_stage

    def observe(*arguments):
        result = real(*arguments)
        (left if isinstance(result, compile_graph.Fault) else compiled_stages).append(result)
        return result

    monkeypatch.setattr(compile_graph, "compile_stage", observe)
    ours, theirs = Net(), Net()
    with pytest.warns(UserWarning, match="KeyError: 'planted'"):
        got = train(ours, compile(ours))
    assert len(compiled_stages) == len(left) == 1
    for mine, wanted in zip(got, train(theirs, theirs), strict=True):
        torch.testing.assert_close(mine, wanted)


@pytest.mark.usefixtures("contained")
@pytest.mark.parametrize("compile", [tcomp.compile, compile_with_torch], ids=["tcomp", "torch"])
def test_a_fault_with_sizes_that_change(compile, monkeypatch):
    def function(x):
        rows = x.shape[0]
        return x.reshape(rows // 2, 2, -1).softmax(-1).sum(1) * rows, torch.arange(rows) + x[:, 0], x[1:].t()

    plant(monkeypatch, KeyError("planted"))
    module = Function(function)
    with pytest.warns(UserWarning, match="KeyError: 'planted'"):
        compiled = compile(module, dynamic=True)
        for rows in (4, 6, 10):
            compare(compiled, module, random(rows, 5))
    # What fails for sizes that are symbols is tried for each size.
    if compile is tcomp.compile:
        assert len(compiled.programs) == 3


@pytest.mark.usefixtures("contained")
def test_random_operators_draw_what_eager_draws(monkeypatch):
    plant(monkeypatch, KeyError("planted"))
    module = Function(lambda x: torch.bernoulli(x.sigmoid()).exp() + torch.rand_like(x))
    compiled = tcomp.compile(module, (random(50),), fallback="silent")
    results = []
    for call in (compiled, module):
        torch.manual_seed(3)
        results.append(call(random(50)))
    check_same(*results)


@pytest.mark.usefixtures("contained")
def test_values_that_nothing_reads_any_more_are_freed(monkeypatch):
    plant(monkeypatch, KeyError("planted"))
    compiled = tcomp.compile(Function(lambda x: x.exp().sin().cos().relu()), (random(50),), fallback="silent")
    (stage,) = compiled.programs[0].stages
    assert [call.frees for call in stage.calls] == [(), (1,), (2,), (3,)]
    parts = tcomp.compile(Function(lambda x: (x.exp().chunk(2)[0].sin(), x.cos())), (random(50),), fallback="silent")
    (stage,) = parts.programs[0].stages
    kept = {call.slot for call in stage.calls} - {slot for call in stage.calls for slot in call.frees}
    assert len(kept) == 2
    compare(parts, parts.original, random(50))


@pytest.mark.usefixtures("contained")
@pytest.mark.parametrize(("module", "name"), [(makers, "plan_library"), (triton_runtime, "load_program")], ids=["making", "loading"])
def test_a_fault_in_triton_kernels(module, name, monkeypatch):
    monkeypatch.setattr(module, name, raising(KeyError("planted")))
    module = Function(lambda x: x.exp().sum(0))
    with pytest.warns(UserWarning, match="KeyError: 'planted'"):
        compiled = tcomp.compile(module, (random(5, 6),), backend="triton", interpret=True)
    compare(compiled, module, random(5, 6))
