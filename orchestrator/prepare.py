"""Settings checked against encoder, data, search space and machine, before anything starts."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from dlfa.config import ComputeConfig, TrialConfig
from dlfa.data.cache import Corpus
from dlfa.data.encode import EncodedSplit
from dlfa.data.remarks import remarks
from dlfa.data.sources import Split
from dlfa.errors import ConfigError
from dlfa.fusions import BASELINE
from dlfa.model import encoder_fingerprint, encoder_shape
from dlfa.training import report_steps
from dlfa.trial import open_corpus, sets_read
from orchestrator.events import TrialRef
from orchestrator.resources import Available, Slots, plan_slots
from orchestrator.settings import SweepSettings, provenance
from orchestrator.space import SearchSpace
from orchestrator.space_file import load_space

__all__ = ["Prepared", "describe_slots", "encode_all", "planned_slots", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Settings that were checked against encoder, data and search space."""

    settings: SweepSettings
    space: SearchSpace
    corpus: Corpus
    sets: Mapping[Split, tuple[str, ...]]
    """Languages of the train, dev and test sets that a trial reads."""

    @cached_property
    def shares(self) -> Mapping[str, int]:
        """Search trials of every arm."""
        return _shares(self.settings, self.space)

    @property
    def trials(self) -> int:
        """Search trials of all arms."""
        return sum(self.shares.values())

    def trial_config(self, ref: TrialRef, slots: Slots) -> TrialConfig:
        """Return the configuration of one trial; without GPUs in its slot it leaves those it may see alone."""
        compute = ComputeConfig(device="auto" if slots.gpus else "cpu", threads=slots.cpus)
        return self.settings.trial_config(self.space, ref, compute)

    def largest_trial(self, slots: Slots) -> TrialConfig:
        """Return the configuration of a trial that needs as much memory as any of the search."""
        ref = TrialRef(phase="search", number=0, params=self.space.largest(), seed=self.settings.seed)
        return self.trial_config(ref, slots)


def prepare(settings: SweepSettings) -> Prepared:
    """Check settings against encoder, data and search space; starts and writes nothing.

    Raises:
        ConfigError: With what does not fit, in one line.
        DataError: The data is missing or malformed.
    """
    shape = encoder_shape(settings.encoder)
    space = load_space(settings.space, settings.space_file, settings.task, shape)
    if settings.seed + settings.confirm_seeds >= 2**31:  # the confirm phase's seeds follow the search's
        allowed = f"0..{2**31 - 1 - settings.confirm_seeds}"
        raise ConfigError(f"--seed: {settings.seed} is not allowed; allowed: {allowed}")
    _check_trials(settings, space)
    settings = replace(settings, data=replace(settings.data, fingerprints={}))  # of the data as it is now
    baseline = TrialRef(phase="search", number=0, params={"fusion": BASELINE}, seed=settings.seed)
    config = settings.trial_config(space, baseline, ComputeConfig())
    corpus = open_corpus(config)
    sets = sets_read(config, corpus)
    fingerprints = {
        f"{language} {split}": corpus.fingerprint(language, split)
        for split, languages in sets.items()
        for language in languages
    }
    settings = replace(
        settings,
        data=replace(settings.data, languages=corpus.targets(), fingerprints=fingerprints),
        provenance=provenance(corpus.source.layout, encoder_fingerprint(settings.encoder)),
    )
    return Prepared(settings=settings, space=space, corpus=corpus, sets=sets)


def _shares(settings: SweepSettings, space: SearchSpace) -> Mapping[str, int]:
    """Return the search trials of every arm; of a grid as many as the arm's has points."""
    if settings.sampler == "grid":
        return Counter(str(point["fusion"]) for point in space.grid_points(settings.seed))
    return space.shares(settings.trials)


