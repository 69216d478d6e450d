"""Clusters whose nodes come and go, run out of memory, or do not see what the driver sees."""

import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from clusters import FAR, NEAR, on_own_machine
from ray.cluster_utils import Cluster
from sweeps import Storage, assert_accounted, run, space, states_of, trials_of

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


_TWO_HOSTS = """
export HOME={home}
head.sh {near} > /dev/null 2>&1
python -c '{two_nodes}'
export RAY_AUTH_MODE=token
code=0; {sweep} || code=$?
echo "code $code"
"""

_TWO_NODES = """
import time, ray
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
while sum(node["Alive"] for node in ray.nodes()) < 2:
    time.sleep(0.5)
"""


@pytest.mark.parametrize("shared", [True, False])
def test_two_hosts_run_a_sweep_if_they_share_its_storage_and_none_if_not(tmp_path: Path, shared: bool) -> None:
    storage = Storage.make(tmp_path, SPACE)
    storage.folder.mkdir()
    mount = "" if shared else f"mount -t tmpfs tmpfs {storage.folder};"
    sweep = shlex.join(storage.command("--name", "hosts", "--address", f"{NEAR}:6379", "--pruner", "none"))
    printed = on_own_machine(
        _TWO_HOSTS.format(home=tmp_path, near=NEAR, two_nodes=_TWO_NODES, sweep=sweep),
        # The token first: in a folder that both see, as a home on a network file system.
        second=f"{mount} export HOME={tmp_path}; until [ -e ~/.ray/auth_token ] && worker.sh {NEAR}; do sleep 1; done",
    )
    if not shared:
        assert "code 2" in printed, printed
        told = (
            f"--storage: {str(storage.folder)!r} is not allowed; allowed: a folder that every node shares; not seen on"
        )
        assert f"{told} {FAR}\n" in printed
        assert "started" not in printed
        return
    assert "code 0" in printed, printed
    cpus = 2 * len(os.sched_getaffinity(0))
    assert f"slots: no GPU in use; {cpus} trials at a time, 1 CPU each, on the cluster at {NEAR}:6379\n" in printed
    assert_accounted(storage.folder / "hosts", search=4)


def _autoscaling(kind: dict[str, int]) -> dict[str, Any]:
    """Return the configuration of Ray's fake provider: nodes of one kind, processes on this machine, none at first."""
    return {
        **{f"{who}setup_commands": [] for who in ("", "head_", "worker_")},
        **{f"{who}_start_ray_commands": [] for who in ("head", "worker")},
        "cluster_name": "fake",
        "max_workers": 3,
        "idle_timeout_minutes": 5,
        "provider": {"type": "fake_multinode", "disable_node_updaters": True},
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": kind, "node_config": {}, "min_workers": 0, "max_workers": 3},
        },
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "initialization_commands": [],
    }


_GROWING = """
RAY_FAKE_CLUSTER=1 AUTOSCALER_UPDATE_INTERVAL_S=1 \\
    ray start --head --num-cpus 0 --autoscaling-config={config} > /dev/null 2>&1
{sweep}
{too_much} > {said} & driver=$!
until grep -q 'waiting for' {said}; do sleep 0.2; done
kill -TERM $driver
code=0; wait $driver || code=$?
cat {said}
echo "code $code"
"""


@pytest.mark.parametrize(
    ("kind", "flags", "too_much", "waited", "slots"),
    [
        (
            {"CPU": 2, "GPU": 2},
            ("--gpus", "4"),
            ("--gpus", "9"),
            ("waiting for GPUs: 0 of 4 there", "waiting for GPUs: 4 of 9 there"),
            "4 trials at a time, 1 GPU and 1 CPU each",
        ),
        (
            {"CPU": 2},
            (),
            ("--cpus-per-trial", "3"),
            ("waiting for a node with 1 CPU: 0 CPUs and 0 GPUs there", "waiting for a node with 3 CPUs: 2 CPUs and 0"),
            "2 trials at a time, 1 CPU each",
        ),
    ],
)
def test_a_cluster_that_can_grow_is_asked_to_and_waited_for(
    tmp_path: Path,
    kind: dict[str, int],
    flags: tuple[str, ...],
    too_much: tuple[str, ...],
    waited: tuple[str, str],
    slots: str,
) -> None:
    storage = Storage.make(tmp_path, SPACE)
    config = tmp_path / "cluster.json"
    config.write_text(json.dumps(_autoscaling(kind)))
    printed = on_own_machine(
        _GROWING.format(
            config=config,
            sweep=shlex.join(storage.command("--name", "grown", "--address", "auto", "--pruner", "none", *flags)),
            too_much=shlex.join(storage.command("--name", "more", "--address", "auto", *too_much)),
            said=tmp_path / "said.txt",
        )
    )
    asked = "; the cluster's autoscaler was asked for the rest\n"
    assert f"{waited[0]}{asked}" in printed, printed
    assert slots in printed
    assert_accounted(storage.folder / "grown", search=4)
    assert waited[1] in printed
    assert "code 130\n" in printed
    assert not (storage.folder / "more").exists(), "nothing has begun"


