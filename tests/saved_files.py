"""What tests of saved programs share."""

import json
import zipfile

from tcomp.module import dispatch
from tcomp.saved.seal import SUMS, sum_files


def forbid_compiling(monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("loading traced the module")

    monkeypatch.setattr(dispatch, "capture", fail)
    monkeypatch.setattr(dispatch, "compile_captured", fail)


def rewrite(path, change):
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files["manifest.json"])
    change(manifest, files)
    files["manifest.json"] = json.dumps(manifest).encode()
    del files[SUMS]
    files[SUMS] = sum_files(files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
