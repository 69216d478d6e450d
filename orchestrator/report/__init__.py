"""What a sweep found: its trials as one frame, the tables derived from it, and their text."""

from orchestrator.report.documents import to_html, to_json
from orchestrator.report.folder import write_reports
from orchestrator.report.render import FORMATS, Format, render, render_sweep, render_together
from orchestrator.report.tables import (
    best_layers,
    best_of_each,
    learning_curves,
    model_runs,
    notes,
    per_language,
    search_trials,
)
from orchestrator.report.trials import Sweep, load, load_many

__all__ = [
    "FORMATS",
    "Format",
    "Sweep",
    "best_layers",
    "best_of_each",
    "learning_curves",
    "load",
    "load_many",
    "model_runs",
    "notes",
    "per_language",
    "render",
    "render_sweep",
    "render_together",
    "search_trials",
    "to_html",
    "to_json",
    "write_reports",
]
