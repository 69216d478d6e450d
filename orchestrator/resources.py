"""GPUs, CPUs and the cluster: what there is, what a sweep may use, and whether all nodes see its folder."""

import os
import re
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray._private import ray_constants
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dlfa.errors import ConfigError, MachineError
from orchestrator.choices import AUTO, GpuShare

__all__ = [
    "Available",
    "Cluster",
    "Slots",
    "cluster_of",
    "connect",
    "known_share",
    "local",
    "most_at_a_time",
    "plan_slots",
    "present",
    "probe_storage",
    "ray_files",
    "share_of",
]


@dataclass(frozen=True, kw_only=True)
class Available:
    """What a machine or a cluster has."""

    cpus: float
    gpus: float
    where: str
    """Name for messages."""

    nodes: tuple[tuple[float, float], ...] = ()
    """CPUs and GPUs of each node; none: all is in one."""

    short: bool = False
    """It was asked to grow, and grows no more: a sweep that asked for more GPUs goes on with these."""

    def fitting(self, cpus: int, gpus: float) -> int:
        """Return how many trials fit, each on one node, and each fraction on one GPU."""
        return sum(_fitting(*node, cpus, gpus) for node in self.nodes or ((self.cpus, self.gpus),))


def _fitting(node_cpus: float, node_gpus: float, cpus: int, gpus: float) -> int:
    by_cpus = int(node_cpus // cpus)
    if not gpus:
        return by_cpus
    by_gpus = int(node_gpus / gpus + 1e-9) if gpus >= 1 else int(node_gpus) * int(1 / gpus + 1e-9)
    return min(by_cpus, by_gpus)


@dataclass(frozen=True, kw_only=True)
class Slots:
    """How many trials run at a time, and what each gets."""

    count: int
    cpus: int
    """CPUs per trial, and its threads."""

    gpus: float
    """GPUs per trial; 0 without GPUs."""


def local() -> Available:
    """Return what this machine offers to this process."""
    return Available(cpus=len(os.sched_getaffinity(0)), gpus=torch.cuda.device_count(), where="this machine")


@dataclass(frozen=True)
class Cluster:
    """Where a sweep runs."""

    address: str | None
    """`auto` or HOST:PORT; none: this machine, without a cluster."""

    flag: str
    """What named it, for messages."""

    @property
    def where(self) -> str:
        """Name for messages."""
        if self.address is None:
            return "this machine"
        return f"the cluster at {self.address}{' (RAY_ADDRESS)' * (self.flag == 'RAY_ADDRESS')}"


def cluster_of(address: str | None) -> Cluster:
    """Return where a sweep with this `--address` runs.

    RAY_ADDRESS counts where no address is given, and says where `auto` is, as in Ray's own tools.

    Raises:
        ConfigError: It is no address of a cluster that a sweep can run on.
    """
    named = os.environ.get("RAY_ADDRESS")
    flag = "RAY_ADDRESS" if named and address in (None, "auto") else "--address"
    found = (named if flag == "RAY_ADDRESS" else address) or "local"
    if found == "local" and address != "auto":
        return Cluster(None, flag)
    if found != "auto" and not re.fullmatch(r"[^\s/]+:\d+", found):
        raise ConfigError(
            f"{flag}: {found!r} is not allowed; allowed: auto or HOST:PORT of a running Ray cluster, or local; "
            "through ray:// or a dashboard's address a sweep runs as a job: `ray job submit`"
        )
    return Cluster(found, flag)


def connect(cluster: Cluster, machine: Available) -> Available:
    """Start Ray on this machine, or connect to a cluster, and return what it has.

    Raises:
        ConfigError: No cluster answers at the address, or it wants a token that is not here.
        MachineError: Ray does not start on this machine.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    common: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False, "ignore_reinit_error": True}
    if cluster.address is None:
        # Ray listens on every interface unless it takes loopback for the machine's address, as it does on laptops.
        setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # noqa: B010 - for mypy
        cpus, gpus = int(machine.cpus), int(machine.gpus)
        try:
            # Not a bare init: after a killed head that would try to connect to it.
            ray.init(address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, **common)
        except (OSError, RuntimeError, ValueError) as error:
            raise MachineError(
                f"Ray does not start on this machine ({' '.join(str(error).split())[:200]}); its logs and files are in "
                f"{ray_files()}, which needs space and a short path: RAY_TMPDIR names another folder"
            ) from error
        return present(cluster.where)
    try:
        _knock(cluster.address)
        ray.init(address=cluster.address, **common)
    except (OSError, OverflowError, RuntimeError, ValueError, RayError) as error:
        raise ConfigError(_refused(cluster, error)) from error
    # What `auto` has found.
    return present(Cluster(str(ray.get_runtime_context().gcs_address), cluster.flag).where)


def _knock(address: str) -> None:
    """Raise OSError at once where nothing listens: Ray would try for minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=30).close()


