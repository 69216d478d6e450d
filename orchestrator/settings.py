"""A sweep's whole resolved configuration: what `sweep.yaml` says, and what a resumed sweep starts from."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import yaml

from dlfa.config import (
    ComputeConfig,
    DataConfig,
    ModelConfig,
    TrialConfig,
    from_mapping,
    suggestion,
    to_mapping,
)
from dlfa.errors import ConfigError
from dlfa.files import atomic_write
from dlfa.tasks import TASKS
from dlfa.untrusted import has_secret, load_yaml, without_secrets
from orchestrator.choices import AUTO, GpuShare, Pruner, Sampler
from orchestrator.events import TrialRef
from orchestrator.limits import MOST, MOST_SECONDS, MOST_SEEDS, MOST_TRIALS, SMALLEST_SHARE
from orchestrator.space import SearchSpace

__all__ = [
    "SETTINGS",
    "SweepSettings",
    "is_name",
    "known_sweeps",
    "provenance",
    "read_settings",
    "sweep_folder",
    "write_settings",
    "wrong_tracking_uri",
]

SETTINGS = "sweep.yaml"

_TRACKING = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "file")
"""What MLflow keeps runs in."""


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """What the user asked for, with every default filled in."""

    name: str
    task: str
    encoder: str
    """Absolute path or hub id."""

    data: DataConfig
    """With the target languages and the fingerprints of their files spelled out."""

    space: str
    """YAML text of the search space, as it was read."""

    space_file: str
    """Where it was read from."""

    trials: int
    """Trials of the search phase."""

    time_budget: float | None = None
    """Seconds that the search phase may take in one run of the driver; none: no limit."""

    sampler: Sampler = "tpe"
    pruner: Pruner = "hyperband"
    select_on: Literal["source", "targets"] = "source"
    confirm_seeds: int = 3
    keep_models: Literal["best", "none"] = "best"
    """`best`: of the baseline and of the selected layer, the model of the confirm run with the best selection score."""

    seed: int = 1
    epochs: float | None = None
    """Instead of the search space's; none: the search space's."""

    report_timeout: float = 6 * 3600.0
    """Seconds without a report after which a trial starts again from its last checkpoint."""

    gpus: int | None = None
    gpus_per_trial: GpuShare | None = None
    """`auto`: measured whenever the sweep starts or goes on; none: 1."""

    cpus_per_trial: int | None = None
    address: str | None = None
    tracking_uri: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Versions, git commit, machine, layout of the data, fingerprint of the encoder: to reproduce the sweep."""

    def wrong(self, where: str) -> list[str]:
        """Return what is out of its range, each with what is allowed: somebody may have edited the file."""
        budget, timeout, epochs = self.time_budget, self.report_timeout, self.epochs
        gpus, share, cpus = self.gpus, self.gpus_per_trial, self.cpus_per_trial
        found = [
            f"{where}.{name}: {getattr(self, name)!r} is not allowed; allowed: {allowed}"
            for name, ok, allowed in (
                ("name", is_name(self.name), "a name without slashes"),
                ("task", self.task in TASKS, ", ".join(TASKS)),
                ("trials", 1 <= self.trials <= MOST_TRIALS, f"1..{MOST_TRIALS}"),
                ("time_budget", budget is None or 0 < budget <= MOST_SECONDS, "seconds, more than 0, or none"),
                ("confirm_seeds", 0 <= self.confirm_seeds <= MOST_SEEDS, f"0..{MOST_SEEDS}"),
                ("seed", 0 <= self.seed <= MOST, f"0..{MOST}"),
                ("epochs", epochs is None or 0 < epochs <= 10_000, "more than 0, at most 10000"),
                ("report_timeout", 0 < timeout <= MOST_SECONDS, "seconds, more than 0"),
                ("gpus", gpus is None or 0 <= gpus <= MOST, f"0..{MOST}"),
                (
                    "gpus_per_trial",
                    share in (None, AUTO) or float(share) >= SMALLEST_SHARE,
                    f"{AUTO}, or at least {SMALLEST_SHARE}",
                ),
                ("cpus_per_trial", cpus is None or 1 <= cpus <= MOST, f"1..{MOST}"),
            )
            if not ok
        ]
        if self.tracking_uri and (reason := wrong_tracking_uri(self.tracking_uri)):
            found.append(f"{where}.tracking_uri: {reason}")
        return found

    def trial_config(self, space: SearchSpace, ref: TrialRef, compute: ComputeConfig) -> TrialConfig:
        """Return the configuration of one trial."""
        params = dict(ref.params)
        training = space.training if self.epochs is None else replace(space.training, epochs=self.epochs)
        in_training = {name: value for name, value in params.items() if hasattr(training, name)}
        model = {name: value for name, value in params.items() if name not in in_training}
        return TrialConfig(
            task=self.task,
            data=self.data,
            model=from_mapping(ModelConfig, {"encoder": self.encoder, **model}),
            training=replace(training, **in_training),  # type: ignore[arg-type]
            compute=compute,
            select_on=self.select_on,
            seed=ref.seed,
        )


