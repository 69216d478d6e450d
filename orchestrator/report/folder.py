"""A folder of everything that is reported of a sweep."""

from pathlib import Path
from typing import Final

from dlfa.errors import ConfigError
from dlfa.files import atomic_write
from orchestrator.report.documents import to_html, to_json
from orchestrator.report.plots import write_plots
from orchestrator.report.render import Format, render, sweep_notes, sweep_tables
from orchestrator.report.trials import Sweep

__all__ = ["write_reports"]

_TEXTS: Final[dict[str, Format]] = {"csv": "csv", "md": "markdown", "tex": "latex"}


def write_reports(sweep: Sweep, out: Path) -> list[Path]:
    """Write every table as CSV, Markdown and LaTeX, the notes beside them, and the pictures.

    `report.html` has all of it in one page, `report.json` the tables and notes, `trials.parquet` the frame beneath.

    Returns:
        The files.

    Raises:
        ConfigError: The folder cannot be written.
    """
    lines = sweep_notes(sweep)
    contents: dict[str, str | bytes] = {
        f"{name}.{suffix}": render(table, lines, title, format)
        for name, (title, table) in sweep_tables(sweep).items()
        for suffix, format in _TEXTS.items()
    }
    contents |= {
        "notes.txt": "".join(f"{line}\n" for line in lines),
        "report.html": to_html([sweep]),
        "report.json": to_json([sweep]),
        "trials.parquet": sweep.frame.to_parquet(index=False),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            atomic_write(out / name, content)
        pictures = write_plots(sweep, out)
    except OSError as error:
        raise ConfigError(f"{out}: reports cannot be written there: {error.strerror}") from error
    return [*(out / name for name in contents), *pictures]
