"""Timing by a clock of the test's: candidates take turns, what is hopeless gets none, and what others add does not count."""

from tcomp.codegen.timing import FEWEST, Timing, choose_sizes, find_undisturbed, find_usual, time_in_turns
from tcomp.ir.cascade import Symbol


class Bench:
    """Runs that take as long as the test says, on a clock that nothing else moves."""

    def __init__(self, **seconds):
        self.now = 0.0
        self.seconds = seconds
        self.order = []

    def runs(self):
        return [lambda name=name: self.run(name) for name in self.seconds]

    def run(self, name):
        self.order.append(name)
        taken = self.seconds[name]
        self.now += taken.pop(0) if isinstance(taken, list) else taken

    def time(self, **options):
        return time_in_turns(self.runs(), Timing(**options), lambda: self.now)


def test_candidates_take_turns_after_a_warm_up_each():
    bench = Bench(a=1.0, b=2.0)
    assert bench.time(warmups=2, repeats=3, budget=100.0) == [1.0, 2.0]
    assert "".join(bench.order) == "aabb" + "ab" + "ba" + "ab"


def test_what_a_first_run_or_another_process_takes_does_not_count():
    bench = Bench(a=[9.0, 4.0, 3.0, 5.0, 8.0])
    assert bench.time(warmups=2, repeats=3, budget=100.0) == [3.0]


def test_the_hopeless_get_no_turns():
    bench = Bench(a=1.0, b=[5.0, 4.0])
    assert bench.time(warmups=2, repeats=9, budget=100.0) == [1.0, 4.0]
    assert bench.order.count("b") == 2


def test_no_turn_begins_when_the_time_is_over_but_for_the_fewest():
    assert len(run_for(5.5).order) == 1 + 6
    assert len(run_for(0.0).order) == 1 + FEWEST


def run_for(budget):
    bench = Bench(a=1.0)
    bench.time(warmups=1, repeats=50, budget=budget)
    return bench


def test_nothing_takes_no_time():
    assert time_in_turns([]) == []


def test_one_number_of_several():
    assert find_usual([1.0, 9.0, 2.0]) == 2.0
    assert find_undisturbed([3.0, 9.0, 2.0]) == 2.0


def test_sizes_stay_in_their_ranges():
    symbols = (Symbol("A"), Symbol("B", 1, 7), Symbol("C", 300))
    assert choose_sizes(symbols, 128) == {"A": 128, "B": 7, "C": 300}
