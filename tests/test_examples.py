"""The files under examples/ and the lines of docs/clusters.md: what can be told of them without the real thing."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from clusters import EXAMPLES, FAR, NEAR, on_own_machine
from sweeps import Storage, assert_accounted, space

from orchestrator.cli import _sweep_parser

DOCS = EXAMPLES.parents[1] / "docs" / "clusters.md"
SCRIPTS = sorted([*EXAMPLES.glob("*.sh"), *EXAMPLES.glob("*.sbatch")])
_STARTERS = ("begin-or-resume.sh", "job-submit.sh", "slurm.sbatch")
"""Scripts that end in `dlfa-sweep` with the flags that they are given."""


def tool(name: str, *arguments: str) -> None:
    command = Path(sys.executable).with_name(name)
    done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_are_sound_and_may_be_run() -> None:
    assert len(SCRIPTS) == 5
    tool("shellcheck", *map(str, SCRIPTS))
    assert all(path.stat().st_mode & 0o111 for path in SCRIPTS)


def test_dockerfile_is_sound_and_takes_what_the_package_needs() -> None:
    dockerfile = EXAMPLES / "Dockerfile"
    tool("hadolint", str(dockerfile))
    lines = dockerfile.read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    wanted = {"pyproject.toml", "README.md", "LICENSE", "dlfa", "orchestrator", "search_spaces"}
    assert wanted <= set(copied)
    assert all((EXAMPLES.parents[1] / name).exists() for name in copied if not name.startswith("--"))
    assert lines.index("USER 1000") > max(i for i, line in enumerate(lines) if line.startswith("RUN"))


def _commands(text: str) -> Iterator[list[str]]:
    """Yield the flags of every `dlfa-sweep` that a text types, itself or through a script."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if "`" not in line]
    for line in [*lines, *re.findall(r"`([^`\n]+)`", text)]:
        try:
            words = shlex.split(line.strip().lstrip("#"))
        except ValueError:  # prose
            continue
        words = [word for word in words if word not in ("...", "$@")]
        if "dlfa-sweep" in words:
            yield words[words.index("dlfa-sweep") + 1 :]
        elif starter := [i for i, word in enumerate(words) if word.endswith(_STARTERS)]:
            rest = words[starter[0] + 1 :]
            yield rest[next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest)) :]


_TYPING = [DOCS, *SCRIPTS, EXAMPLES / "rayjob.yaml"]


def test_every_command_is_one_that_the_parser_takes() -> None:
    typed = [
        words for path in _TYPING for words in _commands(path.read_text()) if any(w.startswith("--") for w in words)
    ]
    assert len(typed) >= 9
    for words in typed:
        _sweep_parser().parse_args(words)


def test_a_flag_that_is_none_would_be_seen() -> None:
    (words,) = _commands("    sbatch --job-name=x slurm.sbatch --task udpos --gpu-count 3\n")
    with pytest.raises(SystemExit):
        _sweep_parser().parse_args(words)


# --- Kubernetes

_POD = {
    "spec": {
        "securityContext": {"fsGroup": int},
        "containers": [
            {
                "name": str,
                "image": str,
                "resources": {"requests": {str: str}, "limits": {str: str}},
                "volumeMounts": [{"name": str, "mountPath": str}],
            }
        ],
        "volumes": [{"name": str, "persistentVolumeClaim": {"claimName": str}}],
    }
}
_RAYJOB = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"name": str},
    "spec": {
        "entrypoint": str,
        "backoffLimit": int,
        "shutdownAfterJobFinishes": bool,
        "ttlSecondsAfterFinished": int,
        "rayClusterSpec": {
            "rayVersion": str,
            "authOptions": {"mode": "token"},
            "enableInTreeAutoscaling": bool,
            "headGroupSpec": {"rayStartParams": {str: str}, "template": _POD},
            "workerGroupSpecs": [
                {
                    "groupName": str,
                    "replicas": int,
                    "minReplicas": int,
                    "maxReplicas": int,
                    "rayStartParams": {str: str},
                    "template": _POD,
                }
            ],
        },
    },
}
"""The fields of KubeRay's ray.io/v1 and of Kubernetes' core v1 that the example uses, with their types."""
_CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": str},
    "spec": {"accessModes": [str], "resources": {"requests": {"storage": str}}},
}


