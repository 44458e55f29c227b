"""Whether damaged files and killed processes do harm: `python -m tests.damage_report [--help]`.

Damages saved programs and entries of the build cache at random (bytes flipped, parts cut, doubled, zeroed, replaced, exchanged or
appended), and uses them: loading must give the right results or one error of ours, compiling the right results and at most one warning
whatever the cache holds. Then kills processes at random moments while they compile and save: the next process with the same folders must
be right, a saved file must be whole or absent, and nothing temporary may be left in the cache, beside the saved file or in the folder
for temporary files.

Every case has a number of its own, which with --seed gives the same damage again. When interrupted, what has been found is printed.
"""

import argparse
import functools
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

import tcomp
from tcomp.settings import override_environment
from tests.apart import run_apart

SECONDS = 120.0
"""How long one case may take."""
BATCH = 50
"""Cases in one process, as long as none crashes."""
COMPILING, SAVING = 4.0, 0.1
"""Seconds after which a process is killed at the latest: from its start, or from when it begins to save."""
RIGHT, REFUSED, HUNG = "right", "refused", "it hung"
HASH = "[0-9a-f]{64}-[0-9a-f]{32}"
EXPECTED = re.compile(rf"temporary|saved(/program\.tcomp)?|cache(/kernels(/[0-9a-f]{{2}}(/{HASH}\.(o|so))?)?)?")
"""What may lie in the folder of a case once its processes have ended."""


@dataclass(frozen=True)
class Case:
    """One damage, or one kill: its kind, and the seed of its random numbers."""

    kind: str
    seed: int


def make_module() -> nn.Module:
    """The module that is compiled, the same every time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.LayerNorm(24), nn.Linear(24, 4), nn.Softmax(-1)).eval()


def check_result(compiled: Callable[..., torch.Tensor], module: nn.Module) -> str:
    """Whether a compiled module gives what the module gives."""
    torch.manual_seed(1)
    x = torch.randn(5, 16)
    with torch.no_grad():
        return RIGHT if torch.allclose(compiled(x), module(x), 1e-5, 1e-6) else "a wrong result"


def damage(data: bytes, rng: random.Random) -> bytes:
    """Data with one thing wrong; never the same as it was, unless it was empty."""
    start = rng.randrange(len(data)) if data else 0
    length = min(rng.choice((1, 2, 8, 64, 1024, 16384)), len(data) - start)
    part = data[start : start + length]
    other = rng.randrange(len(data)) if data else 0
    short = min(length, len(data) - other)
    kinds: Sequence[Callable[[], bytes]] = (
        lambda: data[:start] + bytes([data[start] ^ (1 << rng.randrange(8))]) + data[start + 1 :] if data else b"x",
        lambda: data[:start] + rng.randbytes(length) + data[start + length :],
        lambda: data[:start],
        lambda: data[start + length :],
        lambda: data[:start] + data[start + length :],
        lambda: data[:start] + bytes(length) + data[start + length :],
        lambda: data[:start] + part + data[start:],
        lambda: data + rng.randbytes(rng.choice((1, 100, 10000))),
        lambda: b"",
        lambda: rng.randbytes(len(data)),
        lambda: data[:other] + data[start : start + short] + data[other + short :],
    )
    while True:
        changed = rng.choice(kinds)()
        if changed != data or not data:
            return changed


def load_damaged(case: Case, saved: Path, folder: Path) -> str:
    """Load a saved program that is damaged, and call it."""
    rng = random.Random(case.seed)
    path = folder / f"{case.seed}.tcomp"
    path.write_bytes(damage(saved.read_bytes(), rng))
    module = make_module()
    try:
        return check_result(tcomp.load(path, module), module)
    except tcomp.TcompError:
        return REFUSED
    # Any other error is the fault looked for.
    except Exception as error:  # noqa: BLE001
        return f"a raw error: {type(error).__name__}: {error}"
    finally:
        path.unlink()


def compile_from_damaged(case: Case, cache: Path, folder: Path) -> str:
    """Compile with a cache in which an entry is damaged, and call what comes."""
    rng = random.Random(case.seed)
    home = folder / f"cache-{case.seed}"
    shutil.copytree(cache, home, symlinks=True)
    files = sorted(path for path in home.rglob("*") if path.is_file())
    for path in rng.sample(files, rng.choice((1, 1, 2, len(files)))):
        changed = damage(path.read_bytes(), rng)
        path.chmod(0o600)
        path.write_bytes(changed)
    module = make_module()
    try:
        with override_environment({"TCOMP_CACHE_DIR": str(home)}), torch.no_grad(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            answer = check_result(tcomp.compile(module, (torch.zeros(5, 16),)), module)
        return f"{len(said)} warnings: {said[0].message}" if answer == RIGHT and len(said) > 1 else answer
    # No error is right: the cache is there to be dropped.
    except Exception as error:  # noqa: BLE001
        return f"an error: {type(error).__name__}: {error}"
    finally:
        shutil.rmtree(home)


def kill_and_look(case: Case, folder: Path) -> str:
    """Kill a process while it compiles, saves and loads, every other time not before it saves; say what the next one finds."""
    rng = random.Random(case.seed)
    base = folder / f"kill-{case.seed}"
    for name in ("cache", "temporary", "saved"):
        (base / name).mkdir(parents=True)
    is_saving = case.seed % 2 == 1
    seconds = rng.uniform(0.0, SAVING if is_saving else COMPILING)
    moment = f"killed {seconds:.3f} s after it {'began to save' if is_saving else 'started'}"
    try:
        reached = _run_for(base, seconds, is_saving)
        if reached == HUNG:
            return f"{HUNG} before it saved"
        target = base / "saved" / "program.tcomp"
        was_there = target.exists()
        if was_there and (found := run_apart([functools.partial(_load, target)], SECONDS)[0]) != RIGHT:
            return f"{moment}: the saved program is not whole: {found}"
        (said,) = run_apart([functools.partial(_compile_and_save, base)], SECONDS)
        if said != RIGHT:
            return f"{moment}: the next process: {said}"
        left = sorted(str(path.relative_to(base)) for path in _list_leftovers(base))
        if left:
            return f"{moment}: left behind: {', '.join(left)}"
        return f"{RIGHT}, {reached}{', file there' if was_there else ''}"
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _compile_and_save(base: Path, begin: Callable[[str], None] = str) -> str:
    """Compile, save and load; `begin` is called before saving."""
    tempfile.tempdir = None
    # A forked process must not wait for threads that its parent had.
    torch.set_num_threads(1)
    with override_environment({"TCOMP_CACHE_DIR": str(base / "cache"), "TMPDIR": str(base / "temporary")}):
        module, target = make_module(), base / "saved" / "program.tcomp"
        compiled = tcomp.compile(module, (torch.zeros(5, 16),))
        begin("to save")
        compiled.save(target)
        return check_result(tcomp.load(target, module), module)


def _load(path: Path) -> str:
    module = make_module()
    try:
        return check_result(tcomp.load(path, module), module)
    except tcomp.TcompError as error:
        return str(error)


def _run_for(base: Path, seconds: float, is_saving: bool) -> str:
    """Run in a process that is killed some seconds after it has started, or has begun to save; how far it had come."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_compile_and_save, args=(base, send.send))
    process.start()
    send.close()
    hung = is_saving and not receive.poll(SECONDS)
    process.join(seconds)
    running = process.exitcode is None
    if running:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    receive.close()
    # What the compiler of a dead process still writes.
    time.sleep(0.3)
    return HUNG if hung else "too late" if not running else "saving" if is_saving else "compiling"


