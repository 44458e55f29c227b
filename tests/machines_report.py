"""Whether what is compiled for other machines is right: `python -m tests.machines_report [--help]`.

For each described CPU (see `tests/machines.py`): the programs of `tests/machine_programs.py`, the small models of the zoo, random
cascades and products, evaluated, and the first samples of op_db, all compiled for it, run here and compared with eager or with the
evaluator. Whatever is not right is listed.
"""

import argparse
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from hypothesis import HealthCheck, Phase, given, settings

import tcomp
from tcomp.ir.target import Cpu
from tcomp.reference import is_right, list_tensors, measure_error, run_reference
from tcomp.settings import override_environment
from tcomp.zoo import NAMES, build
from tests.cascade_strategies import products, programs
from tests.machine_programs import make_samples
from tests.machines import find_machines, on_machine
from tests.op_db_report import Outcome, examine, run
from tests.program_runner import check_compiled, random_inputs

KINDS = ("programs", "zoo", "random", "op_db")


@dataclass
class Count:
    """How many of a kind were tried on a machine, and what was wrong with those that are not right."""

    tried: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.tried - len(self.faults)}/{self.tried}"


def try_programs(cpu: Cpu) -> Count:
    """The programs whose schedules depend on the machine."""
    return count(examine(make_samples(cpu)), is_whole=True)


def try_operators(limit: int, names: str, jobs: int) -> Count:
    """The first samples of operators; those without a lowering are split around eager, and random ones left out."""
    return count(run(names, limit, jobs).outcomes, is_whole=False)


def count(outcomes: Sequence[Outcome], *, is_whole: bool) -> Count:
    """Count outcomes; with `is_whole` nothing may be left to eager."""
    tried = [outcome for outcome in outcomes if is_whole or not (outcome.is_random or outcome.untraced)]
    faults = [
        f"{outcome.name}: {outcome.fault or outcome.untraced or ', '.join(outcome.missing) or 'it draws random numbers'}"
        for outcome in tried
        if outcome.fault or (is_whole and (outcome.missing or outcome.untraced or outcome.is_random))
    ]
    return Count(len(tried), faults)


def try_models(names: Sequence[str]) -> Count:
    """Small models of the zoo, with real kernels."""
    found = Count()
    for name in names:
        module, inputs = build(name, size="small")

        def check(module: torch.nn.Module = module, inputs: tuple[torch.Tensor, ...] = inputs) -> None:
            compiled = tcomp.compile(module, inputs, fallback="error")
            with torch.no_grad():
                got, eager = list_tensors(compiled(*inputs)), list_tensors(module(*inputs))
            exact = run_reference(module, inputs)
            error, wanted = measure_error(got, exact), measure_error(eager, exact)
            assert is_right(error, wanted, eager), f"error {error:.3g}, eager's {wanted:.3g}"

        tally(found, name, check)
    return found


def try_random(cpu: Cpu, examples: int) -> Count:
    """Random cascades and products, the same ones every time, whose tile programs are evaluated."""
    found = Count()
    checks = settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for strategy in (programs(), products()):

        @checks
        @given(strategy)
        def check(cascade) -> None:
            tally(found, str(cascade), lambda: check_compiled(cascade, random_inputs(cascade), shuffle=1, target=cpu))

        check()
    return found


def tally(found: Count, name: str, check: Callable[[], object]) -> None:
    """Run a check and count it."""
    found.tried += 1
    try:
        check()
    # Whatever fails is listed, and the report goes on.
    except Exception as error:  # noqa: BLE001
        place = traceback.extract_tb(error.__traceback__)[-1]
        found.faults.append(f"{name}: {type(error).__name__} in {os.path.basename(place.filename)}:{place.lineno}: {error}"[:2000])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m tests.machines_report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--machine", default="", help="only machines whose name contains this")
    parser.add_argument("--only", action="append", choices=KINDS, help="only this kind (may be repeated)")
    parser.add_argument("--models", nargs="*", default=NAMES, help="models of the zoo (all)")
    parser.add_argument("--examples", type=int, default=60, help="random cascades, and as many products (%(default)s)")
    parser.add_argument("--operators", default="", help="only entries of op_db whose name contains this")
    parser.add_argument("--limit", type=int, default=1, help="most samples of each entry and dtype (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="entries of op_db examined at a time (%(default)s)")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    kinds = options.only or KINDS
    tries: dict[str, Callable[[Cpu], Count]] = {
        "programs": try_programs,
        "zoo": lambda cpu: try_models(options.models),
        "random": lambda cpu: try_random(cpu, options.examples),
        "op_db": lambda cpu: try_operators(options.limit, options.operators, options.jobs),
    }
    print(f"{'right of those tried':30}" + "".join(f"{kind:>14}" for kind in kinds) + f"{'seconds':>10}", flush=True)
    faults: list[str] = []
    machines = {name: cpu for name, cpu in find_machines().items() if options.machine in name}
    with override_environment({"TCOMP_RAISE_FAULTS": "1"}):
        try:
            for name, cpu in machines.items():
                started = time.monotonic()
                with on_machine(cpu):
                    counts = [tries[kind](cpu) for kind in kinds]
                print(f"{name:30}" + "".join(f"{found!s:>14}" for found in counts) + f"{time.monotonic() - started:10.0f}", flush=True)
                faults += [f"{name}: {fault}" for found in counts for fault in found.faults]
        except KeyboardInterrupt:
            print("interrupted; what was found until then:")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
