"""Any words behind the three commands: work, or one line and exit code 2; never anything else."""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import pytest
from bad_input.values import near
from bad_input.world import World, make_world
from hypothesis import given, settings
from hypothesis import strategies as st

import dlfa.cli
import orchestrator.prepare
import orchestrator.probing
import orchestrator.registration
import orchestrator.report
import orchestrator.resume
from orchestrator.cli import report_main, sweep_main

_FLAGS = {
    "dlfa-sweep": """
        task profile encoder data source-lang languages space trials time-budget gpus gpus-per-trial cpus-per-trial
        address sampler pruner report-timeout select-on confirm-seeds keep-models seed epochs train-limit eval-limit
        name storage tracking-uri resume dry-run version help
    """,
    "dlfa-report": "format out storage equilibrium treebanks parallel probe-limit register version help",
    "dlfa-train": """
        task fusion fusion-layer reduction-ratio learning-rate head-learning-rate batch-size max-length reports
        precision device threads out cache encoder data source-lang languages epochs train-limit eval-limit seed
        select-on version help
    """,
}
_VALUES = """
    udpos xnli all paper quickstart de de,fr en 0 1 3 0.5 2e-5 nan inf -1 99999999999999999999 2h 0s auto tpe grid none
    source targets mine mine/ .. . / ~ ~nobody TOY TOY/data TOY/encoder TOY/space.yaml TOY/runs TOY/hidden TOY/empty
    TOY/encoders/pickle sqlite:////x http://h https://me:secret@h csv
"""
PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {
    "dlfa-sweep": sweep_main,
    "dlfa-report": report_main,
    "dlfa-train": dlfa.cli.main,
}


class StartedError(Exception):
    """All that was typed is right: work would begin."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    def start(*arguments: object, **options: object) -> None:
        raise StartedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orchestrator.prepare, "prepare", start)
        patch.setattr(orchestrator.resume, "reopen", start)
        patch.setattr(orchestrator.report, "write_reports", start)
        patch.setattr(orchestrator.probing, "measure", start)
        patch.setattr(orchestrator.registration, "register", start)
        patch.setattr(dlfa.cli, "_train", start)
        patch.chdir(tmp_path_factory.mktemp("here"))
        yield make_world(tmp_path_factory.mktemp("toy"))


def words(program: str) -> st.SearchStrategy[list[str]]:
    any_text = st.text(st.characters(exclude_categories=()), max_size=8)
    flag = near([f"--{name}" for name in _FLAGS[program].split()])
    value = near(_VALUES.split()) | any_text
    apart = st.tuples(flag, value).map(list)
    together = st.tuples(flag, value).map(lambda both: ["=".join(both)])
    parts = st.lists(apart | together | value.map(lambda one: [one]), max_size=6)
    return parts.map(lambda found: list(chain.from_iterable(found)))


def assert_works_or_is_refused(program: str, arguments: Sequence[str], toy: World) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: object = PROGRAMS[program]([word.replace("TOY", str(toy.root)) for word in arguments])
        except SystemExit as end:
            code = end.code
        except StartedError:
            return
    told = err.getvalue()
    if code == 0:
        assert told == ""
        return
    assert (code, out.getvalue()) == (2, ""), told
    assert told.startswith(f"{program}: ")
    assert told.endswith("\n")
    assert told[:-1].isprintable()


@pytest.mark.parametrize("program", PROGRAMS)
@settings(deadline=None)
@given(data=st.data())
def test_any_words(toy: World, program: str, data: st.DataObject) -> None:
    assert_works_or_is_refused(program, data.draw(words(program)), toy)


@pytest.mark.parametrize("program", ["dlfa-sweep", "dlfa-train"])
@settings(deadline=None)
@given(data=st.data())
def test_any_words_behind_a_right_line(toy: World, program: str, data: st.DataObject) -> None:
    arguments = [*toy.flags(program, Path("here")), *data.draw(words(program))]
    assert_works_or_is_refused(program, arguments, toy)
