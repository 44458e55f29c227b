"""The command line: compile, run, bench, profile, explain, fuzz, doctor."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, get_args

import click
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

import tcomp
from tcomp import zoo
from tcomp.cli.bench import CANDIDATE, Result, Row, bench_model
from tcomp.cli.doctor import run_checks
from tcomp.cli.fuzz import fuzz
from tcomp.cli.models import Model, expand_specs, load_model, move_model
from tcomp.cli.tables import make_bench_table, make_check_table, show, summarise, write_results
from tcomp.fuzz.campaign.minify import find_seeds, minify
from tcomp.ir.errors import TcompError
from tcomp.machine.devices import SERVED
from tcomp.machine.gpus import DEFAULT, DESCRIBED
from tcomp.machine.toolchains import find_machine
from tcomp.module.compiled_module import CompiledModule
from tcomp.options import MOST_THREADS, Backend, Precision, Scatter
from tcomp.peers.table import PEERS, find_peers, make_tcomp
from tcomp.profiling.table import WIDTH as PROFILE_WIDTH
from tcomp.profiling.table import Order
from tcomp.progress import watch_progress
from tcomp.reference import divide_errors, is_right, list_tensors, measure_error, run_reference
from tcomp.settings import read_settings
from tcomp.stages.faults import describe_fault

MOST_MEGABYTES = 16384
"""Memory of the process that examines the parts of a model."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}

_MODEL_HELP = f"""\b
MODEL is one of
  package.module:factory  a function that returns a module and a tuple of example inputs
  FILE.pt2                a program from torch.export.save
  zoo:NAME                {", ".join(zoo.NAMES)};
                          zoo:NAME:small is a smaller variant
"""


class _Group(click.Group):
    """Shows errors of tcomp as messages, without a traceback unless one is asked for; of any other says that it is tcomp's fault."""

    def invoke(self, ctx: click.Context) -> Any:
        shows_all = ctx.params["traceback"] or read_settings().debug_dir is not None
        try:
            return super().invoke(ctx)
        except TcompError as error:
            if shows_all:
                raise
            raise click.ClickException(str(error)) from error
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        # Whatever else comes here was foreseen by nobody.
        except Exception as error:
            if shows_all:
                raise
            raise click.ClickException(_describe_fault(error)) from error


def _describe_fault(error: Exception) -> str:
    fault = describe_fault(error)
    return (
        f"{fault.what}\n  where: {fault.where}\n  help: this is a fault of tcomp, or of the model: see that module(*inputs) runs in eager. "
        "If it does, please report this to the developers of tcomp with what --traceback shows"
    )


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tcomp.__version__, prog_name="tcomp")
@click.option("--traceback", is_flag=True, help="Show where errors come from, as TCOMP_DEBUG does.")
def main(traceback: bool) -> None:
    """Compile PyTorch models to fused kernels, measure them, and see what was done.

    \b
    Examples:
      tcomp doctor                                         is this machine ready?
      tcomp bench zoo:bert --against eager,inductor        how fast is it?
      tcomp profile zoo:bert                               where does the time go, and what is the least it could take?
      tcomp explain my_package.models:make_encoder         what was fused, and why?
    """
    # A factory in the current folder is found, as `python -m` would find it.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def _take_compile_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose how a model is compiled; they reach the command as keyword arguments."""
    decorators = (
        click.option("--dtype", type=click.Choice(list(_DTYPES)), help="Convert weights and inputs to this type."),
        click.option("--device", type=click.Choice(SERVED), help="Move the model and its inputs there."),
        click.option(
            "--backend",
            type=click.Choice(get_args(Backend)),
            default="auto",
            show_default=True,
            help="What kernels are written in: auto means C on the CPU, Triton on a GPU.",
        ),
        click.option(
            "--interpret",
            is_flag=True,
            help="With --backend triton, on the CPU: run kernels in Triton's interpreter. For debugging, and very slow: take small models.",
        ),
        click.option(
            "--target",
            metavar="ARCHITECTURE",
            help=f"With --backend triton: the GPU to compile for, of {', '.join(DESCRIBED)}; by default the one here, or else {DEFAULT}.",
        ),
        click.option(
            "--precision",
            type=click.Choice(get_args(Precision)),
            default="auto",
            show_default=True,
            help="How Triton kernels multiply float32 matrices: auto does what PyTorch was told, and tf32x3 if it was told nothing.",
        ),
        click.option(
            "--scatter",
            type=click.Choice(get_args(Scatter)),
            default="deterministic",
            show_default=True,
            help="atomic lets Triton kernels add up scattered elements in any order: faster, and rounded differently from run to run.",
        ),
        click.option("--tune", is_flag=True, help="Time several kernels for each part and take the fastest; takes minutes."),
        click.option(
            "--cuda-graphs/--no-cuda-graphs", default=None, help="Whether kernels are recorded and replayed; by default if it saves time."
        ),
        click.option(
            "--numerics",
            type=click.Choice(["default", "strict"]),
            default="default",
            show_default=True,
            help="strict keeps every rounding to 16 bits between operators, and denormal numbers.",
        ),
        click.option("--dynamic/--static", default=None, help="Compile for all sizes, or for these."),
        click.option("--memory-budget", type=click.IntRange(min=1), metavar="BYTES", help="Limit of the arena."),
        click.option(
            "--schedule",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Compile as the schedule in this file says: what `tcomp explain --schedule-text` prints, edited (docs/schedules.md).",
        ),
        click.option(
            "--fallback",
            type=click.Choice(["warn", "error", "silent"]),
            default="warn",
            show_default=True,
            help="What to do about operators that are left to PyTorch.",
        ),
        click.option("--cache/--no-cache", default=True, help="Whether compiled kernels are kept and reused."),
        click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="Threads of the kernels, and of PyTorch."),
    )
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


