"""What compiled modules do beside computing: one small function a behaviour, which raises where tcomp does something else.

A scenario gets a Bed; it may raise Skip where the bed lacks what it needs.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tcomp.ir.errors import IndexOutOfRange, Unsupported
from tests.compiled import Function
from tests.gpu.check import Bed, judge
from tests.gpu.results import Skip


@dataclass(frozen=True, slots=True)
class Scenario:
    """A behaviour by name."""

    name: str
    run: Callable[[Bed], None]


def expect(condition: bool, text: str) -> None:
    """Raise AssertionError with the text unless the condition holds."""
    if not condition:
        raise AssertionError(text)


def expect_right(bed: Bed, compiled: Any, module: nn.Module, *inputs: Any) -> None:
    verdict = bed.check(compiled, module, inputs)
    expect(verdict.is_right, f"{verdict.detail}; error {verdict.error:.2g}, eager's {verdict.eager_error:.2g}")


def make_mlp(bed: Bed) -> nn.Module:
    torch.manual_seed(0)
    return bed.move(nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 24), nn.LayerNorm(24))).requires_grad_(False)


def draw(bed: Bed, *shape: int, seed: int = 0) -> Tensor:
    return bed.move(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def serve_symbolic_sizes(bed: Bed) -> None:
    """One program serves several sizes, odd ones and one among them."""
    module = make_mlp(bed)
    compiled = bed.compile(module, (draw(bed, 6, 24),), dynamic=True)
    for count in (6, 1, 17, 33, 64):
        expect_right(bed, compiled, module, draw(bed, count, 24, seed=count))
    expect(len(compiled.programs) <= 2, f"{len(compiled.programs)} programs for sizes that are symbols")


def serve_symbolic_softmax(bed: Bed) -> None:
    """Rows and columns may both change."""
    module = Function(lambda x: x.softmax(-1) + x.sum(0))
    compiled = bed.compile(module, (draw(bed, 6, 24),), dynamic=True)
    for rows, columns in ((6, 24), (3, 130), (40, 7), (2, 1100)):
        expect_right(bed, compiled, module, draw(bed, rows, columns))


def serve_symbolic_attention(bed: Bed) -> None:
    """The number of tokens is a symbol."""
    module = Function(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))
    compiled = bed.compile(module, tuple(draw(bed, 2, 3, 16, 32, seed=s) for s in range(3)), dynamic=True)
    for tokens in (16, 37, 70):
        expect_right(bed, compiled, module, *(draw(bed, 2, 3, tokens, 32, seed=s) for s in range(3)))


def recompile_for_other_sizes(bed: Bed) -> None:
    """Without being told, a change of sizes is served as well."""
    module = make_mlp(bed)
    compiled = bed.compile(module, (draw(bed, 6, 24),))
    for count in (6, 9, 12):
        expect_right(bed, compiled, module, draw(bed, count, 24))


def report_bad_index(bed: Bed) -> None:
    """An index outside its tensor is an IndexError at that call or the next, and later calls are right."""
    module = Function(lambda table, index: table[index] * 2)
    table, good = draw(bed, 10, 8), bed.move(torch.tensor([1, 9, -10, 3]))
    compiled = bed.compile(module, (table, good))
    expect_right(bed, compiled, module, table, good)
    try:
        with torch.no_grad():
            compiled(table, bed.move(torch.tensor([1, 10, 0, 3])))
            _wait(bed)
            compiled(table, good)
    except IndexOutOfRange as error:
        expect("0 to 9" in str(error), f"the error does not name the range: {error}")
    else:
        raise AssertionError("index 10 of 10 was not reported")
    expect_right(bed, compiled, module, table, good)


def drop_bad_store(bed: Bed) -> None:
    """A scatter to a place outside is reported as well, and writes nothing."""
    module = Function(lambda x, index, y: x.index_add(0, index, y))
    x, y, good = draw(bed, 10, 8), draw(bed, 4, 8, seed=1), bed.move(torch.tensor([1, 9, 9, 3]))
    compiled = bed.compile(module, (x, good, y))
    expect_right(bed, compiled, module, x, good, y)
    try:
        with torch.no_grad():
            compiled(x, bed.move(torch.tensor([1, 10, 0, 3])), y)
            _wait(bed)
            compiled(x, good, y)
    except IndexError:
        expect_right(bed, compiled, module, x, good, y)
        return
    raise AssertionError("index 10 of 10 was not reported")


def replay_with_other_inputs(bed: Bed) -> None:
    """Many calls with inputs at other addresses, results kept: each is right, and none changes later."""
    module = make_mlp(bed)
    compiled = bed.compile(module, (draw(bed, 6, 24),))
    inputs = [draw(bed, 6, 24, seed=seed) for seed in range(9)]
    with torch.no_grad():
        kept = [compiled(x) for x in inputs * 2]
        wanted = [module(x) for x in inputs * 2]
    for number, (ours, theirs) in enumerate(zip(kept, wanted)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=lambda text, number=number: f"call {number}: {text}")


def run_without_recordings(bed: Bed) -> None:
    """Kernels started one by one, and replayed as one, compute the same."""
    module, x = make_mlp(bed), draw(bed, 6, 24)
    with torch.no_grad():
        first, second = (bed.compile(module, (x,), cuda_graphs=choice) for choice in (False, True))
        for _ in range(4):
            expect(torch.equal(first(x), second(x)), "results differ")


def be_recorded_by_the_user(bed: Bed) -> None:
    """torch.cuda.graph around a compiled module, replayed with what was copied into its input."""
    _need_cuda(bed)
    module, x = make_mlp(bed), draw(bed, 6, 24)
    compiled = bed.compile(module, (x,))
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad():
        for _ in range(3):
            compiled(x)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            result = compiled(x)
        for seed in range(1, 4):
            x.copy_(draw(bed, 6, 24, seed=seed))
            graph.replay()
            torch.testing.assert_close(result, module(x), rtol=1e-4, atol=1e-5)


def follow_weights(bed: Bed) -> None:
    """Weights changed in place, loaded and replaced are noticed."""
    module, x = make_mlp(bed), draw(bed, 6, 24)
    compiled = bed.compile(module, (x,))
    expect_right(bed, compiled, module, x)
    with torch.no_grad():
        module[0].weight.mul_(3)
    expect_right(bed, compiled, module, x)
    module.load_state_dict({name: value + 0.5 for name, value in module.state_dict().items()})
    expect_right(bed, compiled, module, x)
    module[2].weight = nn.Parameter(draw(bed, 24, 40), requires_grad=False)
    expect_right(bed, compiled, module, x)


def call_from_threads(bed: Bed) -> None:
    """Four threads call at once, each with inputs of its own."""
    module = make_mlp(bed)
    compiled = bed.compile(module, (draw(bed, 6, 24),))
    calls = [lambda s=seed: expect_right(bed, compiled, module, draw(bed, 6, 24, seed=s)) for seed in range(4)]
    _run_at_once(calls, times=5 if bed.has_cuda else 1)


def call_on_streams(bed: Bed) -> None:
    """Three streams at once, from one thread and then from three; results are those of the inputs of that stream."""
    _need_cuda(bed)
    module = make_mlp(bed)
    compiled = bed.compile(module, (draw(bed, 64, 24),))
    streams = [torch.cuda.Stream() for _ in range(3)]
    inputs = [draw(bed, 64, 24, seed=seed) for seed in range(3)]
    torch.cuda.synchronize()
    results: list[list[Tensor]] = [[], [], []]

    def call(number: int) -> None:
        with torch.no_grad(), torch.cuda.stream(streams[number]):
            results[number].append(compiled(inputs[number]))

    for _ in range(20):
        for number in range(3):
            call(number)
    _run_at_once([lambda n=number: call(n) for number in range(3)], times=20)
    torch.cuda.synchronize()
    with torch.no_grad():
        for x, made in zip(inputs, results):
            wanted = module(x)
            for result in made:
                torch.testing.assert_close(result, wanted, rtol=1e-4, atol=1e-5)


def write_inputs_and_buffers(bed: Bed) -> None:
    """Inputs changed in place, and buffers that a module updates, are as in eager."""
    function, x = Function(lambda x: x.add_(1) * 2), draw(bed, 6, 24)
    ours, theirs = x.clone(), x.clone()
    compiled = bed.compile(function, (x.clone(),))
    with torch.no_grad():
        torch.testing.assert_close(compiled(ours), function(theirs))
    torch.testing.assert_close(ours, theirs)
    module = bed.move(nn.BatchNorm2d(3)).train().requires_grad_(False)
    other, x = copy.deepcopy(module), draw(bed, 4, 3, 5, 5)
    compiled = bed.compile(module, (x,))
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(compiled(x), other(x))
    for (name, buffer), (_, wanted) in zip(module.named_buffers(), other.named_buffers()):
        torch.testing.assert_close(buffer, wanted, msg=lambda text, name=name: f"{name}: {text}")


def keep_results_apart(bed: Bed) -> None:
    """Results own their memory; a view of an input stays one."""
    module = Function(lambda x: (x * 2, x.t(), x.sum()))
    x = draw(bed, 6, 24)
    compiled = bed.compile(module, (x,))
    with torch.no_grad():
        first, view, total = compiled(x)
        kept = first.clone(), total.clone()
        compiled(draw(bed, 6, 24, seed=1))
    expect(torch.equal(first, kept[0]) and torch.equal(total, kept[1]), "a later call changed a result")
    expect(view.untyped_storage().data_ptr() == x.untyped_storage().data_ptr(), "the transposed input is a copy")


def repeat_bit_for_bit(bed: Bed) -> None:
    """Adding up what several elements store in one place gives the same bits each time."""
    module = Function(lambda x, i, y: x.index_add(0, i, y))
    count = 200 if bed.is_small else 200_000
    index = bed.move(torch.randint(7, (count,), generator=torch.Generator().manual_seed(0)))
    inputs = draw(bed, 7, 8), index, draw(bed, count, 8, seed=1)
    compiled = bed.compile(module, inputs)
    with torch.no_grad():
        first = compiled(*inputs)
        for _ in range(1 if bed.is_small else 5):
            expect(torch.equal(first, compiled(*inputs)), "the sum changed from one call to the next")


def leave_an_operator_to_eager(bed: Bed) -> None:
    """A graph around an operator without a lowering."""
    module = Function(lambda x: torch.linalg.qr(x @ x.t() + torch.eye(6, device=x.device)).R.abs() * 2)
    x = draw(bed, 6, 24)
    compiled = bed.compile(module, (x,), fallback="silent")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), module(x), rtol=1e-3, atol=1e-3)


def refuse_mixed_devices(bed: Bed) -> None:
    """A weight here and an input there are refused with the names of both."""
    _need_cuda(bed)
    module = make_mlp(bed)
    try:
        bed.compile(module, (torch.randn(6, 24),))
    except Unsupported as error:
        expect("cuda" in str(error) and "cpu" in str(error), f"the error does not name the devices: {error}")
    else:
        raise AssertionError("a module on the GPU took an input on the CPU")


def train_an_mlp(bed: Bed) -> None:
    """Forward and backward through torch.compile: gradients are as right as eager's."""
    torch.manual_seed(0)
    _check_gradients(bed, nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.LayerNorm(40), nn.Linear(40, 8)), torch.randn(16, 24))


