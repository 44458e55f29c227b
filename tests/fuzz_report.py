"""How many faults the fuzzer finds, and how fast: `python -m tests.fuzz_report [--help]`.

Plants one fault of the catalogue (fuzz/faults) after another, and mutants of the syntax tree, and runs a campaign in an empty folder
until something is wrong with a seed or the time is up. It prints which share was found after 10 seconds, a minute and ten minutes, the
median time and tests of those that were, by which oracle, and per class; then those that were not found, with their text: among them
may be some that change nothing that can be seen.

Strategies are those of fuzz/campaign/strategies.py: `joint` is ours, the others are baselines in the same harness. Seconds count from
the start of the worker, which itself takes a few; tests do not depend on the machine.
When interrupted, what has been found is printed; with `--keep FILE` it is also written as it is found, and the next run goes on from there.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tcomp.fuzz.campaign.campaign import Budget, Campaign
from tcomp.fuzz.campaign.process import WorkerError
from tcomp.fuzz.campaign.strategies import STRATEGIES
from tcomp.fuzz.faults.catalogue import FAULTS, find_fault
from tcomp.fuzz.faults.mutants import MUTANT

MARKS = (("10 s", 10.0), ("1 min", 60.0), ("10 min", 600.0))
"""After how many seconds the share that was found is told."""
IMPORT = "import"
"""What finds a fault that keeps the compiler from being imported."""
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
NATIVE = 8
"""Of so many seeds one is run as C: more than in a campaign, which has longer to find what only C shows."""
LIMIT = 30.0
"""Seconds that one seed may take."""


@dataclass(frozen=True)
class Outcome:
    """What became of one planted fault."""

    name: str
    kind: str
    strategy: str
    seconds: float
    """Until it was found, or until the campaign ended."""
    tests: int
    oracle: str = ""
    """Which one found it; empty if none did."""
    bucket: str = ""


def main() -> None:
    options = parse_options()
    chosen = choose_faults(options.faults, options.mutants, options.only)
    outcomes: list[Outcome] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, contextlib.suppress(KeyboardInterrupt):
        task = progress.add_task("planting", total=len(chosen))
        for outcome in run(chosen, options.strategy, options.time, options.native, options.jobs, options.keep):
            outcomes.append(outcome)
            progress.update(task, advance=1, description=f"{sum(bool(o.oracle) for o in outcomes)} found")
    print(describe(outcomes, options.time))


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--faults", type=int, default=len(FAULTS), help="how many of the catalogue, evenly taken; all by default")
    parser.add_argument("--mutants", type=int, default=0, help="how many mutants besides")
    parser.add_argument("--only", default="", help="faults whose name or class has this text in it")
    parser.add_argument("--time", type=parse_seconds, default=60.0, help="how long to search for each: 60s, 10m; 60s by default")
    parser.add_argument("--strategy", choices=STRATEGIES, default="joint", help="joint by default")
    parser.add_argument("--native", type=int, default=NATIVE, help=f"run one of so many seeds as compiled C; {NATIVE} by default")
    parser.add_argument("--jobs", type=int, default=1, help="campaigns at once, each with one worker")
    parser.add_argument("--keep", metavar="FILE", help="write outcomes to this file as they come; what it has is not run again")
    return parser.parse_args(arguments)


def parse_seconds(text: str) -> float:
    unit = UNITS.get(text[-1:])
    return float(text if unit is None else text[:-1]) * (unit or 1.0)


def choose_faults(faults: int, mutants: int, only: str = "") -> list[str]:
    """Names of some faults of the catalogue, from all of it, and of the first mutants."""
    fitting = [fault.name for fault in FAULTS.values() if only in fault.name or only in fault.kind]
    count = min(faults, len(fitting))
    return [*(fitting[place * len(fitting) // count] for place in range(count)), *(f"{MUTANT}{number}" for number in range(mutants))]


def run(names: Sequence[str], strategy: str, seconds: float, native: int, jobs: int = 1, keep: str | None = None) -> Iterator[Outcome]:
    """Search for each fault, `jobs` at once; yields outcomes as they come, those of the file `keep` first."""
    known = {(o.name, o.strategy): o for o in read_kept(keep)}
    yield from (known[name, strategy] for name in names if (name, strategy) in known)
    missing = iter([name for name in names if (name, strategy) not in known])
    with ThreadPoolExecutor(jobs) as pool:
        running: set[Future[Outcome]] = set()
        while True:
            while len(running) < jobs and (name := next(missing, None)) is not None:
                running.add(pool.submit(search, name, strategy, seconds, native))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for outcome in (future.result() for future in done):
                if keep is not None:
                    with open(keep, "a") as file:
                        file.write(json.dumps(asdict(outcome)) + "\n")
                yield outcome


def read_kept(path: str | None) -> list[Outcome]:
    if path is None or not Path(path).exists():
        return []
    return [Outcome(**json.loads(line)) for line in Path(path).read_text().splitlines()]


def search(name: str, strategy: str, seconds: float, native: int, tests: int | None = None) -> Outcome:
    """Run a campaign with a fault until it finds something."""
    kind = find_fault(name).kind
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(
            Path(folder), Budget(seconds, tests, buckets=1), seconds=LIMIT, strategy=STRATEGIES[strategy], native=native, plant=name,
            reducing=0.0,
        )  # fmt: skip
        try:
            new = campaign.run()
        except WorkerError as error:
            return Outcome(name, kind, strategy, 0.0, 0, IMPORT, str(error).splitlines()[-1])
        if not new:
            return Outcome(name, kind, strategy, campaign.state.seconds, campaign.state.tests)
        return Outcome(name, kind, strategy, new[0].first, campaign.state.tests, new[0].finding.oracle, new[0].name)


def describe(outcomes: Sequence[Outcome], limit: float) -> str:
    """The tables, as Markdown."""
    if not outcomes:
        return "no fault was planted"
    found = [o for o in outcomes if o.oracle]
    lines = [f"{len(found)} of {len(outcomes)} faults found ({len(found) / len(outcomes):.1%}), strategy {outcomes[0].strategy}"]
    for mark, seconds in MARKS:
        if seconds <= limit:
            lines.append(f"after {mark}: {sum(o.seconds <= seconds for o in found) / len(outcomes):.1%}")
    if found:
        median, tests = (statistics.median(values) for values in ([o.seconds for o in found], [o.tests for o in found]))
        lines.append(f"median of those that were found: {median:.1f} s, {tests:.0f} tests")
    lines += ["", "| oracle | found |", "|---|---:|", *_count(found, lambda o: o.oracle)]
    lines += ["", "| class | planted | found | median tests |", "|---|---:|---:|---:|"]
    classes: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        classes[outcome.kind].append(outcome)
    for kind, some in sorted(classes.items()):
        tests_of = [o.tests for o in some if o.oracle]
        middle = f"{statistics.median(tests_of):.0f}" if tests_of else ""
        lines.append(f"| {kind} | {len(some)} | {len(tests_of)} | {middle} |")
    missed = [o for o in outcomes if not o.oracle]
    if missed:
        lines += ["", "Not found; some of them may change nothing that can be seen:"]
    for outcome in missed:
        fault = find_fault(outcome.name)
        lines += ["", f"{outcome.name} ({fault.module}, {outcome.kind}; {outcome.tests} tests)"]
        for sign, text in (("-", fault.old), ("+", fault.new)):
            lines += [f"  {sign} {line}" for line in text.strip("\n").splitlines()]
    return "\n".join(lines)


def _count(outcomes: Sequence[Outcome], key: Callable[[Outcome], str]) -> list[str]:
    counts: dict[str, int] = defaultdict(int)
    for outcome in outcomes:
        counts[key(outcome)] += 1
    return [f"| {name} | {count} |" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


if __name__ == "__main__":
    main()
