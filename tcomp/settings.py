"""The one place that reads the environment.

`VARIABLES` says what each variable means; docs/environment.md is made of it.
"""

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tcomp.ir.errors import TcompError, ToolchainError

VARIABLES = {
    "TCOMP_CACHE_DIR": "The folder in which compiled programs are kept. By default `$XDG_CACHE_HOME/tcomp`, else `~/.cache/tcomp`.",
    "XDG_CACHE_HOME": "The folder of everybody's caches, if it is an absolute path, as the XDG specification has it.",
    "CC": "The C compiler and its leading arguments, as in `ccache gcc`. By default `cc`, `gcc` or `clang`, "
    "or that of the package `ziglang`.",
    "TCOMP_COMPILER_SECONDS": "How many seconds the C compiler may take for one file before it is ended. By default 300.",
    "TCOMP_DEBUG": "A folder into which every stage of a compilation is written, and the traceback of an error inside tcomp. "
    "Commands then show tracebacks too.",
    "TCOMP_CHECK_KERNELS": "`1`: programs of C check every kernel whenever it runs, on one thread and on two (options.md).",
    "TCOMP_SANITIZE": "The sanitizers that C is compiled with, separated by commas, as in `address,undefined` (options.md).",
    "TCOMP_TARGET": "For those who work on tcomp: the text of a CPU (ir/target.py) to schedule kernels for instead of this machine; "
    "they run here all the same.",
    "TCOMP_RAISE_FAULTS": "For those who work on tcomp: `1`: an error inside tcomp is raised, where otherwise the stage that it stopped "
    "is left to PyTorch.",
}
"""Every variable of the environment that is read, and what it means."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment asked for."""

    cache_dir: Path
    """Where compiled programs are kept; it need not exist yet."""
    debug_dir: Path | None
    """Where every stage of a compilation is written, or None."""
    compiler: tuple[str, ...]
    """The C compiler as a command with arguments; empty when the environment names none."""
    compiler_seconds: float
    """How many seconds the C compiler may take for one file before it is ended."""
    checks_kernels: bool
    """Whether programs of C check their kernels as they run."""
    sanitizers: tuple[str, ...]
    """What C is compiled with, as in -fsanitize; empty for none."""
    target: str
    """The text of the CPU that kernels are made for; empty for this machine."""
    raise_faults: bool
    """Whether errors inside tcomp are raised, whatever becomes of operators that are left to PyTorch."""


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environment` (by default that of the process, as it is now)."""
    variables = os.environ if environment is None else environment
    debug = variables.get("TCOMP_DEBUG", "")
    return Settings(
        cache_dir=_find_cache_dir(variables),
        debug_dir=_absolute(debug) if debug else None,
        compiler=_split_command(variables.get("CC", "")),
        compiler_seconds=_read_seconds(variables.get("TCOMP_COMPILER_SECONDS", "")),
        checks_kernels=variables.get("TCOMP_CHECK_KERNELS", "") not in ("", "0"),
        sanitizers=tuple(filter(None, variables.get("TCOMP_SANITIZE", "").split(","))),
        target=variables.get("TCOMP_TARGET", ""),
        raise_faults=variables.get("TCOMP_RAISE_FAULTS", "0") not in ("", "0"),
    )


@contextmanager
def override_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the process environment for a while, for measurements that need caches of their own."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _find_cache_dir(variables: Mapping[str, str]) -> Path:
    if variables.get("TCOMP_CACHE_DIR"):
        return _absolute(variables["TCOMP_CACHE_DIR"])
    base = variables.get("XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    if base and Path(base).is_absolute():
        return Path(base) / "tcomp"
    return _absolute("~/.cache/tcomp")


def _absolute(path: str) -> Path:
    found = Path(path)
    # Of a home that cannot be found the path stays as it is: not absolute, which whoever uses it refuses.
    with suppress(RuntimeError):
        found = found.expanduser()
    return found if path.startswith("~") else found.absolute()


def _split_command(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ToolchainError(f"CC is no command: {error}", where=f"CC={text}", help="quote it as in a shell") from error


def _read_seconds(text: str) -> float:
    if not text:
        return 300.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise TcompError("the time limit of the compiler is no number of seconds", where=f"TCOMP_COMPILER_SECONDS={text}", help="try 300")
    return seconds
