"""Disks that fill up while a sweep runs: small file systems of the test's own, in a mount namespace."""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from sweeps import Storage, assert_accounted, run, space, states_of

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(1800)]

SPACE = space(trials=4, layers=1, confirm_seeds=1, epochs=2)

# Mounts vanish with the namespace, so what the test looks at afterwards is copied out.
_SCRIPT = """
set -eu
mount -t tmpfs -o size={size} tmpfs {mount}
{command} > {log} 2>&1 &
driver=$!
until grep -q 'search-0000 report 1/3' {log}; do kill -0 $driver || exit 99; sleep 0.1; done
dd if=/dev/zero of={mount}/filler bs=4k 2> /dev/null || true
code=0; wait $driver || code=$?
echo $code > {codes}
rm {mount}/filler
code=0; {resume} > {log}-again 2>&1 || code=$?
echo $code >> {codes}
{copy}
"""


def _in_mount_namespace(script: str) -> list[str]:
    """Return the command of a shell script that may mount what nobody else sees; skip the test where none may."""
    own = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here: unshare is refused")
    return [*own, "bash", "-c", script]


def _filled(
    storage: Storage, mount: Path, size: str, *flags: str, before: Sequence[str] = (), copy: str = "true"
) -> tuple[list[str], str]:
    """Run the sweep `full` on a small file system that fills up at a report, free it, and go on.

    Args:
        storage: Where the sweep is.
        mount: What the file system is mounted at.
        size: Of the file system.
        flags: Of the sweep.
        before: What comes before both commands.
        copy: Command that saves what is to be looked at.

    Returns:
        The exit codes of the sweep and of what went on, and what the first one printed.
    """
    log, codes = (storage.folder.parent / name for name in ("log", "codes"))
    script = _SCRIPT.format(
        size=size,
        mount=mount,
        command=shlex.join([*before, *storage.command("--name", "full", *flags)]),
        resume=shlex.join([*before, *storage.resuming("full")]),
        log=log,
        codes=codes,
        copy=copy,
    )
    done = run(_in_mount_namespace(script))
    assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
    return codes.read_text().split(), log.read_text()


def test_a_full_storage_stops_the_sweep_in_order_and_space_is_all_it_needs(tmp_path: Path) -> None:
    # The folder of sweeps is the mount; afterwards a copy of it lies in its place.
    storage, copy = Storage.make(tmp_path, SPACE), tmp_path / "copy"
    storage.folder.mkdir()
    codes, printed = _filled(storage, storage.folder, "40m", copy=f"cp -r {storage.folder} {copy}")
    assert codes == ["1", "0"], printed
    assert "stopped: " in printed
    assert "full" in printed.lower() or "No space left on device" in printed
    assert "Traceback" not in printed
    assert f"once that is mended, resume with: dlfa-sweep --resume full --storage {storage.folder}" in printed
    storage.folder.rmdir()
    shutil.move(copy, storage.folder)
    folder = storage.folder / "full"
    assert_accounted(folder, search=4)
    assert states_of(folder, "search")["FAIL"] == states_of(folder, "confirm")["FAIL"] == 0, "no trial's fault"


def test_a_full_mlflow_store_stops_nothing_and_gets_everything_later(tmp_path: Path) -> None:
    storage, mount = Storage.make(tmp_path, SPACE), tmp_path / "mlflow"
    mount.mkdir()
    database = mount / "mlflow.db"
    codes, printed = _filled(
        storage, mount, "2m", "--tracking-uri", f"sqlite:///{database}", copy=f"cp {database} {storage.folder}"
    )
    assert codes == ["0", "0"], printed
    assert "can't be reached (database or disk is full)" in printed
    assert "not reached MLflow; what is left is kept" in printed
    assert_accounted(storage.folder / "full", search=4)


def test_a_full_temp_folder_of_ray_stops_the_sweep_in_order(tmp_path: Path) -> None:
    storage = Storage.make(tmp_path, SPACE)
    mount = Path(tempfile.mkdtemp(prefix="ray"))  # Ray's sockets need a short path
    (first, second), printed = _filled(storage, mount, "60m", before=("env", f"RAY_TMPDIR={mount}"))
    mount.rmdir()
    # Trials that run need nothing more of it; the next phase does.
    assert second == "0", printed
    if first != "0":
        assert first == "1", printed
        assert f"Ray's own files are in {mount}" in printed
    assert_accounted(storage.folder / "full", search=4)
