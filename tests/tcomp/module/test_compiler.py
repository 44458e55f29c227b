"""Modules through tcomp.compile and graphs through torch.compile give what eager gives."""

import contextlib
import warnings

import pytest
import torch
from compiled import Function, check, check_same, make_linear, random
from torch import nn

import tcomp
from tcomp.ir.errors import VerifyError
from tcomp.ir.tile import contiguous_strides, span_bytes
from tcomp.options import Options
from tcomp.passes.bind import layout
from tcomp.passes.bind.arguments import Memory
from tcomp.runtime import runners as runtime_stages
from tcomp.stages import stage as compile_stage


def test_linear_and_relu():
    compiled = check(make_linear(), random(4, 8))
    assert "maximum" in compiled.cascade
    assert [kernel.calls for kernel in compiled.kernels] == [1, 1]
    assert compiled.memory.weights == (64 + 8) * 4
    assert compiled.fallbacks == ()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,
        lambda x: (x, x.t(), x[1:]),
        lambda x: (x + 1, x.sum(), torch.arange(5), torch.ones(3), "text", None, 3),
        lambda x: {"a": [x.t().contiguous(), x[1:].clone()], "b": (x.relu(),) * 2},
        lambda x: (x.exp(), x.exp().t()),
        lambda x: torch.cat([x, x]).softmax(-1),
    ],
)
@pytest.mark.parametrize(
    "x",
    [random(3, 4), random(3, 4).t(), random(8, 8)[::2, ::2], random(4).expand(3, 4), torch.empty(0, 4), random(1, 4)],
    ids=["plain", "transposed", "strided", "expanded", "empty", "single"],
)
def test_results_have_the_strides_of_eager(function, x):
    check(function, x)


@pytest.mark.parametrize(
    "function",
    [
        lambda w: (w * 2)[:, 8:72],
        lambda w: (w * 2)[:, ::3].t(),
        lambda w: (w.sum(1) + 1)[:, None].expand(2, 7),
        lambda w: (w * 2).as_strided((3, 4), (7, 2), 5),
        lambda w: torch.stack([w, w], -1)[..., 0],
    ],
    ids=["slice", "steps", "expanded", "as_strided", "component"],
)
def test_results_of_weights_alone_have_the_strides_of_eager(function):
    weight = torch.arange(160.0).reshape(2, 80)
    check(lambda x: (function(weight), x + 1), random(3))


def test_inputs_are_written_and_results_alias_as_in_eager():
    def function(x, y):
        x.add_(1)
        z = y * 2
        return x.view(-1), z, z.t(), y

    module = Function(function)
    compiled = check(module, random(2, 3), random(2, 3, seed=1))
    x, y = random(2, 3), random(2, 3)
    version = x._version
    flat, z, transposed, same = compiled(x, y)
    assert x._version > version
    assert flat.data_ptr() == x.data_ptr()
    assert transposed.data_ptr() == z.data_ptr()
    assert same is y


def test_results_own_their_memory():
    compiled = tcomp.compile(make_linear(), (random(4, 8),))
    first = compiled(random(4, 8))
    kept = first.clone()
    compiled(random(4, 8, seed=1))
    assert torch.equal(first, kept)


def test_batch_norm_trains_its_buffers_and_then_uses_them():
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()).requires_grad_(False)
    compiled = check(module, random(4, 2, 5, 5))
    assert module[1].num_batches_tracked == 2
    module.eval()
    check(module, random(4, 2, 5, 5), compiled=compiled)
    check(module, random(4, 2, 5, 5).to(memory_format=torch.channels_last), compiled=compiled)
    assert len(compiled.programs) == 3


def test_keyword_arguments_and_containers():
    module = Function(lambda x, *, scale, parts: parts["a"] * scale + x)
    compiled = tcomp.compile(module, {"x": random(3), "scale": 2.0, "parts": {"a": random(3)}})
    for scale in (2.0, 3.0):
        arguments = {"x": random(3), "scale": scale, "parts": {"a": random(3, seed=2)}}
        check_same(compiled(**arguments), module(**arguments))
    assert len(compiled.programs) == 2, "another Python value is another program"


def test_integers_bools_and_narrow_floats():
    for dtype in (torch.int64, torch.bool, torch.bfloat16, torch.float16, torch.float64):
        check(lambda x: (x + x, x.t(), x.sum(0)), random(3, 4).to(dtype))


def test_another_shape_compiles_again():
    compiled = tcomp.compile(make_linear(), dynamic=False)
    for rows in (2, 3, 2):
        check(make_linear(), random(rows, 8), compiled=compiled)
    assert len(compiled.programs) == 2


