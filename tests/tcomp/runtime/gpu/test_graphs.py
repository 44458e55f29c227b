"""Recordings are replayed for tensors at the addresses they hold, and never for others."""

import random as randomness

import pytest
import torch

from tcomp.runtime.gpu.graphs import MOST_RECORDINGS, Recordings, view_span


class Doubler:
    """Records `result = 2 * input` at the addresses given."""

    def __init__(self):
        self.recorded = []

    def __call__(self, given):
        (_, x), (_, y) = given
        self.recorded.append((x.data_ptr(), y.data_ptr()))
        # The recording works on memory, whoever owns it: so it keeps views and not the tensors' owners.
        return lambda: y.copy_(x).mul_(2)


def run(recordings, x, y):
    recordings.run([(0, x)], [(1, y)])
    assert torch.equal(y, 2 * x)


def test_the_same_addresses_are_recorded_once():
    record = Doubler()
    recordings, x, y = Recordings(record), torch.ones(3), torch.empty(3)
    for value in range(5):
        x.fill_(value)
        run(recordings, x, y)
    assert len(record.recorded) == recordings.count == 1
    assert recordings.own == {}


def test_a_few_addresses_are_recorded_each():
    record = Doubler()
    recordings, x = Recordings(record), torch.ones(3)
    results = [torch.empty(3) for _ in range(MOST_RECORDINGS)]
    for _ in range(3):
        for y in results:
            run(recordings, x, y)
    assert len(record.recorded) == MOST_RECORDINGS
    assert recordings.own == {}


@pytest.mark.parametrize("moving", ["inputs", "results", "both"])
def test_tensors_that_move_get_memory_of_the_frames(moving):
    record = Doubler()
    recordings = Recordings(record)
    fixed = torch.ones(3), torch.empty(3)
    kept = []
    for value in range(20):
        x = torch.full((3,), float(value)) if moving != "results" else fixed[0].fill_(value)
        y = torch.empty(3) if moving != "inputs" else fixed[1]
        kept.append((x, y))
        run(recordings, x, y)
    assert set(recordings.own) == {"inputs": {0}, "results": {1}, "both": {0, 1}}[moving]
    assert recordings.count == 1
    assert len(record.recorded) == MOST_RECORDINGS + 1
    # Results own their memory: no later call has changed one.
    if moving == "both":
        assert all(torch.equal(y, 2 * x) for x, y in kept)


def test_any_order_of_addresses_is_right():
    choose = randomness.Random(0)
    recordings = Recordings(Doubler())
    inputs, results = ([torch.empty(2, 3) for _ in range(6)] for _ in range(2))
    for _ in range(200):
        x, y = choose.choice(inputs), choose.choice(results)
        run(recordings, x.normal_(), y)


def test_a_recording_for_other_addresses_would_show():
    """Planted fault: replaying whatever was recorded first must fail the check above."""
    recordings = Recordings(Doubler())
    recordings._find_key = lambda given: ()
    x, y = torch.ones(3), torch.empty(3)
    run(recordings, x, y)
    with pytest.raises(AssertionError):
        run(recordings, torch.full((3,), 5.0), torch.empty(3))


def test_memory_that_is_not_dense_is_copied_as_it_lies():
    def record(given):
        (_, x), (_, y) = given
        return lambda: y.as_strided((2, 4), (1, 2)).copy_(x.as_strided((2, 4), (8, 2))).mul_(2)

    recordings = Recordings(record)
    for value in range(12):
        x = torch.full((2, 8), float(value))[:, ::2]
        run(recordings, x, torch.empty(4, 2).t())
    assert set(recordings.own) == {0, 1}


@pytest.mark.parametrize(
    ("tensor", "span"),
    [(torch.arange(6).view(2, 3), 6), (torch.arange(6).view(2, 3)[:, 1:], 5), (torch.arange(3).expand(4, 3), 3), (torch.empty(0, 3), 0),
     (torch.tensor(1.0), 1)],
)  # fmt: skip
def test_spans_reach_from_the_first_to_the_last_element(tensor, span):
    view = view_span(tensor.clone() if tensor.is_floating_point() else tensor)
    assert view.shape == (span,)
    assert not view_span(torch.ones(2, requires_grad=True)).requires_grad
