"""How good an encoder is: translation retrieval on Tatoeba, and part-of-speech tagging that never saw the language."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from dlfa.compute import Compute
from dlfa.model import load_encoder, load_tokenizer
from dlfa.probing import PARALLEL, read_parallel
from dlfa.probing.probes import retrieval_hits
from dlfa.probing.states import sentence_states

__all__ = ["tatoeba", "udpos"]

_CPU = Compute(torch.device("cpu"), bf16=False)
_MAX_PIECES = 128
_TRAIN = 2000
_EPOCHS = 3
_EVAL = 200


def tatoeba(encoder: Path, data: Path, limit: int = 1000) -> dict[str, list[float]]:
    """Return the accuracy of nearest neighbours for every pair of languages and every layer.

    A sentence is the mean of its pieces' states, near is the cosine, and both directions count the same.

    Args:
        encoder: A Hugging Face folder.
        data: A folder with tatoeba/tatoeba.XXX-eng.{XXX,eng}.
        limit: Pairs of each language.

    Returns:
        Percent for the layers 0 (embeddings) to L, by ISO code.

    Raises:
        DataError: No Tatoeba file is there.
    """
    found = load_encoder(str(encoder))
    tokenizer = load_tokenizer(str(encoder))
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for text in read_parallel(data, "en", PARALLEL.languages, limit):
            sides = [
                sentence_states(found, tokenizer, side, _CPU, _MAX_PIECES, Path(folder) / name)
                for name, side in (("own", text.sentences), ("english", text.translations))
            ]
            result[text.language] = [50 * float(retrieval_hits(*layers).mean()) for layers in zip(*sides, strict=True)]
    return result


def udpos(encoder: Path, data: Path, rates: Sequence[float], out: Path, threads: int) -> dict[str, object]:
    """Fine-tune on English with `dlfa-train` at every rate; return the scores of the best one on English dev.

    Args:
        encoder: A Hugging Face folder.
        data: A folder with ud/.
        rates: Learning rates to choose from.
        out: Folder of the runs; those that are finished are not repeated.
        threads: Of each run.

    Raises:
        subprocess.CalledProcessError: A run failed.
    """
    finished = []
    for rate in rates:
        run = out / f"{rate:g}"
        if not (run / "scores.json").exists():
            flags = {
                "--task": "udpos",
                "--fusion": "none",
                "--encoder": encoder.resolve(),
                "--data": (data / "ud").resolve(),
                "--learning-rate": rate,
                "--batch-size": 16,
                "--epochs": _EPOCHS,
                "--train-limit": _TRAIN,
                "--eval-limit": _EVAL,
                "--reports": 3,
                "--threads": threads,
                "--out": run.resolve(),
            }
            words = [str(word) for pair in flags.items() for word in pair]
            program = Path(sys.executable).with_name("dlfa-train")
            subprocess.run([program, *words], check=True)  # noqa: S603 - our own command
        finished.append((rate, json.loads((run / "scores.json").read_text())))
    rate, scores = max(finished, key=lambda pair: pair[1]["selection_score"])
    return {"learning_rate": rate, "english_dev": scores["selection_score"], "scores": scores["scores"]}
