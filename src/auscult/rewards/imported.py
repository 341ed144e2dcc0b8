"""Reward functions by import path, and the one adapter for functions written for TRL.

A reward is named `package.module:function` or `./file.py:function`. The file is looked for in the folder of the recipe
that names it, then in the working directory; on the command line, in the working directory. It is a function
`(sample, rollout) -> float | None`, with keyword-only options if it likes. A function that has a parameter called
`completions` has TRL's signature instead, `f(prompts, completions, **columns) -> list[float | None]`; it is called once
per group and sees completions as plain strings. One that has a parameter called `rollouts` is called once per group,
too: `(sample, rollouts) -> list[float | None]`.

What a function of a user's does wrong becomes a RewardError that names it and the sample; nothing it returns is
believed unchecked, because one NaN among the rewards ruins a whole group.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from auscult.core.errors import AuscultError, ConfigError
from auscult.core.types import Rollout, Sample

Graded = list[float | None]
GroupReward = Callable[[Sample, Sequence[Rollout]], Graded]
"""Values for the rollouts of one sample, in their order; None where there is no value."""


class RewardError(AuscultError):
    """A reward function failed, or returned something that is no reward."""


def load(path: str) -> Callable[..., Any]:
    """The function at `package.module:function` or `file.py:function`. Raises ConfigError when it is not there."""
    place, colon, name = path.rpartition(":")
    if not colon or not place or not name:
        raise ConfigError(f"reward {path!r} is no import path; write package.module:function or ./file.py:function")
    module = _file(place, path) if place.endswith(".py") else _module(place, path)
    function = getattr(module, name, None)
    if not callable(function):
        near = get_close_matches(name, [key for key, value in vars(module).items() if callable(value)], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"define it there, or correct the name in {path!r}"
        raise ConfigError(f"reward {path!r}: {place} has no function {name!r}; {hint}")
    return function


def beside(recipe: Any, folder: Path) -> Any:
    """The recipe with each `file.py:function` whose file stands in its own `folder` named from the working directory,
    as everything else in it is."""
    if isinstance(recipe, dict):
        items = cast("dict[str, Any]", recipe).items()
        return {beside(key, folder): beside(value, folder) for key, value in items}
    place, _, name = recipe.rpartition(":") if isinstance(recipe, str) else ("", "", "")
    file = folder / place
    if not place.endswith(".py") or not file.is_file() or file.resolve() == Path(place).resolve():
        return recipe
    return f"{os.path.relpath(file)}:{name}"


def for_groups(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> GroupReward:
    """The function as one that grades a group, with its options bound. Raises ConfigError when they do not fit."""
    if inspect.iscoroutinefunction(function):
        raise ConfigError(f"reward {name!r} is an async function; make it an ordinary one")
    try:
        parameters = inspect.signature(function).parameters
    except ValueError as error:  # some functions written in C do not tell
        raise ConfigError(f"reward {name!r} does not tell its parameters; wrap it in a Python function") from error
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    _check_options(name, parameters, options, takes_any)
    bound = partial(function, **options)
    if "completions" not in parameters:
        whole = "rollouts" in parameters
        try:
            inspect.signature(bound).bind(None, None)
        except TypeError as error:
            raise ConfigError(
                f"reward {name!r} cannot be called as (sample, rollout{'s' * whole}): {error}; give its other "
                f"arguments as kwargs in the recipe"
            ) from error
        if whole:
            return lambda sample, rollouts: _batch(name, lambda: bound(sample, rollouts), sample, len(rollouts))
        return lambda sample, rollouts: [_one(name, bound, sample, rollout) for rollout in rollouts]
    needed = {
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    if missing := sorted(needed - _COLUMNS.keys() - options.keys()):
        raise ConfigError(
            f"reward {name!r} wants the column {missing[0]!r}; there are {', '.join(_COLUMNS)}, so rename the "
            f"parameter or give it a value as kwargs in the recipe"
        )
    columns = [key for key in _COLUMNS if key not in options and (takes_any or key in parameters)]

    def batch(sample: Sample, rollouts: Sequence[Rollout]) -> Graded:
        arguments = {column: [_COLUMNS[column](sample, rollout) for rollout in rollouts] for column in columns}
        return _batch(name, lambda: bound(**arguments), sample, len(rollouts))

    return batch


_COLUMNS: dict[str, Callable[[Sample, Rollout], Any]] = {
    "prompts": lambda sample, rollout: sample.question,
    "completions": lambda sample, rollout: rollout.text,
    "completion_ids": lambda sample, rollout: list(rollout.reply_ids),
    "id": lambda sample, rollout: sample.id,
    "answer": lambda sample, rollout: sample.answers[0] if sample.answers else None,
    "answers": lambda sample, rollout: list(sample.answers),
    "choices": lambda sample, rollout: list(sample.choices),
    "tags": lambda sample, rollout: dict(sample.tags),
}
"""What a function with TRL's signature may ask for: a list with one entry per rollout."""


def _check_options(name: str, parameters: Mapping[str, Any], options: Mapping[str, Any], takes_any: bool) -> None:
    for option in options:
        if option not in parameters and not takes_any:
            near = get_close_matches(option, parameters, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "take it out of its kwargs"
            raise ConfigError(f"reward {name!r} has no option {option!r}; {hint}")


def _one(name: str, function: Callable[..., Any], sample: Sample, rollout: Rollout) -> float | None:
    try:
        value = function(sample, rollout)
    except AuscultError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise _failed(name, sample, error) from error
    return _checked(name, sample, value)


def _batch(name: str, grade: Callable[[], object], sample: Sample, count: int) -> Graded:
    try:
        values = grade()
    except AuscultError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise _failed(name, sample, error) from error
    listed = cast("Sequence[object]", values) if isinstance(values, list | tuple) else None
    if listed is None or len(listed) != count:
        found = f"{len(listed)} values" if listed is not None else f"a {type(cast(object, values)).__name__}"
        raise RewardError(
            f"reward {name!r} was given {count} completions of sample {sample.id!r} and returned {found}; "
            f"make it return a list with one number or None per completion"
        )
    return [_checked(name, sample, value) for value in listed]


def _checked(name: str, sample: Sample, value: object) -> float | None:
    """A finite float or None; anything else is refused, also NaN."""
    if value is None:
        return None
    if isinstance(value, Real) and math.isfinite(number := float(value)):
        return number
    raise RewardError(
        f"reward {name!r} returned {repr(value)[:80]} for sample {sample.id!r}; make it return a finite number, or "
        f"None when the rollout cannot be graded"
    )


def _failed(name: str, sample: Sample, error: Exception) -> RewardError:
    return RewardError(
        f"reward {name!r} failed on sample {sample.id!r}: {type(error).__name__}: {error}; mend the function, or "
        f"make it return None for what it cannot grade"
    )


def _module(name: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a user's module may raise anything
        raise ConfigError(
            f"reward {path!r}: {name} cannot be imported ({type(error).__name__}: {error}); install or mend it, or "
            "correct the path"
        ) from error


def _file(place: str, path: str) -> ModuleType:
    """The module in a file, loaded once per process, so that two functions of it share their state."""
    file = Path(place).resolve()
    if not file.is_file():
        raise ConfigError(f"reward {path!r}: there is no file {file}, nor one beside the recipe; correct the path")
    name = f"auscult_reward_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"reward {path!r}: {file} is no Python file; name one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        del sys.modules[name]
        raise ConfigError(
            f"reward {path!r}: {file} failed to load: {type(error).__name__}: {error}; mend it"
        ) from error
    return module