def train_a_convnet(bed: Bed) -> None:
    """Convolution, batch norm and pooling, backward as well."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU())
    _check_gradients(bed, nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)), torch.randn(4, 3, 12, 12))


def train_an_embedding(bed: Bed) -> None:
    """The gradient of a table is a scatter."""
    torch.manual_seed(0)
    _check_gradients(bed, nn.Sequential(nn.Embedding(20, 16), nn.Linear(16, 4)), torch.randint(20, (4, 9)))


def train_attention(bed: Bed) -> None:
    """Softmax and products, backward as well."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 48, dropout=0.0, batch_first=True)
    _check_gradients(bed, layer, torch.randn(2, 9, 32))


def _check_gradients(bed: Bed, module: nn.Module, x: Tensor) -> None:
    module, x = bed.move((module.train(), x))
    ours, wide = copy.deepcopy(module), copy.deepcopy(module).double()
    torch._dynamo.reset()
    compiled = torch.compile(ours, backend="tcomp", options={"fallback": "error", **bed.options})
    exact = _take_step(wide, wide, x.double() if x.is_floating_point() else x)
    eager, got = _take_step(module, module, x), _take_step(ours, compiled, x)
    verdicts = {name: judge([got[name]], [eager[name]], [exact[name]]) for name in eager}
    # The largest of a few hundred roundings says little about their size: eight times eager's own is still rounding.
    wrong = {n: v for n, v in verdicts.items() if v.error > max(8 * v.eager_error, 8 * torch.finfo(torch.float32).eps)}
    expect(not wrong, "; ".join(f"{name}: error {v.error:.2g}, eager's {v.eager_error:.2g} {v.detail}" for name, v in wrong.items()))


