"""Commands call the public functions, show what they return, and exit with 1 when something is wrong."""

import io
import json
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from rich.progress import Progress, TextColumn

import tcomp
from tcomp.cli import main as cli
from tcomp.cli.doctor_check import Check
from tcomp.progress import report_progress


class Compiled:
    """Stands for a compiled program: what the commands use of it."""

    cascade = "the cascade"
    optimised = "the cascade after all passes"
    schedule = "the schedule"
    kernels = (SimpleNamespace(name="k0", source="int k0;"), SimpleNamespace(name="k1", source="int k1;"))

    def __init__(self, module, factor=1.0):
        self.module, self.factor = module, factor

    def __call__(self, *inputs):
        return self.module(*inputs) * self.factor

    def save(self, path):
        path.write_text("program")


@pytest.fixture
def calls(monkeypatch):
    """Replaces the public functions, and notes the options they are given."""
    noted = []

    def compile_module(module, inputs, **options):
        noted.append(options)
        return Compiled(module)

    monkeypatch.setattr(tcomp, "compile", compile_module, raising=False)
    monkeypatch.setattr(tcomp, "load", lambda path, module: Compiled(module), raising=False)
    monkeypatch.setattr(tcomp, "explain", lambda compiled: "an explanation", raising=False)
    return noted


def run(*arguments):
    result = CliRunner().invoke(cli.main, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("command", ["compile", "run", "bench", "profile", "explain", "doctor"])
def test_help_teaches_with_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"tcomp {command}" in result.output
    assert command == "doctor" or "zoo:NAME" in result.output


@pytest.mark.parametrize("group", [(), ("fuzz",)], ids=" ".join)
def test_help_lists_commands_with_what_they_do(group):
    commands = run(*group, "--help").output.partition("Commands:")[2].strip().splitlines()
    assert len(commands) > 4
    assert all(line.endswith(".") and not line.endswith("...") for line in commands), commands


def test_options_reach_the_compiler(calls, tmp_path):
    (tmp_path / "schedule.txt").write_text("a schedule")
    triton = "--backend triton --interpret --target sm_80 --precision ieee --scatter atomic --no-cuda-graphs --device cpu"
    arguments = f"{triton} --numerics strict --dynamic --memory-budget 4096 --fallback error --no-cache --threads 1 --schedule"
    threads = torch.get_num_threads()
    try:
        result = run("explain", "zoo:mlp:small", *arguments.split(), str(tmp_path / "schedule.txt"))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert result.exit_code == 0
    assert calls == [
        {
            "backend": "triton",
            "interpret": True,
            "target": "sm_80",
            "precision": "ieee",
            "scatter": "atomic",
            "tune": False,
            "cuda_graphs": False,
            "numerics": "strict",
            "dynamic": True,
            "memory_budget": 4096,
            "schedule": "a schedule",
            "fallback": "error",
            "cache": False,
            "threads": 1,
        }
    ]


def test_a_device_that_is_not_there_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run("explain", "zoo:mlp:small", "--device", "cuda")
    assert result.exit_code == 1
    assert result.output.startswith("Error: this machine shows no CUDA device\n  where: --device cuda\n  help: run `tcomp doctor`")


def test_a_traceback_is_shown_where_one_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.delenv("TCOMP_DEBUG", raising=False)
    assert run("explain", "zoo:nothing").output.startswith("Error: ")
    with pytest.raises(tcomp.TcompError):
        run("--traceback", "explain", "zoo:nothing")
    monkeypatch.setenv("TCOMP_DEBUG", str(tmp_path))
    with pytest.raises(tcomp.TcompError):
        run("explain", "zoo:nothing")


def test_a_fault_of_tcomp_is_told_as_one(monkeypatch):
    monkeypatch.delenv("TCOMP_DEBUG", raising=False)
    monkeypatch.setattr(tcomp, "compile", lambda module, inputs, **options: {}["missing"])
    result = run("explain", "zoo:mlp:small")
    assert result.exit_code == 1
    assert result.output.startswith("Error: KeyError: 'missing'\n  where: test_main.py:")
    assert "this is a fault of tcomp, or of the model" in result.output
    with pytest.raises(KeyError):
        run("--traceback", "explain", "zoo:mlp:small")


@pytest.mark.usefixtures("calls")
def test_progress_of_compilation_is_shown_and_only_then(monkeypatch):
    def explain(compiled):
        report_progress("compiled k0", 1, 2)
        return "an explanation"

    screen = io.StringIO()
    progress = Progress(TextColumn("{task.description}"), console=Console(file=screen, force_terminal=True))
    monkeypatch.setattr(cli, "_make_progress", lambda: progress)
    run("explain", "zoo:mlp:small")
    assert screen.getvalue() == ""
    monkeypatch.setattr(tcomp, "explain", explain)
    run("explain", "zoo:mlp:small")
    assert "compiled k0" in screen.getvalue()


@pytest.mark.usefixtures("calls")
def test_compile_writes_a_program_and_run_reads_it(tmp_path):
    path = tmp_path / "mlp.tcomp"
    result = run("compile", "zoo:mlp:small", "-o", str(path))
    assert (result.exit_code, path.read_text()) == (0, "program")
    assert "2 kernels" in result.output
    result = run("run", "zoo:mlp:small", "--program", str(path))
    assert result.exit_code == 0


@pytest.mark.usefixtures("calls")
def test_run_shows_outputs_and_their_error():
    result = run("run", "zoo:mlp:small", "--dtype", "bfloat16")
    assert result.exit_code == 0
    assert "output 0: bfloat16[8, 32]" in result.output
    assert "1.00 times that of PyTorch" in result.output


@pytest.mark.usefixtures("calls")
def test_wrong_outputs_fail_the_run(monkeypatch):
    monkeypatch.setattr(tcomp, "compile", lambda module, inputs, **options: Compiled(module, 1.01))
    result = run("run", "zoo:mlp:small")
    assert result.exit_code == 1
    assert "the outputs are wrong" in result.output


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((), "an explanation\n"),
        (("--cascade",), "the cascade\n"),
        (("--optimised",), "the cascade after all passes\n"),
        (("--schedule-text",), "the schedule\n"),
        (("--source", "k1"), "int k1;\n"),
        (("--source", "all"), "int k0;\nint k1;\n"),
    ],
)
def test_explain_shows_the_whole_or_a_part(arguments, shown):
    assert run("explain", "zoo:mlp:small", *arguments).output == shown


