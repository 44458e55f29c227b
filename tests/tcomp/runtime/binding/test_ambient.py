"""A program serves calls in the state it was captured in; who watches operators sees those of the original module."""

import warnings

import pytest
import torch
from compiled import Function, check_same, make_linear, random
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

import tcomp
from tcomp.runtime.binding.ambient import Ambient, find_default_device, find_watcher, reads_grad_mode


@pytest.fixture
def compiled():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield tcomp.compile(make_linear(), (random(4, 8),))


def test_tracers_record_the_original(compiled):
    module, x, y = make_linear(), random(4, 8), random(4, 8, seed=1)
    for traced in (torch.jit.trace(compiled, (x,), check_trace=False), make_fx(compiled)(x)):
        torch.testing.assert_close(traced(y), module(y))


def test_transforms_reach_the_original(compiled):
    module, x = make_linear(), random(4, 8)
    rows = random(3, 4, 8)
    torch.testing.assert_close(torch.vmap(compiled)(rows), module(rows))
    torch.testing.assert_close(torch.func.grad(lambda x: compiled(x).sum())(x), torch.func.grad(lambda x: module(x).sum())(x))
    got, want = (torch.func.jvp(f, (x,), (x,)) for f in (compiled, module))
    torch.testing.assert_close(got, want)


def test_tangents_pass(compiled):
    x = random(4, 8)
    with forward_ad.dual_level():
        got, want = (forward_ad.unpack_dual(f(forward_ad.make_dual(x, x))).tangent for f in (compiled, make_linear()))
    torch.testing.assert_close(got, want)


@pytest.mark.filterwarnings("ignore:tcomp. forward-mode differentiation")
@pytest.mark.parametrize("dynamic", [False, True])
def test_tangents_pass_through_graphs_of_dynamo(dynamic):
    torch._dynamo.reset()
    module, x = make_linear(), random(4, 8)
    compiled = torch.compile(module, backend="tcomp", dynamic=dynamic)
    for _ in range(2):
        # Also where the graph was compiled before.
        with forward_ad.dual_level():
            got, want = (forward_ad.unpack_dual(f(forward_ad.make_dual(x, x))).tangent for f in (compiled, module))
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(compiled(x), module(x))


