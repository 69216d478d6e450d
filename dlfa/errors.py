"""What a user did wrong, told in one line: where, what was given, what is allowed."""

import sqlite3

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "DlfaError",
    "MachineError",
    "system_cause",
]


class DlfaError(Exception):
    """Base of every error this package raises on purpose; commands print it without a traceback."""


class ConfigError(DlfaError, ValueError):
    """A flag, a field of a YAML file or an argument is out of its range."""


class DataError(DlfaError, ValueError):
    """A data file or folder is missing or malformed; the message names file and line."""


class CheckpointError(DataError):
    """A trial's checkpoint is damaged, or another configuration's."""


class DivergedError(DlfaError, ArithmeticError):
    """Training produced a loss or a score that is not finite; the trial's numbers mean nothing."""


class MachineError(DlfaError, RuntimeError):
    """What the machine or the cluster does not give, whatever the user asks for."""


def system_cause(error: BaseException) -> str:
    """Return in one line what the system or the database said went wrong: libraries wrap it in long ones."""
    told, cause = error, error.__cause__ or error.__context__
    while cause is not None:
        told = cause if isinstance(cause, (OSError, sqlite3.Error)) else told
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(told).split()) or type(told).__name__
