"""What the command lines of `dlfa-train` and `dlfa-sweep` share: flags, paths, and one line for what is wrong."""

import argparse
import io
import os
import re
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlfa.config import suggestion
from dlfa.errors import ConfigError, DlfaError
from dlfa.inputs import data_folder
from dlfa.tasks import TaskSpec
from dlfa.tasks.languages import find_language
from dlfa.untrusted import printable, without_secrets

__all__ = [
    "COUNT",
    "FROM_ZERO",
    "POSITIVE",
    "Parser",
    "absolute",
    "add_data_flags",
    "data_path",
    "guarded",
    "languages",
    "number",
    "plain_text",
    "writable",
]

_ROOM = 200 * "x"
"""What a folder will have in it needs a path, too."""

_MOST = 2**31 - 1
_CODE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]{2,4})*")


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, and what may have been meant, and exits with 2."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register("type", None, plain_text)  # of every flag that has no type of its own

    def error(self, message: str) -> None:  # type: ignore[override]
        """Print one line and exit."""
        self.exit(2, f"{self.prog}: {_told(message)}{self._meant(message)}\n")

    def _meant(self, message: str) -> str:
        if flag := re.match(r"unrecognized arguments: --?([^\s=]+)", message):
            names = [name.lstrip("-") for name in self._option_string_actions]  # dashes make all of them alike
            return suggestion(flag[1], names).replace("mean ", "mean --")
        if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            return suggestion(choice[1], re.findall(r"[\w-]+", choice[2]))
        return ""


def _told(message: object) -> str:
    """Return a message as one line that may stand in anybody's log."""
    return printable(without_secrets(str(message)))


def plain_text(text: str) -> str:
    """Return a flag's value; no path or name that is meant has line ends or control characters in it."""
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: text without control characters")
    return text


def number(kind: Callable[[str], int | float], allowed: str, ok: Callable[[float], bool]) -> Callable[[str], float]:
    """Return a parser of a flag's number that names what is allowed."""

    def parse(text: str) -> int | float:
        try:
            value = kind(text)
        except (ValueError, OverflowError):
            value = float("nan")
        if not ok(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: {allowed}")
        return value

    return parse


POSITIVE = number(float, "a number above 0", lambda x: 0 < x < float("inf"))
COUNT = number(int, f"a whole number in 1..{_MOST}", lambda x: 1 <= x <= _MOST)
FROM_ZERO = number(int, f"a whole number in 0..{_MOST}", lambda x: 0 <= x <= _MOST)


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that both `dlfa-train` and `dlfa-sweep` have."""
    parser.add_argument("--encoder", metavar="ID_OR_PATH", help="Hugging Face encoder: a folder, a hub id, or embedded")
    parser.add_argument("--data", metavar="hub|embedded|PATH", help="labelled text: of the Hub, embedded, or a folder")
    parser.add_argument("--source-lang", metavar="LANG", default="en", help="the only language trained on (default en)")
    parser.add_argument("--languages", metavar="de,fr,...", help="target languages (default: all that have a test set)")
    parser.add_argument(
        "--epochs", metavar="X", type=POSITIVE, help="passes over the training set (default: the recipe's)"
    )
    parser.add_argument("--train-limit", metavar="N", type=COUNT, help="use the first N training examples")
    parser.add_argument(
        "--eval-limit", metavar="N", type=COUNT, help="use the first N examples of each dev and test set"
    )
    parser.add_argument("--seed", metavar="N", type=FROM_ZERO, default=1, help="seed of everything random (default 1)")
    parser.add_argument(
        "--select-on",
        choices=("source", "targets"),
        default="source",
        help="dev sets that select and prune; targets is oracle selection (default source)",
    )


def data_path(data: str, task: TaskSpec, cache: Path, args: argparse.Namespace) -> str:
    """Return `--data` as an absolute path, given the other flags of `add_data_flags`."""
    folder = data_folder(
        data,
        task,
        cache,
        source_language=args.source_lang,
        languages=languages(args),
        train=args.train_limit,
        evaluation=args.eval_limit,
    )
    return str(folder)


def languages(args: argparse.Namespace) -> tuple[str, ...]:
    """Return `--languages` as a tuple; empty where the flag is absent.

    Raises:
        ConfigError: It, or `--source-lang`, has something else than codes, or one of them where it makes no sense.
    """
    text, source = args.languages, args.source_lang
    names = tuple(name.strip() for name in text.split(",")) if text is not None else ()
    for flag, name in (("--source-lang", source), *(("--languages", name) for name in names)):
        if not _CODE.fullmatch(name):
            meant = find_language(name.lower()) or find_language(name.capitalize())
            hint = f" (did you mean {meant.code}?)" if meant else ""
            given = source if flag == "--source-lang" else text
            more = ", with commas between them" if flag == "--languages" else ""
            raise ConfigError(f"{flag}: {given!r} is not allowed{hint}; allowed: ISO codes such as de{more}")
    for name in names:
        if name == source:
            raise ConfigError(
                f"--languages: {text!r} is not allowed; allowed: target languages, and {name!r} is the source language"
            )
        if names.count(name) > 1:
            raise ConfigError(f"--languages: {text!r} is not allowed; allowed: each code once, {name!r} too")
    return names


def absolute(flag: str, path: str, allowed: str) -> Path:
    """Return a path that was typed as an absolute one; whether anything is there does not matter.

    Raises:
        ConfigError: No file can have this path.
    """
    try:
        if not path:
            raise ValueError("no path")
        found = Path(path).expanduser().resolve()
        (found / _ROOM).exists()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: no home directory of that user
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{flag}: {path!r} is not allowed ({reason}); allowed: {allowed}") from error
    return found


def writable(flag: str, path: str) -> Path:
    """Return a path that was typed as an absolute one, of a folder that can be written to or be made.

    Raises:
        ConfigError: It is another file, or must not be written to.
    """
    allowed = "a folder, or a new one"
    folder = absolute(flag, path, allowed)
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    mode = os.R_OK | os.W_OK | os.X_OK
    if not there.is_dir() or not os.access(there, mode, effective_ids=os.access in os.supports_effective_ids):
        raise ConfigError(
            f"{flag}: {path!r} is not allowed ({there} is no folder that can be written to); allowed: {allowed}"
        )
    return folder


def guarded(program: str, command: Callable[[], int], *, interrupted: str) -> int:
    """Run a command; return its exit code, or what a user's error, told in one line, comes to.

    Args:
        program: Name for messages.
        command: Returns the exit code.
        interrupted: What to say after Ctrl-C.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may know fewer characters than a path has
    try:
        return command()
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted; {interrupted}", file=sys.stderr)
        return 130
    except DlfaError as error:
        print(f"{program}: {_told(error)}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except OSError as error:  # such as a full disk
        print(f"{program}: {_told(error)}", file=sys.stderr)
        return 1
