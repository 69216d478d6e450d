"""What the lines of the table meet: a toy that is right, beside it whatever may be wrong, and rights that bind root."""

import ctypes
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from safetensors.torch import load_file, save_file
from toy import write_toy

from dlfa.config import DataConfig
from orchestrator.prepare import prepare
from orchestrator.settings import SweepSettings, write_settings

__all__ = ["SPACE", "World", "edited", "make_world", "permissions_bind", "tree", "write_data"]

SPACE = """\
task: udpos
trials: 12
confirm_seeds: 2
search:
  fusion_layer: {low: 1, high: L-1}
  reduction_ratio: {choices: [2, 4]}
  learning_rate: {low: 3.0e-4, high: 1.0e-2, log: true}
training: {epochs: 1, batch_size: 16, reports_per_trial: 2}
max_length: 64
"""
_ROW = 6 * "\t_" + "\n\n"
_FILES = {
    "space.yaml": SPACE,
    "grid.yaml": SPACE.replace("log: true", "log: true, grid: [1.0e-3]"),
    "panx.yaml": SPACE.replace("udpos", "panx"),
    "odd/train/en_toy-train.conllu": "",
    "no-train/en/en_toy-dev.conllu": f"1\tx\t_\tNOUN{_ROW}",
    "no-train/de/de_toy-test.conllu": f"1\tx\t_\tNOUN{_ROW}",
    "two-layouts/en/en_toy-train.conllu": f"1\tx\t_\tNOUN{_ROW}",
    "two-layouts/train-en.tsv": "x\tNOUN\n\n",
    "no-test/en/en_toy-train.conllu": f"1\tx\t_\tNOUN{_ROW}",
    "no-test/en/en_toy-dev.conllu": f"1\tx\t_\tNOUN{_ROW}",
    "no-test/de/de_toy-dev.conllu": f"1\tx\t_\tNOUN{_ROW}",
    "no-split/en/en_toy.conllu": f"1\tx\t_\tNOUN{_ROW}",
    "a-folder/en/en_toy-train.conllu/x": "",
    "kept/notes.txt": "mine",
    "cache-is-a-file/.cache": "",
    "two\nlines/en_toy-train.conllu": f"1\tx\t_\tNOUN{_ROW}",
    "line-end/en/en\n_toy-train.conllu": "1\tx\n\n",
}


@dataclass(frozen=True)
class World:
    """A folder with what is right and what is wrong; nothing in it may change."""

    root: Path
    data: Path
    encoder: Path
    sweep: Path
    """Of two trials, with the settings that its flags have become."""

    def flags(self, program: str, here: Path) -> list[str]:
        """Return a whole right line; the last flag of a name wins."""
        if program == "dlfa-train":
            size = "--learning-rate 3e-3 --epochs 1 --train-limit 200 --eval-limit 30 --reports 3 --max-length 32"
            rest = "--threads 1 --precision fp32 --device cpu --fusion-layer 2 --reduction-ratio 4"
            return [
                *("--task", "udpos", "--data", str(self.data), "--encoder", str(self.encoder)),
                *("--cache", str(here / "cache"), "--out", str(here / "out"), *size.split(), *rest.split()),
            ]
        return [
            *("--task", "udpos", "--data", str(self.data), "--encoder", str(self.encoder)),
            *("--space", str(self.root / "space.yaml"), "--storage", str(here / "runs")),
        ]


def make_world(root: Path) -> World:
    """Write all of it."""
    data, encoder = write_toy(root)
    for name, text in _FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "latin.yaml").write_bytes("trials: 3 # für".encode("latin-1"))
    (root / "long.yaml").write_text("# " + 1_000_000 * "x")
    (root / "empty").mkdir()
    (root / "dangling").symlink_to(root / "nowhere")
    (root / "loop").symlink_to(root / "loop")
    shutil.copytree(data, root / "hidden" / "en")
    shutil.copy(root / "space.yaml", root / "hidden.yaml")
    _write_encoders(encoder, root / "encoders")
    _write_sweep(root, data, encoder)
    for name, mode in {"hidden": 0, "hidden.yaml": 0, "encoders/hidden": 0, "locked": 0o555}.items():
        (root / name).mkdir(exist_ok=True) if not (root / name).exists() else None
        (root / name).chmod(mode)
    return World(root, data, encoder, root / "runs" / "mine")


