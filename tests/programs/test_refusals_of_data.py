"""Values that eager refuses raise the same kind of error when compiled: divisors of 0, indices and classes out of range."""

import pytest
import torch
from compiled import Function
from torch.nn import functional

import tcomp

TABLE = torch.arange(12.0).reshape(3, 4)


def put(x, i):
    y = x.clone()
    y[i] = 1.0
    return y


DIVISIONS = {
    "floor": lambda a, b: a // b,
    "truncated": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "remainder": lambda a, b: a % b,
    "fmod": torch.fmod,
    "of a number": lambda a, b: 7 // b + a,
    "in place": lambda a, b: a.clone().floor_divide_(b),
    "chosen afterwards": lambda a, b: torch.where(b == 0, a, a // b),
}
INDEXED = {
    "index": lambda x, i: x[i],
    "index of a computed tensor": lambda x, i: (x * 2 + 1)[i],
    "index of a part": lambda x, i: x[:2][i],
    "index of a column's part": lambda x, i: x[:, :2].index_select(1, i),
    "index of positions": lambda x, i: torch.arange(3)[i],
    "index of ones": lambda x, i: torch.ones(3)[i] * x[0, 0],
    "index of a repeated row": lambda x, i: x[:1].expand(3, 4)[i],
    "index, padded": lambda x, i: functional.pad(x[i], (1, 1)),
    "index_add": lambda x, i: x.index_add(0, i, torch.ones(1, 4), alpha=2),
    "index_copy": lambda x, i: x.index_copy(0, i, torch.ones(1, 4)),
    "index_add of a vector": lambda x, i: x[:, 0].index_add(0, i, torch.ones(1)),
    "index_fill": lambda x, i: x.index_fill(0, i, 3.0),
    "put": put,
    "gather": lambda x, i: x.gather(0, i[:, None]),
    "scatter": lambda x, i: x.scatter(0, i[:, None], 1.0),
    "scatter_add": lambda x, i: x.scatter_add(0, i[:, None], torch.ones(1, 1)),
    "embedding": lambda x, i: functional.embedding(i, x),
    "one_hot": lambda x, i: functional.one_hot(i, 3) @ x.long(),
    "a class of a part": lambda x, i: functional.nll_loss(x[:1, :3], i),
}
OTHERS = {
    "probabilities": (functional.binary_cross_entropy, (torch.tensor([0.5]), torch.ones(1)), (torch.tensor([1.5]), torch.ones(1))),
    "targets": (functional.binary_cross_entropy, (torch.tensor([0.5]), torch.ones(1)), (torch.tensor([0.5]), torch.ones(1) * 2)),
    "too few": (torch.masked_scatter, (TABLE, TABLE > 9, torch.ones(2)), (TABLE, TABLE > 8, torch.ones(2))),
    "asserted": (lambda x: (torch._assert_async((x > 0).all()), x + 1)[1], (torch.ones(2),), (torch.zeros(2),)),
}


def run(function, arguments):
    """The result, or the error."""
    try:
        with torch.no_grad():
            return function(*[argument.clone() for argument in arguments])
    except Exception as error:  # noqa: BLE001 (whatever eager raises)
        return error


def check(function, good, *others):
    torch._dynamo.reset()
    for compiled in (
        tcomp.compile(Function(function), good, fallback="error"),
        torch.compile(function, backend="tcomp", dynamic=False, options={"fallback": "error"}),
    ):
        for arguments in (good, *others, good):
            want, got = run(function, arguments), run(compiled, arguments)
            if isinstance(want, Exception):
                assert isinstance(got, type(want)), f"{got!r} instead of {want!r}"
            else:
                torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", DIVISIONS)
def test_divisors(name):
    good, bad = (torch.tensor([5, -7]), torch.tensor([2, 3])), (torch.tensor([5, -7]), torch.tensor([0, 3]))
    check(DIVISIONS[name], good, bad)


def test_divisors_that_are_no_fault():
    check(lambda a, b: a // b, (torch.tensor([5.0]), torch.tensor([2.0])), (torch.tensor([5.0]), torch.tensor([0.0])))
    check(lambda a, b: a // b, (torch.ones(0, dtype=torch.int64), torch.tensor([0])))
    compiled = tcomp.compile(Function(lambda a: a // 2 % 3), (torch.tensor([5]),), fallback="error")
    assert not compiled.programs[0].assertions


@pytest.mark.parametrize("name", INDEXED)
def test_indices(name):
    check(INDEXED[name], (TABLE, torch.tensor([1])), *[(TABLE, torch.tensor([i])) for i in (3, -1, -4, 10**6, 0)])


@pytest.mark.parametrize("name", OTHERS)
def test_other_conditions(name):
    check(*OTHERS[name])


def test_comparisons_with_positions_are_no_classes():
    def compare(x):
        positions = torch.arange(3)
        return (x.unsqueeze(-1) == positions).long()

    check(compare, (torch.tensor([1]),), (torch.tensor([-1]),), (torch.tensor([7]),))


@pytest.mark.parametrize("dynamic", [True, None])
def test_a_number_that_divides_integers_is_not_zero(dynamic):
    torch._dynamo.reset()
    compiled = torch.compile(lambda x, n: (x // n, x % n), backend="tcomp", dynamic=dynamic, options={"fallback": "error"})
    x = torch.arange(5)
    for number in (2, 3, 4, 0, 3):
        if number:
            torch.testing.assert_close(compiled(x, number), (x // number, x % number))
        else:
            with pytest.raises(RuntimeError, match="ZeroDivisionError"):
                compiled(x, number)


def test_nothing_is_written_where_data_is_refused():
    compiled = tcomp.compile(Function(lambda x, y: x.add_(1) // y), (torch.tensor([4]), torch.tensor([2])), fallback="error")
    x = torch.tensor([4])
    with pytest.raises(tcomp.ir.errors.InvalidData, match="ZeroDivisionError") as caught:
        compiled(x, torch.tensor([0]))
    assert "test_refusals_of_data.py" in caught.value.where
    assert x.item() == 4


def test_a_saved_program_refuses_the_same(tmp_path):
    module = Function(lambda x, y: x // y)
    tcomp.compile(module, (torch.tensor([4]), torch.tensor([2]))).save(tmp_path / "program")
    loaded = tcomp.load(tmp_path / "program", module)
    assert loaded(torch.tensor([9]), torch.tensor([2])).item() == 4
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        loaded(torch.tensor([9]), torch.tensor([0]))
