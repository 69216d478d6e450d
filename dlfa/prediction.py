"""Labels for text, by a saved model: windows, first sub-words and pairs as in training."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from dlfa.compute import Compute, choose
from dlfa.config import ComputeConfig
from dlfa.data.encode import encode
from dlfa.data.sources import Example, Sentence
from dlfa.data.sources.source import check_word, pair
from dlfa.errors import ConfigError, DataError
from dlfa.evaluation import predict
from dlfa.model import Classifier, encoder_shape, load_model, load_tokenizer, saved_window
from dlfa.tasks import Kind, TaskSpec

__all__ = ["Predictor", "load_predictor"]

_BLANKS = re.compile(r"[ \t\r\n]+")
"""Other spaces, such as the no-break space in `10 000`, are characters of words, as in treebanks."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A saved model with all that it takes to label text."""

    model: Classifier
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    """Pieces per window, special tokens included: longer sentences are split, longer pairs truncated."""

    compute: Compute

    @property
    def kind(self) -> Kind:
        """Form of the examples that the model labels."""
        return self.model.kind

    def tags(self, sentences: Sequence[str | Sequence[str]]) -> list[list[str]]:
        """Return one label for every word of every sentence.

        Args:
            sentences: Each a list of words, or text with blanks between words, the full stop's too; possibly empty.

        Raises:
            ConfigError: The model labels pairs.
            DataError: A sentence or a word is no text, or a word in a list has no character but spaces.
        """
        self._require("tagging")
        words = [self._words(number, sentence) for number, sentence in enumerate(sentences)]
        found = iter(self._predict([Sentence(of_one, None) for of_one in words if of_one]))
        return [next(found) if of_one else [] for of_one in words]

    def labels(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Return one label for every pair of sentences.

        Raises:
            ConfigError: The model labels the words of sentences.
            DataError: A sentence is no text, or has no character but spaces.
        """
        self._require("pair")
        examples = []
        for number, (first, second) in enumerate(pairs):
            for sentence in (first, second):
                _require_text(f"pair {number}", sentence)
            examples.append(pair(f"pair {number}", first, second, None, self._task))
        return [label for (label,) in self._predict(examples)]

    def _predict(self, examples: Sequence[Example]) -> list[list[str]]:
        split = encode(examples, self.tokenizer, self._task, self.max_length)
        predicted = predict(self.model, split, self.compute, int(self.tokenizer.pad_token_id or 0))
        return split.by_example(predicted, self.model.labels)

    @property
    def _task(self) -> TaskSpec:
        """What encoding reads of a task: the model may be of one that this version does not have."""
        return TaskSpec(name="", kind=self.kind, labels=self.model.labels, metrics=(), languages=(), epochs=0)

    def _require(self, kind: Kind) -> None:
        if self.kind != kind:
            what = {"tagging": "sentences, word by word", "pair": "pairs of sentences"}
            raise ConfigError(f"{what[kind]}: not allowed; allowed: {what[self.kind]}, what this model labels")

    def _words(self, number: int, sentence: str | Sequence[str]) -> tuple[str, ...]:
        where = f"sentence {number}"
        if isinstance(sentence, str):
            return tuple(word for word in _BLANKS.split(sentence) if word)
        if not isinstance(sentence, Sequence):
            raise DataError(f"{where}: {sentence!r} is not allowed; allowed: text, or a list of words")
        for word in sentence:
            _require_text(where, word)
            check_word(where, word, None, self._task)
        return tuple(sentence)


def load_predictor(folder: Path, compute: ComputeConfig | None = None) -> Predictor:
    """Return the model that was saved in a folder, ready to label text.

    Args:
        folder: What `TrialResult.save_model` wrote. Where its `dlfa.json` has no window, as of earlier versions, the
            encoder's longest is taken: then sentences of more pieces than the training's window see more context.
        compute: Where to compute; none: on a GPU if there is one, in the precision that a trial would choose here,
            with as many threads as torch is set to.

    Raises:
        ConfigError: If a file is missing or broken, or if the files do not belong together.
    """
    longest, window = encoder_shape(str(folder)).max_positions, saved_window(folder)
    if window is not None and window > longest:
        raise ConfigError(f"{folder}: max_length: {window} is not allowed; allowed: 8..{longest}, its encoder's window")
    config = ComputeConfig(threads=torch.get_num_threads()) if compute is None else compute
    chosen = choose(config)
    return Predictor(
        model=load_model(folder).to(chosen.device),
        tokenizer=load_tokenizer(str(folder)),
        max_length=window or longest,
        compute=chosen,
    )


def _require_text(where: str, text: object) -> None:
    if not isinstance(text, str):
        raise DataError(f"{where}: {text!r} is not allowed; allowed: text")
