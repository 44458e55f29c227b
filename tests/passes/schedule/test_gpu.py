"""First schedules on a GPU: what is joined, what a tile holds, how wide it is; every candidate is legal and computes the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.check.schedule import check_schedule
from tcomp.ir.parse.schedule import parse_schedule
from tcomp.ir.schedule import Schedule
from tcomp.passes import choose
from tcomp.passes.cost.gpu import power_above
from tcomp.passes.groups.chain import chain_groups
from tcomp.passes.groups.scatter import expand_scatters
from tcomp.passes.guess.chain import wants_chain
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.kinds.table import propose
from tcomp.passes.pipeline import compile_cascade
from tcomp.passes.schedule.gpu import ELEMENTS, LANES, LARGEST_ROW, ROW_ELEMENTS, SHORT_ROW, SIDE
from tests.cascade_strategies import programs
from tests.gpu_groups import HOPPER, SMALL, bind, list_schedules, lower, read_cascade, run_kernels


def candidates(body, inputs, target=HOPPER, symbols="", outputs="Z", **options):
    """The schedules of a cascade's only group."""
    return list_schedules(bind(read_cascade(body, inputs, outputs, symbols)), target, **options)


def first(body, inputs, **options):
    return candidates(body, inputs, **options)[0]


MATMUL = "Z: f32[m:{m}, n:{n}] = sum(k:{k}) X[m, k] * W[k, n]"


def matmul(m, n, k, dtype="f32", **options):
    body = MATMUL.format(m=m, n=n, k=k)
    if dtype != "f32":
        body = body.replace("X[m, k] * W[k, n]", "f32(X[m, k]) * f32(W[k, n])")
    return candidates(body, f"X: {dtype}[{m}, {k}], W: {dtype}[{k}, {n}]", **options)


def test_a_contraction_has_a_tile_of_rows_lanes_and_depth():
    for schedule in matmul(512, 512, 512):
        assert schedule.kind == "contract"
        assert [rank for rank, _ in schedule.tiles] == ["m", "n", "k"]
        assert schedule.order == ("m", "n", "k")
        assert schedule.parallel == ("m", "n")
        assert schedule.lanes == "n"
        assert schedule.launch.warps >= 4 and schedule.launch.stages >= 2


def test_the_longer_side_gives_the_rows():
    """Tensor cores take 64 rows at once and as few lanes as 8."""
    assert [rank for rank, _ in matmul(16, 512, 64)[0].tiles] == ["n", "m", "k"]
    assert [rank for rank, _ in matmul(64, 512, 64)[0].tiles] == ["m", "n", "k"]
    assert [rank for rank, _ in matmul(16, 32, 64)[0].tiles] == ["m", "n", "k"]


def test_a_single_row_has_no_tile_of_rows():
    schedule = first("Z: f32[n:512] = sum(k:256) X[k] * W[k, n]", "X: f32[256], W: f32[256, 512]")
    assert [rank for rank, _ in schedule.tiles] == ["n", "k"]
    assert schedule.launch.group == 0


CONVOLUTION = "Z: f32[n:2, k:7, p:12, q:11] = sum(c:{c}, r:3, s:3) (X[n, c, p + r - 1, q + s - 1] else 0.0) * W[k, c, r, s]"


def convolution(channels):
    return first(CONVOLUTION.format(c=channels), f"X: f32[2, {channels}, 12, 11], W: f32[7, {channels}, 3, 3]")


def test_a_convolution_joins_what_it_slides_over_and_short_ranks_that_it_sums():
    schedule = convolution(5)
    assert schedule.joined == (("n_p_q", ("n", "p", "q")), ("c_r_s", ("c", "r", "s")))
    assert [rank for rank, _ in schedule.tiles] == ["n_p_q", "k", "c_r_s"]


def test_a_long_rank_of_a_sum_is_cut_by_itself():
    """That with the smallest steps in memory, innermost; the others are loops around it."""
    body = "Z: f32[m:64, n:64] = sum(c:64, r:3) X[m, r, c] * W[r, n, c]"
    schedule = first(body, "X: f32[64, 3, 64], W: f32[3, 64, 64]")
    assert schedule.joined == ()
    assert [rank for rank, _ in schedule.tiles] == ["m", "n", "c"]
    assert schedule.order == ("m", "n", "r", "c")


