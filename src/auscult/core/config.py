"""From a recipe and a command line to frozen dataclasses, and back to a complete recipe.

A configuration is a frozen dataclass of frozen dataclasses; its defaults are the vetted setting. A YAML file sets some
of its keys, `--train.lr 1e-4` one more, and what comes out is typed, complete, and has no key that nobody reads:

- values are checked, never coerced: an int may stand for a float, and nothing else for anything else;
- an unknown key is refused with the nearest one there is, among the dotted keys of the whole tree;
- `build(type(x), to_dict(x)) == x`, so a run's `config.yaml` runs again as it is.

A file may hold `presets: {tiny: {...}, full: {...}}`: settings under a name, which are laid over the file before the
command line is laid over both (`with_presets`). What comes out knows of no presets.

A section may be a plug-in. `Annotated[Source, Plugin("source", "auscult.data.sources")]` reads `{source: scenes, ...}`
as the options of the class `Source` in `auscult/data/sources/scenes.py`. The caller names the package, so the core
knows of no other layer, and a new file is a new plug-in.

jsonargparse does most of this and was measured: it takes 0.09 s of the 0.4 s that `--help` has (this file: 0.035 s,
YAML included), and it picks classes by import path, not by the name of a file.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from functools import cache
from itertools import pairwise
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from auscult.core.errors import ConfigError
from auscult.core.yaml12 import flow, parse_yaml

T = TypeVar("T")
Values = Mapping[str, Any]
SHELL = "the command line"
PRESETS = "presets"
"""The key of a file that holds settings by name."""


def loaded(module: str) -> ModuleType:
    """The module of a plug-in, which may be anybody's file; whatever goes wrong in it is a ConfigError."""
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as problem:  # a script may end itself when it is loaded
        raise ConfigError(
            f"{module} does not load ({type(problem).__name__}: {problem}); mend or remove the file"
        ) from problem


