"""A sweep's whole resolved configuration: what `sweep.yaml` says, and what a resumed sweep starts from."""

import os
import platform
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
from orchestrator.choices import Pruner, Sampler
from orchestrator.events import TrialRef
from orchestrator.space import SearchSpace

__all__ = ["SETTINGS", "SweepSettings", "provenance", "read_settings", "sweep_folder", "write_settings"]

SETTINGS = "sweep.yaml"


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """What the user asked for, with every default filled in."""

    name: str
    task: str
    encoder: str
    """Absolute path or hub id."""

    data: DataConfig
    """With the target languages spelled out."""

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
    seed: int = 1
    epochs: float | None = None
    """Instead of the search space's; none: the search space's."""

    report_timeout: float = 6 * 3600.0
    """Seconds without a report after which a trial starts again from its last checkpoint."""

    gpus: int | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: int | None = None
    address: str | None = None
    tracking_uri: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Versions, git commit, machine, the data's layout and fingerprints: to reproduce the sweep, not to run it."""

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
        mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, LookupError, AttributeError) as error:  # as for a search space
        raise ConfigError(f"{path}: not readable as a sweep's settings ({' '.join(str(error).split())})") from error
    return from_mapping(SweepSettings, mapping, str(path))


def sweep_folder(storage: Path, name: str) -> Path:
    """Return the folder of an existing sweep.

    Raises:
        ConfigError: There is none of that name.
    """
    if (storage / name / SETTINGS).is_file():
        return storage / name
    known = sorted(path.parent.name for path in storage.glob(f"*/{SETTINGS}"))
    raise ConfigError(
        f"{name!r} is no sweep in {storage}{suggestion(name, known)}; allowed: {', '.join(known) or 'none there yet'}"
    )


def provenance(layout: str, fingerprints: Mapping[str, Any], encoder: str | None) -> dict[str, Any]:
    """Return what a later reader needs to reproduce the sweep.

    Args:
        layout: Of the data.
        fingerprints: Language and split to SHA-256 of the files.
        encoder: The encoder's fingerprint.
    """
    packages = ("dlfa-sweep", "torch", "transformers", "ray", "optuna", "mlflow", "seqeval", "numpy")
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "git_commit": _commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "layout": layout,
        "fingerprints": dict(fingerprints),
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
