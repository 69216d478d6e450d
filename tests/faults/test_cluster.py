"""Clusters whose nodes come and go, run out of memory, or do not see what the driver sees."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from sweeps import Storage, assert_accounted, in_mount_namespace, space, states_of, trials_of

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(1800)]

SPACE = space(trials=4, layers=2, confirm_seeds=1, epochs=3)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster on this machine whose head runs no trial."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield nodes
    nodes.shutdown()


def test_trials_of_a_lost_node_go_on_elsewhere_from_their_checkpoints(tmp_path: Path, cluster: Cluster) -> None:
    storage = Storage.make(tmp_path, SPACE)
    lost = cluster.add_node(num_cpus=2)
    command = storage.command("--name", "nodes", "--address", cluster.address, "--pruner", "none")
    printed: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            printed.append(line)
            if lost is not None and "report 2/3" in line:
                cluster.remove_node(lost, allow_graceful=False)
                lost = None
                cluster.add_node(num_cpus=2)
    assert driver.returncode == 0, "".join(printed)
    folder = storage.folder / "nodes"
    assert_accounted(folder, search=4)
    assert states_of(folder, "search") == {"COMPLETE": 4}
    assert sum(trial.user_attrs.get("restarts", 0) for trial in trials_of(folder, "search")) >= 1
    said = "its process died: its node was lost or can't be reached; it starts again from its last checkpoint"
    assert any(said in line for line in printed), "".join(printed)


def _memory(name: str) -> int:
    """Return bytes of this machine's memory, as the kernel tells them."""
    (line,) = (line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


_HOG = """
import sys, time
hog = bytearray(int(sys.argv[1]))
hog[::4096] = b"x" * len(hog[::4096])
print("full", flush=True)
time.sleep(float(sys.argv[2]))
"""


def test_a_trial_that_rays_memory_monitor_ends_goes_on_with_half_the_windows(tmp_path: Path) -> None:
    storage = Storage.make(tmp_path, SPACE)
    total, available = (_memory(name) for name in ("MemTotal", "MemAvailable"))
    hog, margin = 4 << 30, 2 << 30
    if available < hog + margin:
        pytest.skip("needs 6 GiB of free memory")
    # The machine counts as full a little above what is in use now; then another process takes that much.
    threshold = (total - available + margin) / total
    environment = os.environ | {"RAY_memory_usage_threshold": f"{threshold:.3f}", "RAY_memory_monitor_refresh_ms": "50"}
    command = storage.command("--name", "memory", "--pruner", "none", "--cpus-per-trial", "2")
    printed: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            printed.append(line)
            if "search-0001 report 1/3" in line and not any("process died" in earlier for earlier in printed):
                with subprocess.Popen([sys.executable, "-c", _HOG, str(hog), "1.5"], stdout=subprocess.PIPE) as other:
                    assert other.wait(120) == 0
    assert driver.returncode == 0, "".join(printed)
    folder = storage.folder / "memory"
    assert_accounted(folder, search=4)
    assert states_of(folder, "search") == {"COMPLETE": 4}
    (line,) = (line for line in printed if "its process died: out of memory" in line)
    assert "from now on 4 windows at a time" in line
    trial = trials_of(folder, "search")[1]
    assert trial.user_attrs["restarts"] == 1
    assert trial.user_attrs["report:3"]["train/micro_batch_size"] == 4
    assert trial.user_attrs["scores"]


_TWO_NODES = """
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
while sum(node["Alive"] for node in ray.nodes()) < 2:
    time.sleep(0.5)
"""

_NODE = """
mount -t tmpfs tmpfs {storage}
exec {ray} start --address {address} --num-cpus 2 --disable-usage-stats --block
"""


def test_a_storage_folder_that_a_node_does_not_see_is_refused_before_any_trial(
    tmp_path: Path, cluster: Cluster
) -> None:
    storage = Storage.make(tmp_path, SPACE)
    storage.folder.mkdir()
    ray = str(Path(sys.executable).with_name("ray"))
    script = _NODE.format(storage=storage.folder, ray=ray, address=cluster.address)
    with subprocess.Popen(in_mount_namespace(script), stdout=subprocess.DEVNULL) as node:
        try:
            subprocess.run([sys.executable, "-c", _TWO_NODES, cluster.address], timeout=120, check=True)
            done = storage.run("--name", "unseen", "--address", cluster.address)
        finally:
            node.terminate()
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"--storage: {str(storage.folder)!r} is not allowed; allowed: a folder that every node shares" in done.stderr
    assert "started" not in done.stdout
