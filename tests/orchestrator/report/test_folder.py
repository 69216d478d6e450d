import errno
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from dlfa.errors import ConfigError
from orchestrator.report.best_layers import best_layers
from orchestrator.report.curves import learning_curves
from orchestrator.report.documents import to_html, to_json
from orchestrator.report.families import families
from orchestrator.report.folder import write_reports
from orchestrator.report.languages import layer_profiles, per_language
from orchestrator.report.notes import notes
from orchestrator.report.render import render
from orchestrator.report.search import search_trials
from orchestrator.report.selection import selection
from orchestrator.report.trials import load

from .conftest import SEARCH, Trial, WriteSweep

NAMES = ("best_layers", "selection", "per_language", "learning_curves", "search", "families", "layers_by_language")
FILES = {f"{name}.{end}" for name in NAMES for end in ("csv", "md", "tex")} | {
    "notes.txt", "report.html", "report.json", "trials.parquet",
}  # fmt: skip
PLOTS = ("best_layers", "layers_by_language", "search")
PICTURES = {f"{name}.{end}" for name in PLOTS for end in ("pdf", "png")}


@pytest.mark.parametrize("trials", [None, SEARCH, []])
def test_reports_are_written_as_files(write_sweep: WriteSweep, tmp_path: Path, trials: list[Trial] | None) -> None:
    sweep = load(write_sweep(trials))
    out = tmp_path / "new" / "reports"
    written = write_reports(sweep, out)
    pictures = PICTURES if trials is None else {p for p in PICTURES if trials and p.startswith("search")}
    assert set(out.iterdir()) == set(written) == {out / name for name in FILES | pictures}
    assert (out / "notes.txt").read_text(encoding="utf-8").splitlines() == notes(sweep)
    assert (out / "report.html").read_text(encoding="utf-8") == to_html([sweep])
    assert (out / "report.json").read_text(encoding="utf-8") == to_json([sweep])
    pd.testing.assert_frame_equal(pd.read_parquet(out / "trials.parquet"), sweep.frame)
    tables = {
        "best_layers": best_layers(sweep.frame, sweep.intervals),
        "selection": selection(sweep.frame, sweep.intervals, sweep.target_draws),
        "per_language": per_language(sweep.frame, sweep.intervals),
        "learning_curves": learning_curves(sweep.frame),
        "layers_by_language": layer_profiles(sweep.frame),
        "families": families(sweep.frame),
        "search": search_trials(sweep.frame),
    }
    for name, table in tables.items():
        assert (out / f"{name}.csv").read_text(encoding="utf-8") == render(table, [], "", "csv")
        for suffix in ("md", "tex"):
            text = (out / f"{name}.{suffix}").read_text(encoding="utf-8")
            assert "first 800 sentences" in text
            assert ("the confirm phase has not finished" in text) == (trials is not None)
        tex = (out / f"{name}.tex").read_text(encoding="utf-8")
        assert re.findall(r"\\(begin|end){(\w+)}", tex) == [
            ("begin", "table"), ("begin", "tabular"), ("end", "tabular"), ("end", "table")
        ]  # fmt: skip
        unescaped = re.sub(r"\\[{}]", "", tex)
        assert unescaped.count("{") == unescaped.count("}")
        rows = re.findall(r".* \\\\$", tex, flags=re.MULTILINE)
        assert len(rows) == len(table) + 1
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1


def test_reports_replace_older_ones_whole_or_not_at_all(
    write_sweep: WriteSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "reports"
    sweep = load(write_sweep())
    write_reports(sweep, out)
    before = (out / "best_layers.csv").read_text(encoding="utf-8")
    (out / "best_layers.csv").write_text("old")
    opened = tmp_path / "opened"
    opened.hardlink_to(out / "best_layers.csv")

    def full_disk(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(ConfigError) as error:
            write_reports(sweep, out)
    assert str(error.value) == f"{out}: reports cannot be written there: No space left on device"
    assert (out / "best_layers.csv").read_text() == "old"
    assert {path.name for path in out.iterdir()} == FILES | PICTURES
    write_reports(sweep, out)
    assert (out / "best_layers.csv").read_text(encoding="utf-8") == before
    assert opened.read_text() == "old"  # who has the old file open still reads all of it


def test_a_file_where_the_folder_should_be(write_sweep: WriteSweep, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError) as error:
        write_reports(load(write_sweep([])), tmp_path / "out")
    assert str(error.value) == f"{tmp_path}/out: reports cannot be written there: File exists"
