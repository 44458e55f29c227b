"""The choice of schedules: the most promising without a machine, the fastest with one, and any of them is right."""

import hashlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.check.schedule import check_schedule
from tcomp.ir.dtypes import bf16
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.choose import Guess, PartGuess
from tcomp.passes.decisions import Layouts
from tcomp.passes.guess.fuse import fuse
from tests.cascade_strategies import programs
from tests.gpu_groups import HOPPER, SMALL, bind, list_schedules, place_tensors, read_cascade, run_kernels
from tests.passes.lower.gpu.test_lower_gpu import shrink_tiles
from tests.program_runner import check_compiled, random_inputs

INPUTS = "X: f32[3, 150, 40], W: f32[3, 40, 70], C: f32[70]"
PLAIN = "Z: f32[b:3, m:150, n:70] = sum(k:40) X[b, m, k] * W[b, k, n]"
LINEAR = PLAIN.replace("Z:", "Y:") + " Z: f32[b:3, m:150, n:70] = maximum(Y[b, m, n] + C[n], 0.0)"


class Watch:
    """A measurement that remembers what it was asked, and says what a function of it says."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.asked = []

    def __call__(self, trials):
        return [self._ask(*trial) for trial in trials]

    def _ask(self, kernel, product):
        self.asked.append((kernel, product))
        return self.seconds(kernel, product)


def choose(cascade, measure, target=SMALL):
    """What is chosen for the only group of a cascade."""
    (group,) = fuse(cascade)
    memories = place_tensors(cascade)
    return PartGuess(Guess(target, measure=measure), cascade).choose(group, memories, None, Layouts(memories, {}))


def run(cascade, candidates):
    run_kernels(cascade, [(candidate.kernel, candidate.operands) for candidate in candidates])


def prefer(wanted):
    """One second for what is wanted, two for the rest."""
    return Watch(lambda kernel, product: 1.0 if wanted(kernel, product) else 2.0)


def test_without_a_machine_the_first_candidate_is_taken():
    cascade = read_cascade(LINEAR, INPUTS)
    (chosen,) = choose(cascade, None)
    assert chosen.schedule == list_schedules(bind(cascade), SMALL)[0]
    assert chosen.product is None
    run(cascade, [chosen])


def test_every_candidate_is_measured_once_and_the_library_as_well():
    cascade = read_cascade(LINEAR, INPUTS)
    watch = prefer(lambda kernel, product: False)
    choose(cascade, watch)
    assert len(set(watch.asked)) == len(watch.asked)
    whole = list_schedules(bind(cascade), SMALL)
    assert sum(product is not None for _, product in watch.asked) == 1
    # The candidates of the whole, then the library's product, then what follows it by itself.
    assert [product is not None for _, product in watch.asked].index(True) == len(whole)
    assert len(watch.asked) > len(whole) + 1


def test_the_fastest_is_taken_and_of_equals_the_most_promising():
    cascade = read_cascade(LINEAR, INPUTS)
    schedules = list_schedules(bind(cascade), SMALL)
    for number in (0, 2, len(schedules) - 1):
        watch = Watch(None)
        watch.seconds = lambda kernel, product, watch=watch, number=number: 1.0 if len(watch.asked) == number + 1 else 2.0
        (chosen,) = choose(cascade, watch)
        assert chosen.schedule == schedules[number]
        run(cascade, [chosen])
    (chosen,) = choose(cascade, prefer(lambda kernel, product: True))
    assert chosen.schedule == schedules[0]


def test_candidates_that_cannot_run_are_passed_over():
    cascade = read_cascade(LINEAR, INPUTS)
    schedules = list_schedules(bind(cascade), SMALL)
    watch = Watch(None)
    watch.seconds = lambda kernel, product: math.inf if len(watch.asked) < 3 else 1.0
    (chosen,) = choose(cascade, watch)
    assert chosen.schedule == schedules[2]
    # If none can, the first is taken nevertheless: something has to be.
    (chosen,) = choose(cascade, Watch(lambda kernel, product: math.inf))
    assert chosen.schedule == schedules[0]


def test_the_library_takes_a_product_where_it_is_faster():
    cascade = read_cascade(PLAIN, INPUTS)
    (chosen,) = choose(cascade, prefer(lambda kernel, product: product is not None))
    assert chosen.product is not None and chosen.schedule.is_library
    assert chosen.group.names == ("Z",)
    # The kernel says what the library computes.
    run(cascade, [chosen])
    (other,) = choose(cascade, prefer(lambda kernel, product: product is None))
    assert other.product is None and not other.schedule.is_library


@pytest.mark.parametrize(("library", "rest", "is_split"), [(0.5, 1.0, True), (1.0, 1.0, False), (1.5, 0.4, True), (0.1, 2.0, False)])
def test_an_epilogue_counts_against_the_library(library, rest, is_split):
    """Fused, all takes two seconds; apart, the library's product and what follows it. Equals stay fused."""
    cascade = read_cascade(LINEAR, INPUTS)
    (group,) = fuse(cascade)

    def seconds(kernel, product):
        return library if product is not None else 2.0 if "sum=" in str(kernel) else rest

    chosen = choose(cascade, Watch(seconds))
    assert [candidate.group.names for candidate in chosen] == ([("Y",), ("Z",)] if is_split else [group.names])
    assert [candidate.schedule.is_library for candidate in chosen] == ([True, False] if is_split else [False])
    run(cascade, chosen)