def test_batches_are_loops():
    schedule = first("Z: f32[b:3, m:64, n:64] = sum(k:32) X[b, m, k] * W[b, k, n]", "X: f32[3, 64, 32], W: f32[3, 32, 64]")
    assert schedule.order == ("b", "m", "n", "k")
    assert "b" in schedule.parallel and "b" not in dict(schedule.tiles)


def test_a_joint_rank_has_a_name_of_its_own():
    body = "Y: f32[a:3, b:50, a_b:70] = sum(k:40) X[a, b, k] * W[k, a_b] Z: f32[a:3, b:50, a_b:70] = Y[a, b, a_b] + C[b]"
    schedule = first(body, "X: f32[3, 50, 40], W: f32[40, 70], C: f32[50]")
    assert schedule.joined == (("a_bx", ("a", "b")),)
    assert [rank for rank, _ in schedule.tiles] == ["a_bx", "a_b", "k"]


def test_tiles_of_rows_are_grouped_only_where_their_number_is_known():
    assert matmul(4096, 4096, 64)[0].launch.group > 1
    symbolic = first("Z: f32[m:M, n:4096] = sum(k:64) X[m, k] * W[k, n]", "X: f32[M, 64], W: f32[64, 4096]", symbols=" for M in 1..")
    assert symbolic.launch.group == 0


