"""The command line of the fuzzer: run, replay, reduce, report, corpus."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tcomp.codegen.c.toolchain import count_processors
from tcomp.fuzz.campaign.buckets import Bucket, Buckets, reduce_in
from tcomp.fuzz.campaign.campaign import Budget, Campaign, read_state
from tcomp.fuzz.campaign.cluster import ClusterWorker, connected
from tcomp.fuzz.campaign.corpus import Corpus
from tcomp.fuzz.campaign.files import write_file
from tcomp.fuzz.campaign.process import Worker, WorkerError
from tcomp.fuzz.campaign.protocol import Job
from tcomp.fuzz.campaign.report import write_reports
from tcomp.fuzz.campaign.strategies import JOINT
from tcomp.fuzz.faults.catalogue import FAULTS, find_fault
from tcomp.fuzz.layers.table import LAYERS, TCOMP, find_layers, layer_of
from tcomp.fuzz.programs.compilers import COMPILERS

CLEAN, FOUND, BROKEN = 0, 1, 2
"""Exit codes: nothing new is wrong, something is, the campaign could not run."""
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
FOLDER = "tcomp-fuzz"


class _Duration(click.ParamType[float]):
    """Seconds, as in 90, 90s, 10m or 8h."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        unit = UNITS.get(text[-1:])
        try:
            return float(text if unit is None else text[:-1]) * (unit or 1.0)
        except ValueError:
            self.fail(f"{text!r} is no duration: write 90s, 10m or 8h", param, ctx)


_folder_option = click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), default=FOLDER, show_default=True, help="The campaign's folder."
)
_memory_option = click.option("--megabytes", type=click.IntRange(512), default=4096, show_default=True, help="Memory of one worker.")
_limit_option = click.option("--limit", type=_Duration(), default="30s", show_default=True, help="How long one seed may take.")


@click.group(short_help="Attack the compiler with random programs.")
def fuzz() -> None:
    """Attack the compiler with random programs, and keep what breaks it.

    A campaign makes random cascades, machines, lists of passes and schedules, changes those that reach new branches of the compiler, and
    asks oracles of each: every stage is legal and means the same (which names the guilty pass), tile programs compute what the cascade
    means, C computes the same and stays inside its memory. It makes random modules of PyTorch too, compiles them as a user would, and
    compares all that can be seen with eager. What fails is sorted into buckets, reduced, and written down as a script.

    \b
    Examples:
      tcomp fuzz run --time 90s --seed 1          a short campaign, as CI runs it
      tcomp fuzz run --time 8h --jobs 8           a night's; the same folder goes on where the last run ended
      tcomp fuzz replay tcomp-fuzz/crashes        are the faults mended?
      tcomp fuzz report                           what was found: Markdown, HTML, JUnit, SARIF
    """


@fuzz.command()
@click.option("--time", "seconds", type=_Duration(), default="60s", show_default=True, help="How long to run.")
@click.option("--tests", type=click.IntRange(1), help="End after so many seeds.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, other programs.")
@click.option("--jobs", type=click.IntRange(1), help="Workers, each a process of its own.  [default: 1; with --ray all processors]")
@click.option("--ray", "cluster", metavar="ADDRESS", help="Take workers of a Ray cluster: its address, auto, or local for one here.")
@click.option("--native", type=click.IntRange(0), default=20, show_default=True, help="Run one of so many seeds as compiled C; 0: none.")
@click.option("--sanitize", default="", help="Compile that C with these sanitizers, as in address,undefined, and check its kernels.")
@click.option("--layers", default=",".join(LAYERS), show_default=True, help="What is made: cascades, programs of PyTorch.")
@click.option("--target", default=TCOMP, show_default=True, help=f"The compiler that programs examine: {', '.join(COMPILERS)}.")
@click.option("--domains", default="", help="What may be changed in a seed; by default everything.")
@click.option("--suppress", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Lines 'BUCKET # REASON' to leave alone.")
@click.option("--plant", metavar="FAULT", help="Plant this fault in the compiler first, to see whether it is found; 'list' lists them.")
@_limit_option
@_memory_option
@_folder_option
def run(
    seconds: float, tests: int | None, seed: int, jobs: int | None, cluster: str | None, native: int, sanitize: str, layers: str,
    target: str, domains: str, suppress: Path | None, plant: str | None, limit: float, megabytes: int, folder: Path,
) -> None:  # fmt: skip
    """Run a campaign; Ctrl-C ends it and keeps what it has.

    Exits with 0 if nothing new is wrong, 1 if something is, 2 if the campaign could not run. With one job and the same seed, a campaign in
    an empty folder makes the same programs each time.
    """
    if plant == "list":
        for fault in FAULTS.values():
            click.echo(f"{fault.name:40s} {fault.module.removeprefix('tcomp.'):32s} {fault.kind}")
        return
    if plant is not None:
        find_fault(plant)
    names = _split(layers)
    unknown = sorted(set(names) - LAYERS.keys())
    if unknown or not names:
        raise click.UsageError(f"{', '.join(unknown) or 'nothing'} cannot be made: choose from {', '.join(LAYERS)}")
    if target != TCOMP and target not in COMPILERS:
        raise click.UsageError(f"{target} is no compiler: choose from {', '.join(COMPILERS)}")
    known = [name for layer in find_layers(names, target) for name in layer.domains]
    unknown = sorted(set(_split(domains)) - set(known))
    if unknown:
        raise click.UsageError(f"{', '.join(unknown)} cannot be changed: choose from {', '.join(known)}")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=seconds)
        began = time.monotonic()

        def watch(campaign: Campaign) -> None:
            text = f"{campaign.tests_a_second:.1f} tests/s, {campaign.reached} branches, {len(campaign.buckets.known)} buckets"
            progress.update(task, completed=min(seconds, time.monotonic() - began), description=text)

        try:
            with contextlib.ExitStack() as stack:
                processors = stack.enter_context(connected(cluster, jobs or count_processors())) if cluster else 1
                campaign = Campaign(
                    folder, Budget(seconds, tests), seed=seed, jobs=jobs or processors, seconds=limit, megabytes=megabytes,
                    suppressions=_read_suppressions(suppress), strategy=replace(JOINT, domains=_split(domains)), layers=names,
                    compiler=target, native=native, plant=plant or "", sanitizers=sanitize,
                    employ=ClusterWorker if cluster else Worker, watch=watch,
                )  # fmt: skip
                new = campaign.run()
        except (WorkerError, OSError) as error:
            Console(stderr=True).print(f"the campaign could not run: {error}", style="red", markup=False)
            sys.exit(BROKEN)
    paths = write_reports(folder, campaign.state, list(campaign.buckets.known.values()))
    _show(Console(), (folder / "report.md").read_text().splitlines()[2], new, folder)
    Console().print(f"reports: {', '.join(map(str, paths))}", markup=False)
    sys.exit(FOUND if new else CLEAN)


