"""How arguments are laid over arrays, what is refused, and the ledger of who touched what."""

import numpy
import pytest

from tcomp.ir.dtypes import bf16, boolean, f32, i32
from tcomp.ir.errors import VerifyError
from tcomp.ir.evaluate.expressions import OutsideError
from tcomp.ir.evaluate.memory import RaceError, bind_argument, make_memory
from tcomp.ir.expressions import as_index
from tcomp.ir.tile import Argument


def bind(array, shape, strides, role="inout", dtype=f32, float64=False):
    indices = [tuple(map(as_index, numbers)) for numbers in (shape, strides)]
    return bind_argument(Argument("X", dtype, *indices, role), shape, strides, array, float64)


def positions(*numbers):
    return tuple(numpy.array([n]) for n in numbers)


def test_an_array_of_the_shape_is_used_as_it_is():
    array = numpy.zeros((2, 3), numpy.float32)
    assert bind(array, (2, 3), (3, 1)).values is array
    assert bind(array.T, (3, 2), (1, 3)).values.shape == (3, 2)


def test_flat_memory_is_seen_through_strides():
    array = numpy.arange(12, dtype=numpy.float32)
    memory = bind(array, (3, 2), (1, 6))
    assert memory.values.tolist() == [[0, 6], [1, 7], [2, 8]]
    memory.values[2, 1] = 50
    assert array[8] == 50


def test_narrow_floats_are_held_as_f32_and_all_as_f64_on_request():
    bind(numpy.zeros(3, numpy.float32), (3,), (1,), dtype=bf16)
    bind(numpy.zeros(3, numpy.float64), (3,), (1,), dtype=bf16, float64=True)
    with pytest.raises(VerifyError, match="argument X is bf16 and its array float16"):
        bind(numpy.zeros(3, numpy.float16), (3,), (1,), dtype=bf16)


@pytest.mark.parametrize(
    ("array", "shape", "strides"),
    [
        (numpy.zeros((3, 2), numpy.float32), (2, 3), (3, 1)),
        (numpy.zeros(5, numpy.float32), (2, 3), (3, 1)),
        (numpy.zeros(6, numpy.float32), (2, 3), (4, 1)),
        (numpy.zeros(9, numpy.float32), (2, 3), (-3, 1)),
        (numpy.zeros(12, numpy.float32)[::2], (2, 3), (3, 1)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(array, shape, strides):
    with pytest.raises(VerifyError, match="its array has shape"):
        bind(array, shape, strides)


def test_only_outputs_are_poisoned_and_memory_between_strides_is_left_alone():
    for role in ("in", "inout"):
        assert bind(numpy.ones(3, numpy.float32), (3,), (1,), role).values.tolist() == [1, 1, 1]
    array = numpy.ones(6, numpy.float32)
    bind(array, (3,), (2,), "out")
    assert numpy.isnan(array).tolist() == [True, False, True, False, True, False]


def test_memory_begins_as_garbage_that_is_the_same_each_time():
    assert numpy.isnan(make_memory(f32, (2, 2), False).values).all()
    for dtype in (i32, boolean):
        first, second = (make_memory(dtype, (64,), False).values for _ in range(2))
        assert (first == second).all()
        assert len(set(first.tolist())) > 1


def test_the_ledger_sees_races_through_shared_addresses():
    memory = bind(numpy.zeros(4, numpy.float32), (2, 3), (1, 1))
    memory.check_write("X", positions(0, 1), instance=1)
    memory.check_write("X", positions(0, 1), instance=1)
    with pytest.raises(RaceError, match="writes an element of X that another parallel instance writes"):
        memory.check_write("X", positions(1, 0), instance=2)
    with pytest.raises(RaceError, match="reads an element of X that another parallel instance writes"):
        memory.read("X", positions(1, 0), None, instance=2)


def test_the_ledger_remembers_every_reader():
    memory = bind(numpy.zeros(4, numpy.float32), (4,), (1,))
    memory.read("X", positions(1), None, instance=1)
    memory.check_write("X", positions(1), instance=1)
    memory.read("X", positions(2), None, instance=1)
    memory.read("X", positions(2), None, instance=2)
    for instance in (1, 2, 3):
        with pytest.raises(RaceError, match="writes an element of X that another parallel instance reads"):
            memory.check_write("X", positions(2), instance)


def test_atomic_writes_meet_each_other_and_nothing_else():
    memory = bind(numpy.zeros(4, numpy.float32), (4,), (1,))
    for instance in (1, 2, 1):
        memory.check_write("X", positions(0), instance, is_atomic=True)
    with pytest.raises(RaceError, match="writes an element of X that another parallel instance writes"):
        memory.check_write("X", positions(0), instance=1)
    with pytest.raises(RaceError, match="reads an element of X that another parallel instance writes"):
        memory.read("X", positions(0), None, instance=1)
    memory.check_write("X", positions(1), instance=1)
    memory.check_write("X", positions(1), instance=1, is_atomic=True)
    memory.read("X", positions(2), None, instance=1)
    for place, verb in ((1, "writes"), (2, "reads")):
        with pytest.raises(RaceError, match=f"writes an element of X that another parallel instance {verb}"):
            memory.check_write("X", positions(place), instance=2, is_atomic=True)


def test_points_outside_are_not_read():
    memory = bind(numpy.zeros(4, numpy.float32), (4,), (1,))
    memory.check_write("X", positions(3), instance=1)
    assert memory.read("X", (numpy.array([-1, 4]),), 7.0, instance=2).tolist() == [7, 7]
    with pytest.raises(OutsideError, match=r"X: reads \[4\]"):
        memory.read("X", (numpy.array([0, 4]),), None, instance=2)
    with pytest.raises(OutsideError, match=r"X: writes \[-1\]"):
        memory.check_write("X", positions(-1), instance=2)