@dataclass(frozen=True, slots=True)
class Plugin:
    """Marks a section whose class is found by name: one file each in `package`, the class called like the type."""

    key: str
    """The key of the section that holds the name, for example `source`."""
    package: str
    """Import path of the folder, for example `auscult.data.sources`."""

    def names(self) -> list[str]:
        """The files there are."""
        folder = importlib.import_module(self.package).__path__
        return sorted(module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_"))

    def find(self, name: str, base: type[Any]) -> type[Any]:
        """The subclass of `base` that the file `name` calls by the same name. Raises ConfigError when it has none."""
        found: Any = getattr(loaded(f"{self.package}.{name}"), base.__name__, None)
        if not isinstance(found, type) or found is base or not issubclass(found, base):
            raise ConfigError(
                f"{self.package}.{name} has no class `{base.__name__}` of its own that derives from "
                f"{base.__module__}.{base.__name__}; add it, or move the file"
            )
        return found

    def name_of(self, instance: object) -> str:
        """The name that finds the class of `instance`."""
        return type(instance).__module__.removeprefix(self.package + ".")


@dataclass(frozen=True, slots=True)
class Option:
    """One line of `--help`."""

    key: str
    """Dotted, for example `train.lr`."""
    type: str
    """In words, for example `a number` or `error | trim`."""
    value: Any
    """As it is set, else its default; `dataclasses.MISSING` when somebody must set it."""
    text: str
    """The docstring under the field."""


@dataclass(frozen=True, slots=True)
class _Typed:
    """Text from the command line, whose meaning waits for the type of its key."""

    text: str


def parse_overrides(arguments: Sequence[str]) -> dict[str, str]:
    """`["--train.lr", "1e-4", "--seed=3"]` as `{"train.lr": "1e-4", "seed": "3"}`; else raises ConfigError."""
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        key, equals, value = flag.removeprefix("--").partition("=")
        if not flag.startswith("--") or not key:
            raise ConfigError(f"{SHELL}: `{flag}` stands alone; settings are written --key value")
        if not equals:
            if not rest or re.match(r"--[a-zA-Z]", rest[0]):
                raise ConfigError(f"{SHELL}: --{key} has no value; write --{key} VALUE")
            value = rest.pop(0)
        if key in found:
            raise ConfigError(f"{SHELL}: --{key} is given twice; keep one")
        found[key] = value
    return found


def build(cls: type[T], values: Values, overrides: Mapping[str, str] | None = None, *, where: str = "the recipe") -> T:
    """An instance of the frozen dataclass `cls` from `values`, changed by `overrides` (dotted key to text).

    `where` names the origin of `values` in errors. An override of a section (`--grpo null` or
    `--data '{source: digits}'`) replaces it; one of a leaf is laid over what the recipe says. Raises ConfigError for a
    key that is unknown or missing, a value of another type, and the ValueError of a dataclass's `__post_init__`.
    """
    overrides = overrides or {}
    merged = _laid_over(values, overrides, where)
    return _Build(cls, merged, frozenset(overrides), where).section(cls, merged, "", None)


def presets_of(values: Values, where: str = "the recipe") -> dict[str, dict[str, Any]]:
    """The presets of a file by name. Raises ConfigError for what is none."""
    named = _mapping(values.get(PRESETS) or {}, PRESETS, where)
    return {name: _mapping(laid or {}, f"{PRESETS}.{name}", where) for name, laid in named.items()}


def with_presets(cls: type, values: Values, names: Sequence[str], where: str = "the recipe") -> dict[str, Any]:
    """The `values` of a file without its presets, those called `names` laid over them in turn, key by key; a section
    that names another plug-in than before is replaced whole, and so is a mapping that is no section (`rewards`). Raises
    ConfigError for a name that the file has not."""
    presets = presets_of(values, where)
    laid = {key: value for key, value in _mapping(values, "", where).items() if key != PRESETS}
    for name in names:
        if name not in presets:
            there = f"there is {', '.join(presets)}" if presets else "it has none, so leave --preset out"
            close = difflib.get_close_matches(name, presets, n=1)
            meant = f", did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"{where}: there is no preset {name!r}{meant}; {there}")
        laid = _over(cls, laid, presets[name])
    return laid


def _over(cls: type | None, values: Values, laid: Values) -> dict[str, Any]:
    """`values` with `laid` over them; `cls` is what they are options of, None where nobody says. Sections are laid over
    key by key; what is none is replaced, a mapping such as `rewards` too."""
    merged = _copy(values)
    for name, value in laid.items():
        kind = None if cls is None else _hints(cls).get(name)
        chosen, plugin = (None if kind is None else _nested(kind)) or (None, None)
        if isinstance(value, dict) and isinstance(merged.get(name), dict) and (cls is None or chosen is not None):
            below, inner = cast(Values, merged[name]), cast(Values, value)
            if plugin is not None and chosen is not None:
                called = below.get(plugin.key)
                if inner.get(plugin.key, called) != called:
                    merged[name] = inner
                    continue
                chosen = plugin.find(called, chosen) if called in plugin.names() else None
            value = _over(chosen, below, inner)
        merged[name] = value
    return merged


def _laid_over(values: Values, overrides: Mapping[str, str], where: str) -> dict[str, Any]:
    """`values` with the overrides in place, fewest dots first: a section is replaced before its leaves are set."""
    merged = _copy(_mapping(values, "", where))
    for key, text in sorted(overrides.items(), key=lambda item: item[0].count(".")):
        *sections, last = key.split(".")
        inner = merged
        for depth, name in enumerate(sections, start=1):
            section = ".".join(sections[:depth])
            below = inner.get(name)
            if isinstance(below, _Typed):
                typed, below = below.text, parse_yaml(below.text, f"{SHELL}: --{section}")
                if below is None:
                    raise ConfigError(
                        f"{SHELL}: --{section} {typed} leaves that section out, and --{key} sets something in it; keep "
                        "one of the two"
                    )
            if below is not None and not isinstance(below, dict):
                raise ConfigError(f"{SHELL}: --{key} cannot be set, for `{section}` is a value; set --{section}")
            inner[name] = inner = cast("dict[str, Any]", {} if below is None else below)
        inner[last] = _Typed(text)
    return merged


def _copy(values: Values) -> dict[str, Any]:
    return {key: _copy(cast(Values, value)) if isinstance(value, dict) else value for key, value in values.items()}


@dataclass(frozen=True, slots=True)
class _Build:
    """One build: the whole tree stays at hand, because an unknown key is compared with all keys of it."""

    root: type
    values: Values
    given: frozenset[str]
    """Keys and sections that came from the command line."""
    file: str
    """Where the others came from."""

    def where(self, key: str) -> str:
        """Where `key` was set: on the command line, itself or a section around it, else in the file."""
        parts = key.split(".")
        around = {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
        return SHELL if around & self.given else self.file

    def section(self, cls: type[T], values: Any, key: str, base: T | None, plugin: str | None = None) -> T:
        """An instance of `cls`; what is not set is as in `base`, else as in `cls`. `plugin` is a key already read."""
        values, hints = _mapping(values, key, self.where(key)), _hints(cls)
        for name in values:
            if name not in hints and name != plugin:
                raise self.unknown(_join(key, name), values[name])
        made: dict[str, Any] = {}
        for field in _fields(cls):
            name, kind, inside = field.name, hints[field.name], _join(key, field.name)
            default = _default(field, base)
            if name in values:
                made[name] = self.value(kind, values[name], inside, default)
            elif default is not MISSING:
                made[name] = default
            elif _nested(kind) is not None:
                made[name] = self.value(kind, {}, inside)
            else:  # who chose the plug-in knows what it needs
                where = self.where(_join(key, plugin) if plugin else inside)
                there = "" if where == SHELL else "set it there, or "
                raise ConfigError(f"{where}: `{inside}` is missing; {there}give --{inside} VALUE")
        try:
            return cls(**made)
        except ValueError as problem:
            said = f"{f'`{key}`: ' if key else ''}{problem}"
            raise ConfigError(f"{self.blamed(key, values, str(problem))}: {said}") from problem

    def blamed(self, key: str, values: Values, problem: str) -> str:
        """Where the keys of the section were set that `problem` names; where it names none, all of them."""
        named = [name for name in values if re.search(rf"\b{re.escape(name)}\b", problem)]
        keys = [_join(key, name) for name in named or values]
        origins = {self.where(inside) for inside in keys}
        origins |= {SHELL for given in self.given for inside in keys if given.startswith(f"{inside}.")}
        return " and ".join(sorted(origins, key=lambda where: where == SHELL)) or self.where(key)

    def value(self, kind: Any, value: Any, key: str, default: Any = MISSING) -> Any:
        """`value` as the type `kind`, or a ConfigError that says what would do."""
        members = _members(kind)
        if isinstance(value, _Typed):
            value = _meant(value.text, members, key)
        for member in members:
            if _accepts(member, value):
                return self.accepted(member, value, key, default)
        if isinstance(_leaf(key, value)[1], _Typed):  # `--seed.deep 1`, where `seed` is no section
            raise self.unknown(key, value)
        hint = "; quote it, if text is meant" if str in members and not isinstance(value, list | dict) else ""
        if isinstance(default, Mapping) and default:
            hint = f"; for example {flow(default)}"
        raise ConfigError(f"{self.where(key)}: `{key}` is {flow(value)}, but must be {_name(kind)}{hint}")

    def accepted(self, kind: Any, value: Any, key: str, default: Any) -> Any:
        """`value`, whose outermost layer fits `kind`, with all inside of it converted too."""
        base, plugin = _unwrap(kind)
        origin, arguments = get_origin(base), get_args(base)
        if plugin is not None:
            return self.plugged(base, plugin, value, key, default)
        if is_dataclass(base):
            cls = cast(type, base)
            return self.section(cls, value, key, default if isinstance(default, cls) else None)
        if base is float:
            return float(value)
        if origin is tuple:
            kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
            if len(value) != len(kinds):
                raise ConfigError(f"{self.where(key)}: `{key}` has {len(value)} entries, but must have {len(kinds)}")
            pairs = enumerate(zip(kinds, value, strict=True))
            return tuple(self.value(inner, item, f"{key}.{i}") for i, (inner, item) in pairs)
        if base is Any and isinstance(value, dict):
            return {name: self.value(Any, item, f"{key}.{name}") for name, item in cast(Values, value).items()}
        if origin in (dict, Mapping):
            made = {name: self.value(arguments[1], item, f"{key}.{name}") for name, item in value.items()}
            # Only `--weights.form 0.2` and no recipe set it: then the other entries stay as they are by default.
            typed = bool(value) and all(isinstance(item, _Typed) for item in value.values())
            return {**cast(Values, default), **made} if typed and isinstance(default, Mapping) else made
        return value

    def plugged(self, base: type, plugin: Plugin, value: Any, key: str, default: Any) -> Any:
        """The plug-in that the section names, or the default's when it names none."""
        name, inside = value.get(plugin.key), _join(key, plugin.key)
        name = name.text if isinstance(name, _Typed) else name
        if name is None and isinstance(default, base):
            name = plugin.name_of(default)
        known = plugin.names()
        if name not in known:
            problem = "is missing" if name is None else f"is {flow(name)}{_nearest(str(name), known)}"
            raise ConfigError(f"{self.where(inside)}: `{inside}` {problem}; name one of {', '.join(known)}")
        chosen = plugin.find(name, base)
        foreign = [_join(key, other) for other in value if other not in (*_hints(chosen), plugin.key)]
        left = [other for other in foreign if self.where(other) != SHELL]
        if left and self.where(inside) == SHELL:
            raise ConfigError(
                f"{SHELL}: {name} has no setting `{left[0]}`, which {self.file} sets; replace the whole section: "
                f"--{key} '{{{plugin.key}: {name}, KEY: VALUE}}'"
            )
        return self.section(chosen, value, key, default if type(default) is chosen else None, plugin.key)

    def unknown(self, key: str, value: Any) -> ConfigError:
        """The refusal of a key that nobody reads; one from the command line is shown as it was typed."""
        typed, leaf = _leaf(key, value)
        known = [option.key for option in _options(self.root, self.values, "", None)]
        if isinstance(leaf, _Typed):
            return ConfigError(f"{SHELL}: there is no setting `--{typed}`{_nearest(typed, known, '--')}; see --help")
        known += sorted({part.rpartition(".")[0] for part in known} - {""})
        return ConfigError(
            f"{self.where(key)}: there is no setting `{key}`{_nearest(key, known)}; see --help for all of them"
        )


def _leaf(key: str, value: Any) -> tuple[str, Any]:
    """The first leaf below `key`, with its own key."""
    leaf: Any = value
    while isinstance(leaf, dict) and leaf:
        name, leaf = next(iter(cast("dict[str, Any]", leaf).items()))
        key = f"{key}.{name}"
    return key, cast(Any, leaf)


def _meant(text: str, members: Sequence[Any], key: str) -> Any:
    """What `text` from the command line is among the types `members`: YAML, or itself where text is wanted."""
    others = [member for member in members if member is not str]
    try:
        value = parse_yaml(text, f"{SHELL}: --{key}") if others else text
    except ConfigError:
        if str not in members:
            raise
        return text
    comment = value is None and text.strip() not in ("null", "~", "")
    if any(_accepts(member, value) for member in others) and not comment:
        return value
    return text if str in members or any(_accepts(member, text) for member in others) else value


def to_dict(config: object) -> dict[str, Any]:
    """The complete configuration as plain YAML values: no default left out, plug-ins by name, tuples as lists."""
    hints = _hints(type(config))
    return {name: _plain(kind, getattr(config, name)) for name, kind in hints.items()}


def _plain(kind: Any, value: Any) -> Any:
    for base, plugin in map(_unwrap, _members(kind)):
        origin, arguments = get_origin(base), get_args(base)
        if plugin is not None and isinstance(value, base):
            return {plugin.key: plugin.name_of(value), **to_dict(value)}
        if origin is tuple and isinstance(value, tuple):
            items = cast("tuple[Any, ...]", value)
            kinds = arguments[:1] * len(items) if arguments[-1] is Ellipsis else arguments
            return [_plain(inner, item) for inner, item in zip(kinds, items, strict=True)]
        if origin in (dict, Mapping) and isinstance(value, Mapping):
            return {name: _plain(arguments[1], item) for name, item in cast(Values, value).items()}
    return to_dict(value) if is_dataclass(value) else value


def describe(cls: type, values: Values | None = None, overrides: Mapping[str, str] | None = None) -> list[Option]:
    """Every setting of `cls`, in order; `values` (a recipe) and `overrides` say what they are and which plug-ins are
    meant. Raises ConfigError for an override that is not YAML, or sets a key below a value."""
    options = list(_options(cls, _laid_over(values or {}, overrides or {}, "the recipe"), "", None))
    off = tuple(f"{option.key}." for option in options if option.value is None)  # there nothing must be set
    return [replace(one, value=None) if one.value is MISSING and one.key.startswith(off) else one for one in options]


def _options(cls: type, values: Values, prefix: str, base: Any) -> Iterator[Option]:
    hints, texts = _hints(cls), _texts(cls)
    for field in _fields(cls):
        key, kind, text = _join(prefix, field.name), hints[field.name], texts.get(field.name, "")
        default = _default(field, base)
        set_here = values.get(field.name, default)
        nested = _nested(kind)
        if nested is None or default is None:  # a leaf, or a section that is off by default
            yield Option(key, _name(kind), _read(kind, set_here, key, default), text)
        if nested is None:
            continue
        below = parse_yaml(set_here.text, f"{SHELL}: --{key}") if isinstance(set_here, _Typed) else set_here
        inner = cast("dict[str, Any]", below if isinstance(below, dict) else {})
        chosen, plugin = nested
        if plugin is not None:
            name = inner.get(plugin.key, plugin.name_of(default) if isinstance(default, chosen) else MISSING)
            name = name.text if isinstance(name, _Typed) else name
            yield Option(_join(key, plugin.key), " | ".join(plugin.names()), name, text)
            if name not in plugin.names():
                continue
            chosen = plugin.find(name, chosen)
        yield from _options(chosen, inner, key, default if isinstance(default, chosen) else None)


def _read(kind: Any, value: Any, key: str, default: Any = None) -> Any:
    """`value` with what the command line says in it read, laid over a mapping that is the default; to be shown."""
    if isinstance(value, _Typed):
        return _meant(value.text, _members(kind), key)
    if not isinstance(value, dict):
        return value
    items = cast("dict[str, Any]", value)
    read = {name: _read(Any, item, f"{key}.{name}") for name, item in items.items()}
    typed = bool(items) and all(isinstance(item, _Typed) for item in items.values())
    return {**cast(Values, default), **read} if typed and isinstance(default, Mapping) else read


@cache
def _texts(cls: type) -> dict[str, str]:
    """The docstring under each field, which Python itself throws away: read from the source."""
    texts: dict[str, str] = {}
    for part in reversed(cls.__mro__[:-1]):
        try:
            source = textwrap.dedent(inspect.getsource(part))
        except (OSError, TypeError):  # no source at hand, as for a class typed at a prompt: then no texts
            continue
        for line, below in pairwise(cast(ast.ClassDef, ast.parse(source).body[0]).body):
            match line, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[name] = " ".join(text.split())
                case _:
                    pass
    return texts


# What follows reads types: a union has members, a member may be marked as a plug-in, a section is that or a dataclass.


def _fields(cls: type[Any]) -> list[Field[Any]]:
    return [field for field in fields(cls) if field.init]


@cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in _fields(cls)}


def _default(field: Field[Any], base: Any) -> Any:
    """What the field is when nobody sets it: as `base` has it, else as its class says, else MISSING."""
    if base is not None:
        return getattr(base, field.name)
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _unwrap(kind: Any) -> tuple[Any, Plugin | None]:
    """A type without its `Annotated`, and the plug-in that this marked it as."""
    if get_origin(kind) is not Annotated:
        return kind, None
    base, *marks = get_args(kind)
    return base, next((mark for mark in marks if isinstance(mark, Plugin)), None)


def _nested(kind: Any) -> tuple[type[Any], Plugin | None] | None:
    """The class of a section with its plug-in mark, or None for a leaf."""
    for base, plugin in map(_unwrap, _members(kind)):
        if plugin is not None or is_dataclass(base):
            return cast(type[Any], base), plugin
    return None


def _accepts(kind: Any, value: Any) -> bool:
    """Whether the outermost layer of `value` fits `kind`. A bool is no number, nor is NaN, which equals nothing."""
    base, plugin = _unwrap(kind)
    origin = get_origin(base)
    if plugin is not None or is_dataclass(base) or origin in (dict, Mapping):
        return isinstance(value, dict)
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in get_args(base))
    if origin is tuple:
        return isinstance(value, list | tuple)
    if base is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if base in (bool, int, str, NoneType):
        return type(value) is base
    if base is Any:  # for what is handed on, such as the keyword arguments of somebody's own reward
        return True
    raise TypeError(f"a configuration has no {base!r}: use bool, int, float, str, Literal, tuple, dict or a dataclass")


