"""What a sweep found: its trials as one frame, the tables derived from it, and their text."""

from orchestrator.report.best_layers import best_layers, best_of_each, model_runs
from orchestrator.report.curves import learning_curves
from orchestrator.report.documents import to_html, to_json
from orchestrator.report.folder import write_reports
from orchestrator.report.languages import per_language
from orchestrator.report.notes import notes
from orchestrator.report.published import published
from orchestrator.report.render import FORMATS, Format, render, render_sweep, render_together
from orchestrator.report.search import search_trials
from orchestrator.report.similarity import similarity
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
    "published",
    "render",
    "render_sweep",
    "render_together",
    "search_trials",
    "similarity",
    "to_html",
    "to_json",
    "write_reports",
]
