"""Disks that fill up while a sweep runs: small file systems of the test's own, in a mount namespace."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from sweeps import Storage, assert_accounted, states_of

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(1800)]

SPACE = """
task: udpos
trials: 3
confirm_seeds: 1
search:
  fusion_layer: {low: 1, high: 1}
  reduction_ratio: {choices: [2, 4]}
  learning_rate: {low: 3.0e-4, high: 1.0e-2, log: true}
training: {epochs: 2, batch_size: 8, reports_per_trial: 3}
max_length: 32
"""

# Mounts vanish with the namespace, so what the test looks at afterwards is copied out.
_SCRIPT = """
set -eu
mount -t tmpfs -o size={size} tmpfs {mount}
{command} > {log} 2>&1 &
driver=$!
until grep -q '{line}' {log}; do kill -0 $driver || exit 99; sleep 0.1; done
dd if=/dev/zero of={mount}/filler bs=4k 2> /dev/null || true
code=0; wait $driver || code=$?
echo $code > {codes}
rm {mount}/filler
code=0; {resume} > {log}-again 2>&1 || code=$?
echo $code >> {codes}
{copy}
"""


def _script(**parts: str) -> subprocess.CompletedProcess[str]:
    own = ["unshare", "--mount", *([] if _root() else ["--user", "--map-root-user"])]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here: unshare is refused")
    return subprocess.run(
        [*own, "bash", "-c", _SCRIPT.format(**parts)], capture_output=True, text=True, timeout=900, check=False
    )


def _root() -> bool:
    return subprocess.run(["id", "-u"], capture_output=True, text=True, check=True).stdout.strip() == "0"


def _quoted(command: list[str]) -> str:
    return " ".join(f"'{word}'" for word in command)


def test_a_full_storage_stops_the_sweep_in_order_and_space_is_all_it_needs(tmp_path: Path) -> None:
    # The folder of sweeps is the mount; afterwards a copy of it lies in its place.
    storage = Storage.make(tmp_path, SPACE)
    storage.folder.mkdir()
    log, codes, copy = tmp_path / "log", tmp_path / "codes", tmp_path / "copy"
    done = _script(
        size="40m",
        mount=str(storage.folder),
        command=_quoted(storage.command("--name", "full")),
        resume=_quoted(storage.resuming("full")),
        log=str(log),
        line="report 1/3",
        codes=str(codes),
        copy=f"cp -r {storage.folder} {copy}",
    )
    assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
    assert codes.read_text().split() == ["1", "0"], log.read_text() + Path(f"{log}-again").read_text()
    printed = log.read_text()
    assert "stopped: " in printed
    assert "full" in printed.lower() or "No space left on device" in printed
    assert "Traceback" not in printed
    assert f"once that is mended, resume with: dlfa-sweep --resume full --storage {storage.folder}" in printed
    storage.folder.rmdir()
    shutil.move(copy, storage.folder)
    folder = storage.folder / "full"
    assert_accounted(folder, search=3)
    assert states_of(folder, "search")["FAIL"] == states_of(folder, "confirm")["FAIL"] == 0, "no trial's fault"


def test_a_full_mlflow_store_stops_nothing_and_gets_everything_later(tmp_path: Path) -> None:
    storage = Storage.make(tmp_path, SPACE)
    log, codes, mount = tmp_path / "log", tmp_path / "codes", tmp_path / "mlflow"
    mount.mkdir()
    done = _script(
        size="2m",
        mount=str(mount),
        command=_quoted(storage.command("--name", "full", "--tracking-uri", f"sqlite:///{mount / 'mlflow.db'}")),
        resume=_quoted(storage.resuming("full")),
        log=str(log),
        line="search-0000 report 1/3",
        codes=str(codes),
        copy=f"cp {mount / 'mlflow.db'} {storage.folder}",
    )
    assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
    assert codes.read_text().split() == ["0", "0"], log.read_text()
    assert "can't be reached (database or disk is full)" in log.read_text()
    assert "not reached MLflow; what is left is kept" in log.read_text()
    assert_accounted(storage.folder / "full", search=3)


def test_a_full_temp_folder_of_ray_stops_the_sweep_in_order(tmp_path: Path) -> None:
    storage = Storage.make(tmp_path, SPACE)
    log, codes = tmp_path / "log", tmp_path / "codes"
    mount = Path(tempfile.mkdtemp(prefix="ray"))  # Ray's sockets need a short path
    tmpdir = ["env", f"RAY_TMPDIR={mount}"]
    done = _script(
        size="60m",
        mount=str(mount),
        command=_quoted([*tmpdir, *storage.command("--name", "full")]),
        resume=_quoted([*tmpdir, *storage.resuming("full")]),
        log=str(log),
        line="search-0000 report 1/3",
        codes=str(codes),
        copy="true",
    )
    mount.rmdir()
    assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
    first, second = codes.read_text().split()
    # Trials that run need nothing more of it; the next phase does.
    assert second == "0", Path(f"{log}-again").read_text()
    if first != "0":
        assert first == "1", log.read_text()
        assert f"Ray's own files are in {mount}" in log.read_text()
    assert_accounted(storage.folder / "full", search=3)
