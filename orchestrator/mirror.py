"""What a sweep's own run in MLflow has: tags, inputs, findings, tables and files."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from dlfa.errors import system_cause
from orchestrator.report import Sweep, best_of_each
from orchestrator.report.arms import KEY, fusions_of
from orchestrator.report.render import sweep_notes, sweep_tables
from orchestrator.settings import SweepSettings
from orchestrator.tracking import InputSet, MlflowTracker

__all__ = ["findings", "input_sets", "record_reports", "tags"]


def tags(settings: SweepSettings) -> dict[str, str]:
    """Return what MLflow's page shows beside a sweep's parameters."""
    commit = settings.provenance.get("git_commit")
    tags = {"dlfa.select_on": settings.select_on, "mlflow.source.name": "dlfa-sweep", "mlflow.source.type": "LOCAL"}
    return tags if commit is None else {**tags, "mlflow.source.git.commit": commit}


def input_sets(settings: SweepSettings) -> list[InputSet]:
    """Return what every trial reads."""
    contexts: dict[str, Literal["training", "validation", "test"]]
    contexts = {"train": "training", "dev": "validation", "test": "test"}
    return [
        InputSet(
            name=f"{settings.task} {name}",
            context=contexts[name.rpartition(" ")[2]],
            digest=digest,
            source=settings.data.path,
        )
        for name, digest in settings.data.fingerprints.items()
    ]


def findings(sweep: Sweep) -> dict[str, float]:
    """Return what the list of runs shows of a sweep: its selected layers beside the baseline, means over seeds.

    Of a sweep of one fusion it is `best/difference`, of several `best/FUSION/difference`.
    """
    several = len(fusions_of(sweep.frame)) > 1
    columns = {
        "fusion_layer": "fusion_layer",
        "fused": "avg_target",
        "difference": "difference",
        "difference_low": "difference_low",
        "difference_high": "difference_high",
    }
    found: dict[str, Any] = {}
    for row in best_of_each([sweep]).to_dict("records"):
        prefix = f"best/{row['fusion']}" if several else "best"
        found |= {f"{prefix}/{name}": row[column] for column, name in columns.items()}
        found["best/baseline_avg_target"] = row["baseline"]
    return {name: float(value) for name, value in found.items() if not pd.isna(value)}


def record_reports(
    tracker: MlflowTracker, sweep: Sweep, written: Sequence[Path], study: Path, spool: Path, say: Callable[[str], None]
) -> None:
    """Record what a finished sweep has found.

    Args:
        tracker: Of the sweep.
        sweep: As it stands.
        written: Files of its reports.
        study: The database of its studies.
        spool: Folder for a copy of that, which stays as it is until it is delivered.
        say: Told in one line what can't be recorded.
    """
    copy = spool / study.name
    own = [copy, *(path for path in written if path.name == "report.html")]
    try:
        _copy_database(study, copy)
    except (OSError, sqlite3.Error) as error:
        own.remove(copy)
        say(f"{copy}: the study can't be copied for MLflow ({system_cause(error)})")
    figures = [path for path in written if path.suffix in (".png", ".pdf")]
    rest = [path for path in written if path not in (*own, *figures)]
    tables = {name: table for name, (_, table) in sweep_tables(sweep).items()}
    tables["best_layers"] = _readable(tables["best_layers"])
    tracker.sweep_reported(
        files={"": own, "figures": figures, "reports": rest},
        tables=tables,
        description="".join(f"- {line}\n" for line in sweep_notes(sweep)),
    )


def _readable(best_layers: pd.DataFrame) -> pd.DataFrame:
    """Return the table as it is read on MLflow's page, which shows the first five columns."""
    first = [*KEY, "selected", "avg_target", "difference"]
    result: pd.DataFrame = best_layers[[*first, *best_layers.columns.difference(first, sort=False)]]
    return result


def _copy_database(path: Path, copy: Path) -> None:
    """Make or replace a copy that is whole even while others write to the database."""
    new = copy.with_name(f".{copy.name}")
    new.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(new)) as target:
        source.backup(target)
    new.replace(copy)
