"""What served a call is found for calls of its kind alone, in the table and by what tells the latest kind apart."""

import threading

import pytest
import torch

from tcomp.module.keys import Served, describe


def serve(*leaves, state=(1,), times=3):
    served = Served(8)
    server = object()
    served.add(describe(state, leaves), server)
    for _ in range(times):
        assert served.find(state, leaves) is server
    return served, server


def x(*shape, **kwargs):
    return torch.zeros(*shape, **kwargs)


OTHERS = {
    "a shape": lambda: x(3, 5),
    "a rank": lambda: x(3, 4, 1),
    "strides": lambda: x(4, 3).t(),
    "a type": lambda: x(3, 4, dtype=torch.float64),
    "a parameter": lambda: torch.nn.Parameter(x(3, 4)),
    "what is negated when it is read": lambda: torch._neg_view(x(3, 4)),
    "a device": lambda: x(3, 4, device="meta"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_kind_is_not_taken_for_it(other):
    served, _ = serve(x(3, 4))
    assert served.find((1,), (OTHERS[other](),)) is None


def test_another_state_is_not_taken_for_it():
    served, _ = serve(x(3, 4))
    assert served.find((2,), (x(3, 4),)) is None


def test_other_tensors_of_the_kind_are():
    served, server = serve(x(3, 4))
    assert served.find((1,), (x(20)[5:17].view(3, 4),)) is server
    assert served.find((1,), (x(3, 4).requires_grad_(),)) is server


def test_inference_mode_makes_no_difference():
    served, server = serve(x(3, 4))
    with torch.inference_mode():
        assert served.find((1,), (x(3, 4),)) is server


@pytest.mark.parametrize("leaves", [(), (x(2), 3), (None,), (x(2), x(3, dtype=torch.complex64))])
def test_other_leaves(leaves):
    served, server = serve(*leaves)
    assert served.find((1,), tuple(leaf.clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves)) is server


def test_kinds_in_turn():
    served = Served(8)
    for size in (2, 3):
        served.add(describe((1,), (x(size),)), str(size))
    assert [served.find((1,), (x(size),)) for size in (2, 3, 2, 2, 2, 3, 3, 3, 2)] == list("232223332")


def test_what_is_forgotten_or_replaced_serves_no_more():
    served, _ = serve(x(3, 4))
    served.add(describe((1,), (x(3, 4),)), "another")
    assert served.find((1,), (x(3, 4),)) == "another"
    served.clear()
    assert served.find((1,), (x(3, 4),)) is None


def test_what_another_thread_forgets_meanwhile_serves_no_more():
    """One thread looks up what another one has just forgotten, and would remember it as the latest."""
    served, _ = serve(x(3, 4), times=1)
    leaves = _Forgetting((x(3, 4),), served)
    served.find((1,), leaves)
    served.find((1,), leaves)
    assert served.find((1,), (x(3, 4),)) is None


class _Forgetting(tuple):
    """Leaves, while the last of which is looked at another thread forgets everything."""

    def __new__(cls, leaves, served):
        self = super().__new__(cls, leaves)
        self.served = served
        return self

    def __iter__(self):
        yield from super().__iter__()
        thread = threading.Thread(target=self.served.clear)
        thread.start()
        thread.join()


def test_the_number_of_kinds_is_limited():
    served = Served(4)
    for size in range(20):
        served.add(describe((1,), (x(size),)), size)
    assert sum(served.find((1,), (x(size),)) is not None for size in range(20)) in range(1, 5)
