"""Faults of plans of memory, of schedules as text, and of checks."""

from __future__ import annotations

from tcomp.fuzz.faults.fault import Fault, list_faults

PLAN: tuple[Fault, ...] = (
    *list_faults(
        "passes.plan.lifetimes",
        (
            "tensors that meet in one step may share memory",
            "return a.first <= b.last and b.first <= a.last",
            "return a.first < b.last and b.first < a.last",
            "lifetimes",
        ),
        (
            "a tensor dies where it is first read",
            "                last[operand.tensor] = position\n",
            "                last[operand.tensor] = min(last.get(operand.tensor, position), first[operand.tensor] + 1)\n",
            "lifetimes",
        ),
        (
            "a tensor dies where it is made",
            "return tuple(Lifetime(name, memories[name].bytes, first[name], last[name]) for name in first)",
            "return tuple(Lifetime(name, memories[name].bytes, first[name], first[name]) for name in first)",
            "lifetimes",
        ),
    ),
    *list_faults(
        "passes.plan.greedy",
        (
            "a gap has to hold the beginning of a tensor",
            "            if low >= offset + size:\n",
            "            if low >= offset + 64:\n",
            "addresses that overlap",
        ),
        (
            "what lies lower ends the search",
            "            offset = max(offset, high)\n",
            "            offset = high\n",
            "addresses that overlap",
        ),
        (
            "the arena ends where the last tensor was placed",
            "as_index(max((high for _, high in placed.values()), default=0))",
            "as_index(max((low for low, _ in placed.values()), default=0))",
            "memory safety",
        ),
    ),
    *list_faults(
        "passes.plan.in_place",
        (
            "an argument that lives on is written over",
            "dying = [p for p in alone if by_name[tensors[p]].first < step == by_name[tensors[p]].last]",
            "dying = [p for p in alone if by_name[tensors[p]].first < step]",
            "in-place",
        ),
        (
            "a smaller argument is written over",
            "if memories[tensors[read]].bytes == memories[tensors[written]].bytes and _may_join(kernel, read, written):",
            "if _may_join(kernel, read, written):",
            "in-place",
        ),
        (
            "any kernel may write over its argument",
            'return candidate.group.kind == "nest" and may_overwrite(',
            "return True or may_overwrite(",
            "in-place",
        ),
        (
            "a tensor in place lives as long as the one before it",
            "lives = tuple(replace(life, last=last) if life.name == old else life for life in lives if life.name != new)",
            "lives = tuple(life for life in lives if life.name != new)",
            "lifetimes",
        ),
    ),
    *list_faults(
        "passes.plan.tile_reuse",
        (
            "loads after the store read what was there",
            "return all(number <= last and _comes_first(sites[number], load, sites[last]) for number, load in dict.fromkeys(reads))",
            "return all(number > last or _comes_first(sites[number], load, sites[last]) for number, load in dict.fromkeys(reads))",
            "in-place",
        ),
        (
            "an element of another place is read before it is written",
            "        if load.index != store.assign.index:\n            return False\n",
            "",
            "in-place",
        ),
        (
            "one loop at the same step is enough",
            "return fixed >= {steps.name for steps in common}",
            "return bool(fixed) or not common",
            "in-place",
        ),
    ),
    *list_faults(
        "passes.plan.plan",
        (
            "views begin where their tensor does",
            "Place(ARENA, addresses[t] + offset) if t in addresses else Place(t, offset)",
            "Place(ARENA, addresses[t]) if t in addresses else Place(t, offset)",
            "layout rewriting",
        ),
        (
            "views of arguments begin where these do",
            "Place(ARENA, addresses[t] + offset) if t in addresses else Place(t, offset)",
            "Place(ARENA, addresses[t] + offset) if t in addresses else Place(t, offset * 0)",
            "layout rewriting",
        ),
        (
            "what is written in place has the address of nothing",
            "addresses.update((name, addresses[home]) for name, home in homes.items())",
            "addresses.update((name, addresses[home]) for name, home in list(homes.items())[1:])",
            "bad diagnostics",
        ),
    ),
    *list_faults(
        "passes.given",
        (
            "members are held whether the schedule says so or not",
            "return replace(group, held=frozenset(held), again=frozenset(own.intersection(self.schedule.again)))",
            "return replace(group, held=frozenset(own), again=frozenset(own.intersection(self.schedule.again)))",
            "schedule text",
        ),
        (
            "what is computed again is kept where a schedule says otherwise",
            "return replace(group, held=frozenset(held), again=frozenset(own.intersection(self.schedule.again)))",
            "return replace(group, held=frozenset(held))",
            "schedule text",
        ),
        (
            "a refusal inside a schedule is any error",
            "        except (Illegal, VerifyError, Unsupported) as error:\n",
            "        except Unsupported as error:\n",
            "bad diagnostics",
        ),
    ),
    *list_faults(
        "ir.schedule",
        (
            "a schedule does not say how sums are cut",
            "        if self.partial:\n",
            "        if len(self.partial) > 1:\n",
            "schedule text",
        ),
        (
            "a schedule does not say how much is held in registers",
            'registers = f" registers {self.registers}" if self.registers else ""',
            'registers = ""',
            "schedule text",
        ),
        (
            "a schedule says how arguments lie in another order",
            "*(f\"layout {tensor} ({', '.join(map(str, dimensions))})\" for tensor, dimensions in self.layouts),",
            "*(f\"layout {tensor} ({', '.join(map(str, sorted(dimensions)))})\" for tensor, dimensions in self.layouts),",
            "schedule text",
        ),
        (
            "a schedule does not say what is computed again",
            '            *_print_names("again", self.again),\n',
            "",
            "schedule text",
        ),
    ),
)
"""Faults of plans, schedules and checks."""
