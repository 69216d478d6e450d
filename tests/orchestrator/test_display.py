"""What the user sees: exact lines where there is no terminal, a live table where there is one."""

import re
import time
from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from orchestrator.display import Display, console, describe, duration
from orchestrator.events import TrialRef

FUSED = TrialRef(
    phase="search",
    number=3,
    params={"fusion": "dlfa", "fusion_layer": 7, "reduction_ratio": 16, "learning_rate": 2e-5},
    seed=1,
)
OTHER = TrialRef(
    phase="search",
    number=4,
    params={"fusion": "dlfa", "fusion_layer": 2, "reduction_ratio": 4, "learning_rate": 1.5e-5},
    seed=1,
)
BASELINE = TrialRef(phase="search", number=0, params={"fusion": "none", "learning_rate": 3e-5}, seed=1)
TEST = {"test/de/f1": 60.0, "test/avg_target": 57.125}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the seconds since the test began."""
    began = now = time.monotonic()

    def pass_until(seconds: float) -> None:
        nonlocal now
        now = began + seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    return pass_until


def plain() -> tuple[Display, StringIO]:
    out = StringIO()
    return Display(Console(file=out, highlight=False, soft_wrap=True), "f1"), out


def terminal() -> tuple[Display, Callable[[], str]]:
    """A display on a terminal, and what has been drawn on it without its colours."""
    out = StringIO()
    screen = Console(file=out, force_terminal=True, width=140, highlight=False)
    return Display(screen, "f1"), lambda: re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())


def test_a_story_in_lines(clock: Callable[[float], None]) -> None:
    display, out = plain()
    display.phase("search", 5, 4, 2, {})
    display.trial_started(BASELINE)
    display.trial_started(FUSED)
    display.trial_reported(BASELINE, 1, 60.0, {})
    display.trial_reported(FUSED, 1, 50.004, {})
    clock(50)
    display.trial_ended(FUSED, "PRUNED", {}, None)
    display.trial_reported(BASELINE, 2, 62.555, {})
    clock(100)
    display.trial_ended(BASELINE, "COMPLETE", TEST, None)
    display.trial_started(OTHER)
    display.trial_ended(OTHER, "FAIL", {}, "the score of report 1 is nan")
    display.say("done [bold]")
    display.close()
    assert out.getvalue().splitlines() == [
        "search: 5 trials, 2 at a time",
        "search-0000 started: baseline, lr 3.00e-05, seed 1",
        "search-0003 started: dlfa, layer 7, ratio 16, lr 2.00e-05, seed 1",
        "search-0000 report 1/4: dev f1 60.00",
        "search-0003 report 1/4: dev f1 50.00",
        # 1.25 trials in 50 s, and 3.75 to go
        "search-0003 pruned at report 1 of 4 (dlfa, layer 7, ratio 16, lr 2.00e-05); 1 of 5 done, about 2m 30s left",
        "search-0000 report 2/4: dev f1 62.55",
        "search-0000 complete: dev f1 62.55, test avg_target 57.12 (baseline, lr 3.00e-05); "
        "2 of 5 done, about 2m 30s left",
        "search-0004 started: dlfa, layer 2, ratio 4, lr 1.50e-05, seed 1",
        "search-0004 FAILED: the score of report 1 is nan (dlfa, layer 2, ratio 4, lr 1.50e-05); "
        "3 of 5 done, about 1m 07s left",
        "done [bold]",
    ]


def test_the_best_report_counts(clock: Callable[[float], None]) -> None:
    display, out = plain()
    display.phase("confirm", 1, 2, 1, {})
    display.trial_started(FUSED)
    display.trial_reported(FUSED, 1, 61.0, {})
    display.trial_reported(FUSED, 2, 60.0, {})
    display.trial_ended(FUSED, "COMPLETE", {}, None)
    assert "complete: dev f1 61.00, test avg_target - (" in out.getvalue()


def test_no_line_is_wrapped() -> None:
    display, out = plain()
    display.say("word " * 100)
    assert out.getvalue() == "word " * 100 + "\n"


def test_a_resumed_phase_counts_from_where_it_was(clock: Callable[[float], None]) -> None:
    display, out = plain()
    display.phase("search", 10, 4, 2, {"COMPLETE": 5, "PRUNED": 2, "FAIL": 1})
    display.trial_started(FUSED)
    clock(60)
    display.trial_ended(FUSED, "COMPLETE", TEST, None)
    assert out.getvalue().splitlines()[0] == "search: 10 trials, 8 of them already finished, 2 at a time"
    # One trial a minute by what was seen here; trials of earlier drivers say nothing about time.
    assert out.getvalue().splitlines()[-1].endswith("; 9 of 10 done, about 1m 00s left")


def test_an_interrupted_trial_is_not_done(clock: Callable[[float], None]) -> None:
    display, out = plain()
    display.phase("search", 2, 4, 2, {})
    display.trial_started(FUSED)
    display.trial_started(BASELINE)
    display.trial_ended(FUSED, "WAITING", {}, None)
    display.trial_ended(BASELINE, "FAIL", {}, "x")
    assert [line for line in out.getvalue().splitlines() if "search-0003" in line] == [
        "search-0003 started: dlfa, layer 7, ratio 16, lr 2.00e-05, seed 1"
    ]
    assert "; 1 of 2 done" in out.getvalue()


def test_there_are_never_more_slots_than_trials() -> None:
    display, out = plain()
    display.phase("confirm", 3, 4, 8, {})
    assert out.getvalue() == "confirm: 3 trials, 3 at a time\n"


def test_the_time_left(clock: Callable[[float], None]) -> None:
    display, out = plain()
    display.phase("search", 4, 4, 2, {})
    for trial in (BASELINE, FUSED, OTHER):
        display.trial_started(trial)
    clock(10)
    display.trial_reported(BASELINE, 1, 50.0, {})
    display.trial_reported(FUSED, 1, 50.0, {})
    display.trial_ended(FUSED, "FAIL", {}, "x")
    assert out.getvalue().splitlines()[-1].endswith("; 1 of 4 done, about 22s left")  # 1.25 trials in 10 s
    clock(20)
    display.trial_reported(BASELINE, 4, 50.0, {})
    display.trial_ended(BASELINE, "COMPLETE", {}, None)
    display.trial_ended(OTHER, "FAIL", {}, "x")
    last = TrialRef(phase="search", number=9, params=FUSED.params, seed=1)
    display.trial_started(last)
    display.trial_ended(last, "FAIL", {}, "x")
    assert out.getvalue().splitlines()[-1].endswith("; 4 of 4 done")  # and nothing is left


def test_no_time_is_told_before_a_trials_worth_of_work(clock: Callable[[float], None]) -> None:
    display, drawn = terminal()
    display.phase("search", 4, 4, 2, {})
    display.trial_started(FUSED)
    clock(10)
    display.trial_reported(FUSED, 3, 50.0, {})
    display.close()
    assert "search: 0 of 4 done (none yet), 10s elapsed" in drawn()
    assert " left" not in drawn()


def test_a_live_table(clock: Callable[[float], None]) -> None:
    display, drawn = terminal()
    display.phase("search", 8, 4, 2, {"COMPLETE": 1})
    display.trial_started(BASELINE)
    display.trial_reported(BASELINE, 1, 60.0, {})
    display.trial_ended(BASELINE, "COMPLETE", TEST, None)
    display.trial_started(FUSED)
    display.trial_ended(FUSED, "PRUNED", {}, None)
    display.trial_started(OTHER)
    display.trial_ended(OTHER, "FAIL", {}, "x")
    display.trial_started(FUSED)
    display.trial_reported(FUSED, 2, 71.5, {})
    display.trial_reported(FUSED, 3, 70.5, {})
    clock(100)
    display.close()
    last = drawn()[drawn().rindex("search: 4 of 8 done") :].splitlines()
    # 3.75 trials in 100 s, and 3.25 to go
    assert last[0].rstrip() == "search: 4 of 8 done, about 1m 27s left (2 complete, 1 pruned, 1 fail), 1m 40s elapsed"
    assert last[1].rstrip() == "best dev f1 60.00: baseline, lr 3.00e-05"
    assert re.fullmatch(r"search-0003 +[━╸╺ ]+ +3/4 +71\.50 +dlfa, layer 7, ratio 16, lr 2\.00e-05 *", last[2])
    assert "search-0000 complete: dev f1 60.00" in drawn()  # ended trials are lines above the table
    assert "started" not in drawn()


def test_the_best_is_the_best_of_the_complete_ones() -> None:
    display, drawn = terminal()
    display.phase("search", 8, 4, 2, {})
    for trial, score, state in ((BASELINE, 60.0, "COMPLETE"), (FUSED, 90.0, "PRUNED"), (OTHER, 50.0, "COMPLETE")):
        display.trial_started(trial)
        display.trial_reported(trial, 1, score, {})
        display.trial_ended(trial, state, TEST, None)  # type: ignore[arg-type]
    display.close()
    assert set(re.findall(r"best dev f1 .*?(?= *\r?\n)", drawn())) == {"best dev f1 60.00: baseline, lr 3.00e-05"}


def test_a_second_phase_starts_anew() -> None:
    display, drawn = terminal()
    display.phase("search", 2, 4, 2, {})
    display.trial_started(BASELINE)
    display.trial_ended(BASELINE, "COMPLETE", TEST, None)
    display.phase("confirm", 6, 4, 2, {})
    display.close()
    display.close()
    assert "confirm: 0 of 6 done (none yet), 0s elapsed" in drawn()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (60, "1m 00s"),
        (200, "3m 20s"),
        (3599.6, "1h 00m"),
        (3600, "1h 00m"),
        (3600 + 59 * 60 + 59, "1h 59m"),
        (86400, "1d 00h"),
        (86400 * 12 + 3600 * 5, "12d 05h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_parameters_in_a_few_words() -> None:
    assert describe(BASELINE.params) == "baseline, lr 3.00e-05"
    assert describe(FUSED.params) == "dlfa, layer 7, ratio 16, lr 2.00e-05"
    more = {"head_learning_rate": 0.001, "batch_size": 32, "dropout": 0.25}
    assert describe({**FUSED.params, **more}) == (
        "dlfa, layer 7, ratio 16, head learning rate 0.001, batch size 32, dropout 0.25, lr 2.00e-05"
    )


def test_the_console_is_that_of_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("x" * 500)
    assert capsys.readouterr().out == "x" * 500 + "\n"
