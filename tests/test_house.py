"""The house rules that a machine can watch: floors, lazy imports, small files, no text that is run, true documents."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("verifiers", "policy", "search", "selfplay", "commands")
SOURCES = sorted([ROOT / "run_experiment.py", *(f for d in (*FLOORS, "benchmarks") for f in (ROOT / d).rglob("*.py"))])
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILE_LINES = 350  # the house style says about 300
TEST_LINES = 400  # of a file of tests
FUNCTION_LINES = 55  # about 50

# What a floor may import beyond the standard library and itself; a package stands for all that is in it.
MAY_IMPORT = {
    "verifiers": {"numpy", "sympy", "mpmath", "pyarrow"},
    "policy": {"verifiers.base", "numpy", "numba", "torch", "transformers", "peft", "safetensors", "tokenizers",
               "openai", "httpx2"},
    "search": {"policy.base", "policy.budget", "verifiers.base", "numpy"},
    "selfplay": {"search", "policy", "verifiers", "numpy", "torch", "pyarrow", "fsspec", "transformers", "peft",
                 "accelerate", "ray"},
}

# Calls by which text could become code. (A module's own `.eval()` is an attribute and means something else.)
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__", "sympify", "parse_expr"}
FORBIDDEN_ATTRIBUTES = {"sympify", "parse_expr", "popen", "getoutput", "getstatusoutput", "unsafe_load"}
FORBIDDEN_CALLS = {"os.system", "yaml.load", "builtins.eval", "builtins.exec"}
# The one place where text becomes code: in a job of the sandbox, behind its walls.
ALLOWED_NAMES = {"verifiers/jail/runner.py": {"exec", "compile"}}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
FORBIDDEN_KEYWORDS = {("shell", True), ("trust_remote_code", True), ("weights_only", False)}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of the modules that a module of a package imports, in functions and for types too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            base = f"{package}.{module}".rstrip(".") if node.level else module
            # `from policy import decoder` names a module in its list, `from policy.base import Thought` does not.
            yield from (f"{base}.{alias.name}" if "." not in base and base in FLOORS else base for alias in node.names)


def trespasses(tree: ast.AST, floor: str) -> set[str]:
    """Imports that a floor may not have."""
    allowed = MAY_IMPORT[floor] | {floor}
    names = {name for name in imported(tree, floor) if name.split(".")[0] not in sys.stdlib_module_names}
    return {name for name in names if not any(name == a or name.startswith(f"{a}.") for a in allowed)}


def dangers(tree: ast.AST) -> set[str]:
    """What could run text: calls, modules and keyword arguments."""
    found = {name for name in imported(tree, "") if name.split(".")[0] in FORBIDDEN_MODULES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES:
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_ATTRIBUTES:
            found.add(f".{node.attr}")
        elif isinstance(node, ast.alias) and node.name in FORBIDDEN_NAMES:
            found.add(node.name)
        elif isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
            if (node.arg, node.value.value) in FORBIDDEN_KEYWORDS:
                found.add(f"{node.arg}={node.value.value}")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            careless = called == "torch.load" and "weights_only" not in {keyword.arg for keyword in node.keywords}
            if called in FORBIDDEN_CALLS or careless:
                found.add(called)
    return found


@pytest.mark.parametrize("floor", MAY_IMPORT)
def test_a_floor_imports_only_what_it_may(floor: str) -> None:
    files = sorted((ROOT / floor).rglob("*.py"))
    assert files
    found = {relative(path): trespasses(ast.parse(path.read_text()), floor) for path in files}
    assert {path: names for path, names in found.items() if names} == {}


def test_two_files_know_ray() -> None:
    trees = {relative(path): ast.parse(path.read_text()) for path in SOURCES}
    found = [path for path, tree in trees.items() if any(name.split(".")[0] == "ray" for name in imported(tree, ""))]
    assert found == ["benchmarks/scaling.py", "selfplay/cluster.py", "selfplay/ray_pool.py"]  # the first makes nodes


@pytest.mark.parametrize("code", [
    "import torch", "from policy import decoder", "from policy.decoder import TreeDecoder",
    "import verifiers.domains.countdown", "from commands import solve", "def f():\n    import hydra",
    "from verifiers import base, domains",
])
def test_a_trespass_is_noticed(code: str) -> None:
    assert trespasses(ast.parse(code), "search")


def test_search_may_use_the_protocols() -> None:
    allowed = "from policy.base import Policy\nfrom policy import budget\nfrom . import tree\nimport numpy.random, math"
    assert trespasses(ast.parse(allowed), "search") == set()


def test_import_linter_keeps_the_floors() -> None:
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(cache_dir=None))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_runs_text() -> None:
    found = {relative(path): dangers(ast.parse(path.read_text())) for path in SOURCES}
    assert {path: names for path, names in found.items() if names} == ALLOWED_NAMES


@pytest.mark.parametrize("code", [
    "eval(text)", "f = exec", "from sympy import sympify", "sympy.parse_expr(text)", "os.system(text)", "import pickle",
    "run(text, shell=True)", "torch.load(path)", "torch.load(path, weights_only=False)",
    "load(x, trust_remote_code=True)",
])
def test_a_danger_is_noticed(code: str) -> None:
    assert dangers(ast.parse(code))


def test_what_only_looks_dangerous_is_not() -> None:
    harmless = "model.eval()\nre.compile(text)\ntorch.load(path, weights_only=True)\nplatform.system()\nrun([program])"
    assert dangers(ast.parse(harmless)) == set()


def test_files_and_functions_stay_small() -> None:
    large = {}
    for path in [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]:
        text = path.read_text()
        if (lines := len(text.splitlines())) > (FILE_LINES if path in SOURCES else TEST_LINES):
            large[relative(path)] = lines
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    large[f"{relative(path)}: {node.name}"] = lines
    assert large == {}


def modules(*floors: str) -> list[str]:
    files = [path for floor in floors for path in (ROOT / floor).rglob("*.py")]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]


@pytest.mark.parametrize(("names", "unwanted"), [
    (["verifiers.domains.countdown", "verifiers.domains.arithmetic"], ["sympy", "torch", "transformers"]),
    (["policy.base", "policy.budget", "policy.uniform", "policy.scripted"], ["torch", "transformers", "sympy"]),
    (modules("verifiers", "search"), ["torch", "transformers", "hydra", "pyarrow", "matplotlib", "ray"]),
    (["run_experiment"], ["torch", "transformers", "hydra", "pyarrow", "matplotlib", "rich", "sympy", "ray"]),
    (modules("commands"), ["torch", "transformers", "sympy", "matplotlib.pyplot", "ray"]),
], ids=["domains", "policies without a model", "problems and search", "the entry", "commands"])
def test_imports_are_lazy(names: Sequence[str], unwanted: Sequence[str]) -> None:
    code = "import importlib, sys\nfor name in sys.argv[1].split(): importlib.import_module(name)\nprint(*sys.modules)"
    command = [sys.executable, "-c", code, " ".join(names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert set(names) <= loaded
    assert loaded.isdisjoint(unwanted), sorted(loaded & set(unwanted))


def blocks(path: Path) -> list[str]:
    """Command lines in the fenced shell blocks of a document, comments and continuations taken care of."""
    text = "\n".join(re.findall(r"^```(?:bash|sh)\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL))
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


COMMANDS = [line for path in DOCUMENTS for line in blocks(path) if "run_experiment.py" in line]


@pytest.mark.parametrize("line", COMMANDS)
def test_documented_commands_compose(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    from run_experiment import main

    words = shlex.split(line, comments=True)
    assert words[:2] == ["python", "run_experiment.py"]
    words = words[2:]
    # A sweep is composed like a single run, each choice in turn.
    words = [word for word in words if word not in ("-m", "--multirun")]
    sweep = next((word for word in words[1:] if re.fullmatch(r"\w+=\w+(,\w+)+", word)), "")
    for choice in sweep.partition("=")[2].split(","):
        chosen = [f"{word.partition('=')[0]}={choice}" if word == sweep else word for word in words]
        if not {"--help", "--cfg"} & set(words):
            chosen += ["--cfg", "job"]
        assert main(chosen) == 0, capsys.readouterr().err


def test_documents_show_commands() -> None:
    assert len(COMMANDS) >= 10


def test_documented_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for path in DOCUMENTS for name in re.findall(r"`make ([a-z]+)`", path.read_text())}
    named |= {name for path in DOCUMENTS for line in blocks(path) for name in re.findall(r"^make ([a-z]+)", line)}
    assert {"demo", "test", "check"} <= named <= targets


def test_documented_files_exist() -> None:
    missing = []
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
            if "://" not in target and not (path.parent / target).exists():
                missing.append(f"{relative(path)}: {target}")
    assert missing == []


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [Requirement(line) for line in [*project["dependencies"], *extras["dev"], *extras["gym"], *extras["bench"]]]


def test_every_dependency_is_pinned_within_its_range() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    for requirement in requirements():
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
    assert "+" not in pins["torch"]


def test_every_dependency_is_accounted_for() -> None:
    record = (ROOT / "docs" / "adr" / "0002-dependencies.md").read_text()
    names = [requirement.name for requirement in requirements()]
    assert [name for name in names if not re.search(rf"\b{re.escape(name)}\b", record)] == []


@pytest.mark.heavy
def test_the_one_command_of_the_readme_finds_a_proof() -> None:
    line = "run_experiment.py solve '4 9 10 13' domain=game24 budget=10s"
    assert line.replace("'", '"') in (ROOT / "README.md").read_text()
    done = subprocess.run([sys.executable, *shlex.split(line)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "(verified)" in done.stdout