def test_symbolic_sizes_serve_other_shapes():
    module = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4), nn.Softmax(-1)).requires_grad_(False)
    compiled = check(module, random(4, 7, 8), dynamic=True)
    for sizes in ((3, 5), (9, 2), (2, 2)):
        check(module, random(*sizes, 8), compiled=compiled)
    assert len(compiled.programs) == 1
    check(module, random(1, 5, 8), compiled=compiled)
    assert len(compiled.programs) == 2, "a size of one is a size of its own"


def test_sizes_become_symbols_when_they_change():
    compiled = tcomp.compile(make_linear())
    for rows in (2, 3, 4, 5):
        check(make_linear(), random(rows, 8), compiled=compiled)
    assert len(compiled.programs) == 2


def test_autocast_is_part_of_the_program():
    module = make_linear()
    compiled = tcomp.compile(module)
    x = random(2, 8)
    for enabled in (False, True, False):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            check_same(compiled(x), module(x))
    assert len(compiled.programs) == 2


def test_inference_mode_gives_inference_tensors():
    compiled = tcomp.compile(make_linear(), (random(4, 8),))
    with torch.inference_mode():
        assert compiled(random(4, 8)).is_inference()


def test_gradients_go_through_torch_compile():
    module = make_linear().requires_grad_(True)
    compiled = tcomp.compile(module, (random(4, 8),))
    compiled(random(4, 8)).square().sum().backward()
    got = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    module(random(4, 8)).square().sum().backward()
    torch.testing.assert_close(got, [parameter.grad for parameter in module.parameters()])


