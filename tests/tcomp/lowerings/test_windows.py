"""The index maps of sliding windows, against their definition point by point."""

from itertools import product

import numpy
import pytest

from tcomp.ir.cascade import Cascade, Source, Tensor
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.dtypes import f32
from tcomp.ir.errors import Unsupported
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.expressions import as_index
from tcomp.lowerings.builder import Array, Builder, Program
from tcomp.lowerings.windows import Window, make_windows, transpose_windows


def make_builder() -> Builder:
    return Builder(Program(), "z", Source(), (None,))


def transpose_by_definition(x, window: Window, extent: int):
    result = numpy.zeros(extent)
    for p, r in product(range(len(x)), range(window.kernel.constant)):
        h = window.stride * p + window.dilation * r - window.padding
        if 0 <= h < extent:
            result[h] += x[p] * (r + 1)
    return result


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), list(product((1, 2, 3, 5), (1, 2, 3), (0, 1, 4), (1, 2))))
def test_transpose_sums_every_pair_of_place_and_tap_once(kernel, stride, padding, dilation):
    window = Window(as_index(kernel), stride, padding, dilation)
    build = make_builder()
    x = Array("x", f32, (as_index(6),))
    taps = Array("w", f32, (as_index(kernel),))

    def element(lead, folded, places, numbers):
        return x.at(*places, outside=0.0) * taps.at(*numbers, outside=0.0)

    result = transpose_windows(build, (window,), (), (as_index(11),), (), f32, element, zero_beyond_kernel=True)
    inputs = tuple(Tensor(a.name, a.dtype, a.shape) for a in (x, taps))
    cascade = Cascade("main", inputs, tuple(build.program.statements), (result.name,))
    check_cascade(cascade)
    values = numpy.arange(1, 7, dtype=numpy.float32)
    found = evaluate(cascade, {"x": values, "w": numpy.arange(1, kernel + 1, dtype=numpy.float32)})[result.name]
    assert numpy.array_equal(found, transpose_by_definition(values, window, 11))


def test_taps_beyond_the_kernel_are_left_out_by_a_predicate():
    build = make_builder()
    x = Array("x", f32, (as_index(6),))
    window = Window(as_index(3), 2, 0)
    transpose_windows(
        build, (window,), (), (as_index(11),), (), f32, lambda lead, folded, places, taps: x.at(*places, outside=0.0)
    )
    (summed, _) = build.program.statements
    assert summed.where is not None


def test_phases_do_not_run_in_vain():
    """A stride of 2 halves the taps that are summed for each place."""
    build = make_builder()
    x = Array("x", f32, (as_index(6),))
    window = Window(as_index(4), 2, 1)
    transpose_windows(
        build, (window,), (), (as_index(12),), (), f32, lambda lead, folded, places, taps: x.at(*places, outside=0.0)
    )
    (summed, _) = build.program.statements
    assert [r.extent.constant for r in summed.reduced] == [2]
    assert summed.where is None


def test_a_symbolic_kernel_with_a_stride_is_refused():
    build = make_builder()
    (window,) = make_windows([as_index("K")], [2], [0], [1])
    with pytest.raises(Unsupported, match="a kernel size is the symbolic size K"):
        transpose_windows(
            build, (window,), (), (as_index(9),), (), f32, lambda lead, folded, places, taps: Array("x", f32, ()).at()
        )
