"""Run mypy --strict over the package: `python tests/check_types.py [mypy arguments]`.

In a checkout the folders ir, passes and codegen lie beside tcomp, which mypy cannot know; so it is shown a temporary
folder in which links put them where the wheel has them.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def link_package(folder: Path) -> None:
    """Make `folder`/tcomp look like the installed package, of links to the checkout."""
    mapping = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    package = folder / "tcomp"
    package.mkdir()
    for entry in (ROOT / "tcomp").iterdir():
        (package / entry.name).symlink_to(entry)
    for name, source in mapping.items():
        target = folder / name.replace(".", "/")
        if not target.exists():
            target.symlink_to(ROOT / source)


def check_types(arguments: list[str]) -> int:
    """Run mypy, print what it said with the checkout's paths, and return its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        link_package(Path(folder))
        command = [
            *(sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")),
            *("--cache-dir", str(ROOT / ".mypy_cache"), "-p", "tcomp", *arguments),
        ]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    print(re.sub(r"^tcomp/(?=(ir|passes|codegen|fuzz)/)", "", result.stdout, flags=re.MULTILINE), end="")
    print(result.stderr, end="", file=sys.stderr)
    return result.returncode


if __name__ == "__main__":
    sys.exit(check_types(sys.argv[1:]))