def test_modes_see_operators(compiled):
    x = random(4, 8)
    with FlopCounterMode(display=False) as counter:
        compiled(x)
    assert counter.get_total_flops() == 2 * 4 * 8 * 8
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        result = compiled(mode.from_tensor(x))
    assert isinstance(result, FakeTensor)

    class Doubling(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            return out * 2 if func is torch.nn.functional.relu else out

    with Doubling():
        torch.testing.assert_close(compiled(x), make_linear()(x))


def test_the_caller_is_told_once():
    compiled = tcomp.compile(make_linear(), (random(4, 8),))
    with FlopCounterMode(display=False):
        with pytest.warns(UserWarning, match="a mode intercepts operators.*original module"):
            compiled(random(4, 8))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compiled(random(4, 8))


def test_nobody_watches():
    assert find_watcher() is None
    with torch.device("cpu"):
        assert find_watcher() is None
        assert find_default_device() is None
    with torch.device("meta"):
        assert find_watcher() is None
        assert find_default_device() == "meta"
    assert find_default_device() is None


def test_the_default_dtype_is_that_of_the_call():
    module = Function(lambda x: torch.ones(3) * x)
    compiled = tcomp.compile(module, (torch.ones(3),))
    try:
        torch.set_default_dtype(torch.float64)
        assert compiled(torch.ones(3, dtype=torch.float32)).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert compiled(torch.ones(3)).dtype == torch.float32
    assert len(compiled.programs) == 2


def test_autocast_and_determinism_are_those_of_the_call():
    module = Function(lambda x: (x @ x).float() + float(torch.are_deterministic_algorithms_enabled()))
    compiled = tcomp.compile(module, (torch.ones(3, 3),))
    x = random(3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(compiled(x), module(x), rtol=1.6e-2, atol=1e-2)
    torch.testing.assert_close(compiled(x), module(x))
    try:
        torch.use_deterministic_algorithms(True)
        torch.testing.assert_close(compiled(x), module(x))
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(compiled.programs) == 3


def test_a_module_that_asks_for_the_grad_mode():
    class Asking(torch.nn.Module):
        def forward(self, x):
            return x * (2 if any(torch.is_grad_enabled() for _ in range(1)) else 3)

    compiled = tcomp.compile(Asking(), (random(3),), fallback="silent")
    assert reads_grad_mode(Asking())
    assert not reads_grad_mode(torch.nn.Sequential(torch.nn.MultiheadAttention(4, 2), make_linear()))
    torch.testing.assert_close(compiled(random(3)), random(3) * 2)
    with torch.no_grad():
        torch.testing.assert_close(compiled(random(3)), random(3) * 3)


def test_an_ambient_holds_until_something_changes():
    ambient = Ambient()
    assert ambient.holds()
    with torch.autocast("cpu", torch.bfloat16):
        assert not ambient.holds()
        assert Ambient().autocast == {"cpu": torch.bfloat16}
        assert Ambient().state == ambient.state
    assert ambient.holds()


class Twice(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        out = super().__torch_function__(func, types, args, kwargs or {})
        return out * 2 if func is torch.nn.functional.linear else out


def test_tensors_with_operators_of_their_own(compiled):
    module, x = make_linear(), random(4, 8)
    compiled(x)
    check_same(torch.Tensor(compiled(x.as_subclass(Twice))), torch.Tensor(module(x.as_subclass(Twice))))
    check_same(compiled(x), tcomp.compile(module, (x,))(x))
    with pytest.raises(tcomp.Unsupported, match="of type Twice"):
        tcomp.compile(module, (x,), fallback="error")(x.as_subclass(Twice))


def test_inputs_that_share_memory_of_which_one_is_written():
    module = Function(lambda x, y: (x.add_(1), x + y))
    compiled = tcomp.compile(module, (torch.ones(3), torch.ones(3)), fallback="silent")
    for first, second in ((slice(0, 3), slice(0, 3)), (slice(0, 3), slice(1, 4)), (slice(0, 3), slice(3, 6)), (slice(2, 5), slice(0, 3))):
        ours, theirs = random(6), random(6)
        check_same(compiled(ours[first], ours[second]), module(theirs[first], theirs[second]))
        check_same(ours, theirs)
    with pytest.raises(tcomp.Unsupported, match="shares"):
        tcomp.compile(module, (ours[1:], ours[:-1]), fallback="error")
    with pytest.warns(UserWarning, match="shares.*, so the call goes to the original module"):
        compiled = tcomp.compile(module, (ours[1:], ours[:-1]))
    check_same(compiled(ours[1:], ours[:-1]), module(theirs[1:], theirs[:-1]))
    check_same(ours, theirs)


def test_inputs_that_share_memory_with_a_parameter():
    class Adding(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("w", random(4))
            self.register_buffer("state", random(4, seed=1))

        def forward(self, x, y):
            self.state.mul_(2)
            x.add_(self.w)
            return x * self.w + y, self.state + 1

    ours, theirs = Adding(), Adding()
    compiled = tcomp.compile(ours, (random(4), random(4)), fallback="silent")
    for choose in (lambda m: (random(4), random(4)), lambda m: (m.w, random(4)), lambda m: (random(4), m.state)):
        check_same(compiled(*choose(ours)), theirs(*choose(theirs)))
        check_same(dict(ours.state_dict()), dict(theirs.state_dict()))


def test_a_module_that_fails_raises_its_own_error():
    def choose(x):
        if x.dim() > 1:
            raise KeyError("no matrix")
        return x + 1

    compiled = tcomp.compile(Function(choose), (torch.ones(3),), fallback="silent")
    with pytest.raises(KeyError, match="no matrix"):
        compiled(torch.ones(3, 3))
    with pytest.raises(tcomp.TcompError, match="no matrix"):
        tcomp.compile(Function(choose), (torch.ones(3, 3),))
    torch.testing.assert_close(compiled(torch.ones(3)), torch.ones(3) + 1)