@pytest.mark.usefixtures("calls")
def test_an_unknown_kernel_lists_the_known_ones():
    result = run("explain", "zoo:mlp:small", "--source", "k9")
    assert result.exit_code == 1
    assert result.output == "Error: there is no kernel 'k9'\n  help: kernels are: k0, k1\n"


def test_an_error_is_a_message_without_a_traceback():
    result = run("run", "zoo:nothing")
    assert result.exit_code == 1
    assert result.output.startswith("Error: the zoo has no model 'nothing'\n  help: its models are: mlp, ")


@pytest.mark.usefixtures("calls")
def test_bench_shows_a_table_and_writes_json(tmp_path):
    path = tmp_path / "results.json"
    result = run("bench", "zoo:mlp:small", "--against", "eager", "--runs", "2", "--json", str(path))
    assert result.exit_code == 0
    assert "zoo:mlp:small: " in result.output
    rows = json.loads(path.read_text())["results"][0]["rows"]
    assert [(row["peer"], row["right"]) for row in rows] == [("tcomp", True), ("eager", True)]


@pytest.mark.usefixtures("calls")
def test_bench_goes_on_after_a_model_that_fails_and_exits_with_1():
    result = run("bench", "zoo:nothing,zoo:mlp:small", "--runs", "1")
    assert result.exit_code == 1
    assert "zoo:nothing: tcomp failed: the model itself failed: the zoo has no model" in result.output
    assert "zoo:mlp:small: " in result.output


@pytest.mark.usefixtures("calls")
def test_bench_exits_with_1_on_a_wrong_result(monkeypatch):
    monkeypatch.setattr(tcomp, "compile", lambda module, inputs, **options: Compiled(module, 1.01))
    result = run("bench", "zoo:mlp:small", "--runs", "1")
    assert result.exit_code == 1
    assert "WRONG" in result.output


@pytest.mark.usefixtures("calls")
def test_an_interrupted_bench_keeps_what_it_has(monkeypatch, tmp_path):
    original = cli.bench_model

    def interrupt(model, *arguments, **options):
        if model == "zoo:bert":
            raise KeyboardInterrupt
        return original(model, *arguments, **options)

    monkeypatch.setattr(cli, "bench_model", interrupt)
    monkeypatch.setattr(cli, "_load", lambda spec, options: (torch.nn.ReLU(), (torch.ones(2),)))
    path = tmp_path / "results.json"
    result = run("bench", "zoo:mlp,zoo:bert,zoo:vit", "--runs", "1", "--json", str(path))
    assert result.exit_code == 1
    assert [entry["model"] for entry in json.loads(path.read_text())["results"]] == ["zoo:mlp"]
    assert "zoo:mlp" in result.output
    assert "zoo:vit" not in result.output


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warning", 0), ("broken", 1)])
def test_the_doctor_fails_on_what_is_broken(monkeypatch, status, code):
    monkeypatch.setattr(cli, "run_checks", lambda: (Check("compiler", status, "found", "mend it"),))
    result = run("doctor")
    assert result.exit_code == code
    assert "mend it" in result.output


def test_a_schedule_is_text_and_is_not_for_what_is_compiled_already(tmp_path):
    (tmp_path / "s.txt").write_bytes(b"\xff\xfe\x00schedule")
    result = run("run", "zoo:mlp:small", "--schedule", str(tmp_path / "s.txt"))
    assert result.exit_code == 1 and "is no text" in result.output
    result = run("run", "zoo:mlp:small", "--program", str(tmp_path / "s.txt"), "--schedule", str(tmp_path / "s.txt"))
    assert result.exit_code == 2 and "give one of them" in result.output