def write_settings(folder: Path, settings: SweepSettings) -> None:
    """Write `sweep.yaml`."""
    text = yaml.safe_dump(to_mapping(settings), sort_keys=False, allow_unicode=True, width=100)
    atomic_write(folder / SETTINGS, text)


def read_settings(folder: Path) -> SweepSettings:
    """Read `sweep.yaml`.

    Raises:
        ConfigError: It is missing or malformed.
    """
    path = folder / SETTINGS
    try:
        mapping = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as a sweep's settings ({error})") from error
    settings = from_mapping(SweepSettings, mapping, str(path))
    if wrong := settings.wrong(str(path)):
        raise ConfigError("; ".join(wrong))
    return settings


def wrong_tracking_uri(uri: str) -> str | None:
    """Return why runs cannot be recorded at a URI, without the secrets in it; none: they can, or MLflow will tell."""
    # A database's user is no secret; over HTTP a user name may be a token.
    bare = re.sub(r"^((?:postgresql|mysql|mssql)(?:\+\w+)?://)[\w.-]+@", r"\1", uri)
    if has_secret(bare):
        return (
            "a password or token is not allowed in it; allowed: a URI without one, and MLFLOW_TRACKING_USERNAME, "
            "MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN in the environment"
        )
    scheme = re.fullmatch(r"([A-Za-z][\w-]*)(?:\+\w+)?://.+|databricks", uri)
    if scheme is None or scheme[1] not in (None, *_TRACKING, "databricks"):
        hint = suggestion(scheme[1], [*_TRACKING]) if scheme else ""
        return f"{uri!r} is not allowed{hint}; allowed: a URI that begins with {', '.join(_TRACKING)} and ://"
    return None


def is_name(name: str) -> bool:
    """Return whether a sweep's folder can have this name: a single one, not a path."""
    return name == Path(name).name and name not in ("", "..")


def sweep_folder(storage: Path, name: str) -> Path:
    """Return the folder of an existing sweep.

    Raises:
        ConfigError: There is none of that name.
    """
    try:
        if is_name(name) and (storage / name / SETTINGS).is_file():
            return storage / name
    except OSError as error:  # too long, or not to be looked into
        raise ConfigError(f"{name!r} is no sweep in {storage} ({error.strerror})") from error
    known = known_sweeps(storage)
    hint = suggestion(Path(name).name, known)  # where a path was given: its last part
    raise ConfigError(f"{name!r} is no sweep in {storage}{hint}; allowed: {', '.join(known) or 'none there yet'}")


def known_sweeps(storage: Path) -> list[str]:
    """Return the names of the sweeps of a storage folder, sorted."""
    return sorted(path.parent.name for path in storage.glob(f"*/{SETTINGS}"))


def provenance(layout: str, encoder: str | None) -> dict[str, Any]:
    """Return what a later reader needs to reproduce the sweep.

    Args:
        layout: Of the data.
        encoder: The encoder's fingerprint.
    """
    packages = ("dlfa-sweep", "torch", "transformers", "ray", "optuna", "mlflow", "seqeval", "numpy")
    return {
        "command": without_secrets(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "git_commit": _commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "layout": layout,
        "encoder_fingerprint": encoder,
    }


def _commit() -> str | None:
    """Return the commit of a checkout that this package runs from, marked if files differ from it."""
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(  # noqa: S603 - no user input
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