def _differences(found: Any, wanted: Any, where: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in found:
            if str in wanted:
                yield from _differences(found[key], wanted[str], f"{where}.{key}")
            elif key not in wanted:
                yield f"{where}.{key}: unknown"
        yield from (f"{where}.{key}: missing" for key in wanted if key is not str and key not in found)
        for key in wanted.keys() & found.keys():
            yield from _differences(found[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, list) and isinstance(found, list):
        for i, item in enumerate(found):
            yield from _differences(item, wanted[0], f"{where}[{i}]")
    elif found != wanted and type(found) is not wanted:
        yield f"{where}: {found!r}"


def test_rayjob_has_the_fields_of_its_kinds_and_fits_together() -> None:
    job, claim = yaml.safe_load_all((EXAMPLES / "rayjob.yaml").read_text())
    assert list(_differences(job, _RAYJOB, "job")) == []
    assert list(_differences(claim, _CLAIM, "claim")) == []
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    script, storage, *_ = shlex.split(job["spec"]["entrypoint"])
    assert (EXAMPLES / script).exists()
    for pod in [group["template"]["spec"] for group in groups]:
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert pod["containers"][0]["volumeMounts"][0] == {"name": pod["volumes"][0]["name"], "mountPath": storage}
    gpus = groups[1]["maxReplicas"] * int(
        groups[1]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    )
    (words,) = _commands(f"{job['spec']['entrypoint']}\n")
    assert _sweep_parser().parse_args(words).gpus == gpus, "else the sweep waits for what never comes"
    constraints = (EXAMPLES.parents[1] / "constraints.txt").read_text()
    assert f"ray=={cluster['rayVersion']}\n" in constraints
    assert f'"ray[default]=={cluster["rayVersion"]}"' in (EXAMPLES / "Dockerfile").read_text()


def test_a_mistake_in_the_rayjob_would_be_seen() -> None:
    job, _ = yaml.safe_load_all((EXAMPLES / "rayjob.yaml").read_text())
    job["spec"]["backoffLimits"] = job["spec"].pop("backoffLimit")
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    assert sorted(_differences(job, _RAYJOB, "job")) == [
        "job.spec.backoffLimit: missing",
        "job.spec.backoffLimits: unknown",
        "job.spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus: 0",
    ]


# --- SLURM, whose own commands are stand-ins: two hosts, on which `srun` runs what it is given

_SRUN = """#!/usr/bin/env bash
shift  # --cpus-per-task
{ export -p; printf '%q ' "$@"; } > STEP.new
mv STEP.new STEP
code=0; "$@" || code=$?
until [ -e STEP.done ]; do sleep 0.2; done
rm STEP.done
exit "$code"
"""
_SECOND = """
while :; do
    until [ -e STEP ]; do sleep 0.2; done
    mv STEP STEP.now
    bash STEP.now > STEP.log 2>&1 || true
    touch STEP.done
done
"""
_SCONTROL = f"""#!/usr/bin/env bash
case $1 in
    show) echo {NEAR}; echo {FAR} ;;
    *) echo "scontrol $*" ;;
esac
"""
_JOB = """
export HOME={root} SLURM_JOB_ID=7 SLURM_JOB_NAME=job SLURM_JOB_NODELIST=near,far SLURM_JOB_NUM_NODES=2
export SLURM_CPUS_PER_TASK=1 SLURM_SUBMIT_DIR={examples} STORAGE={storage} PATH={bin}:$PATH
job() {{ slurm.sbatch {flags} --pruner none & job=$!; }}
job > {root}/first 2>&1
until grep -q 'report 1/3' {root}/first; do kill -0 $job; sleep 0.2; done
kill -USR1 $job
code=0; wait $job || code=$?
cat {root}/first; echo "code $code"
job
code=0; wait $job || code=$?
echo "code $code"
"""


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_slurm_job_on_two_hosts_that_runs_out_of_time_is_requeued_and_goes_on(tmp_path: Path) -> None:
    storage = Storage.make(tmp_path, space(trials=6, layers=2, confirm_seeds=1, epochs=3))
    bin = tmp_path / "bin"
    bin.mkdir()
    for name, text in {
        "srun": _SRUN.replace("STEP", str(bin / "step")),
        "scontrol": _SCONTROL,
        "dlfa-sweep": f'#!/bin/sh\nexec {shlex.join(storage.command()[:3])} "$@"\n',
    }.items():
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    flags = shlex.join(storage.command()[3:])
    printed = on_own_machine(
        _JOB.format(root=tmp_path, examples=EXAMPLES, storage=storage.folder, bin=bin, flags=flags),
        second=_SECOND.replace("STEP", str(bin / "step")),
    )
    first, second = printed.split("scontrol requeue 7\n")
    assert "2 trials at a time, 1 CPU each, on the cluster at 10.77.0.1:6379" in first, printed
    assert "resume with: dlfa-sweep --resume job" in first
    assert "code 130" in second.splitlines()[0]
    assert "of them already finished" in second or "search-0000 report 2/3" in second
    assert printed.endswith("code 0\n"), printed
    assert_accounted(storage.folder / "job", search=6)