class _Trap:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def _write_encoders(encoder: Path, folder: Path) -> None:
    import torch

    config = json.loads((encoder / "config.json").read_text())
    weights = load_file(encoder / "model.safetensors")
    index = json.dumps({"metadata": {}, "weight_map": dict.fromkeys(weights, "pytorch_model.bin")})
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    replaced: Mapping[str, Mapping[str, str | bytes | None]] = {
        "no-config": {"config.json": None},
        "config-is-text": {"config.json": "{"},
        "config-is-empty": {"config.json": "{}"},
        "config-has-lines": {"config.json": '{"model_type": "two\\nlines\\u001b[31m"}'},
        "no-layers": {"config.json": json.dumps(config | {"num_hidden_layers": 0})},
        "decoder": {"config.json": '{"model_type": "t5"}'},
        "own-code": {"config.json": json.dumps(own), "own.py": f"open({str(folder / 'code was run')!r}, 'w')"},
        "no-weights": {"model.safetensors": None},
        "cut-weights": {"model.safetensors": (encoder / "model.safetensors").read_bytes()[:-100]},
        "pickle": {"model.safetensors": None, "pytorch_model.bin": b""},
        "pickle-by-index": {"model.safetensors": None, "model.safetensors.index.json": index, "pytorch_model.bin": b""},
        "index-is-text": {"model.safetensors": None, "model.safetensors.index.json": "{"},
        "no-tokenizer": {"tokenizer.json": None},
        "tokenizer-is-text": {"tokenizer.json": "{"},
        "few-pieces": {"config.json": json.dumps(config | {"vocab_size": 5})},
    }
    for name, files in replaced.items():
        shutil.copytree(encoder, folder / name)
        for file, content in files.items():
            path = folder / name / file
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            if file == "pytorch_model.bin":
                torch.save(_Trap(folder / "code was run"), path)
    save_file({name: tensor for name, tensor in weights.items() if "layer.5" not in name}, folder / "fewer.safetensors")
    shutil.copytree(encoder, folder / "fewer-layers")
    (folder / "fewer.safetensors").replace(folder / "fewer-layers" / "model.safetensors")


def _write_sweep(root: Path, data: Path, encoder: Path) -> None:
    """Write a sweep as it stands after two trials."""
    settings = SweepSettings(
        name="mine",
        task="udpos",
        encoder=str(encoder),
        data=DataConfig(path=str(data), cache=str(root / "runs" / ".cache"), max_length=64),
        space=SPACE,
        space_file=str(root / "space.yaml"),
        trials=12,
        confirm_seeds=2,
        tracking_uri=f"sqlite:///{root}/runs/mlflow.db",
    )
    folder = root / "runs" / "mine"
    write_settings(folder, prepare(settings).settings)
    for name in ("search", "confirm"):
        study = optuna.create_study(storage=f"sqlite:///{folder}/study.db", study_name=name, direction="maximize")
        trial = study.ask()
        trial.suggest_categorical("fusion", ("none",))
        trial.report(50.0, 1)
        trial.set_user_attr("report:1", {"dev/en/f1": 50.0})
        trial.set_user_attr("scores", {"test/en/f1": 60.0, "test/de/f1": 40.0})
        study.tell(trial, 50.0)


def edited(text: str, edit: str) -> str:
    """Return a YAML text with one line in place of the one that has its key, or at the end; an empty value: no line."""
    key = edit.partition(":")[0] + ":"
    lines = text.splitlines()
    at = next((number for number, line in enumerate(lines) if line.startswith(key)), len(lines))
    if at == len(lines) and edit.startswith(" "):  # a new line of the first section
        at = next(number for number, line in enumerate(lines) if line.endswith(":")) + 1
        lines.insert(at, "")
    return "\n".join([*lines[:at], *([] if edit == key + " DELETE" else [edit]), *lines[at + 1 :], ""])


_RIGHT = {
    ".conllu": f"1\tx\t_\tNOUN{_ROW}",
    ".iob2": "1\tx\tO\n\n",
    ".tsv": "x\tNOUN\n\n",
    ".jsonl": '{"words": ["x"], "tags": ["NOUN"]}\n',
    "pairs.tsv": "a\tb\tneutral\n",
    "x-final.tsv": "id\tsentence1\tsentence2\tlabel\n1\ta\tb\t0\n",
}


def write_data(folder: Path, kind: str, content: str) -> Path:
    """Write a small data set of one kind; its training set has some other content. Return the training set's file."""
    suffix = "." + kind.rpartition(".")[2]
    right = _RIGHT.get(kind, _RIGHT.get(suffix, ""))
    names = {"train": "train", "dev": "dev", "test": "test"}
    if kind == "README.md":
        pattern = kind
    elif kind == "x-final.tsv":
        pattern, names = "{language}/{split}.tsv", {"train": "train", "dev": "dev_2k", "test": "test_2k"}
    elif suffix in (".conllu", ".iob2"):
        pattern = "{language}/{language}_x-{split}" + suffix
    else:
        pattern = "{split}-{language}" + suffix
    for language, split in (("en", "dev"), ("en", "test"), ("de", "test"), ("en", "train")):
        path = folder / pattern.format(language=language, split=names[split])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((content if split == "train" else right).encode(errors="surrogateescape"))
    return path


def tree(*folders: Path) -> dict[str, tuple[int, int]]:
    """Return every path below some folders with its size and when it was written."""
    found: dict[str, tuple[int, int]] = {}
    for folder in folders:
        for path in (folder, *sorted(folder.rglob("*"))):
            state = path.lstat()
            found[str(path)] = (0, 0) if path.is_dir() else (state.st_size, state.st_mtime_ns)
    return found


_OVERRIDES = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


@contextmanager
def permissions_bind() -> Iterator[None]:
    """Let permissions of files hold for root, too: for a while this thread has no right to pass over them."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    rights = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, rights) == 0, os.strerror(ctypes.get_errno())
    before = rights[0]  # the effective ones
    rights[0] = before & ~_OVERRIDES
    assert libc.capset(header, rights) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        rights[0] = before
        assert libc.capset(header, rights) == 0, os.strerror(ctypes.get_errno())