_WITH_TOKEN = """
export HOME={home}/head
ray get-auth-token --generate > /dev/null 2>&1
ray start --head --num-cpus 2 > /dev/null 2>&1
token=$(cat {home}/head/.ray/auth_token)
export HOME={home}/elsewhere
refused() {{ code=0; "$@" || code=$?; echo "code $code"; }}
refused {sweep} --address 127.0.0.1:6379
RAY_AUTH_MODE=token refused {sweep} --address 127.0.0.1:6379
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$token
RAY_ADDRESS=127.0.0.1:6379 {sweep}
"""


def test_a_cluster_that_wants_a_token_says_so_and_takes_it(tmp_path: Path) -> None:
    storage = Storage.make(tmp_path, SPACE)
    for home in ("head", "elsewhere"):
        (tmp_path / home).mkdir()
    sweep = shlex.join(storage.command("--name", "token", "--pruner", "none"))
    printed = on_own_machine(_WITH_TOKEN.format(home=tmp_path, sweep=sweep))
    told = (
        "dlfa-sweep: --address: '127.0.0.1:6379' is not allowed: the cluster wants its token; allowed: "
        "RAY_AUTH_MODE=token, and what `ray get-auth-token` prints there in RAY_AUTH_TOKEN or ~/.ray/auth_token\n"
        "code 2\n"
    )
    assert printed.count(told) == 2, printed
    assert "Traceback" not in printed
    assert "1 CPU each, on the cluster at 127.0.0.1:6379 (RAY_ADDRESS)\n" in printed
    assert_accounted(storage.folder / "token", search=4)
    # It remembers that it is a cluster's, not where that was.
    assert yaml.safe_load((storage.folder / "token" / "sweep.yaml").read_text())["address"] == "auto"


def _most_at_a_time(folder: Path) -> int:
    trials = trials_of(folder, "search")
    edges = [(str(trial.datetime_start), 1) for trial in trials] + [
        (str(trial.datetime_complete), -1) for trial in trials
    ]
    return max(itertools.accumulate(change for _, change in sorted(edges)))


@pytest.mark.parametrize(
    ("flags", "slots", "most"),
    [
        (("--gpus", "2", "--gpus-per-trial", "0.5"), "4 trials at a time, 0.5 GPU and 2 CPUs each", 4),
        # Two of three GPUs: the third ones of both nodes make no third trial.
        (
            ("--gpus-per-trial", "2"),
            "2 trials at a time, 2 GPUs (it computes on one of them: 1 idle) and 4 CPUs each",
            2,
        ),
    ],
)
def test_fractions_and_several_gpus_stay_on_a_node_and_under_the_cap(
    tmp_path: Path, cluster: Cluster, flags: tuple[str, ...], slots: str, most: int
) -> None:
    # No real devices: the trials compute on the CPU while they hold logical GPUs.
    for _ in range(2):
        cluster.add_node(num_cpus=4, num_gpus=3)
    storage = Storage.make(tmp_path, SPACE)
    done = storage.run("--name", "shares", "--address", cluster.address, "--pruner", "none", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert slots in done.stdout
    assert_accounted(storage.folder / "shares", search=4)
    assert _most_at_a_time(storage.folder / "shares") == most


_MEASURED = """
import sys
import orchestrator.packing
from dlfa.memory import GpuMemory
from orchestrator.cli import sweep_main

def stand_in():
    return lambda config: GpuMemory(name="Stand-in", taken=2**30, total=3 * 2**30)

orchestrator.packing.gpu_memory = stand_in()
sys.exit(sweep_main(sys.argv[1:]))
"""


def test_trials_share_gpus_as_their_memory_allows(tmp_path: Path, cluster: Cluster) -> None:
    for _ in range(2):
        cluster.add_node(num_cpus=4, num_gpus=1)
    storage = Storage.make(tmp_path, SPACE)
    flags = ("--name", "auto", "--address", cluster.address, "--sampler", "random", "--gpus-per-trial", "auto")
    # These GPUs are none of PyTorch's: told before anything has begun.
    refused = storage.run(*flags)
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "--gpus-per-trial: auto is not allowed; allowed: a number; a trial's memory can't be" in refused.stderr
    assert not (storage.folder / "auto").exists()

    command = storage.command(*flags, "--pruner", "none")
    arguments = command[command.index("--task") :]
    done = run([sys.executable, "-c", _MEASURED, *arguments])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a trial takes up to 1.0 of 3.0 GiB of Stand-in; 2 on each GPU (as many as fit" in done.stdout
    assert "4 trials at a time, 0.5 GPU and 2 CPUs each" in done.stdout
    assert_accounted(storage.folder / "auto", search=4)
    assert _most_at_a_time(storage.folder / "auto") == 4
    assert yaml.safe_load((storage.folder / "auto" / "sweep.yaml").read_text())["gpus_per_trial"] == "auto"
