"""Is tcomp right on this GPU, and how fast? `python -m tests.gpu` from a checkout; nothing needs installing.

First every kind of kernel, many behaviours and small models of the zoo are compared with float64 arithmetic: an error may be twice
that of eager PyTorch. Then single kernels and the zoo in full size are measured against eager, Inductor, cuBLAS, PyTorch's flash
attention and the bandwidth of a copy, in turns within one run. Rows come in order of value, each section has its share of the time, and
each row runs in a process of its own, which may crash or hang. What is known when time is up, or at Ctrl-C, is kept: a table is printed,
and results.json is written after every row. Ends with 1 if anything is wrong or failed, 0 otherwise, whatever the speed.

    python -m tests.gpu                           everything, in 8 minutes
    python -m tests.gpu --only kernels/softmax    rows whose label contains this; several may be given
    python -m tests.gpu --list                    the labels of all rows
    python -m tests.gpu --interpret               no GPU: correctness alone, small, in Triton's interpreter on the CPU
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from tests.gpu.report import describe, find_thresholds, is_wrong
from tests.gpu.results import Row, write_json
from tests.gpu.rows import CHECKS, MEASUREMENTS, list_labels, open_rows
from tests.gpu.schedule import Pool, Section, WorkersFailed, run_sections
from tests.gpu.show import show, watch

STARTED = time.monotonic()
REPORTING = 5.0
"""Seconds kept for the end."""
MOST_WORKERS = 8
INTERPRETED = 4.0
"""How much longer rows may take in the interpreter."""


class Journal:
    """Keeps rows as they come: in a file, and as lines for who watches."""

    def __init__(self, path: Path, total: int, *, is_verbose: bool) -> None:
        self.rows: list[Row] = []
        self.machine: dict[str, Any] = {}
        self.note = ""
        self.total = total
        self.tell: Callable[[str], None] = lambda text: None
        """Told of each row that is done."""
        self._path = path
        self._is_verbose = is_verbose

    def set_machine(self, machine: dict[str, Any]) -> None:
        """Take down what the results are found on."""
        if not self.machine:
            self.machine = machine
            self.write()

    def keep(self, row: Row) -> None:
        """Take in a row."""
        self.rows.append(row)
        self.write()
        self.tell(f"{row.label} {row.status}")
        if self._is_verbose or row.status in ("wrong", "failed"):
            reason = row.detail.strip().partition("\n")[0][:200]
            when = f"[{len(self.rows)}/{self.total} {time.monotonic() - STARTED:.0f} s]"
            print(f"{when} {row.status} {row.label} {row.seconds:.1f} s {reason}".rstrip(), flush=True)

    def write(self) -> None:
        """Write all there is."""
        write_json(
            self._path,
            {"machine": self.machine, "note": self.note, "thresholds": find_thresholds(self.rows), "rows": self.rows},
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = parse(arguments)
    labels = select(list_labels(interpret=options.interpret), options.only)
    if not any(labels.values()):
        print(f"no row matches {' or '.join(options.only)}; --list shows all", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(label for section in labels.values() for label in section))
        return 0
    if not options.interpret and not torch.cuda.is_available():
        print("this machine shows no CUDA device; --interpret checks what can be checked without one", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.json"
    journal = Journal(path, sum(map(len, labels.values())), is_verbose=options.verbose)
    patience = INTERPRETED if options.interpret else 1.0
    sections = [replace(s, limit=s.limit * patience) for s in (*CHECKS, *MEASUREMENTS) if labels.get(s.name)]
    with watch(journal.total) as journal.tell:
        run(sections, labels, journal, options)
    journal.write()
    show(describe(journal.rows, journal.machine, journal.note))
    print(f"took {time.monotonic() - STARTED:.0f} s; all of it is in {path}")
    return 1 if is_wrong(journal.rows) or journal.note.startswith("workers") else 0


def run(sections: Sequence[Section], labels: dict[str, list[str]], journal: Journal, options: argparse.Namespace) -> None:
    """Run sections until all is done, time is up or someone interrupts; the journal's note says which."""
    signal.signal(signal.SIGTERM, _interrupt)
    end = STARTED + 60 * options.minutes - REPORTING
    # Caches of its own, so that compile times are those of a first compilation.
    with tempfile.TemporaryDirectory(prefix="tcomp-gpu-", ignore_cleanup_errors=True) as folder:
        for name in ("TCOMP_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
            os.environ[name] = str(Path(folder, name.lower()))
        os.environ["TCOMP_RAISE_FAULTS"] = "1"
        # Workers that are killed leave semaphores, of which Python tells at the end.
        os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
        open_table = functools.partial(open_rows, Path(folder), interpret=options.interpret)
        pool = Pool(open_table, Path(folder), options.workers, journal.set_machine)
        try:
            run_sections(sections, labels, pool, end, journal.keep)
        except KeyboardInterrupt:
            journal.note = "interrupted: these are the rows that were done"
        except WorkersFailed as error:
            journal.note = str(error)
        finally:
            pool.close()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    workers = max(1, min(MOST_WORKERS, (os.cpu_count() or 1) // 2))
    parser = argparse.ArgumentParser("python -m tests.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder for results.json (%(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="only rows whose label contains this")
    parser.add_argument("--minutes", type=float, default=8.0, help="how long all of it may take (%(default)s)")
    parser.add_argument("--workers", type=int, default=workers, help="processes that compile at a time (%(default)s)")
    parser.add_argument("--interpret", action="store_true", help="check on the CPU, in Triton's interpreter, at small sizes")
    parser.add_argument("--list", action="store_true", help="list rows, run none")
    parser.add_argument("--verbose", action="store_true", help="a line for every row, not only for what is wrong")
    return parser.parse_args(arguments)


def select(labels: dict[str, list[str]], wanted: Sequence[str]) -> dict[str, list[str]]:
    """The rows whose label contains any of the texts; all if there are none."""
    return {
        section: [label for label in listed if not wanted or any(text in label for text in wanted)] for section, listed in labels.items()
    }


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
