"""Results written over what dies: less memory where most is needed, the same values, and nothing else changed."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from tcomp.ir.expressions import as_index
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.check import check_program
from tcomp.passes.pipeline import compile_cascade
from tcomp.passes.plan import plan
from tcomp.passes.plan.in_place import write_in_place
from tcomp.settings import override_environment
from tests.cascade_strategies import programs
from tests.compiled import check, random
from tests.program_runner import check_compiled, random_inputs, small_target

SOFTMAX_BACKWARD = """cascade c(G: f32[N, 8], K: f32[8, N], P: f32[N, N], V: f32[N, 8]) -> (Y, Z) {
  A: f32[i:N, j:N] = sum(k:8) G[i, k] * K[k, j]
  B: f32[i:N, j:N] = A[i, j] * P[i, j]
  S: f32[i:N] = sum(j:N) B[i, j]
  D: f32[i:N, j:N] = B[i, j] - P[i, j] * S[i]
  Y: f32[i:N, k:8] = sum(j:N) D[i, j] * V[j, k]
  Z: f32[i:N, k:8] = sum(j:N) D[j, i] * V[j, k]
}"""
SQUARE = 640 * 640 * 4


@pytest.fixture
def eager(monkeypatch):
    """Results are written in place however little that saves."""
    monkeypatch.setattr(plan, "write_in_place", lambda *given: write_in_place(*given[:3], 1))


def read(size):
    return parse_cascade(SOFTMAX_BACKWARD.replace("N", str(size)))


def test_a_result_takes_the_place_of_what_its_kernel_reads_last():
    program = compile_cascade(read(640), {}, small_target()).main
    assert program.plan.arena == as_index(SQUARE)
    (kernel,) = (kernel for _, kernel in program.kernels if any(a.role == "inout" for a in kernel.arguments))
    assert [(a.name, a.role) for a in kernel.arguments] == [("x0", "inout"), ("x1", "in")]
    addresses = dict(program.schedule.addresses)
    assert addresses["D"] == addresses["B"]
    assert check_program(program) == ()


def test_what_saves_little_stays_as_it_is():
    program = compile_cascade(read(64), {}, small_target()).main
    assert program.plan.arena == as_index(2 * 64 * 64 * 4)
    assert all(a.role != "inout" for _, kernel in program.kernels for a in kernel.arguments)


@pytest.mark.parametrize("size", [5, 16, 37])
def test_values_stay_the_same(eager, size):
    cascade = read(size)
    compiled = check_compiled(cascade, random_inputs(cascade))
    assert any(a.role == "inout" for _, kernel in compiled.main.kernels for a in kernel.arguments)


def test_what_is_read_later_is_kept(eager):
    cascade = parse_cascade(SOFTMAX_BACKWARD.replace("D[j, i] *", "B[j, i] *").replace("N", "16"))
    compiled = check_compiled(cascade, random_inputs(cascade))
    assert all(a.role != "inout" for _, kernel in compiled.main.kernels for a in kernel.arguments)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None)
@given(programs(), st.integers(0, 3))
def test_random_programs_keep_their_values(eager, cascade, seed):
    check_compiled(cascade, random_inputs(cascade), shuffle=seed)


class Weighted(nn.Module):
    """What the backward of attention does with its scores."""

    def forward(self, g, k, p, v):
        b = g @ k.mT * p
        d = b - p * b.sum(-1, keepdim=True)
        return d @ v, d.mT @ v


@pytest.mark.parametrize("checks", ["0", "1"])
def test_a_module_takes_less_memory_and_gives_what_eager_gives(checks):
    rows, columns = (1100, 8), (1100, 1100)
    inputs = [random(*shape, seed=seed) / 8 for seed, shape in enumerate((rows, rows, columns, rows))]
    with override_environment({"TCOMP_CHECK_KERNELS": checks, "TCOMP_TARGET": str(small_target())}):
        compiled = check(Weighted(), *inputs)
    square = 1100 * 1100 * 4
    assert square <= compiled.memory.extra < 1.5 * square
