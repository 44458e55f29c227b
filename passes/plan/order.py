"""The order of steps: one in which less memory is alive at once, where a program has to keep to a budget.

    A = f(X)    B = g(X)    a = sum(A)    b = sum(B)        A and B are alive together
        =>  A = f(X)    a = sum(A)    B = g(X)    b = sum(B)

What has been run says what is alive, in whatever order it was, so of all orders of one set of steps the one of the lowest peak is as good
as any: dynamic programming over sets of steps (Ahn et al., "Ordering chaos: memory-aware scheduling of irregularly wired neural networks
for edge devices", 2020). A step that leaves no more alive than it found, and raises no peak, is run at once: before whatever else it is
run, that has no more alive beside it than it would have without. Where there are still more sets of one size than are followed, they
are the most promising, as in a beam search; up to then the order is the best there is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tcomp.passes.lower.candidate import Candidate

WIDEST = 256
"""Sets of one size that are followed at most."""
MOST_TRIED = 100_000
"""Steps that are tried in all, which takes some seconds: of a thousand steps a hundred at each place."""


def find_dependences(kernels: Sequence[Candidate]) -> tuple[tuple[int, ...], ...]:
    """The earlier steps that each step has to follow: who wrote what it reads or writes, and who read what it writes.

    Whole tensors count, so steps that write parts of one, as windows of an iteration do, stay as they are.
    """
    writer: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    found: list[tuple[int, ...]] = []
    for step, candidate in enumerate(kernels):
        roles: dict[str, bool] = {}
        for argument, operand in zip(candidate.kernel.arguments, candidate.operands, strict=True):
            roles[operand.tensor] = roles.get(operand.tensor, False) or argument.role != "in"
        before: set[int] = set()
        for tensor, is_written in roles.items():
            before.update((writer[tensor],) if tensor in writer else ())
            if is_written:
                before.update(readers.pop(tensor, ()))
                writer[tensor] = step
            else:
                readers.setdefault(tensor, []).append(step)
        found.append(tuple(sorted(before)))
    return tuple(found)


def order_steps(
    touched: Sequence[Collection[str]], dependences: Sequence[Collection[int]], sizes: Mapping[str, int]
) -> tuple[int, ...]:
    """An order of steps, by their numbers, in which the most bytes alive at once are as few as found; as they are if none has fewer.

    Each step touches some tensors and follows those it depends on, which have lower numbers. A tensor in `sizes` takes so many bytes
    from the first step that touches it to the last; tensors that are not take none.
    """
    steps = len(touched)
    users: dict[str, int] = {}
    for step, names in enumerate(touched):
        for name in names:
            users[name] = users.get(name, 0) | 1 << step
    uses = [[(users[name], sizes[name]) for name in dict.fromkeys(names) if name in sizes] for names in touched]
    needs = [sum(1 << other for other in set(before)) for before in dependences]
    followers: list[list[int]] = [[] for _ in touched]
    for step, before in enumerate(dependences):
        for other in before:
            followers[other].append(step)
    # What a step touches is alive at that step in any order.
    floor = max((sum(size for _, size in used) for used in uses), default=0)
    given = _State(floor, 0, 0, (), None, -1)
    for step in range(steps):
        given = given.run(step, uses[step])
    states = [_State(floor, 0, 0, tuple(step for step in range(steps) if not needs[step]), None, -1)]
    for _ in range(steps):
        found: dict[int, _State] = {}
        tried = 0
        for state in states:
            tried += len(state.ready)
            for after in state.try_steps(uses):
                known = found.get(after.done)
                if after.peak < given.peak and (known is None or after.peak < known.peak):
                    found[after.done] = after
            if tried * steps > MOST_TRIED:
                break
        # Of two that are as good, the one whose steps came first as they were.
        best = sorted(found.values(), key=lambda state: (state.peak, state.alive, state.done))[:WIDEST]
        states = [state.with_ready(followers[state.step], needs) for state in best]
    return (states[0] if states else given).order()


@dataclass(frozen=True, slots=True)
class _State:
    """Some steps run, as a set of bits: the most bytes alive so far, those alive now, and what may come next."""

    peak: int
    alive: int
    done: int
    ready: tuple[int, ...]
    before: _State | None
    step: int
    """The last one."""

    def run(self, step: int, uses: Sequence[tuple[int, int]]) -> _State:
        """The state after one more step, which uses tensors of some size, each told by the set of all its users."""
        done = self.done | 1 << step
        need = self.alive + sum(size for users, size in uses if not users & self.done)
        alive = need - sum(size for users, size in uses if not users & ~done)
        return _State(max(self.peak, need), alive, done, self.ready, self, step)

    def try_steps(self, uses: Sequence[Sequence[tuple[int, int]]]) -> list[_State]:
        """The states after one more step: one of them alone if it can do no harm."""
        found = [self.run(step, uses[step]) for step in self.ready]
        harmless = next((state for state in found if state.peak == self.peak and state.alive <= self.alive), None)
        return found if harmless is None else [harmless]

    def with_ready(self, followers: Sequence[int], needs: Sequence[int]) -> _State:
        """The state with what may come next now that its last step was run."""
        freed = (other for other in dict.fromkeys(followers) if not needs[other] & ~self.done)
        ready = (*(other for other in self.ready if other != self.step), *freed)
        return _State(self.peak, self.alive, self.done, ready, self.before, self.step)

    def order(self) -> tuple[int, ...]:
        """The steps in the order in which they were run."""
        found: list[int] = []
        state: _State | None = self
        while state is not None and state.before is not None:
            found.append(state.step)
            state = state.before
        return tuple(reversed(found))
