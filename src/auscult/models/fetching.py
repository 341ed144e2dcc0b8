"""Checkpoints that are no folder here, but may be on the hub: that it cannot be reached is said in one sentence.

What libraries raise without a network differs from file to file, and comes after retries of each of them (half a
minute). So the hub is asked once before anything is opened, unless the checkpoint was fetched before, and once more
where opening failed without a word about the network. Everything else that goes wrong is left as it is.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from auscult.core.errors import ConfigError

PATIENCE = 10.0
"""Seconds that the hub may take to answer the question whether it is there."""
CONFIG = "config.json"
"""What every checkpoint has."""


def may_be_hub_id(name: str | Path) -> bool:
    """Whether a name that is no file or folder here can be one of the hub's: `owner/name`, or `name`."""
    said = str(name)
    return not said.startswith((".", "/", "~")) and len(Path(said).parts) <= 2 and not Path(said).exists()


def check_reachable(name: str | Path, asked: str) -> None:
    """Raises ConfigError where a checkpoint is neither here nor fetched before, and the hub cannot be reached; `asked`
    is the key that names the checkpoint."""
    from huggingface_hub import try_to_load_from_cache  # half a second that a recipe's --help does without

    if may_be_hub_id(name) and not isinstance(try_to_load_from_cache(str(name), CONFIG), str):
        _ask_hub(str(name), asked)


@contextmanager
def fetching(name: str | Path, asked: str) -> Generator[None]:
    """Around whatever opens the checkpoint in a folder, or under a hub id, `name`. Raises ConfigError where the hub
    cannot be reached or refuses it; `asked` is the key that names it."""
    from huggingface_hub.errors import HfHubHTTPError

    check_reachable(name, asked)
    try:
        yield
    except OSError as error:
        if may_be_hub_id(name):
            _ask_hub(str(name), asked)
            if refused := next((one for one in _causes(error) if isinstance(one, HfHubHTTPError)), None):
                raise ConfigError(
                    f"the hub does not give {name} ({_first_line(refused)}); ask for access on its page and log in "
                    f"(hf auth login), or name a folder ({asked})"
                ) from error
        raise


def _ask_hub(name: str, asked: str) -> None:
    """Raises ConfigError when the hub does not answer; whatever it answers is for who opens the checkpoint."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        get_hf_file_metadata(hf_hub_url(name, CONFIG), timeout=PATIENCE)
    except HfHubHTTPError:
        return
    except OfflineModeIsEnabled as error:
        why, advice = "HF_HUB_OFFLINE forbids to ask the hub for it", "unset HF_HUB_OFFLINE"
        raise ConfigError(_sentence(name, why, advice, asked)) from error
    except Exception as error:  # every library of the network has errors of its own, and all mean that it is not there
        why = f"the hub at {constants.ENDPOINT} cannot be reached ({_first_line(error) or type(error).__name__})"
        raise ConfigError(_sentence(name, why, "connect this machine to the network", asked)) from error


def _sentence(name: str, why: str, advice: str, asked: str) -> str:
    return f"{name} is no folder here, was not fetched whole before, and {why}; {advice}, or name a folder ({asked})"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "").strip()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
