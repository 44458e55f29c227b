"""Use the installed package from a folder that is not a checkout: import all of it, and compile a small module."""

import importlib
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import torch

import tcomp

package = Path(tcomp.__file__).parent
assert package.is_relative_to(sys.prefix), f"tcomp was imported from {package}, not from the wheel"
assert (package / "py.typed").is_file(), "the wheel lacks py.typed"

names = [module.name for module in pkgutil.walk_packages(tcomp.__path__, "tcomp.")]
for name in names:
    importlib.import_module(name)
assert {"tcomp.ir.errors", "tcomp.zoo.models"} <= set(names), f"the wheel lacks modules, it has {names}"

module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)).eval()
inputs = (torch.randn(3, 8),)
with torch.no_grad():
    torch.testing.assert_close(tcomp.compile(module, inputs)(*inputs), module(*inputs))

command = shutil.which("tcomp", path=str(Path(sys.executable).parent))
assert command, "the wheel installed no command"
subprocess.run([command, "doctor"], check=True)
print(f"the wheel works: {len(names)} modules imported from {package}, a module compiled, the doctor content")