def test_eval_mode_with_gradients_warns_once():
    module = make_linear().eval().requires_grad_(True)
    compiled = tcomp.compile(module, (random(4, 8),))
    with pytest.warns(UserWarning, match="under torch.no_grad"):
        compiled(random(4, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled(random(4, 8))


def test_training_through_torch_compile():
    torch.manual_seed(0)
    modules = [nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.3), nn.LayerNorm(8), nn.Linear(8, 3)) for _ in range(2)]
    modules[1].load_state_dict(modules[0].state_dict())
    torch._dynamo.reset()
    losses = []
    for module, function in ((modules[0], torch.compile(modules[0], backend="tcomp", options={"fallback": "silent"})), (modules[1],) * 2):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        losses.append([])
        for step in range(5):
            torch.manual_seed(step)
            loss = function(random(5, 6)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


class Inverse(nn.Module):
    """An operator without a lowering between two linear layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.requires_grad_(False)

    def forward(self, x):
        y = self.first(x).relu()
        return self.second(torch.linalg.matrix_exp(y)) + y, y


@pytest.mark.parametrize("less", [lambda spec: spec.shape == (), lambda spec: len(spec.shape) == 2], ids=["result", "input"])
def test_kernels_that_would_leave_what_calls_allocate_are_refused_before_they_are_built(monkeypatch, less):
    """Planted: one byte too few for a tensor."""
    count = compile_stage.count_bytes
    monkeypatch.setattr(compile_stage, "count_bytes", lambda spec: count(spec) - 1 if less(spec) else count(spec))
    monkeypatch.setattr(compile_stage, "_build", None)
    with pytest.raises(VerifyError, match="reaches over bytes"):
        tcomp.compile(Function(lambda x: x.exp().sum()), (torch.ones(3, 4),))


def test_folded_values_have_the_memory_that_kernels_take(monkeypatch):
    """Planted: the size of a folded slice by its shape, not its strides."""
    monkeypatch.setattr(layout, "dense_strides", lambda shape, strides: strides)
    monkeypatch.setattr(Memory, "bytes", property(lambda self: span_bytes(self.dtype, self.shape, contiguous_strides(self.shape))))
    weight = torch.arange(160.0).reshape(2, 80)
    with pytest.raises(VerifyError, match=r"reaches over bytes 0 \.\. 576 of .*, which was given 512"):
        tcomp.compile(Function(lambda x: ((weight * 2)[:, 8:72], x + 1)), (torch.ones(3),))


def test_unsupported_operators_run_in_eager():
    with pytest.warns(UserWarning, match=r"linalg_matrix_exp"):
        compiled = check(Inverse(), random(4, 4), fallback="warn")
    (fallback,) = compiled.fallbacks
    assert (fallback.operator, fallback.count) == ("aten.linalg_matrix_exp.default", 1)
    assert "test_compiler.py" in fallback.sources[0]
    (measured,) = compiled.measure_fallbacks(random(4, 4))
    assert 0 < measured.share < 1
    assert "linalg_matrix_exp" in tcomp.explain(compiled)


def test_fallback_can_be_silent_or_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(Inverse(), random(4, 4), fallback="silent")
    with pytest.raises(tcomp.Unsupported, match="matrix_exp") as caught:
        tcomp.compile(Inverse(), (random(4, 4),), fallback="error")
    assert "test_compiler.py" in caught.value.where


def _branch(x):
    return x + 1 if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("module", "inputs", "options", "kind", "what"),
    [
        (Function(_branch), (torch.ones(2),), {"fallback": "error"}, tcomp.Unsupported, "depends on the values"),
        (Function(lambda x: x.nope()), (torch.ones(2),), {}, tcomp.TcompError, "module failed"),
        (nn.Linear(2, 2), (torch.ones(2, device="meta"),), {}, tcomp.Unsupported, "device meta"),
        (nn.Linear(2, 2, device="meta"), (torch.ones(2),), {}, tcomp.Unsupported, "device meta"),
        (Function(torch.acos), (torch.ones(2, dtype=torch.complex64),), {"fallback": "error"}, tcomp.Unsupported, "complex numbers"),
        (Function(torch.exp), (torch.ones(2),), {"backend": "triton", "target": "sm_70"}, tcomp.TcompError, "sm_70"),
        (Function(torch.exp), (torch.ones(2),), {"speed": 3}, tcomp.TcompError, "no option"),
        (Function(torch.exp), 3, {}, tcomp.TcompError, "must be a tuple"),
        (torch.exp, (torch.ones(2),), {}, tcomp.TcompError, "Module"),
        (Function(lambda x: (x @ x).softmax(0) @ x), (torch.ones(64, 64),), {"memory_budget": 8}, tcomp.BudgetError, "budget"),
    ],
)
def test_what_cannot_be_compiled_is_one_clear_error(module, inputs, options, kind, what):
    with pytest.raises(kind, match=what) as caught:
        tcomp.compile(module, inputs, **options)
    assert caught.value.where
    assert caught.value.help


@pytest.mark.parametrize("count", [2, 3, 4, 16, 37])
def test_conversions_to_a_narrower_type_round(count):
    x = torch.linspace(0.1, 3e5, count, dtype=torch.float64)
    check(Function(lambda x: (x - x.float().double()).float()), x)
    check(Function(lambda x: x.long() - x.long().to(torch.int8).long()), x)


def test_a_branch_on_values_is_left_to_torch_compile():
    with pytest.warns(UserWarning, match=r"depends on the values of a tensor.* at .*test_compiler.py:\d+.*torch.compile, which splits"):
        compiled = tcomp.compile(Function(_branch), (torch.ones(2),))
    for sign in (1, -1):
        x = sign * torch.ones(2)
        torch.testing.assert_close(compiled(x), _branch(x))
    assert compiled.programs == ()


def test_no_compiler_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("CC", "/nowhere/cc")
    with pytest.raises(tcomp.ToolchainError, match="compiler") as caught:
        tcomp.compile(make_linear(), (random(4, 8),))
    assert caught.value.help


def test_without_a_cache_that_can_be_used_programs_are_compiled_all_the_same(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TCOMP_CACHE_DIR", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="works without its cache"):
        check(make_linear(), random(4, 8))
    assert (tmp_path / "file").read_text() == ""


def test_without_cache_nothing_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("TCOMP_CACHE_DIR", str(tmp_path / "cache"))
    check(make_linear(), random(4, 8), cache=False)
    assert not (tmp_path / "cache").exists()


def test_debug_folder_gets_every_stage(monkeypatch, tmp_path):
    monkeypatch.setenv("TCOMP_DEBUG", str(tmp_path / "debug"))
    check(make_linear(), random(4, 8))
    names = sorted(path.name for path in (tmp_path / "debug" / "000").iterdir())
    assert names[0] == "000_cascade.txt"
    assert any(name.endswith("plan.txt") for name in names)
    assert any(name.endswith(".c") for name in names)


def test_an_unwritable_debug_folder_is_one_clear_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TCOMP_DEBUG", str(tmp_path / "file"))
    with pytest.raises(tcomp.TcompError, match="TCOMP_DEBUG"):
        tcomp.compile(make_linear(), (random(4, 8),))


def test_threads_option_reaches_the_library(monkeypatch):
    seen = []
    load = runtime_stages.load_program

    def load_recording(path):
        run = load(path)

        def wrapped(externals, arena, symbols, threads, flush):
            seen.append((threads, flush))
            return run(externals, arena, symbols, threads, flush)

        return wrapped

    monkeypatch.setattr(runtime_stages, "load_program", load_recording)
    x = random(512, 512)
    for options, want in ((Options(threads=1), (1, 1)), (Options(threads=2, numerics="strict"), (2, 0))):
        seen.clear()
        compiled = tcomp.compile(Function(torch.exp), (x,), threads=options.threads, numerics=options.numerics)
        compiled(x)
        assert seen == [want]


@contextlib.contextmanager
def _threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_torch_threads_are_read_at_every_call():
    compiled = tcomp.compile(Function(torch.exp), (random(64, 64),))
    for count in (1, 2):
        with _threads(count):
            torch.testing.assert_close(compiled(random(64, 64)), random(64, 64).exp())