@main.command("compile", epilog=_MODEL_HELP)
@click.argument("model")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@_take_compile_options
def compile_command(model: str, output: Path, **options: Any) -> None:
    """Compile MODEL and keep the compiled program.

    \b
    Example:
      tcomp compile zoo:bert -o bert.tcomp
      tcomp run zoo:bert --program bert.tcomp
    """
    module, inputs = _load(model, options)
    start = time.perf_counter()
    compiled = _compile(module, inputs, options)
    compiled.save(output)
    click.echo(f"{output}: {len(compiled.kernels)} kernels, {time.perf_counter() - start:.1f} s")


@main.command("run", short_help="Compile MODEL, run it, and compare its outputs with PyTorch's.", epilog=_MODEL_HELP)
@click.argument("model")
@click.option(
    "--program",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A program from `tcomp compile`, instead of compiling.",
)
@_take_compile_options
def run_command(model: str, program: Path | None, **options: Any) -> None:
    """Compile MODEL, run it once on its example inputs, and compare the outputs with PyTorch's.

    The exit code is 1 if they are wrong: further from float64 than twice what PyTorch is.

    \b
    Example:
      tcomp run zoo:mlp --dtype bfloat16
    """
    module, inputs = _load(model, options)
    compiled = _find_compiled(module, inputs, program, options)
    with torch.no_grad():
        eager, outputs = list_tensors(module(*inputs)), list_tensors(compiled(*inputs))
    reference = run_reference(module, inputs)
    eager_error, error = measure_error(eager, reference), measure_error(outputs, reference)
    for index, output in enumerate(outputs):
        click.echo(f"output {index}: {str(output.dtype).removeprefix('torch.')}{list(output.shape)}")
    click.echo(f"error against float64: {error:.2e}, {divide_errors(error, eager_error):.2f} times that of PyTorch")
    if not is_right(error, eager_error, eager):
        raise click.ClickException("the outputs are wrong")


@main.command(
    "bench",
    short_help="Time models against other compilers, and check every result.",
    epilog=_MODEL_HELP + "\nSeveral are separated by commas; zoo:all means each of the zoo.",
)
@click.argument("models", metavar="MODEL[,MODEL...]")
@click.option("--against", default="eager", show_default=True, help=f"Peers, of {', '.join(PEERS)}.")
@click.option("--runs", type=click.IntRange(min=1), default=20, show_default=True, help="Rounds in which peers take turns.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write results here as well.")
@_take_compile_options
def bench_command(models: str, against: str, runs: int, json_path: Path | None, **options: Any) -> None:
    """Time models against other compilers, interleaved in one run, and check every result.

    Compilers start with empty caches. Errors are those against float64, relative to the largest output. The exit code
    is 1 if tcomp fails on a model or is wrong: further from float64 than twice what PyTorch is. When interrupted, the
    models that were finished are shown and written.

    \b
    Example:
      tcomp bench zoo:bert,zoo:resnet50 --against eager,inductor --json results.json
    """
    peers = {CANDIDATE: make_tcomp(_make_arguments(options)), **find_peers(against)}
    specs = expand_specs(models)
    results: list[Result] = []
    interrupted = False
    with _make_progress() as progress:
        task = progress.add_task("")
        for index, spec in enumerate(specs):

            def report(text: str, done: int, total: int, title: str = f"{index + 1}/{len(specs)} {spec}") -> None:
                progress.update(task, description=f"{title}: {text}", completed=done, total=total)

            try:
                report("building", 0, 1)
                module, inputs = _load(spec, options)
                results.append(bench_model(spec, module, inputs, peers, rounds=runs, report=report))
            except KeyboardInterrupt:
                interrupted = True
                break
            except Exception as error:  # noqa: BLE001 (a model that cannot even run in eager must not sink the others)
                results.append(Result(spec, "unknown", 0, (Row(CANDIDATE, failure=f"the model itself failed: {error}"),)))
            progress.console.print(summarise(results[-1]), markup=False, highlight=False, emoji=False, soft_wrap=True)
            if json_path:
                write_results(json_path, results)
    if results:
        show(make_bench_table(results))
    if interrupted:
        raise click.Abort
    rows = [result.find_row(CANDIDATE) for result in results]
    if not all(row and row.right for row in rows):
        sys.exit(1)


