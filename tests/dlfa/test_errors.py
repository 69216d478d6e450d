"""What libraries wrap in long lines, told in the words of the system or of the database."""

import errno
import sqlite3

import pytest

from dlfa.errors import system_cause


def wrapped(cause: BaseException) -> RuntimeError:
    """Return an error as libraries raise them: around another one, around what happened."""
    middle, outer = ValueError("a statement\nof many lines"), RuntimeError("an exception was thrown")
    middle.__context__, outer.__cause__ = cause, middle
    return outer


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (sqlite3.OperationalError("database is locked"), "database is locked"),
        (wrapped(sqlite3.OperationalError("database or disk is full")), "database or disk is full"),
        (wrapped(OSError(errno.ENOSPC, "No space left on device")), "[Errno 28] No space left on device"),
        (wrapped(KeyError("x")), "an exception was thrown"),
        (ValueError("two\n  lines"), "two lines"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_innermost_word_of_the_system_is_told(error: BaseException, told: str) -> None:
    assert system_cause(error) == told
