"""Expected failures, named by the boundary they crossed.

Everything that a user can cause or mend is an `AuscultError`: the command line prints its sentence and exits with 2.
A sentence names the file, row or key, and ends with the next thing to do. Anything else is a defect of ours and
propagates."""

from __future__ import annotations


class AuscultError(Exception):
    """An expected failure; its message is the whole story, for a person."""


class ConfigError(AuscultError):
    """A recipe or a command line says something that cannot be."""


class DataError(AuscultError):
    """A data file or a row of it cannot be used."""


class MediaError(AuscultError):
    """A media file cannot be used. `reason` is a short stable word for counting, for example `torn` or `empty`."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class RenderError(AuscultError):
    """A prompt would not say what its sample says: a target, a mask or a media placeholder went missing."""


class LostMediaError(AuscultError):
    """Placeholders, features given and encoder rows differ: some media would not be heard."""


class RunError(AuscultError):
    """A run folder cannot be continued or read."""
