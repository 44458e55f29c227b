"""Makes `torch.compile(backend="tcomp")` work from a source checkout, where no installed entry point names the backend.

PyTorch looks backends up among the entry points of installed distributions when it meets an unknown name. A checkout shows
itself as such a distribution; so `import tcomp` need not import torch.
"""

import importlib.metadata
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any


class _Checkout(importlib.metadata.Distribution):
    """The checkout as importlib.metadata sees a distribution."""

    def __init__(self, version: str) -> None:
        self._texts = {
            "METADATA": f"Metadata-Version: 2.1\nName: tcomp\nVersion: {version}\n",
            "entry_points.txt": "[torch_dynamo_backends]\ntcomp = tcomp.module.dynamo:tcomp_backend\n",
        }

    def read_text(self, filename: str) -> str | None:
        """Return the text of a metadata file, or None if there is none."""
        return self._texts.get(filename)

    def locate_file(self, path: Any) -> Any:
        """Raise: the files of a checkout are not listed."""
        raise FileNotFoundError(path)


class _Finder(importlib.metadata.DistributionFinder):
    """Shows the checkout, after those that are installed."""

    def __init__(self, version: str) -> None:
        self._version = version

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Find no module: this finder knows distributions only."""

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.Distribution]:
        """Yield the checkout if it is asked for."""
        if context is None or context.name in (None, "tcomp"):
            yield _Checkout(self._version)


def register_checkout(version: str) -> None:
    """Let PyTorch find the backend `tcomp`, whether or not it has looked for backends already."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder(version))
    registry = sys.modules.get("torch._dynamo.backends.registry")
    if registry is not None and "tcomp" not in registry.list_backends(exclude_tags=()):
        from tcomp.module.dynamo import tcomp_backend  # noqa: PLC0415 (only where Dynamo is loaded already)

        registry.register_backend(tcomp_backend, name="tcomp")
