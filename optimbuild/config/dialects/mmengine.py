"""The MMEngine dialect: the ``optim_wrapper`` of a runner's config.

Its keys ``optimizer``, ``paramwise_cfg`` and ``constructor`` are read; all others belong to the wrapper. A config
file in Python is a program. It is run only where somebody names it by its path.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.config import Config

from optimbuild.config.dialects.mmengine_modules import MULTI, OURS, SEPARATE, restriction
from optimbuild.config.dialects.mmengine_optimizer import SCOPE_OF, found_optimizer, scope_of_runner
from optimbuild.config.dialects.published_keys import reader_of
from optimbuild.config.dialects.translated import OwnKeys, spec_of
from optimbuild.config.files import Keys
from optimbuild.config.published import Published
from optimbuild.config.reading import Reading
from optimbuild.errors import ConfigError
from optimbuild.messages import closest, listing, printable, shown, suggest
from optimbuild.model.mmengine_config import run_config
from optimbuild.registry import CONSTRUCTORS, find_rule
from optimbuild.registry.mmengine_names import name_of_class
from optimbuild.registry.scopes import import_scope
from optimbuild.values import entry, fields, join, keys_of, plain, validated

KEY = "optim_wrapper"
SCOPE = "default_scope"
KEYS = {KEY: None, SCOPE: None, "_base_": None}
"""The keys that are read."""
READ = ("optimizer", "paramwise_cfg", "constructor", "modules")
"""The keys of a wrapper's config that are read."""
SHARED = ("paramwise_cfg", "constructor")
"""The keys beside several wrappers that serve those without their own."""
DEFAULT = "DefaultOptimWrapperConstructor"
LAYERED = "LearningRateDecayOptimWrapperConstructor"
CLASSIC = (OURS, DEFAULT, LAYERED, MULTI, SEPARATE, "ForceDefaultOptimWrapperConstructor")
"""The constructors that read the classic keys."""


def recognises(raw: Mapping[str, Any]) -> bool:
    """Say whether this is the config of an MMEngine runner."""
    return KEY in raw


def is_wrapper(value: object) -> bool:
    """Say whether a value is the config of a wrapper, with an optimizer."""
    return isinstance(value, Mapping) and "optimizer" in value


def wrappers_inside(config: object) -> list[str]:
    """Return the keys of an ``optim_wrapper`` that hold a wrapper each; none where it has an optimizer itself.

    >>> wrappers_inside({"type": "OptimWrapperDict", "critic": {"optimizer": {}}}), wrappers_inside({"optimizer": {}})
    (['critic'], [])
    """
    if not isinstance(config, Mapping) or "optimizer" in config:
        return []
    return [str(key) for key, value in config.items() if is_wrapper(value)]


def overridable(raw: Mapping[str, Any]) -> Keys:
    """Return the keys that an override may change: those of the wrapper, or of each of several.

    >>> overridable({"optim_wrapper": {"critic": {"optimizer": {}}}})["optim_wrapper"]["critic"]
    ('optimizer', 'paramwise_cfg', 'constructor', 'modules')
    """
    several = wrappers_inside(raw.get(KEY))
    each = {**dict.fromkeys(several, READ), **dict.fromkeys(SHARED)}
    return {KEY: each if several else READ, SCOPE: None}


def owns(config: object) -> bool:
    """Say whether an object that is not yet plain data is an MMEngine config."""
    return isinstance(config, Config) or (isinstance(config, Mapping) and KEY in config)


def from_file(path: str) -> dict[str, Any]:
    """Run a config file in Python, and return what this dialect reads of it; see :func:`from_config`."""
    return from_config(run_config(path), path)


def from_config(config: Config, path: str) -> dict[str, Any]:
    """Return what this dialect reads of a config that a file in Python gave, as plain data.

    Args:
        config: The config.
        path: The file's path, for messages.

    Raises:
        ConfigError: The config has no ``optim_wrapper``.
    """
    if KEY not in config:
        raise ConfigError(f"{printable(path)} has neither `{KEY}` nor `optimizer`, so no optimizer can be read from it")
    return from_object(config)


def from_object(config: Config | Mapping[str, Any]) -> dict[str, Any]:
    """Return what this dialect reads of a config; the packages of its scopes are imported if a Python file made it."""
    made = prepared(config)
    if isinstance(config, Config) and str(config.filename).endswith(".py") and KEY in made:
        for scope in _scopes(made):
            import_scope(scope)
    return made


def _scopes(raw: Mapping[str, Any]) -> list[Any]:
    """Return the scopes that a config names: its default one, and those of its optimizers."""
    wrapper = raw[KEY] if isinstance(raw[KEY], Mapping) else {}
    inside = [wrapper, *[value for value in wrapper.values() if isinstance(value, Mapping)]]
    optimizers = [each["optimizer"] for each in inside if isinstance(each.get("optimizer"), Mapping)]
    named = [each["type"].split(".") for each in optimizers if isinstance(each.get("type"), str)]
    return [
        raw.get(SCOPE),
        *[each[SCOPE_OF] for each in optimizers if SCOPE_OF in each],
        *[parts[0] for parts in named if len(parts) == 2],
    ]