_NAMES = {
    NoneType: "null",
    Any: "anything",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}


def _name(kind: Any) -> str:
    """A type in words."""
    base, plugin = _unwrap(kind)
    origin, arguments = get_origin(base), get_args(base)
    if plugin is not None:
        return f"a section {{{plugin.key}: NAME, ...}}"
    if origin in (Union, UnionType):
        return " or ".join(map(_name, arguments))
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is tuple:
        return f"a list [{', '.join('...' if part is Ellipsis else _name(part) for part in arguments)}]"
    if origin in (dict, Mapping):
        inner = arguments[1]
        return "`name: value` lines" if inner is Any else f"`name: value` lines, each value {_name(inner)}"
    return _NAMES.get(base, "a section")


def _mapping(value: Any, key: str, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {f'`{key}`' if key else 'it'} is {flow(value)}, but must be `key: value` lines")
    return dict(cast(Values, value))


def _nearest(key: str, known: Sequence[str], dashes: str = "") -> str:
    """`, did you mean X?`, or nothing. The last name tells more than the section: `train.stepz` means some `steps`, and
    `lr` alone means `train.lr`."""
    last, lasts = key.rpartition(".")[2], {other.rpartition(".")[2] for other in known}
    named = difflib.get_close_matches(last, lasts, n=1, cutoff=0.75)
    alike = [other for other in known if other.rpartition(".")[2] in named]
    close = difflib.get_close_matches(key, alike, n=1, cutoff=0.0) or difflib.get_close_matches(key, known, n=1)
    return f", did you mean `{dashes}{close[0]}`?" if close else ""


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def at_least(limits: Mapping[str, tuple[int, int]]) -> None:
    """For a section's `__post_init__`: refuses the first of name -> (value, least) that is too small."""
    for name, (value, least) in limits.items():
        if value < least:
            raise ValueError(f"{name} is {value}: set at least {least}")
