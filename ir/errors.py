"""The errors of tcomp: each says what is wrong, where, and what would help, in that order.

TcompError
  ParseError      text that is not a cascade, schedule or tile program; carries line, column and a caret
  VerifyError     a value that breaks a rule of its type
  Illegal         a schedule or transformation that cannot apply
  Unsupported     an operator, element type or device tcomp does not serve
  ToolchainError  the C compiler or a library it needs failed
  BrokenCompiler  the C compiler hung, crashed, built nothing or what cannot be loaded; a ToolchainError as well
  KernelFault     a compiled kernel that failed a check, in a program that was built to check its kernels, or that crashed or did not
                  end, in a process of its own
  CacheError      the folder of compiled programs cannot be used; a ToolchainError as well
  IndexOutOfRange an index in the data of a run is outside its tensor; an IndexError and RuntimeError as well
  InvalidData     data of a run that an operator refuses, such as a divisor of 0; a RuntimeError as well
  BudgetError     a memory budget that no plan meets
  RecordError     a stored artifact or record that is unusable
"""


class TcompError(Exception):
    """Base of all errors tcomp raises: `what` is wrong, `where` it is, and what would `help`."""

    def __init__(self, what: str, *, where: str = "", help: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.help = help

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {_indent(self.where)}")
        if self.help:
            lines.append(f"  help: {_indent(self.help)}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions travel between processes; the default would call the class with `what` alone.
        return (_rebuild, (type(self), self.what, self.__dict__))


class ParseError(TcompError):
    """Text that does not parse; `line` and `column` count from 1, and `source` is the whole text."""

    def __init__(self, what: str, *, line: int, column: int, source: str = "", help: str = "") -> None:
        self.line = line
        self.column = column
        super().__init__(what, where=_caret(source, line, column), help=help)


class _AboutClause(TcompError):  # noqa: N818 (those derived from it say what it is)
    """What may be about a schedule: `clause` is the place in it, as `tcomp.ir.parse.schedule` tells it."""

    def __init__(self, what: str, *, where: str = "", help: str = "", clause: tuple[str | int, ...] = ()) -> None:
        self.clause = clause
        super().__init__(what, where=where, help=help)


class VerifyError(_AboutClause):
    """A cascade, schedule or tile program that breaks a rule of its type."""


class Illegal(_AboutClause):
    """A schedule step or transformation that cannot apply, with the condition that failed."""


class Unsupported(TcompError):  # noqa: N818 (reads as the answer to "can you compile this?")
    """An operator, element type or device that tcomp does not serve."""


class ToolchainError(TcompError):
    """The C compiler is missing, failed, or built something that cannot be loaded."""


class BrokenCompiler(ToolchainError):  # noqa: N818 (what it is about is broken, and the user's to mend)
    """The C compiler did not end in time, was killed, says nothing when asked what it is, or built what is none or cannot be loaded."""


class KernelFault(TcompError):  # noqa: N818 (what it is about is a fault, ours or the compiler's)
    """A compiled kernel that did what it must not.

    Its result depends on what it must not depend on, found by a program that checks its kernels; or it crashed or did not end, in a child
    process that ran it.
    """


class CacheError(ToolchainError):
    """The folder that compiled programs are kept in cannot be used."""


class IndexOutOfRange(TcompError, IndexError, RuntimeError):  # noqa: N818 (eager raises the one or the other, by operator)
    """An index among the data of a run that is outside the tensor it is for."""


class InvalidData(TcompError, RuntimeError):  # noqa: N818 (what eager raises is a RuntimeError, which this is)
    """The data of a run breaks a condition of an operator or of the module, such as a divisor of 0."""


class BudgetError(TcompError):
    """A memory budget that no plan meets."""


class RecordError(TcompError):
    """A stored artifact or record that is corrupt, of another version, or cannot be written."""


def _caret(source: str, line: int, column: int) -> str:
    position = f"line {line}, column {column}"
    lines = source.splitlines()
    if not 1 <= line <= len(lines):
        return position
    text = lines[line - 1]
    # Tabs are copied into the padding, so that the caret stands under its character however wide they print.
    padding = "".join("\t" if character == "\t" else " " for character in text[: column - 1])
    return f"{position}\n{text}\n{padding}^"


def _indent(text: str) -> str:
    return text.replace("\n", "\n    ")


def _rebuild(kind: type[TcompError], what: str, state: dict[str, object]) -> TcompError:
    error = kind.__new__(kind, what)
    error.args = (what,)
    error.__dict__.update(state)
    return error
