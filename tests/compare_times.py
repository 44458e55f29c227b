"""Which of two commits runs models faster: `python -m tests.compare_times OLD [NEW] [--help]`.

Each model is compiled by both, in a process of each commit that stays, and the two take turns at calls within one run: a machine
that slows down slows both. Every round times a few calls of each, in changing order; told are the least time, the lower quartile
and the median of either, and the ratios of these with what 95 % of resampled runs of the same rounds give (bootstrap).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy

from tests.compare_commits import check_out, list_models, remove_checkouts

WORKER = """
import sys, time, warnings
warnings.simplefilter("ignore")
import torch, tcomp
from tcomp.zoo import build
name, size, threads, calls = sys.argv[1:]
torch.set_num_threads(int(threads))
module, inputs = build(name, size=size)
with torch.no_grad():
    compiled = tcomp.compile(module, inputs)
    for _ in range(3):
        compiled(*inputs)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(calls)):
            compiled(*inputs)
        print((time.perf_counter() - start) / int(calls), flush=True)
"""


class Worker:
    """A process in which one checkout has compiled one model, and times calls of it when asked."""

    def __init__(self, root: Path, model: str, options: argparse.Namespace, cache: Path) -> None:
        command = [sys.executable, "-c", WORKER, model, options.size, str(options.threads), str(options.calls)]
        settings = {"PYTHONPATH": str(root), "TCOMP_CACHE_DIR": str(cache)}
        self.process = subprocess.Popen(
            command, cwd=root, env=os.environ | settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._read() != "ready":
            raise SystemExit(f"{root} does not run {model}")

    def time(self) -> float:
        """Seconds of one call, on average over the calls of a round."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self._read())

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def main() -> int:
    """Time, tell, and return 1 if a model got slower by more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="a commit")
    parser.add_argument("new", nargs="?", default="HEAD", help="a commit (HEAD); WORK is the checkout as it stands")
    parser.add_argument("--models", nargs="*", help="models of the zoo (all)")
    parser.add_argument("--size", default="full", help="small or full (full)")
    parser.add_argument("--rounds", type=int, default=40, help="rounds in which both are timed (40)")
    parser.add_argument("--calls", type=int, default=1, help="calls of each in a round (1)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of both (all)")
    parser.add_argument("--allowed", type=float, default=0.02, help="by how much the new one's lower quartile may be slower (0.02)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkouts = [check_out(commit, Path(folder) / name) for commit, name in ((options.old, "old"), (options.new, "new"))]
        try:
            slower = [model for model in options.models or list_models() if _compare(model, checkouts, options, Path(folder))]
        finally:
            remove_checkouts(checkouts)
    print(f"slower by more than {options.allowed:.0%}: {', '.join(slower) or 'none'}")
    return int(bool(slower))


def _compare(model: str, checkouts: list[Path], options: argparse.Namespace, folder: Path) -> bool:
    workers = [Worker(root, model, options, folder / f"{number}-cache") for number, root in enumerate(checkouts)]
    times: list[list[float]] = [[], []]
    for turn in range(options.rounds):
        for number in (0, 1) if turn % 2 else (1, 0):
            times[number].append(workers[number].time())
    for worker in workers:
        worker.stop()
    samples = numpy.array(times)
    told = [" / ".join(f"{1000 * each:.3f}" for each in (samples[n].min(), *numpy.percentile(samples[n], (25, 50)))) for n in (0, 1)]
    ratios = {name: find_ratio(samples, percentile) for name, percentile in (("quartiles", 25), ("medians", 50))}
    said = "; ".join(f"of {name} {middle:.3f} ({low:.3f} to {high:.3f})" for name, (low, middle, high) in ratios.items())
    print(f"{model}: old {told[0]} ms, new {told[1]} ms (least / quartile / median); old/new {said}", flush=True)
    # Whatever else a machine does slows the upper half of the rounds, in which medians are lost.
    return ratios["quartiles"][1] < 1 / (1 + options.allowed)


def find_ratio(samples: numpy.ndarray, percentile: float) -> tuple[float, float, float]:
    """The ratio of a percentile of the old times to that of the new, between what resampled rounds give."""
    rounds = samples.shape[1]
    chosen = numpy.random.default_rng(0).integers(0, rounds, (1000, rounds))
    old, new = (numpy.percentile(each[chosen], percentile, axis=1) for each in samples)
    low, high = numpy.percentile(old / new, (2.5, 97.5))
    middle = numpy.percentile(samples[0], percentile) / numpy.percentile(samples[1], percentile)
    return float(low), float(middle), float(high)


if __name__ == "__main__":
    sys.exit(main())