@main.command("profile", short_help="Time every kernel of MODEL beside what the machine can do.", epilog=_MODEL_HELP)
@click.argument("model")
@click.option(
    "--program",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A program from `tcomp compile`, instead of compiling.",
)
@click.option("--runs", "--repeat", type=click.IntRange(min=1), default=20, show_default=True, help="Rounds that are timed.")
@click.option(
    "--sort", type=click.Choice(get_args(Order)), default="program", show_default=True, help="Order of rows: time puts the slowest first."
)
@click.option("--again", is_flag=True, help="Measure the machine again, which is else remembered: for one that was busy then.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write everything here as well.")
@click.option(
    "--trace", "trace_path", type=click.Path(dir_okay=False, path_type=Path), help="Write a trace for chrome://tracing and Perfetto here."
)
@_take_compile_options
def profile_command(
    model: str,
    program: Path | None,
    runs: int,
    sort: Order,
    again: bool,
    json_path: Path | None,
    trace_path: Path | None,
    **options: Any,
) -> None:
    """Time every kernel of MODEL, and say how near each comes to what this machine can do at most.

    A row for each kernel, and for each operator that is left to PyTorch: its time, the operations and bytes that its einsums take,
    whether arithmetic or memory bounds it, and the time that the machine needs at least for that, as a share of the time it took
    (docs/profile.md). Machines are measured once, which takes some seconds.

    \b
    Examples:
      tcomp profile zoo:bert                              where does the time go?
      tcomp profile zoo:bert --sort time --threads 1      the slowest kernels of one thread
      tcomp profile zoo:bert --json p.json --trace t.json for programs, and for ui.perfetto.dev
    """
    module, inputs = _load(model, options)
    compiled = _find_compiled(module, inputs, program, options)
    with _show_progress():
        profile = compiled.profile(*inputs, rounds=runs, again=again)
    if json_path:
        profile.save_json(json_path)
    if trace_path:
        profile.save_trace(trace_path)
    show(profile.make_table(sort), PROFILE_WIDTH)


@main.command("explain", short_help="Show what MODEL was compiled to, and why.", epilog=_MODEL_HELP)
@click.argument("model")
@click.option("--cascade", "part", flag_value="cascade", help="Print the cascade as captured, with modules and lines.")
@click.option("--optimised", "part", flag_value="optimised", help="Print the cascade after all passes.")
@click.option("--schedule-text", "part", flag_value="schedule", help="Print the schedule alone, to edit it and give it back by --schedule.")
@click.option("--source", metavar="KERNEL", help="Print the source of one kernel, or of `all`.")
@_take_compile_options
def explain_command(model: str, part: str | None, source: str | None, **options: Any) -> None:
    """Show what MODEL was compiled to: memory, fallbacks, and each kernel with its einsums and why it fused them.

    Layers that are alike share their kernels, and are shown once. The options show the parts in full. Of Triton kernels it
    shows what they use of a GPU as well, which need not be here.

    \b
    Examples:
      tcomp explain zoo:bert
      tcomp explain zoo:bert --source all
      tcomp explain zoo:bert --backend triton --target sm_80
    """
    module, inputs = _load(model, options)
    compiled = _compile(module, inputs, options)
    if source:
        click.echo(_find_source(compiled, source))
    elif part:
        click.echo(str(getattr(compiled, part)))
    else:
        with _show_progress():
            text = tcomp.explain(compiled)
        click.echo(text)