@fuzz.command(short_help="Examine stored seeds again.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--native/--no-native", default=True, show_default=True, help="Also run each seed as compiled C.")
@_limit_option
@_memory_option
def replay(paths: tuple[Path, ...], native: bool, limit: float, megabytes: int) -> None:
    """Examine stored seeds again: files, or folders of them, as crashes/ or corpus/.

    Exits with 0 if nothing is wrong with any, 1 otherwise.
    """
    files = sorted({file for path in paths for file in ([path] if path.is_file() else path.rglob("*.seed"))})
    if not files:
        raise click.UsageError(f"there are no seeds in {', '.join(map(str, paths))}")
    table = Table("seed", "bucket", "what", box=None)
    wrong = 0
    worker = Worker(limit, megabytes)
    try:
        for file in files:
            layer_of(file.read_text(), worker.layers).parse(file.read_text())
            answer = worker.ask(Job(0, file.read_text(), is_native=native))
            if answer.finding is not None:
                wrong += 1
                table.add_row(str(file), answer.finding.bucket, answer.finding.what)
    except WorkerError as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        sys.exit(BROKEN)
    finally:
        worker.close()
    if wrong:
        Console().print(table)
    click.echo(f"{len(files)} seeds, {wrong} wrong")
    sys.exit(FOUND if wrong else CLEAN)


@fuzz.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--time", "seconds", type=_Duration(), default="60s", show_default=True, help="How long to search.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it; by default it is printed.")
@_limit_option
@_memory_option
def reduce(path: Path, seconds: float, output: Path | None, limit: float, megabytes: int) -> None:
    """Find a smaller seed that fails in the same way."""
    worker = Worker(limit, megabytes)
    try:
        layer_of(path.read_text(), worker.layers).parse(path.read_text())
        answer = worker.ask(Job(0, path.read_text(), is_native=True))
        if answer.finding is None:
            raise click.ClickException(f"nothing is wrong with {path}")
        text = reduce_in(worker, path.read_text(), answer.finding.bucket, is_native=True, seconds=seconds)
    finally:
        worker.close()
    click.echo(answer.finding.bucket, err=True)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_file(output, text)


@fuzz.command()
@_folder_option
def report(folder: Path) -> None:
    """Write the reports of a campaign again, and print its summary."""
    if not (folder / "campaign.json").is_file():
        raise click.UsageError(f"{folder} holds no campaign: `tcomp fuzz run --folder {folder}` makes one")
    buckets = list(Buckets(folder / "crashes", {}).known.values())
    write_reports(folder, read_state(folder), buckets)
    click.echo((folder / "report.md").read_text())


@fuzz.command()
@_folder_option
@click.option("--minimise", is_flag=True, help="Drop seeds all of whose branches others reach.")
@_limit_option
@_memory_option
def corpus(folder: Path, minimise: bool, limit: float, megabytes: int) -> None:
    """Examine the corpus of a campaign, and say what it reaches."""
    found = Corpus(folder / "corpus")
    worker = Worker(limit, megabytes)
    try:
        for text in found.read_texts():
            answer = worker.ask(Job(0, text))
            if answer.finding is None:
                found.offer(text, (*answer.probes, *answer.features))
        branches = len(worker.names)
    finally:
        worker.close()
    dropped = found.minimise() if minimise else 0
    reached = sum(1 for item in found.known if isinstance(item, int) and found.known[item] > 0)
    click.echo(f"{len(found.entries)} seeds reach {reached} of {branches} branches" + (f"; {dropped} were dropped" if minimise else ""))


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _read_suppressions(path: Path | None) -> dict[str, str]:
    lines = [] if path is None else [line.strip() for line in path.read_text().splitlines()]
    found = {}
    for line in lines:
        if not line or line.startswith("#"):
            continue
        prefix, mark, reason = line.partition("#")
        if not mark or not reason.strip():
            raise click.UsageError(f"{path}: {line!r} gives no reason: write BUCKET # REASON")
        found[prefix.strip()] = reason.strip()
    return found


def _show(console: Console, summary: str, new: list[Bucket], folder: Path) -> None:
    console.print(summary, markup=False)
    for bucket in new:
        files = [folder / "crashes" / bucket.folder / name for name in ("repro.py", "seed")]
        console.print(f"  {bucket.name}\n    {next((file for file in files if file.is_file()), files[-1])}", markup=False)
