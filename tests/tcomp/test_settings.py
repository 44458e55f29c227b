"""Settings are read from the environment, once and in one place."""

import re
from pathlib import Path

import pytest

from tcomp.settings import VARIABLES, override_environment, read_settings
from tests.documentation import ROOT, fill_sections, make_table, replace_blocks


class Noted(dict):
    """An environment that notes which variables are asked for."""

    def __init__(self, values=()):
        super().__init__(values)
        self.asked = set()

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)


def test_the_variables_that_are_read_are_those_that_are_described():
    environment = Noted()
    read_settings(environment)
    assert environment.asked == set(VARIABLES)


def test_the_page_of_variables_says_what_the_source_says(golden):
    table = make_table(["variable", "what it means"], *([f"`{name}`", text] for name, text in VARIABLES.items()))
    page = fill_sections((ROOT / "docs/environment.md").read_text(), {"variables": table})
    type(golden)(golden.update, ROOT).check("docs/environment.md", page)


def test_the_manual_names_no_variable_that_is_not_read():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    # In generated code such a name is a macro.
    texts = [replace_blocks(page.read_text(), lambda block: block.text if block.language == "sh" else "") for page in pages]
    named = {name for text in texts for name in re.findall(r"\bTCOMP_[A-Z_]+\b", text)}
    assert named <= set(VARIABLES)


def test_an_empty_environment_gives_the_defaults(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    settings = read_settings({})
    assert settings.cache_dir == Path("/home/someone/.cache/tcomp")
    assert settings.debug_dir is None
    assert settings.compiler == ()
    assert not settings.checks_kernels
    assert settings.sanitizers == ()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CACHE_HOME": "/x"}, "/x/tcomp"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, str(Path.home() / ".cache/tcomp")),
        ({"XDG_CACHE_HOME": "/x", "TCOMP_CACHE_DIR": "/y"}, "/y"),
        ({"TCOMP_CACHE_DIR": ""}, str(Path.home() / ".cache/tcomp")),
        ({"TCOMP_CACHE_DIR": "here"}, str(Path.cwd() / "here")),
        ({"TCOMP_CACHE_DIR": "~/there"}, str(Path.home() / "there")),
    ],
)
def test_the_cache_directory_follows_the_environment(environment, expected):
    assert read_settings(environment).cache_dir == Path(expected)


def test_the_debug_folder_is_absolute():
    assert read_settings({"TCOMP_DEBUG": "dump"}).debug_dir == Path.cwd() / "dump"
    assert read_settings({"TCOMP_DEBUG": ""}).debug_dir is None


def test_the_compiler_may_carry_arguments():
    assert read_settings({"CC": "ccache 'my gcc' -m64"}).compiler == ("ccache", "my gcc", "-m64")


def test_checks_are_switched_on_by_name():
    assert read_settings({"TCOMP_SANITIZE": "address,undefined"}).sanitizers == ("address", "undefined")
    assert read_settings({"TCOMP_CHECK_KERNELS": "1"}).checks_kernels
    assert not read_settings({"TCOMP_CHECK_KERNELS": "0"}).checks_kernels


@pytest.mark.parametrize(("text", "wanted"), [("1", True), ("0", False), ("", False)])
def test_faults_are_raised_for_developers(text, wanted):
    assert read_settings({"TCOMP_RAISE_FAULTS": text}).raise_faults is wanted
    assert not read_settings({}).raise_faults


def test_a_target_is_its_text():
    assert read_settings({"TCOMP_TARGET": 'target "small" {}'}).target == 'target "small" {}'
    assert read_settings({}).target == ""


def test_the_process_environment_is_read_at_the_call(monkeypatch):
    monkeypatch.setenv("TCOMP_CACHE_DIR", "/first")
    assert read_settings().cache_dir == Path("/first")
    monkeypatch.setenv("TCOMP_CACHE_DIR", "/second")
    assert read_settings().cache_dir == Path("/second")


def test_the_environment_is_overridden_for_a_while(monkeypatch):
    monkeypatch.setenv("TCOMP_CACHE_DIR", "/first")
    monkeypatch.delenv("TCOMP_DEBUG", raising=False)
    with (
        pytest.raises(KeyError, match="inside"),
        override_environment({"TCOMP_CACHE_DIR": "/second", "TCOMP_DEBUG": "/d"}),
    ):
        assert read_settings().cache_dir == Path("/second")
        assert read_settings().debug_dir == Path("/d")
        raise KeyError("inside")
    assert read_settings().cache_dir == Path("/first")
    assert read_settings().debug_dir is None
