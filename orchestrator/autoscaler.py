"""Clusters that grow: whether one can, and waiting for what a sweep asks of it."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace

from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_get
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator.choices import GpuShare
from orchestrator.display import duration
from orchestrator.resources import Available, known_share, most_at_a_time, present, share_of

__all__ = ["can_grow", "grown"]

_PATIENCE_S = 1800.0
"""How long no node may join or leave before a sweep waits no longer."""
_REMINDER_S = 300.0


def can_grow() -> bool:
    """Whether the cluster that is connected has an autoscaler that adds nodes.

    Ray's second autoscaler announces itself. The first one writes its state down on every cluster; only one that
    starts nodes itself knows other types of them than one per node.
    """
    if is_autoscaler_v2(fetch_from_server=True):
        return True
    status = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS) or "{}")
    types = (status.get("autoscaler_report") or {}).get("node_type_mapping") or {}
    return any(name != f"node_{node}" for node, name in types.items())


def grown(
    available: Available,
    *,
    gpus: int | None,
    gpus_per_trial: GpuShare | None,
    cpus_per_trial: int | None,
    say: Callable[[str], None],
    stop: Callable[[], bool],
    patience: float = _PATIENCE_S,
) -> Available:
    """Ask a cluster that can grow for what a sweep is to use, wait for it, and return what there is then.

    Args:
        available: What there is now.
        gpus: None: what there is, and room for one trial.
        gpus_per_trial: None: 1 where GPUs are asked for; `auto`: 1.
        cpus_per_trial: None: 1.
        say: Told what is there and what is waited for.
        stop: Asked whether to wait no longer.
        patience: Seconds without a change after which what there is has to do.

    Raises:
        ConfigError: No cluster could give that.
        KeyboardInterrupt: `stop` said so.
    """
    cpus, share = cpus_per_trial or 1, 0.0
    if gpus or (gpus_per_trial and gpus is None):
        share = share_of(gpus_per_trial, gpus or math.ceil(known_share(gpus_per_trial)))

    def enough(now: Available) -> bool:
        return now.gpus >= (gpus or 0) and now.fitting(cpus, share) > 0

    if not can_grow():
        return available
    if gpus is None and available.gpus:
        say(f"{available.where} can grow; the sweep takes the {available.gpus:g} GPUs there now: --gpus N waits for N")
    if enough(available):
        return available
    # Groups, one per trial, and no request to the autoscaler: they end with this process, whatever ends it.
    bundle = {"CPU": float(cpus)} | ({"GPU": share} if share else {})
    asked = [placement_group([bundle]) for _ in range(most_at_a_time(share, gpus) if gpus else 1)]
    try:
        return _waited(available.where, enough, _goal(gpus, share, cpus), say, stop, patience)
    finally:
        for group in asked:
            remove_placement_group(group)


def _goal(gpus: int | None, share: float, cpus: int) -> Callable[[Available], str]:
    """Return what tells how much of it is there."""
    if gpus:
        return lambda now: f"waiting for GPUs: {now.gpus:g} of {gpus} there"
    room = f"{cpus} CPU{'s' * (cpus > 1)}" + (f" and {share:g} GPU{'s' * (share > 1)}" if share else "")
    return lambda now: f"waiting for a node with {room}: {now.cpus:g} CPUs and {now.gpus:g} GPUs there"


def _waited(
    where: str,
    enough: Callable[[Available], bool],
    goal: Callable[[Available], str],
    say: Callable[[str], None],
    stop: Callable[[], bool],
    patience: float,
) -> Available:
    before, changed, said = None, 0.0, 0.0
    while not enough(now := present(where)):
        if stop():
            raise KeyboardInterrupt
        time_now = time.monotonic()
        if now != before:
            before, changed = now, time_now
        elif time_now - changed > patience:
            say(f"{goal(now)}; nothing has joined for {duration(patience)}, so what is there has to do")
            return replace(now, short=True)
        if changed == time_now or time_now - said > _REMINDER_S:
            say(f"{goal(now)}; the cluster's autoscaler was asked for the rest")
            said = time_now
        time.sleep(1)
    return now
