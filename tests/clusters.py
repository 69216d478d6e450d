"""Machines that are none: namespaces with processes, network and mounts of their own, where Ray starts and stops."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["EXAMPLES", "FAR", "NEAR", "on_own_machine"]

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "clusters"
NEAR, FAR = "10.77.0.1", "10.77.0.2"
"""Addresses of a machine and of the second one beside it."""

_OWN = "unshare --pid --fork --mount-proc --kill-child --mount"
_BEGIN = f"""
set -eu
mkdir -p /tmp/ray
mount -t tmpfs tmpfs /tmp/ray
ip link set lo up
export PATH={Path(sys.executable).parent}:{EXAMPLES}:$PATH RAY_USAGE_STATS_ENABLED=0
unset RAY_ADDRESS
"""
_SECOND = f"""
{_OWN} --net bash -euc '
    until ip link show far > /dev/null 2>&1; do sleep 0.1; done
    ip link set lo up; ip link set far up; ip address add {FAR}/24 dev far; ip route add default via {NEAR}
    mount -t tmpfs tmpfs /tmp/ray
    {{second}}' > /dev/null 2>&1 &
ip link add name near type veth peer name far
until host=$(pgrep -P $!) && ip link set far netns "$host" 2> /dev/null; do sleep 0.1; done
ip link set near up; ip address add {NEAR}/24 dev near; ip route add default via {FAR}
"""


def on_own_machine(script: str, *, second: str | None = None) -> str:
    """Run a shell script on what looks to it like a machine of its own; return what it and Ray have printed.

    Its processes, its network and Ray's folder are its own: `ray stop` there ends nothing else, and all ends with it.
    The test is skipped where no such machine can be made.

    Args:
        script: For bash; may use the scripts of the examples.
        second: A script for a second machine, without single quotes; they reach each other and nothing else.
    """
    own = [*_OWN.split(), "--net", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces here: unshare is refused")
    # Each in processes of its own, below ones that see both.
    both = "" if second is None else _SECOND.format(second=second)
    done = subprocess.run(
        [*own, "bash", "-c", f"{_BEGIN}{both}{_OWN} bash -euc {shlex.quote(script)}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
