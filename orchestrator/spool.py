"""Records for a receiver that may be slow or away: kept in a folder, delivered in order by a thread."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from dlfa.errors import system_cause
from dlfa.files import atomic_write

__all__ = ["RefusedError", "Spool"]

_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 30.0


class RefusedError(Exception):
    """The receiver answered, and does not want this record, however often it is sent."""


class Spool:
    """Delivers records at least once and in order; what an earlier process left comes first.

    `records.jsonl` holds every record ever appended, `position` the bytes of it that are delivered, and
    `rejected.jsonl` the records that were refused, each with the reason. Nothing is forced to the disk: the
    records survive the process, but the newest may not survive the machine.

    Args:
        folder: Where; made when missing.
        deliver: Takes one record, in the spool's thread, as often as it raises anything but RefusedError; that
            only twice in a row, since what the receiver was known to have may have changed.
        receiver: What notices call the receiver, such as `MLflow at http://host:5000`.
        notify: Told in one line what the user should know; called from both threads.

    Raises:
        OSError: The folder can't be made, read or written.
    """

    def __init__(
        self,
        folder: Path,
        deliver: Callable[[dict[str, object]], None],
        receiver: str,
        notify: Callable[[str], None],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._records, self._rejected = folder / "records.jsonl", folder / "rejected.jsonl"
        self._deliver, self._receiver, self._notify = deliver, receiver, notify
        self._told: set[str] = set()
        self._unwritten = b""
        self._mend()
        # A crash of the machine may have kept the position but not the records before it: those are delivered.
        self._position = min(self._read_position(), self._records.stat().st_size)
        with self._records.open("rb") as file:
            file.seek(self._position)
            self._pending = file.read().count(b"\n")
        self._lock = threading.Lock()
        self._wake, self._closing, self._stopped = threading.Event(), threading.Event(), threading.Event()
        # A daemon: a delivery that hangs must not keep the command from ending.
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def records(self) -> Iterator[Mapping[str, object]]:
        """Yields every whole record that was ever appended, delivered or not."""
        with self._records.open("rb") as file:
            for line in file:
                try:
                    yield _parsed(line)
                except RefusedError:  # damaged: the receiver's thread puts it aside
                    continue

    def append(self, record: Mapping[str, object]) -> None:
        """Writes down one record and returns; what the disk refuses waits in memory. Never raises OSError."""
        self._unwritten += (json.dumps(record) + "\n").encode()
        with self._lock:
            self._pending += 1
        self._write()
        self._wake.set()

    def close(self, timeout: float) -> int:
        """Waits at most `timeout` seconds for delivery, ends it, and returns the number of records left."""
        self._write()
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)
        self._stopped.set()
        with self._lock:
            return self._pending

    def _write(self) -> None:
        try:
            with self._records.open("ab", buffering=0) as file:
                while self._unwritten:  # a full disk may take half a line: the rest follows where it stopped
                    self._unwritten = self._unwritten[file.write(self._unwritten) :]
        except OSError as error:
            self._complain(error)

    def _run(self) -> None:
        while not self._stopped.is_set():
            # Both before looking: a record, or the order to close, that comes after the look sets `_wake` again.
            self._wake.clear()
            closing = self._closing.is_set()
            line = self._oldest()
            if line is not None:
                self._deliver_line(line)
            elif closing:
                return
            else:
                self._wake.wait()

    def _oldest(self) -> bytes | None:
        try:
            with self._records.open("rb") as file:
                file.seek(self._position)
                line = file.readline()
        except OSError as error:
            self._complain(error)
            return None
        return line if line.endswith(b"\n") else None

    def _deliver_line(self, line: bytes) -> None:
        delay, refused, away = _FIRST_RETRY_S, False, False
        while not self._stopped.is_set():
            try:
                self._deliver(_parsed(line))
            except RefusedError as error:
                if refused:
                    self._reject(line, error)
                    break
                refused = True
            except Exception as error:  # noqa: BLE001 - whatever it is, this thread must go on
                refused = False
                if not away:
                    away = True
                    self._say(
                        f"{self._receiver} can't be reached ({_short(system_cause(error))}); "
                        f"records are kept in {self._folder} and delivered when it is back"
                    )
                if self._closing.is_set():
                    self._stopped.wait(delay)
                else:
                    self._closing.wait(delay)  # told to close: one more try at once
                delay = min(2 * delay, _LAST_RETRY_S)
            else:
                break
        else:
            return
        self._advance(line)
        if away:
            self._say(f"{self._receiver} is back; the records kept for it are being delivered")

    def _advance(self, line: bytes) -> None:
        self._position += len(line)
        with self._lock:
            self._pending -= 1
        try:
            atomic_write(self._folder / "position", f"{self._position}\n")
        except OSError as error:  # at worst the record is delivered once more
            self._complain(error)

    def _read_position(self) -> int:
        try:
            return max(0, int((self._folder / "position").read_text(encoding="ascii")))
        except (FileNotFoundError, ValueError):  # none yet, or lost with the machine: once more does no harm
            return 0

    def _reject(self, line: bytes, error: Exception) -> None:
        try:
            self._put_aside(line, str(error))
        except OSError as unwritable:  # the record itself stays in records.jsonl
            self._complain(unwritable)
        if "rejected" not in self._told:
            self._told.add("rejected")
            self._say(
                f"{self._receiver} refuses a record ({_short(str(error))}); "
                f"it is put aside in {self._rejected}, and so are any that follow"
            )

    def _put_aside(self, line: bytes, reason: str) -> None:
        entry = {"reason": reason, "record": line.decode(errors="replace").rstrip("\n")}
        with self._rejected.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def _mend(self) -> None:
        """Ends a last line that a crash left open: completes it when all of it is there, else puts it aside."""
        with self._records.open("ab+") as file:
            file.seek(0)
            torn = file.read().rpartition(b"\n")[2]
            if not torn:
                return
            try:
                json.loads(torn)  # no beginning of an object is itself JSON
            except ValueError:
                self._put_aside(torn, "cut short by a crash")
                file.truncate(file.tell() - len(torn))
                self._notify(
                    f"{self._records}: a crash cut the last record short; what is left of it is in {self._rejected}"
                )
            else:
                file.write(b"\n")

    def _complain(self, error: OSError) -> None:
        if "folder" not in self._told:
            self._told.add("folder")
            self._say(
                f"{self._folder} can't be used ({_short(system_cause(error))}); records that can't be written there "
                "wait in memory, and are lost if the sweep ends first"
            )

    def _say(self, notice: str) -> None:
        if not self._stopped.is_set():
            self._notify(notice)


def _parsed(line: bytes) -> dict[str, object]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise RefusedError(f"it is damaged: {error}") from error
    if not isinstance(record, dict):
        raise RefusedError(f"it is no record: {record!r}")
    return record


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:199] + "…"