def prepared(config: Config | Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a config that are read, as plain data; classes become registered names.

    >>> prepared({"optim_wrapper": {"optimizer": {"type": "adamw"}, "dtype": print}, "model": print})
    {'optim_wrapper': {'optimizer': {'type': 'adamw'}, 'dtype': None}}
    """
    if KEY not in config:
        whole: dict[str, Any] = plain(config.to_dict() if isinstance(config, Config) else config)
        return whole
    kept = {key: None for key in ("_base_",) if key in config}
    kept |= {key: entry(config, key) for key in (SCOPE,) if key in config}
    return {**kept, KEY: plain_wrapper(entry(config, KEY), KEY)}


def plain_wrapper(wrapper: Any, path: str) -> Any:
    """Return the keys of a wrapper's config that are read, as plain data; the values of all others become None.

    Args:
        wrapper: The wrapper's config.
        path: Its path, for messages.

    Raises:
        ConfigError: It is no mapping, or a key that is read has a value that cannot be in a config.
    """
    if not isinstance(wrapper, Mapping):
        raise ConfigError(f"must be a mapping, not {shown(wrapper)}", path)
    made: dict[str, Any] = {}
    for key in keys_of(wrapper, path):
        if key in READ:
            made[key] = _PLAIN[key](entry(wrapper, key, path), join(path, key))
        else:
            made[key] = _other(wrapper, key, path)
    return made


def _other(wrapper: Mapping[str, Any], key: Any, path: str) -> Any:
    """Return a wrapper inside, or the name of the wrapper's type; None for what is its own and is not read."""
    try:
        value = entry(wrapper, key, path)
    except ConfigError:  # what is not read needs no value
        return None
    if key == "type" and isinstance(value, str):
        return value
    return plain_wrapper(value, join(path, key)) if is_wrapper(value) else None


def _plain_optimizer(optimizer: Any, path: str) -> Any:
    if not isinstance(optimizer, Mapping):
        raise ConfigError(f"must be a mapping with `type`, not {shown(optimizer)}", path)
    options = {key: entry(optimizer, key, path) for key in keys_of(optimizer, path)}
    kind = options.get("type")
    if kind and not isinstance(kind, str):
        options["type"] = name_of_class(kind, join(path, "type"))
    return plain(options, path)


def _plain_paramwise(paramwise: Any, path: str) -> Any:
    """Return the keys as plain data; ``like`` may be a class, as ``constructor``."""
    like = entry(paramwise, "like", path) if isinstance(paramwise, Mapping) and "like" in paramwise else None
    if not inspect.isclass(like):
        return plain(paramwise, path)
    keys = {key: entry(paramwise, key, path) for key in keys_of(paramwise, path)}
    return plain({**keys, "like": _plain_constructor(like, path)}, path)


def _plain_constructor(constructor: Any, path: str) -> str:  # noqa: ARG001  # it is named as it is, whatever it is
    if isinstance(constructor, str):
        return constructor
    name = getattr(constructor, "__name__", None)
    return shown(constructor) if name is None else f"{getattr(constructor, '__module__', '')}.{name}"


_PLAIN: Mapping[str, Callable[[Any, str], Any]] = {
    "optimizer": _plain_optimizer,
    "paramwise_cfg": _plain_paramwise,
    "constructor": _plain_constructor,
    "modules": plain,
}
"""How each key that is read becomes plain data."""


def read(raw: Mapping[str, Any], world_size: int = 1) -> Reading:
    """Translate ``optim_wrapper`` into a spec. All other keys are ignored.

    Args:
        raw: The keys of the config that are read, as plain data.
        world_size: The number of ranks.

    Raises:
        ConfigError: A misspelt key or a wrong value, with its path.
    """
    if "_base_" in raw:
        raise ConfigError(
            "is followed in Python files only; write the keys out, or load the file with MMEngine", "_base_"
        )
    return of_wrapper(raw[KEY], scope=default_scope(raw), world_size=world_size)


def default_scope(raw: Mapping[str, Any]) -> str | None:
    """Return the scope of a config in which names are looked for first."""
    scope = raw.get(SCOPE)
    if scope is not None and not isinstance(scope, str):
        raise ConfigError(f"must be the name of a scope, not {shown(scope)}", SCOPE)
    return scope


def of_wrapper(
    wrapper: Any, path: str = KEY, scope: str | None = None, world_size: int = 1, *, several: bool = False
) -> Reading:
    """Translate the config of one optimizer wrapper.

    Args:
        wrapper: The wrapper's config, as plain data.
        path: Its path, for messages.
        scope: The scope in which names are looked for first; by default that of the runner.
        world_size: The number of ranks.
        several: Whether it is one of several, whose ``modules`` say what it is for.

    Raises:
        ConfigError: A misspelt key or a wrong value, with its path; or several optimizers.
    """
    if not isinstance(wrapper, Mapping):
        raise ConfigError(f"must be a mapping, not {shown(wrapper)}", path)
    for key, value in wrapper.items():
        if key not in READ and not is_wrapper(value) and (close := closest(str(key), READ, n=1, cutoff=0.8)):
            raise ConfigError(f"unknown key {shown(key)}. Did you mean {close[0]!r}?", path)
    if "optimizer" not in wrapper:
        raise _no_optimizer(wrapper, path)
    where, cfg = join(path, "optimizer"), join(path, "paramwise_cfg")
    optimizer, kind = found_optimizer(wrapper["optimizer"], where, scope)
    named = constructor_named(wrapper.get("constructor"), join(path, "constructor"))
    own, keys, warnings = _own_keys(wrapper.get("paramwise_cfg"), named, cfg)
    named_at = join(path, "constructor") if own.like is None else join(cfg, "like")
    named = named if own.like is None else constructor_named(own.like, named_at)
    published = Published(
        named[1],
        optimizer,
        kind,
        keys,
        named[0] or scope or scope_of_runner(),
        frozenset(map(str, wrapper)) | ({"type"} if own.like else frozenset()),  # ours has a default for it
        world_size,
        path,
        where,
        named_at,
    )
    return spec_of(published, own, warnings, [] if several else restriction(wrapper, path))


def _no_optimizer(wrapper: Mapping[str, Any], path: str) -> ConfigError:
    if several := wrappers_inside(wrapper):
        return ConfigError(
            f"holds {len(several)} optimizers ({listing(several)}), each for the module of its name. A plan is of one: "
            f"give {{'{KEY}': <what stands under {several[0]!r}>}}, and that module. `optimbuild plan` shows them all.",
            path,
        )
    return ConfigError("`optimizer` is required", path)


def constructor_named(given: Any, path: str) -> tuple[str, str]:
    """Return the scope that a constructor's name begins with, and the name without it.

    Raises:
        ConfigError: Nothing is registered under the name.
    """
    parts = (DEFAULT if given is None else str(given)).split(".")
    name, scope = parts[-1], parts[0] if len(parts) > 1 else ""
    if name not in CONSTRUCTORS:
        known = CONSTRUCTORS.names()
        raise ConfigError(
            f"how {shown(given)} reads `paramwise_cfg` is not known here.{suggest(name, known)} "
            f"Known: optimbuild.{OURS}, {', '.join(each for each in known if each != OURS)}. "
            "A project registers the reading of its own with `@optimbuild.constructor`.",
            path,
        )
    return scope, name


def _own_keys(paramwise: Any, named: tuple[str, str], cfg: str) -> tuple[OwnKeys, Mapping[str, Any] | None, list[str]]:
    """Return our own keys under ``paramwise_cfg``, the constructor's, and a warning about those that it ignores."""
    if paramwise is not None and not isinstance(paramwise, Mapping):
        raise ConfigError(f"must be a mapping or null, not {shown(paramwise)}", cfg)
    if paramwise is None or named[1] not in CLASSIC:
        return OwnKeys(), paramwise, []
    ours = {key: value for key, value in paramwise.items() if key in fields(OwnKeys)}
    keys = {key: value for key, value in paramwise.items() if key not in ours}
    if "like" not in ours:
        _refuse_unknown(paramwise, fields(find_rule("paramwise")), cfg)
    own: OwnKeys = validated(OwnKeys, ours, cfg)
    found = [key for key in paramwise if key in ours or key in _IGNORED.get(named[1], ())]
    if named[1] == OURS or not found:
        return own, keys or (None if ours else keys), []
    warning = (
        f"{cfg}: {named[1]}, the constructor of this config, ignores {', '.join(found)}; "
        f"the plan is what constructor='optimbuild.{OURS}' would do"
    )
    return own, keys, [warning]


_IGNORED: Mapping[str, tuple[str, ...]] = {
    DEFAULT: ("layer_decay_rate", "force_default_settings"),
    MULTI: ("layer_decay_rate", "force_default_settings"),
    SEPARATE: ("layer_decay_rate", "force_default_settings"),
    LAYERED: ("force_default_settings",),
    "ForceDefaultOptimWrapperConstructor": ("layer_decay_rate",),
}
"""By constructor the classic keys that it does not read."""


def _refuse_unknown(paramwise: Mapping[str, Any], classic: list[str], cfg: str) -> None:
    known = [*classic, *fields(OwnKeys)]
    for key in paramwise:
        if key not in known:
            hint = reader_of(str(key), paramwise) or suggest(str(key), known)
            raise ConfigError(f"unknown key {shown(key)}.{hint} Known: {', '.join(known)}.", cfg)
