"""The framework: fresh names, ranks, promotion, the table."""

import pytest
import torch

from tcomp.ir.cascade import Source, print_einsum
from tcomp.ir.dtypes import DTYPES, bf16, boolean, f32, f64, i32, i64, u8
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import as_index
from tcomp.lowerings import LOWERINGS, MODULES, PAIRED, Array, Builder, Program, Result, lowers
from tcomp.lowerings.builder import common_dtype
from tcomp.torch_types import IR_DTYPES, TORCH_DTYPES, dtype_of

aten = torch.ops.aten


def array(dtype, rank=1):
    return Array("X", dtype, (as_index(3),) * rank)


OPERANDS = [
    *((t, rank) for t in (f64, f32, bf16, i64, i32, u8, boolean) for rank in (0, 2)),
    2,
    2.5,
    True,
]


@pytest.mark.parametrize("a", OPERANDS, ids=str)
@pytest.mark.parametrize("b", OPERANDS, ids=str)
def test_promotion_is_that_of_torch(a, b):
    if not isinstance(a, tuple) and not isinstance(b, tuple):
        pytest.skip("torch promotes only with a tensor")
    ours = [array(*o) if isinstance(o, tuple) else o for o in (a, b)]
    theirs = [torch.ones((3,) * o[1], dtype=TORCH_DTYPES[o[0]]) if isinstance(o, tuple) else o for o in (a, b)]
    assert common_dtype(*ours) == dtype_of(torch.result_type(*theirs))


def test_names_are_fresh_and_never_words_of_the_text_form():
    program = Program()
    assert [program.fresh(n) for n in ("a", "a", "where", "i64")] == ["a", "a_1", "where_1", "i64_1"]


def test_an_operator_has_one_lowering():
    with pytest.raises(AssertionError, match="two lowerings"):
        lowers(aten.mm.default)(lambda build: None)


def test_every_module_of_the_package_is_imported():
    names = {module.__name__ for module in MODULES}
    assert {function.__module__ for function in (*LOWERINGS.values(), *PAIRED.values())} - {"tcomp.lowerings.pairs"} == names


def make_builder(dtype=f32, *shape):
    extents = tuple(as_index(e) for e in shape)
    return Builder(Program(names={"X"}), "Z", Source(), (Result(dtype, extents),))


def printed(build):
    return [print_einsum(statement) for statement in build.program.statements]


def test_ranks_are_letters_by_position():
    build = make_builder()
    build.map([as_index(2)] * 11, f32, lambda *ranks: array(f32).at(ranks[10]))
    assert printed(build) == ["Z: f32[i:2, j:2, k:2, l:2, m:2, n:2, o:2, p:2, q:2, i_9:2, i_10:2] = X[i_10]"]


def test_reductions_name_their_ranks_apart():
    build = make_builder()
    x = array(f32, 3)
    three = as_index(3)
    build.reduce("sum", [three], [three, three], f32, lambda free, folded: x.at(folded[0], *free, folded[1]), hint="total")
    build.reduce_state("argmax", [], [three], lambda free, folded: array(bf16).at(*folded), hints=("value", "index"))
    assert printed(build) == [
        "Z_total: f32[i:3] = sum(r:3, s:3) X[r, i, s]",
        "(Z_value: f32, Z_index: i64)[] = argmax(r:3) X[r]",
    ]


def test_scatters_reduce_the_points_no_slot_names():
    build = make_builder()
    x, ids = array(f32, 2), Array("I", i64, (as_index(5),))
    position = lambda i, j: [ids.at(i).as_index(), j]  # noqa: E731
    build.scatter(x, x.shape, f32, [as_index(5), as_index(3)], "sum", lambda i, j: x.at(i, j), position)
    assert printed(build) == ["Z: f32[I[i]:3, j:3] = sum(i:5) X[i, j] from X[_0, j]"]


def test_an_array_is_broadcast_from_the_right():
    build = make_builder()
    x = Array("X", f32, (as_index(1), as_index(4)))
    build.map([as_index(e) for e in (2, 3, 4)], f32, lambda *ranks: x.over(ranks, [as_index(e) for e in (2, 3, 4)]))
    build.map([as_index(e) for e in (1, 4)], f32, lambda *ranks: x.over(ranks, x.shape))
    assert printed(build) == ["Z: f32[i:2, j:3, k:4] = X[0, k]", "Z_1: f32[i:1, j:4] = X[i, j]"]


def test_a_cast_to_the_same_type_is_the_array_itself():
    build = make_builder()
    assert build.cast(array(f32), f32) == array(f32)
    assert build.cast(array(f32), bf16).dtype == bf16


def test_element_types():
    assert {t.name for t in IR_DTYPES.values()} == set(DTYPES)
    for refused in (torch.uint32, torch.qint8, torch.uint16):
        with pytest.raises(Unsupported, match="not served") as error:
            dtype_of(refused)
        assert "float32" in error.value.help