def _take_step(module: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> dict[str, Tensor]:
    """The result, and the gradients of all parameters, for a loss that is its mean square."""
    result = function(x)
    result.square().mean().backward()
    return {"result": result.detach(), **{name: p.grad for name, p in module.named_parameters() if p.grad is not None}}


def _run_at_once(functions: Sequence[Callable[[], None]], times: int) -> None:
    """Run each in a thread of its own, several times; raises what the first that failed raised."""
    failures: list[Exception] = []

    def run(function: Callable[[], None]) -> None:
        try:
            for _ in range(times):
                function()
        except Exception as error:  # noqa: BLE001 (raised below, where the row can say so)
            failures.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _wait(bed: Bed) -> None:
    if bed.has_cuda:
        torch.cuda.synchronize()


def _need_cuda(bed: Bed) -> None:
    if not bed.has_cuda:
        raise Skip("needs a GPU")


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("sizes/symbolic", serve_symbolic_sizes),
    Scenario("sizes/symbolic-softmax", serve_symbolic_softmax),
    Scenario("sizes/symbolic-attention", serve_symbolic_attention),
    Scenario("sizes/changed", recompile_for_other_sizes),
    Scenario("faults/bad-index", report_bad_index),
    Scenario("faults/bad-store", drop_bad_store),
    Scenario("faults/mixed-devices", refuse_mixed_devices),
    Scenario("calls/other-inputs", replay_with_other_inputs),
    Scenario("calls/recordings-off-and-on", run_without_recordings),
    Scenario("calls/recorded-by-user", be_recorded_by_the_user),
    Scenario("calls/threads", call_from_threads),
    Scenario("calls/streams", call_on_streams),
    Scenario("calls/results-apart", keep_results_apart),
    Scenario("calls/bit-for-bit", repeat_bit_for_bit),
    Scenario("calls/eager-operator", leave_an_operator_to_eager),
    Scenario("weights/changed", follow_weights),
    Scenario("weights/written", write_inputs_and_buffers),
    Scenario("training/mlp", train_an_mlp),
    Scenario("training/convnet", train_a_convnet),
    Scenario("training/embedding", train_an_embedding),
    Scenario("training/attention", train_attention),
)
