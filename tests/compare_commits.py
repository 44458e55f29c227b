"""Whether two commits make the same kernels: `python -m tests.compare_commits [--help]`.

Every model of the zoo is compiled by both, for a described CPU and a described GPU, as it is and small, and what they made at every
stage that has a text (cascades, schedules, kernels, plans, C and Triton) is compared byte for byte. Each commit is checked out into a
folder of its own, and asked through what has always been there: `tcomp.compile` and TCOMP_DEBUG.
"""

from __future__ import annotations

import argparse
import difflib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CPU = """target "avx512 2 cores" { isa "x86_64 avx2 fma f16c avx512f" vector 512 bits 32 registers cores 2
cache 49152, 2097152, 33554432 compiler "gcc 12.2.0" }"""

COMPILE = """
import sys, warnings
warnings.simplefilter("ignore")
import torch, tcomp
from tcomp.zoo import build
name, size, target = sys.argv[1:]
module, inputs = build(name, size=size)
options = {"backend": "triton", "target": target} if target else {}
with torch.no_grad():
    tcomp.compile(module, inputs, **options)
"""


def main() -> int:
    """Compare, tell, and return 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="a commit")
    parser.add_argument("new", nargs="?", default="HEAD", help="a commit (HEAD); WORK is the checkout as it stands")
    parser.add_argument("--models", nargs="*", help="models of the zoo (all)")
    parser.add_argument("--sizes", nargs="*", default=["small", "full"], help="their sizes (small full)")
    parser.add_argument("--architectures", nargs="*", default=["", "sm_90"], help="of GPUs; an empty one is the CPU ('' sm_90)")
    parser.add_argument("--without", nargs="*", default=[], help="stages whose texts are not compared: schedule, memory, ...")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkouts = [check_out(commit, Path(folder) / name) for commit, name in ((options.old, "old"), (options.new, "new"))]
        try:
            return _compare_all(checkouts, options, Path(folder))
        finally:
            remove_checkouts(checkouts)


def _compare_all(checkouts: list[Path], options: argparse.Namespace, folder: Path) -> int:
    models = options.models or list_models()
    different = 0
    for model in models:
        for size in options.sizes:
            for architecture in options.architectures:
                what = f"{model}, {size}, {architecture or 'CPU'}"
                caches = [folder / f"{number}-cache" for number in range(len(checkouts))]
                dumps = [_dump(root, (model, size, architecture), cache, options.without) for root, cache in zip(checkouts, caches)]
                told = describe_difference(*dumps)
                print(f"{what}: {told or f'the same {len(dumps[0])} texts'}", flush=True)
                different += bool(told)
    print(f"{different} of {len(models) * len(options.sizes) * len(options.architectures)} differ")
    return int(different > 0)


def describe_difference(old: dict[str, str], new: dict[str, str]) -> str:
    """Which of two sets of texts by name differ first, and how; empty if they are the same."""
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            return f"only the {'old' if name in old else 'new'} one has {name}"
        if old[name] != new[name]:
            lines = list(difflib.unified_diff(old[name].splitlines(), new[name].splitlines(), "old", "new", lineterm="", n=1))
            return "\n".join([f"{name} differs", *(line[:200] for line in lines[:12])])
    return ""


def check_out(commit: str, folder: Path) -> Path:
    """Check a commit out into a folder, and return where it is: WORK is this checkout itself."""
    if commit == "WORK":
        return ROOT
    subprocess.run(["git", "worktree", "add", "--detach", "-q", folder, commit], cwd=ROOT, check=True)
    return folder


def remove_checkouts(checkouts: Sequence[Path]) -> None:
    """Remove what `check_out` made."""
    for checkout in checkouts:
        if checkout != ROOT:
            subprocess.run(["git", "worktree", "remove", "--force", checkout], cwd=ROOT, check=False)


def list_models() -> list[str]:
    """The names of the zoo's models."""
    from tcomp.zoo import NAMES  # noqa: PLC0415 (only if they are not given)

    return list(NAMES)


def _dump(root: Path, what: tuple[str, str, str], cache: Path, without: Sequence[str]) -> dict[str, str]:
    """What a checkout makes of one model, by the name of the stage."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"TCOMP_DEBUG": folder, "TCOMP_CACHE_DIR": str(cache), "TCOMP_TARGET": CPU, "PYTHONPATH": str(root)}
        run = subprocess.run(
            [sys.executable, "-c", COMPILE, *what], cwd=root, env=os.environ | settings, capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise SystemExit(f"{root} cannot compile {' '.join(what)}:\n{run.stderr[-2000:]}")
        # Groups have no text of their own: their dump names every field that the class has.
        left = ("_groups.txt", *(f"_{stage}.txt" for stage in without))
        paths = [path for path in sorted(Path(folder).rglob("*.*")) if not path.name.endswith(left)]
        # Stages are numbered: what is left out counts for nothing.
        return {f"{number:03}{path.name.lstrip('0123456789')}": path.read_text() for number, path in enumerate(paths)}


if __name__ == "__main__":
    sys.exit(main())