@main.command("minify", short_help="Find the smallest program that fails as MODEL does.", epilog=_MODEL_HELP)
@click.argument("model")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default="minified", show_default=True, help="Where scripts go.")
@click.option("--time", "seconds", type=click.FloatRange(min=1), default=120, show_default=True, help="Seconds to reduce one fault.")
@click.option("--limit", type=click.FloatRange(min=1), default=300, show_default=True, help="Seconds that examining it once may take.")
@_take_compile_options
def minify_command(model: str, output: Path, seconds: float, limit: float, **options: Any) -> None:
    """Find what is wrong with a MODEL that fails, and write the smallest program that fails alike.

    Every part of the model that is compiled is examined on random numbers: each pass, the kernels, the compiled code. What is wrong is
    named, with the guilty pass, and reduced to a few lines, which make a good report. The exit code is 1 if something is wrong.

    \b
    Example:
      tcomp minify my_package.models:make_encoder --output reports
    """
    module, inputs = _load(model, options)
    settings = read_settings()
    _, target = find_machine(settings.compiler, settings.sanitizers, settings.target, settings.compiler_seconds)
    with _make_progress() as progress:
        progress.add_task(f"examining {model}", total=None)
        seeds = find_seeds(module, inputs, target, _make_arguments(options))
        found = minify(seeds, output, seconds, limit, MOST_MEGABYTES)
    for fault in found:
        click.echo(f"{fault.finding.bucket}\n  {fault.path}\n\n{fault.seed}")
    click.echo(f"{len(seeds)} parts of the model were examined, {len(found)} faults found")
    if found:
        sys.exit(1)
    click.echo("If the model fails all the same, `tcomp run` says how wrong it is: the fault is then in what surrounds these parts.")


main.add_command(fuzz)


@main.command("doctor", short_help="Check what tcomp needs here, with a fix for each problem.")
def doctor_command() -> None:
    """Check compiler, vector instructions, threads, OpenMP, cache, GPU and Triton, with a fix for each problem.

    The exit code is 1 if tcomp cannot work here.

    \b
    Example:
      CC=clang tcomp doctor
    """
    checks = run_checks()
    show(make_check_table(checks))
    if any(check.status == "broken" for check in checks):
        sys.exit(1)


def _load(spec: str, options: dict[str, Any]) -> Model:
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    return move_model(load_model(spec, _DTYPES.get(options["dtype"])), options["device"])


def _compile(module: nn.Module, inputs: tuple[object, ...], options: dict[str, Any]) -> CompiledModule:
    with _show_progress():
        return tcomp.compile(module, inputs, **_make_arguments(options))


def _find_compiled(module: nn.Module, inputs: tuple[object, ...], program: Path | None, options: dict[str, Any]) -> CompiledModule:
    """A module compiled, or what was saved of it."""
    if program and options["schedule"]:
        raise click.UsageError("--schedule says how to compile, and --program is compiled already: give one of them")
    return tcomp.load(program, module) if program else _compile(module, inputs, options)


def _make_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Turn the options of a command into keyword arguments of tcomp.compile."""
    arguments = {name: value for name, value in options.items() if name not in ("dtype", "device")}
    if arguments["schedule"]:
        try:
            arguments["schedule"] = arguments["schedule"].read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise TcompError(
                f"{arguments['schedule']} is no text: {error.reason} at byte {error.start}",
                where="--schedule",
                help="give a file that `tcomp explain MODEL --schedule-text` printed, edited or not",
            ) from error
    return arguments


def _find_source(compiled: Any, name: str) -> str:
    kernels = {kernel.name: kernel.source for kernel in compiled.kernels}
    if name == "all":
        return "\n".join(kernels.values())
    if name not in kernels:
        raise TcompError(f"there is no kernel {name!r}", help=f"kernels are: {', '.join(kernels)}")
    return str(kernels[name])


@contextmanager
def _show_progress() -> Iterator[None]:
    """Show how far the compilation of kernels has come, once there is something to show."""
    progress = _make_progress()
    tasks: list[TaskID] = []
    with ExitStack() as stack:

        def show(text: str, done: int, total: int) -> None:
            if not tasks:
                stack.enter_context(progress)
                tasks.append(progress.add_task(""))
            progress.update(tasks[0], description=text, completed=done, total=total)

        with watch_progress(show):
            yield


def _make_progress() -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
