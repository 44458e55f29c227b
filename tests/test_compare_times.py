import numpy
import pytest

from tests.compare_times import find_ratio


@pytest.mark.parametrize("percentile", [25, 50])
def test_the_ratio_is_that_of_the_times_and_lies_between_what_chance_gives(percentile):
    noise = numpy.random.default_rng(0).exponential(0.1, (2, 400))
    low, middle, high = find_ratio(1.0 + noise, percentile)
    assert low < middle < high and low < 1.0 < high and high - low < 0.1
    low, middle, high = find_ratio((1.0 + noise) * numpy.array([[1.0], [2.0]]), percentile)
    assert low < middle < high < 0.6 and middle == pytest.approx(0.5, rel=0.05)
