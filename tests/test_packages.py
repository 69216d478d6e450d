"""What is in the wheel, and that it works without the checkout."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("dlfa", "orchestrator", "search_spaces")


def run(*command: str, cwd: Path, path: Path | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"PIP_NO_INDEX": "1"} | ({} if path is None else {"PYTHONPATH": str(path)})
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of this checkout: building writes beside the sources."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for entry in ROOT.iterdir():
        if entry.is_dir() and entry.name in (*PACKAGES, "tests", "benchmarks", "docs"):
            shutil.copytree(entry, source / entry.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif entry.is_file():
            shutil.copy(entry, source)
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source), cwd=source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    run("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel), cwd=target)
    return target


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_every_module_and_every_search_space(wheel: Path) -> None:
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {
        "dlfa/py.typed",
        "orchestrator/py.typed",
        "search_spaces/udpos.yaml",
        "dlfa/fusions/aif.py",
        "dlfa/tasks/published.yaml",
    } <= wanted
    assert wanted <= names(wheel)


def test_the_wheel_has_nothing_else(wheel: Path) -> None:
    tops = {PurePosixPath(name).parts[0] for name in names(wheel)}
    assert tops == {*PACKAGES, f"dlfa_sweep-{version('dlfa-sweep')}.dist-info"}
    assert not [name for name in names(wheel) if "test" in PurePosixPath(name).name]


def test_the_wheel_has_the_licence_and_the_commands(wheel: Path) -> None:
    info = f"dlfa_sweep-{version('dlfa-sweep')}.dist-info"
    assert f"{info}/licenses/LICENSE" in names(wheel)
    with zipfile.ZipFile(wheel) as archive:
        scripts = configparser.ConfigParser()
        scripts.read_string(archive.read(f"{info}/entry_points.txt").decode())
        metadata = archive.read(f"{info}/METADATA").decode()
    assert dict(scripts["console_scripts"]) == {
        "dlfa-sweep": "orchestrator.cli:sweep_main",
        "dlfa-report": "orchestrator.cli:report_main",
        "dlfa-train": "dlfa.cli:main",
    }
    assert "\nRequires-Python: >=3.10\n" in metadata
    needed = re.findall(r"^Requires-Dist: ([a-z]+)[^;\n]*$", metadata, re.MULTILINE)
    assert {"torch", "transformers", "ray", "optuna", "mlflow", "seqeval", "rich"} <= set(needed)
    assert not {"pytest", "mypy", "ruff"} & set(needed)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.splitlines()[0] in metadata.splitlines()


# An editable install puts the checkout on the path, or a finder of its own among the importers.
_WITHOUT_CHECKOUT = f"""
import json, sys
sys.path = [entry for entry in sys.path if entry not in ("", {str(ROOT)!r})]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
"""

_LOADS = """
import dlfa, orchestrator, search_spaces
from dlfa.model import EncoderShape
from orchestrator.space_file import load_space, packaged_space
spaces = {}
for profile in ("paper", "quickstart"):
    text, name = packaged_space("xnli", profile)
    shape = EncoderShape(layers=12, hidden_size=768, vocabulary=9, max_positions=512)
    spaces[name] = load_space(text, name, "xnli", shape).trials
print(json.dumps([[m.__file__ for m in (dlfa, orchestrator, search_spaces)], spaces]))
"""

_COMMANDS = """
import importlib.metadata
(found,) = importlib.metadata.distributions(name="dlfa-sweep", path=sys.path[:2])
entry = {entry.name: entry for entry in found.entry_points}[sys.argv[1]]
sys.argv[1:] = sys.argv[2:]
sys.exit(entry.load()())
"""


def test_an_installed_wheel_loads_its_search_spaces(installed: Path, tmp_path: Path) -> None:
    files, spaces = json.loads(run("-c", _WITHOUT_CHECKOUT + _LOADS, cwd=tmp_path, path=installed))
    assert [Path(file).parents[1] for file in files] == [installed] * 3
    assert spaces == {"xnli.yaml": 60, "quickstart/xnli.yaml": 12}


@pytest.mark.parametrize("command", ["dlfa-sweep", "dlfa-report", "dlfa-train"])
def test_an_installed_command_runs(installed: Path, tmp_path: Path, command: str) -> None:
    out = run("-c", _WITHOUT_CHECKOUT + _COMMANDS, command, "--help", cwd=tmp_path, path=installed)
    assert out.startswith(f"usage: {command} ")
    assert list(tmp_path.iterdir()) == []