def _list_leftovers(base: Path) -> Iterator[Path]:
    """Whatever is neither an entry of the cache or a folder of them, nor the saved program, nor PyTorch's own."""
    for path in base.rglob("*"):
        name = path.relative_to(base).as_posix()
        is_ours = not (name.startswith("temporary/") and "torchinductor" in name)
        if is_ours and not EXPECTED.fullmatch(name):
            yield path


def run_cases(cases: Sequence[Case], folder: Path, progress: Progress | None = None) -> list[tuple[Case, str]]:
    """What came of each case."""
    warnings.simplefilter("ignore")
    cache, saved = folder / "cache", folder / "program.tcomp"
    with override_environment({"TCOMP_CACHE_DIR": str(cache)}):
        run_apart([functools.partial(_prepare, saved)], SECONDS)
    bar = progress.add_task("", total=len(cases)) if progress is not None else None
    found: list[tuple[Case, str]] = []
    ways: dict[str, Callable[[Case], str]] = {
        "saved": functools.partial(load_damaged, saved=saved, folder=folder),
        "cache": functools.partial(compile_from_damaged, cache=cache, folder=folder),
    }
    try:
        for start in range(0, len(cases), BATCH):
            batch = cases[start : start + BATCH]
            damages = [case for case in batch if case.kind in ways]
            answers = dict(zip(damages, run_apart([functools.partial(ways[case.kind], case) for case in damages], SECONDS)))
            for case in batch:
                found.append((case, answers[case] if case in answers else kill_and_look(case, folder)))
                if progress is not None and bar is not None:
                    wrong = sum(not is_good(answer) for _, answer in found)
                    progress.update(bar, advance=1, description=f"{case.kind} {case.seed} ({wrong} wrong)")
    except KeyboardInterrupt:
        print("interrupted; what was found until then:", file=sys.stderr)
    return found


def _prepare(saved: Path) -> None:
    tcomp.compile(make_module(), (torch.zeros(5, 16),)).save(saved)


def is_good(answer: str) -> bool:
    """Whether that may come of a case."""
    return answer.startswith((RIGHT, REFUSED))


def make_cases(count: int, kills: int, seed: int) -> list[Case]:
    """Half of the damages for each kind of file, then the kills."""
    numbers = range(seed * 1_000_000, seed * 1_000_000 + count)
    return [*(Case(("saved", "cache")[n % 2], n) for n in numbers), *(Case("kill", numbers.stop + n) for n in range(kills))]


def print_report(found: Sequence[tuple[Case, str]]) -> None:
    """Print counts by kind, and every case that should not be."""
    for kind in dict.fromkeys(case.kind for case, _ in found):
        counts = Counter(answer if is_good(answer) else "wrong" for case, answer in found if case.kind == kind)
        print(f"{kind:6s} {sum(counts.values())} cases: {', '.join(f'{count} {answer}' for answer, count in counts.most_common())}")
    for case, answer in found:
        if not is_good(answer):
            print(f"  {case.kind} {case.seed}: {answer}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="damages (%(default)s)")
    parser.add_argument("--kills", type=int, default=100, help="processes killed (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other damages (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, transient=True) as progress:
        found = run_cases(make_cases(options.count, options.kills, options.seed), Path(folder), progress)
    print_report(found)
    print(f"took {time.monotonic() - started:.0f} s")
    return 0 if found and all(is_good(answer) for _, answer in found) else 1


if __name__ == "__main__":
    sys.exit(main())