def _refused(cluster: Cluster, error: BaseException) -> str:
    """Return in one line why there is no connection."""
    told = " ".join(f"{error} {error.__cause__ or error.__context__}".split())
    if "authentication" in told.lower():  # Ray says so only in the cause of a bare ConnectionError
        return (
            f"{cluster.flag}: {cluster.address!r} is not allowed: the cluster wants its token; allowed: "
            "RAY_AUTH_MODE=token, and what `ray get-auth-token` prints there in RAY_AUTH_TOKEN or ~/.ray/auth_token"
        )
    return (
        f"{cluster.flag}: {cluster.address!r} is not allowed; allowed: auto or HOST:PORT of a running Ray cluster "
        f"({' '.join(str(error).split())[:200]})"
    )


def present(where: str) -> Available:
    """Return what the nodes have that are there now."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = tuple((node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in found)
    return Available(cpus=sum(cpus for cpus, _ in nodes), gpus=sum(gpus for _, gpus in nodes), where=where, nodes=nodes)


def ray_files() -> str:
    """Return where Ray keeps its own files, for messages."""
    return os.environ.get("RAY_TMPDIR", "/tmp/ray")  # noqa: S108 - Ray's own default


def plan_slots(
    available: Available, *, gpus: int | None, gpus_per_trial: GpuShare | None, cpus_per_trial: int | None
) -> Slots:
    """Divide what there is into slots; `gpus` is a cap on what the sweep uses, not on what exists.

    Args:
        available: What there is.
        gpus: At most so many GPUs; none: all; 0: CPUs only.
        gpus_per_trial: A fraction packs several trials on a GPU; none, and `auto` until it is measured: 1.
        cpus_per_trial: None: 1 per trial on CPUs; the trial's share of the CPUs, at most 8, on GPUs.

    Raises:
        ConfigError: More is asked for than there is.
    """
    cap = available.gpus if gpus is None or (available.short and 0 < available.gpus < gpus) else gpus
    if cap > available.gpus:
        raise ConfigError(f"--gpus: {gpus} is not allowed; allowed: 0..{available.gpus:g}, what {available.where} has")
    if cap == 0:
        if gpus_per_trial:
            raise ConfigError(
                f"--gpus-per-trial: {gpus_per_trial if gpus_per_trial == AUTO else f'{gpus_per_trial:g}'} is not "
                f"allowed; allowed: no value, because the sweep uses no GPU of {available.where}"
            )
        return _slots(available, cpus_per_trial or 1, gpus=0.0, limit=None)
    share = share_of(gpus_per_trial, cap)
    limit = most_at_a_time(share, cap)
    # As many trials as GPUs hold, and then as many CPUs for each as there are.
    cpus = cpus_per_trial or max(range(1, 9), key=lambda n: (min(limit, available.fitting(n, share)), n))
    return _slots(available, cpus, gpus=share, limit=limit)


def known_share(gpus_per_trial: GpuShare | None) -> float:
    """Return the GPUs of a trial as far as they are known: 1 where none are given, and for `auto` to be measured on."""
    return 1.0 if gpus_per_trial in (None, AUTO) else float(gpus_per_trial)


def share_of(gpus_per_trial: GpuShare | None, cap: float) -> float:
    """Return the GPUs of a trial that has any.

    Raises:
        ConfigError: It is more than the sweep may use, or neither a fraction nor a whole number.
    """
    share = known_share(gpus_per_trial)
    if share > cap or (share > 1 and share != int(share)):
        raise ConfigError(
            f"--gpus-per-trial: {share:g} is not allowed; allowed: a fraction of 1, or a whole number up to {cap:g}"
        )
    return share


def most_at_a_time(share: float, cap: float) -> int:
    """Return how many trials with this share the GPUs hold, each fraction on one of them."""
    return int(cap / share + 1e-9) if share >= 1 else int(cap) * int(1 / share + 1e-9)


def _slots(available: Available, cpus: int, *, gpus: float, limit: int | None) -> Slots:
    fitting = available.fitting(cpus, gpus)
    if fitting == 0:
        most = max((node for node, _ in available.nodes), default=available.cpus)
        held = f"what {'a node of ' * (len(available.nodes) > 1)}{available.where} has"
        if cpus > most:
            raise ConfigError(f"--cpus-per-trial: {cpus} is not allowed; allowed: 1..{most:g}, {held}")
        raise ConfigError(
            f"--gpus-per-trial, --cpus-per-trial: {gpus:g} and {cpus} are not allowed; allowed: {held} together"
        )
    return Slots(count=fitting if limit is None else min(limit, fitting), cpus=cpus, gpus=gpus)


def probe_storage(folder: Path) -> None:
    """Check that every node of the cluster sees the sweep's folder.

    Raises:
        ConfigError: A node does not see a file that was just written there; it names the node.
    """
    probe = folder / f".probe-{uuid.uuid4().hex}"
    probe.touch()
    try:
        seen = ray.remote(num_cpus=0)(_sees)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        answers = ray.get(
            [
                seen.options(
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
                ).remote(str(probe))
                for node in nodes
            ],
            timeout=300,
        )
    finally:
        probe.unlink()
    blind = [node["NodeManagerAddress"] for node, ok in zip(nodes, answers, strict=True) if not ok]
    if blind:
        raise ConfigError(
            f"--storage: {str(folder.parent)!r} is not allowed; allowed: a folder that every node shares; "
            f"not seen on {', '.join(blind)}"
        )


def _sees(path: str) -> bool:
    return Path(path).exists()
