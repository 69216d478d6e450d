"""Reopening a sweep: its own settings, for a new driver that does what is missing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlfa.errors import ConfigError
from orchestrator.prepare import Prepared, prepare
from orchestrator.settings import SETTINGS, read_settings, sweep_folder

__all__ = ["reopen"]


def reopen(storage: Path, name: str, changes: Mapping[str, Any]) -> tuple[Path, Prepared]:
    """Return folder and settings of a sweep that is to go on.

    Args:
        storage: Folder of sweeps.
        name: The sweep's.
        changes: Settings that replace the sweep's own: what it runs on, and how many trials it has.

    Raises:
        ConfigError: There is no such sweep, its data or its encoder has changed since it began, or it began with a
            version whose results do not go together with this one's.
    """
    folder = sweep_folder(storage, name)
    before = read_settings(folder)
    version = str(before.provenance.get("versions", {}).get("dlfa-sweep", ""))
    if version.startswith("0.1."):
        raise ConfigError(
            f"--resume: {name!r} is not allowed: it began with dlfa-sweep {version}, whose dlfa was another "
            "module than the published one; allowed: that version, or a new sweep"
        )
    prepared = prepare(replace(before, **changes))
    then, now = before.data.fingerprints, prepared.settings.data.fingerprints
    if not then:
        raise ConfigError(f"{folder / SETTINGS}.data.fingerprints: missing; allowed: those that the sweep began with")
    if then != now:
        changed = sorted(language for language in {*then, *now} if then.get(language) != now.get(language))
        raise ConfigError(
            f"--resume: {name!r} is not allowed: {before.data.path} has changed since the sweep began "
            f"({', '.join(changed)}; fingerprints in {folder / SETTINGS}); allowed: the same data, or a new sweep"
        )
    encoder, found = before.provenance.get("encoder_fingerprint"), prepared.settings.provenance["encoder_fingerprint"]
    if encoder not in (None, found):
        raise ConfigError(
            f"--resume: {name!r} is not allowed: {before.encoder} has changed since the sweep began "
            f"(encoder_fingerprint in {folder / SETTINGS}); allowed: the same encoder, or a new sweep"
        )
    # What the sweep began with stays on record.
    return folder, replace(prepared, settings=replace(prepared.settings, provenance=before.provenance))