def test_a_result_that_leaves_is_stored_once():
    """Where both the product and what follows it are outputs, the library stores the first, the map the second."""
    cascade = read_cascade(LINEAR, INPUTS, "Y, Z")
    chosen = choose(cascade, Watch(lambda kernel, product: 0.0 if product is not None or "sum=" not in str(kernel) else 1.0))
    assert [candidate.group.stored for candidate in chosen] == [("Y",), ("Z",)]
    run(cascade, chosen)


NO_PRODUCT = {
    "a sum of one operand": ("Z: f32[b:3, m:150] = sum(k:40) X[b, m, k]", INPUTS),
    "a window": ("Z: f32[m:100, n:70] = sum(k:40) X[0, m + k, k] * W[0, k, n]", INPUTS),
    "rows apart in memory": ("Z: f32[b:3, m:4, n:70] = sum(k:40) X[b, 2*m, k] * W[0, k, n]", INPUTS),
    "a map": ("Z: f32[b:3, m:150, k:40] = exp(X[b, m, k])", INPUTS),
}


@pytest.mark.parametrize(("body", "inputs"), NO_PRODUCT.values(), ids=NO_PRODUCT)
def test_only_products_are_offered_to_the_library(body, inputs):
    watch = prefer(lambda kernel, product: product is not None)
    cascade = read_cascade(body, inputs)
    (chosen,) = choose(cascade, watch)
    assert all(product is None for _, product in watch.asked)
    assert not chosen.schedule.is_library
    run(cascade, [chosen])


def test_symbolic_sizes_are_chosen_for_as_well():
    cascade = read_cascade(LINEAR.replace("150", "M"), INPUTS.replace("150", "M"), symbols=" for M in 1..")
    chosen = choose(cascade, prefer(lambda kernel, product: product is not None or "sum=" not in str(kernel)))
    for rows in (1, 70, 200):
        pairs = [(candidate.kernel, candidate.operands) for candidate in chosen]
        run_kernels(cascade, pairs, symbols={"M": rows})


def by_hash(seed):
    """A measurement that finds something else fastest for each seed, the same in every process."""

    def measure(kernel, product):
        text = f"{kernel} {product is None} {seed}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 1e9

    return Watch(measure)


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(0, 99), st.booleans(), st.sampled_from([HOPPER, SMALL]))
def test_random_programs_compute_the_same_whatever_is_fastest(cascade, seed, tiny, target):
    with pytest.MonkeyPatch.context() as patch:
        if tiny:
            shrink_tiles(patch)
        compiled = check_compiled(cascade, random_inputs(cascade), target=target, shuffle=seed, measure=by_hash(seed))
    for program in (compiled.prelude, compiled.main):
        check_schedule(program.schedule)
        names = {schedule.name for schedule in program.schedule.kernels if schedule.is_library}
        assert names == {name for name, _ in program.products}


@st.composite
def products(draw):
    """A contraction with an epilogue or none, over up to five ranks that lie in any order in its operands and its result."""
    extents = {rank: draw(st.sampled_from([1, 2, 3, 5, 9])) for rank in "bmpnkl"}
    left = [rank for rank in "bmp" if draw(st.booleans())] or ["m"]
    right = ["n", *("b" if draw(st.booleans()) else "")]
    used = draw(st.permutations([rank for rank in "bmpn" if rank in left + right]))
    reduced = ["k", *("l" if draw(st.booleans()) else "")]
    left, right = (draw(st.permutations([*ranks, *reduced])) for ranks in (left, right))

    def sizes(ranks):
        return ", ".join(str(extents[rank]) for rank in ranks)

    def axes(ranks):
        return ", ".join(f"{rank}:{extents[rank]}" for rank in ranks)

    place = ", ".join(used)
    factors = draw(st.permutations([f"X[{', '.join(left)}]", f"W[{', '.join(right)}]"]))
    body = f"Y: f32[{axes(used)}] = sum({axes(reduced)}) {' * '.join(factors)} "
    rank = draw(st.sampled_from(used))
    # A map that is read twice is a block, of which each point is computed once.
    body += draw(
        st.sampled_from(
            [
                f"Z: f32[{axes(used)}] = maximum(Y[{place}] + C[{rank}], 0.0)",
                f"A: f32[{axes(used)}] = Y[{place}] + C[{rank}] Z: f32[{axes(used)}] = A[{place}] * tanh(A[{place}])",
                f"Z: f32[{axes(used)}] = Y[{place}]",
            ]
        )
    )
    inputs = f"X: f32[{sizes(left)}], W: f32[{sizes(right)}], C: f32[{extents[rank]}]"
    return read_cascade(body, inputs, draw(st.sampled_from(["Z", "Y, Z"])))


@settings(max_examples=80, deadline=None)
@given(products(), st.integers(0, 99), st.booleans())
def test_products_in_any_order_compute_the_same_whatever_is_fastest(cascade, seed, tiny):
    with pytest.MonkeyPatch.context() as patch:
        if tiny:
            shrink_tiles(patch)
        check_compiled(cascade, random_inputs(cascade), target=SMALL, shuffle=seed, measure=by_hash(seed))


def test_a_product_that_is_rounded_is_the_librarys_as_a_whole():
    text = """cascade c(X: bf16[150, 40], W: bf16[40, 70]) -> (Z) {
      Y: f32[m:150, n:70] = sum(k:40) f32(X[m, k]) * f32(W[k, n])
      Z: bf16[m:150, n:70] = bf16(Y[m, n])
    }"""
    cascade = parse_cascade(text)
    program = check_compiled(
        cascade, random_inputs(cascade), target=HOPPER, measure=prefer(lambda kernel, product: product is not None)
    ).main
    ((_, product),) = program.products
    assert product.dtype == bf16
    assert len(program.steps) == 1
