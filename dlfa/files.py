"""Files that are whole or absent, whatever happens while they are written."""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

__all__ = ["Writer", "atomic_write"]


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file in a single step: a reader sees the old content or the new, never a part.

    Args:
        path: The file; its folder is made where it is missing.
        content: Bytes, or text that becomes UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unlike tempfile's, a file opened so has the permissions that the umask gives: others may share the folder.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Writer:
    """Writes whole files beside what goes on, one at a time; as a context it ends when all is written."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def write(self, path: Path, content: bytes) -> None:
        """Begin to write a file as `atomic_write` does, once the one before is written.

        Raises:
            OSError: The one before can't be written.
        """
        self.wait()
        self._writing = self._pool.submit(atomic_write, path, content)

    def wait(self) -> None:
        """Wait until everything is written.

        Raises:
            OSError: It can't be.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        with self._pool:
            self.wait()
