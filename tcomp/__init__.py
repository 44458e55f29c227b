"""tcomp: a tensor compiler from PyTorch modules over cascades of einsums to fused kernels."""

from pathlib import Path

# In a source checkout the lower folders (ir, passes, codegen) lie beside this one: let `tcomp.ir` be found there.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file():
    __path__.append(str(_root))

from tcomp.ir.errors import (  # noqa: E402 (needs the path above)
    BudgetError,
    Illegal,
    ParseError,
    RecordError,
    TcompError,
    ToolchainError,
    Unsupported,
    VerifyError,
)

__version__ = "0.1.0"

if (_root / "pyproject.toml").is_file():
    from tcomp.registration import register_checkout

    register_checkout(__version__)

__all__ = [
    "BudgetError",
    "Illegal",
    "ParseError",
    "RecordError",
    "TcompError",
    "ToolchainError",
    "Unsupported",
    "VerifyError",
]
