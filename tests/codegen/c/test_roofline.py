"""The machine is measured: every number is there and makes sense. How fast it is, no test says."""

from dataclasses import replace
from itertools import pairwise

import pytest

from tcomp.codegen.c import roofline as module
from tcomp.codegen.c.roofline import MOST_TRIES, Rate, Roofline, list_sizes, measure_roofline, try_often
from tcomp.codegen.timing import Timing
from tcomp.ir.errors import Unsupported
from tests.c_programs import find_compiler
from tests.program_runner import small_target

QUICK = Timing(warmups=1, repeats=2, budget=0.0)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_peak_and_rate_is_measured(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(module, "list_sizes", lambda cache: [1 << 14, 1 << 20])
    told = []
    found = measure_roofline(find_compiler(), small_target(), tmp_path, threads, lambda *step: told.append(step), QUICK)
    assert found.threads == threads
    assert [dtype for dtype, _ in found.peaks] == ["f32", "f64"]
    assert [rate.bytes for rate in found.rates] == [1 << 14, 1 << 20]
    rates = [number for rate in found.rates for number in (rate.read, rate.copy, rate.write)]
    assert all(1e6 < number < 1e15 for number in (*dict(found.peaks).values(), *rates))
    assert [done for _, done, _ in told] == [*range(1, told[-1][2] + 1)]


def test_the_narrow_peak_is_measured_where_there_is_one(tmp_path, monkeypatch):
    toolchain = find_compiler()
    if toolchain.lanes != 16:
        pytest.skip("vectors here are narrower than those of bf16 products")
    target = replace(small_target(), isa="x86_64 avx512_bf16")
    built = []
    monkeypatch.setattr(module, "build_source", lambda name, source, **named: built.append(source) or tmp_path)
    monkeypatch.setattr(module.Child, "time", lambda child, calls, draws, timing: [1.0] * len(calls))
    found = measure_roofline(toolchain, target, tmp_path, 1, lambda *step: None, QUICK)
    peaks = dict(found.peaks)
    assert any("TCOMP_PEAK TCOMP_BF16" in source for source in built)
    # As many accumulators of two products a lane, or of half as many lanes.
    assert (peaks["bf16"], peaks["f64"]) == (2 * peaks["f32"], peaks["f32"] / 2)


def test_memory_grows_until_no_cache_holds_it():
    sizes = list_sizes(32 << 20)
    assert sizes[0] == 1 << 14 and all(b == 2 * a for a, b in pairwise(sizes))
    assert sizes[-1] == 128 << 20
    assert list_sizes(0)[-1] == 64 << 20
    assert list_sizes(2 << 30)[-1] == 1 << 30


def test_sanitized_programs_have_no_speed(tmp_path):
    toolchain = replace(find_compiler(), flags=("-fsanitize=address",))
    with pytest.raises(Unsupported, match="no speed to measure"):
        measure_roofline(toolchain, small_target(), tmp_path, 1, lambda *step: None)


def test_rates_never_fall_with_less_memory():
    roofline = Roofline(1, (("f32", 10.0),), (Rate(100, 4.0, 3.0), Rate(200, 5.0, 2.0), Rate(400, 1.0, 1.0)))
    assert [roofline.rate_at(size).read for size in (1, 100, 199, 200, 399, 400, 9999)] == [5.0, 5.0, 5.0, 5.0, 5.0, 1.0, 1.0]
    assert roofline.rate_at(100).copy == 3.0
    assert roofline.memory == Rate(400, 1.0, 1.0)
    assert roofline.peak_of("f64") == roofline.peak_of("f32") == 10.0


def test_writing_is_what_copying_leaves_beside_reading():
    # Two bytes in half a second, of which reading one takes a quarter.
    assert Rate(1, 4.0, 4.0).write == 4.0
    assert Rate(1, 8.0, 4.0).write == pytest.approx(1 / (2 / 4 - 1 / 8))
    # Copying that is twice as fast as reading says nothing of writing.
    assert Rate(1, 1.0, 4.0).write == 8.0


def test_one_tries_until_two_tries_agree():
    def count_tries(*results):
        left = iter(results)
        return try_often(lambda: next(left)), len(results) - len(list(left))

    assert count_tries((100.0,), (99.0,), (500.0,)) == ((100.0,), 2)
    assert count_tries((1.0,), (100.0,), (2.0,), (98.0,), (500.0,)) == ((100.0,), 4)
    # Of two rates, each is met twice, though not in the same tries.
    assert count_tries((1.0, 7.0), (9.0, 7.0), (9.0, 3.0), (0.0, 0.0)) == ((9.0, 7.0), 3)
    never = [(10.0**k,) for k in range(MOST_TRIES + 2)]
    assert count_tries(*never) == (never[MOST_TRIES - 1], MOST_TRIES)