def _check_trials(settings: SweepSettings, space: SearchSpace) -> None:
    """Refuse a number of trials that cannot be shared equally by the arms."""
    if settings.sampler == "grid":
        shares = _shares(settings, space)
        total = sum(shares.values())
        if settings.trials != total:
            each = ", ".join(f"{count} for {fusion}" for fusion, count in shares.items())
            raise ConfigError(
                f"--trials: {settings.trials} is not allowed; allowed with --sampler grid: {total}, the whole grid of "
                f"each fusion ({each})"
            )
    elif settings.trials < len(space.fusions):
        raise ConfigError(
            f"--trials: {settings.trials} is not allowed; allowed: at least {len(space.fusions)}, one for each of "
            f"{', '.join(space.fusions)}"
        )


def planned_slots(settings: SweepSettings, available: Available) -> Slots:
    """Return the slots of a sweep.

    Raises:
        ConfigError: More is asked for than there is.
    """
    return plan_slots(
        available,
        gpus=settings.gpus,
        gpus_per_trial=settings.gpus_per_trial,
        cpus_per_trial=settings.cpus_per_trial,
    )


def describe_slots(slots: Slots, where: str) -> str:
    """Return in one line what trials run on."""
    cpus = f"{slots.cpus} CPU{'s' * (slots.cpus != 1)}"
    if slots.gpus:
        # Whoever reserves several should know that they buy room, not speed.
        idle = f" (it computes on one of them: {slots.gpus - 1:g} idle)" if slots.gpus > 1 else ""
        gpus = f"{slots.gpus:g} GPU{'s' * (slots.gpus > 1)}{idle}"
        return f"slots: {slots.count} trials at a time, {gpus} and {cpus} each, on {where}"
    return f"slots: no GPU in use; {slots.count} trials at a time, {cpus} each, on {where}"


def encode_all(prepared: Prepared, say: Callable[[str], None]) -> Prepared:
    """Encode every set that trials will read, before any of them starts; return what is then known of the data.

    Raises:
        ConfigError: There are fewer steps than reports, or no target language can be scored.
        DataError: A set is malformed, or test sets are not aligned although the user has said so.
    """
    corpus, source = prepared.corpus, prepared.settings.data.source_language
    train = corpus.split(source, "train")
    baseline = TrialRef(phase="search", number=0, params={"fusion": BASELINE}, seed=prepared.settings.seed)
    report_steps(len(train.lengths), prepared.trial_config(baseline, Slots(count=1, cpus=1, gpus=0)).training)
    dev = {language: corpus.split(language, "dev") for language in prepared.sets["dev"]}
    test = {language: corpus.split(language, "test") for language in prepared.sets["test"]}
    unlabelled = [language for language, split in test.items() if not split.labelled]
    if not set(test) - {source, *unlabelled}:
        raise ConfigError(
            f"--data: {prepared.settings.data.path!r} is not allowed; allowed: data with tags in the test set of at "
            f"least one target language ({', '.join(prepared.settings.data.languages) or 'there is none'})"
        )
    say(f"data: {corpus.source.layout} in {corpus.source.root}")
    examples = corpus.task.examples
    say(
        f"train {source}: {_size(train, examples)}; "
        f"dev {', '.join(f'{language}: {_size(split, examples)}' for language, split in dev.items())}; "
        f"test: {sum(map(_count, test.values()))} {examples} in {len(test)} languages ({', '.join(test)})"
    )
    if unlabelled:
        say(f"no tags, so predicted but not scored: test sets of {', '.join(unlabelled)}")
    found = remarks(corpus, prepared.sets)
    for line in found:
        say(line)
    settings = prepared.settings
    return replace(prepared, settings=replace(settings, provenance={**settings.provenance, "remarks": found}))


def _count(split: EncodedSplit) -> int:
    return len(split.example_label_start) - 1


def _size(split: EncodedSplit, examples: str) -> str:
    """Return how many examples there are, and how many words where each of them has a label."""
    words = f", {len(split.labels)} words" if len(split.labels) > _count(split) else ""
    return f"{_count(split)} {examples}{words}"