@pytest.mark.parametrize("rows", [1, 65, 130, 190, 300])
def test_any_number_of_symbolic_rows_is_covered(rows):
    """What is not merged beforehand is joined, and a symbol stands for less than what was guessed, or for more."""
    body = "Y: f32[b:B, m:5, n:150] = sum(k:8) X[b, m, k] * W[k, n] Z: f32[b:B, m:5, n:150] = Y[b, m, n] + C[m]"
    cascade = read_cascade(body, "X: f32[B, 5, 8], W: f32[8, 150], C: f32[5]", symbols=" for B in 1..")
    bound = bind(cascade)
    schedule = list_schedules(bound, SMALL)[0]
    run_kernels(cascade, [lower(bound, schedule, cascade.symbols)], symbols={"B": -(-rows // 5)})


def test_instances_walk_tiles_in_turns_where_each_would_walk_several():
    assert all(schedule.launch.instances == 0 for schedule in matmul(512, 512, 64, target=HOPPER))
    in_turns = [schedule for schedule in matmul(512, 512, 64, target=SMALL) if schedule.launch.instances]
    assert in_turns
    assert all(schedule.launch.instances == SMALL.multiprocessors for schedule in in_turns)


def test_narrow_operands_have_more_of_them_in_a_tile():
    wide, narrow = (matmul(4096, 4096, 4096, dtype)[0] for dtype in ("f32", "bf16"))
    sizes = [dict(schedule.tiles) for schedule in (wide, narrow)]
    assert sizes[0]["m"] * sizes[0]["n"] * sizes[0]["k"] < sizes[1]["m"] * sizes[1]["n"] * sizes[1]["k"]


def softmax(rows, columns, **options):
    body = f"""G: f32[p:{rows}] = max(m:{columns}) X[p, m] E: f32[p:{rows}, m:{columns}] = exp(X[p, m] - G[p])
    D: f32[p:{rows}] = sum(m:{columns}) E[p, m] Z: f32[p:{rows}, m:{columns}] = E[p, m] / D[p]"""
    return first(body, f"X: f32[{rows}, {columns}]", **options)


@pytest.mark.parametrize("columns", [1000, ROW_ELEMENTS, LARGEST_ROW])
def test_a_row_that_fits_is_held_whole(columns):
    assert dict(softmax(64, columns).tiles)["m"] == power_above(columns)


def test_a_longer_row_is_walked():
    assert dict(softmax(64, 5 * LARGEST_ROW).tiles)["m"] == LARGEST_ROW
    assert dict(softmax(64, "N", symbols=" for N in 1..").tiles)["m"] <= ROW_ELEMENTS


def test_short_rows_lie_side_by_side_where_there_are_enough():
    assert dict(softmax(100000, 64).tiles)["p"] > 1
    assert dict(softmax(HOPPER.multiprocessors, 64).tiles)["p"] == 1


def test_columns_lie_side_by_side():
    """Neighbours in memory are read together: the sum over rows has lanes of columns."""
    schedule = first("Z: f32[n:512] = sum(m:1000) X[m, n]", "X: f32[1000, 512]")
    assert dict(schedule.tiles)["n"] >= 32
    assert schedule.parallel == ("n",)


def test_a_short_sum_of_columns_is_walked_step_by_step():
    schedule = first(f"Z: f32[n:1000000] = sum(m:{SHORT_ROW}) X[m, n]", f"X: f32[{SHORT_ROW}, 1000000]")
    assert [rank for rank, _ in schedule.tiles] == ["n"]
    assert "m" in schedule.order and "m" not in schedule.parallel


@pytest.mark.parametrize(("body", "ranks"), [("Z: f32[p:7] = last(m:10) X[p, m]", ["p"]), ("Z: f32[] = last(m:10) X[0, m]", [])])
def test_the_last_of_the_elements_is_walked_to_in_order(body, ranks):
    schedule = first(body, "X: f32[7, 10]")
    assert [rank for rank, _ in schedule.tiles] == ranks


def test_a_reduction_to_a_scalar_has_no_parallel_rank():
    schedule = first("Z: f32[] = sum(m:1000) X[m] * X[999 - m]", "X: f32[1000]")
    assert schedule.parallel == ()
    assert schedule.tiles == (("m", 1024),)


def test_a_map_is_one_row():
    schedule = first("Z: f32[i:40, j:50] = X[i, j] * Y[j]", "X: f32[40, 50], Y: f32[50]")
    assert schedule.joined == (("i_j", ("i", "j")),)
    assert schedule.tiles == (("i_j", ELEMENTS),)
    merged = first("Z: f32[i:40, j:50] = exp(X[i, j])", "X: f32[40, 50]")
    assert merged.joined == () and merged.tiles == (("i", ELEMENTS),)


def test_a_map_that_transposes_has_a_square_tile():
    schedule = first("Z: f32[i:100, j:200] = X[j, i] * 2.0", "X: f32[200, 100]")
    assert dict(schedule.tiles) == {"i": SIDE, "j": SIDE}
    thin = first("Z: f32[i:10, j:200] = X[j, i] * 2.0", "X: f32[200, 10]")
    assert dict(thin.tiles) == {"i": 16, "j": SIDE}


def test_a_map_with_more_arithmetic_has_a_smaller_tile():
    light, heavy = (first(f"Z: f32[i:4096] = {'exp(' * n}X[i]{')' * n}", "X: f32[4096]") for n in (1, 12))
    assert dict(heavy.tiles)["i"] < dict(light.tiles)["i"] == ELEMENTS
    assert all(size == power_above(size) for n in range(1, 20) for _, size in _exponentials(n).tiles)


def _exponentials(count):
    return first(f"Z: f32[i:4096] = {'exp(' * count}X[i]{')' * count}", "X: f32[4096]")


def test_a_scalar_takes_one_warp():
    schedule = first("Z: f32[] = X[3] * 2.0", "X: f32[8]")
    assert (schedule.tiles, schedule.order, schedule.launch.warps) == ((), (), 1)


def test_a_recurrence_steps_through_neighbours_side_by_side():
    body = "iterate t:63 { Z: f32[t + 1:64, d:512] = Z[t, d] * 0.5 + X[t, d] from 0.0 }"
    schedule = first(body, "X: f32[64, 512]")
    assert schedule.kind == "scan"
    assert schedule.parallel == ("d",)
    assert 32 <= dict(schedule.tiles)["d"] <= LANES


SCATTER = "Z: {t}[I[i]:9, d:40] = sum(i:50) V[i, d]"


@pytest.mark.parametrize(
    ("dtype", "atomic", "parallel"),
    [("f32", False, ("d",)), ("f32", True, ("i", "d")), ("i32", False, ("i", "d")), ("bf16", True, ("d",)), ("u8", False, ("d",))],
)
def test_a_scatter_takes_all_points_at_once_where_no_order_shows(dtype, atomic, parallel):
    schedule = first(SCATTER.format(t=dtype), f"I: i64[50], V: {dtype}[50, 40]", is_atomic=atomic)
    assert schedule.kind == "scatter"
    assert schedule.parallel == parallel
    assert set(schedule.order) == {"i", "d"}


def test_a_serial_scatter_without_free_ranks_is_one_instance():
    schedule = first("Z: f32[I[i]:9] = sum(i:50) V[i]", "I: i64[50], V: f32[50]")
    assert (schedule.tiles, schedule.parallel, schedule.order) == ((), (), ("i",))


ATTENTION = """S: f32[h:3, i:{i}, j:{j}] = sum(e:16) X[h, i, e] * K[h, j, e] G: f32[h:3, i:{i}] = max(j:{j}) S[h, i, j]
E: f32[h:3, i:{i}, j:{j}] = exp(S[h, i, j] - G[h, i]) D: f32[h:3, i:{i}] = sum(j:{j}) E[h, i, j]
P: f32[h:3, i:{i}, j:{j}] = E[h, i, j] / D[h, i] Z: f32[h:3, i:{i}, d:24] = sum(j:{j}) P[h, i, j] * V[h, j, d]"""


def attention(rows, keys):
    inputs = f"X: f32[3, {rows}, 16], K: f32[3, {keys}, 16], V: f32[3, {keys}, 24]"
    cascade = read_cascade(ATTENTION.format(i=rows, j=keys), inputs)
    (group,) = chain_groups(fuse(cascade), cascade, HOPPER, lambda chain: wants_chain(chain, HOPPER))
    return cascade, bind(cascade, group)


@pytest.mark.parametrize(("rows", "keys"), [(200, 90), (90, 200), (5, 40), (40, 5)])
def test_a_chain_walks_the_keys_with_a_tile_of_rows(rows, keys):
    _, bound = attention(rows, keys)
    found = list_schedules(bound)
    assert len(set(found)) == len(found)
    for schedule in found:
        assert schedule.kind == "chain"
        assert [rank for rank, _ in schedule.tiles] == ["i", "j", "e", "d"]
        sizes = dict(schedule.tiles)
        assert sizes["e"] == 16 and sizes["d"] == 32
        assert 16 <= sizes["i"] <= max(16, power_above(rows))
        assert 16 <= sizes["j"] <= max(16, power_above(keys))
        assert schedule.parallel == ("h", "i")


def test_rows_of_a_chain_are_of_a_rank_that_neither_keys_nor_values_have():
    """With keys for all heads and values for each, heads are rows of the scores and no rows of the result."""
    body = ATTENTION.format(i=20, j=30).replace("h:3", "h:64").replace("K[h, j, e]", "K[j, e]")
    cascade = read_cascade(body, "X: f32[64, 20, 16], K: f32[30, 16], V: f32[64, 30, 24]")
    (group,) = chain_groups(fuse(cascade), cascade, HOPPER, lambda chain: wants_chain(chain, HOPPER))
    for schedule in list_schedules(bind(cascade, group)):
        assert [rank for rank, _ in schedule.tiles] == ["i", "j", "e", "d"]


@pytest.mark.parametrize("number", range(3))
def test_every_candidate_of_a_chain_computes_the_same(number):
    cascade, bound = attention(40, 70)
    schedules = list_schedules(bound)
    schedule = schedules[number % len(schedules)]
    run_kernels(cascade, [lower(bound, schedule)])


@pytest.mark.parametrize("target", [HOPPER, SMALL])
def test_every_candidate_of_a_contraction_computes_the_same(target):
    cascade = read_cascade(CONVOLUTION.format(c=5), "X: f32[2, 5, 12, 11], W: f32[7, 5, 3, 3]")
    bound = bind(cascade)
    for schedule in list_schedules(bound, target):
        run_kernels(cascade, [lower(bound, schedule)])


@settings(max_examples=60, deadline=None)
@given(programs(), st.sampled_from([HOPPER, SMALL]), st.booleans())
def test_every_candidate_is_legal(cascade, target, atomic):
    """And has tiles that are powers of two, and a text that reads back."""
    found = []

    def record(*arguments, **options):
        pairs = list(propose(*arguments, **options))
        found.extend(schedule for schedule, _ in pairs)
        return iter(pairs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "propose", record)
        compile_cascade(cascade, {}, target, atomic=atomic)
    assert found
    for schedule in found:
        check_schedule(Schedule((schedule,)))
        assert parse_schedule(str(Schedule((schedule,)))).kernels == (schedule,)
        assert schedule.launch.warps in (1, 2, 4, 8, 16, 32) and schedule.launch.stages >= 1
        assert all(size == power_above(size) for _, size in schedule.tiles)


def test_a_fill_is_a_map():
    cascade = read_cascade("Z: f32[I[i]:90, d:40] = sum(i:50) V[i, d] from T[_0, d]", "I: i64[50], V: f32[50, 40], T: f32[90, 40]")
    fill, _ = expand_scatters(fuse(cascade))
    schedule = list_schedules(bind(cascade, fill))[0]
    assert (schedule.kind, schedule.tiles) == ("fill", (("_0", ELEMENTS),))
