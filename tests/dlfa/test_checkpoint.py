"""A checkpoint: whole or absent, readable without running code, and refused where it does not belong."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dlfa.checkpoint import CheckpointFile
from dlfa.errors import DataError
from dlfa.files import Writer, atomic_write

TENSORS = {
    "weights": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "strided": torch.arange(12.0).reshape(3, 4).t(),
    "half": torch.tensor([1.5, -0.0, float("inf")], dtype=torch.bfloat16),
    "step": torch.tensor(3.0),
    "random": torch.arange(256, dtype=torch.uint8),
}
STATE = {"step": 7, "reports": [{"score": 1 / 3, "metrics": {"dev/é": 0.1}}], "none": None}


def message(file: CheckpointFile) -> str:
    with pytest.raises(DataError) as caught:
        file.load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def bits(tensor: torch.Tensor) -> list[int]:
    return [int(byte) for byte in tensor.contiguous().flatten().view(torch.uint8)]


def test_loads_what_was_saved(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "deep" / "checkpoint.safetensors", owner="a trial")
    assert file.load() is None
    file.save(TENSORS, STATE)
    loaded = file.load()
    assert loaded is not None
    tensors, state = loaded
    assert state == STATE
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert (tensors[name].dtype, tensors[name].shape) == (tensor.dtype, tensor.shape)
        assert bits(tensors[name]) == bits(tensor)


def test_gradients_and_later_changes_are_not_saved(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "checkpoint.safetensors")
    parameter = torch.nn.Parameter(torch.ones(2))
    file.save({"p": parameter}, {})
    with torch.no_grad():
        parameter.zero_()
    loaded = file.load()
    assert loaded is not None
    assert loaded[0]["p"].tolist() == [1, 1]
    assert not loaded[0]["p"].requires_grad


def test_is_one_safetensors_file_that_is_replaced(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "checkpoint.safetensors")
    file.save(TENSORS, STATE)
    file.save({"other": torch.zeros(1)}, {"step": 8})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    with safe_open(file.path, framework="pt") as content:  # no pickle, nor anything else that can run code
        assert list(content.keys()) == ["other"]
        assert content.metadata()["state"] == '{"step": 8}'


def test_what_was_loaded_outlives_the_file(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "checkpoint.safetensors")
    file.save({"a": torch.ones(4)}, {})
    loaded = file.load()
    file.save({"a": torch.zeros(4)}, {})
    file.remove()
    assert loaded is not None
    assert loaded[0]["a"].tolist() == [1, 1, 1, 1]
    assert file.load() is None
    file.remove()  # where there is none, too


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = CheckpointFile(tmp_path / "checkpoint.safetensors")
    file.save({"a": torch.ones(1)}, {"step": 1})

    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "fsync":
            patch.setattr(os, "fsync", fail)
        else:
            patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="No space left on device"):
            file.save({"a": torch.zeros(1)}, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    loaded = file.load()
    assert loaded is not None
    assert (loaded[0]["a"].tolist(), loaded[1]) == ([1], {"step": 1})


def test_an_interrupt_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_write(tmp_path / "file", "old")

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            atomic_write(tmp_path / "file", b"new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_others_may_read_what_the_umask_lets_them_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "file", "é")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert (tmp_path / "file").read_bytes() == b"\xc3\xa9"


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "no state", "no json"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "checkpoint.safetensors")
    file.save(TENSORS, STATE)
    content = file.path.read_bytes()
    if damage in ("empty", "cut", "text"):
        file.path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "text": b"no tensors" * 99}[damage])
    else:
        save_file(
            TENSORS | {"strided": torch.ones(1)}, file.path, {"state": "{", "owner": ""} if "json" in damage else None
        )
    said = message(file)
    assert said.startswith(f"{file.path}: not readable as a checkpoint (")
    assert said.endswith("); delete it, and the trial starts again")


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "checkpoint.safetensors")

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"a": Payload()}, file.path)
    assert message(file).startswith(f"{file.path}: not readable as a checkpoint (")
    assert not (tmp_path / "ran").exists()


def test_the_state_of_another_owner_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    CheckpointFile(path, owner="one").save({}, {"step": 1})
    assert CheckpointFile(path, owner="one").load() == ({}, {"step": 1})
    for owner in ("other", ""):
        assert message(CheckpointFile(path, owner=owner)) == (
            f"{path}: a checkpoint of another configuration; allowed: the same configuration, or a folder without a "
            "checkpoint"
        )


def test_a_writer_ends_when_everything_is_written(tmp_path: Path) -> None:
    names = [f"{number}" for number in range(5)]
    with Writer() as writer:
        for name in names:
            writer.write(tmp_path / name, name.encode())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict(zip(names, names, strict=True))


@pytest.mark.parametrize("when", ["next", "wait", "end", "failing"])
def test_what_a_writer_can_not_write_is_told_once(tmp_path: Path, when: str) -> None:
    """At the next file, when asked, or at the end, even where something else has gone wrong."""
    (tmp_path / "file").write_text("")
    writer = Writer()

    def written() -> None:
        with writer:
            writer.write(tmp_path / "file" / "in it", b"")
            if when == "next":
                writer.write(tmp_path / "other", b"")
            if when == "wait":
                writer.wait()
            if when == "failing":
                raise ZeroDivisionError

    with pytest.raises(FileExistsError) as caught:
        written()
    assert isinstance(caught.value.__context__, ZeroDivisionError) == (when == "failing")
    writer.wait()
