"""The MMEngine dialect: the ``optim_wrapper`` of a runner's config.

Its keys ``optimizer``, ``paramwise_cfg`` and ``constructor`` are read; all others belong to the wrapper. A config
file in Python is a program. It is run only where somebody names it by its path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from mmengine.config import Config
from mmengine.registry import DefaultScope

from optimbuild.config.dialects.mmengine_modules import restriction
from optimbuild.config.reading import Reading
from optimbuild.config.spec import ConfigPart, OptimizerSpec, ResumeSpec, RuleSpec, Spec, Zero
from optimbuild.errors import ConfigError, UnknownNameError
from optimbuild.messages import closest, listing, printable, shown, suggest
from optimbuild.model.mmengine_config import run_config
from optimbuild.registry import find_optimizer, find_rule
from optimbuild.registry.mmengine_names import name_of_class, resolved_optimizer
from optimbuild.registry.scopes import import_scope, missing_package
from optimbuild.values import Switch, entry, fields, join, keys_of, plain, validated

KEY = "optim_wrapper"
SCOPE = "default_scope"
KEYS = {KEY: None, SCOPE: None, "_base_": None}
"""The keys that are read."""
SCOPE_OF = "_scope_"
"""The key of an optimizer's config that names its scope."""
READ = ("optimizer", "paramwise_cfg", "constructor", "modules")
"""The keys of a wrapper's config that are read."""
OVERRIDABLE = {KEY: READ, SCOPE: None}
"""The keys that an override may change."""
OURS = "OptimBuildConstructor"
DEFAULT = "DefaultOptimWrapperConstructor"
LAYERED = "LearningRateDecayOptimWrapperConstructor"
MULTI = "MultiOptimWrapperConstructor"
"""The constructors whose reading of ``paramwise_cfg`` is known."""


class OwnKeys(ConfigPart):
    """Our own keys under ``paramwise_cfg``, beside MMEngine's."""

    rules: tuple[RuleSpec, ...] = ()
    """Rules, as in our dialect; they apply after the classic keys."""
    zero: Zero = False
    """``zero`` of our dialect."""
    implementation: Literal["auto", "fused", "foreach", "for-loop"] = "auto"
    """``implementation`` of our dialect."""
    strict: Switch = True
    """``strict`` of our dialect."""
    watch: Switch = True
    """``watch`` of our dialect."""
    resume: ResumeSpec = ResumeSpec()
    """``resume`` of our dialect."""


def recognises(raw: Mapping[str, Any]) -> bool:
    """Say whether this is the config of an MMEngine runner."""
    return KEY in raw


def owns(config: object) -> bool:
    """Say whether an object that is not yet plain data is an MMEngine config."""
    return isinstance(config, Config) or (isinstance(config, Mapping) and KEY in config)


def from_file(path: str) -> dict[str, Any]:
    """Run a config file in Python, and return what this dialect reads of it as plain data.

    Args:
        path: A ``.py`` file. **It is run**, with its ``_base_`` files and ``custom_imports``: give
            only what you would run as a program.

    Raises:
        ConfigError: The file is missing, raises, or has no ``optim_wrapper``.
    """
    config = run_config(path)
    if KEY not in config:
        raise ConfigError(f"{printable(path)} has no `{KEY}`, so no optimizer can be read from it")
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
    """Return None for what is the wrapper's own, whose name is kept to find misspelt keys; or a wrapper inside."""
    try:
        value = entry(wrapper, key, path)
    except ConfigError:  # what is not read needs no value
        return None
    return plain_wrapper(value, join(path, key)) if isinstance(value, Mapping) and "optimizer" in value else None


def _plain_optimizer(optimizer: Any, path: str) -> Any:
    if not isinstance(optimizer, Mapping):
        raise ConfigError(f"must be a mapping with `type`, not {shown(optimizer)}", path)
    options = {key: entry(optimizer, key, path) for key in keys_of(optimizer, path)}
    kind = options.get("type")
    if kind and not isinstance(kind, str):
        options["type"] = name_of_class(kind, join(path, "type"))
    return plain(options, path)


def _plain_constructor(constructor: Any, path: str) -> str:  # noqa: ARG001  # it is named as it is, whatever it is
    return constructor if isinstance(constructor, str) else getattr(constructor, "__name__", shown(constructor))


_PLAIN: Mapping[str, Callable[[Any, str], Any]] = {
    "optimizer": _plain_optimizer,
    "paramwise_cfg": plain,
    "constructor": _plain_constructor,
    "modules": plain,
}
"""How each key that is read becomes plain data."""


def read(raw: Mapping[str, Any]) -> Reading:
    """Translate ``optim_wrapper`` into a spec. All other keys are ignored.

    Raises:
        ConfigError: A misspelt key or a wrong value, with its path.
    """
    if "_base_" in raw:
        raise ConfigError(
            "is followed in Python files only; write the keys out, or load the file with MMEngine", "_base_"
        )
    return of_wrapper(raw[KEY], scope=default_scope(raw))


def default_scope(raw: Mapping[str, Any]) -> str | None:
    """Return the scope of a config in which names are looked for first."""
    scope = raw.get(SCOPE)
    if scope is not None and not isinstance(scope, str):
        raise ConfigError(f"must be the name of a scope, not {shown(scope)}", SCOPE)
    return scope


def of_wrapper(wrapper: Any, path: str = KEY, scope: str | None = None) -> Reading:
    """Translate the config of one optimizer wrapper.

    Args:
        wrapper: The wrapper's config, as plain data.
        path: Its path, for messages.
        scope: The scope in which names are looked for first; by default that of the runner.

    Raises:
        ConfigError: A misspelt key or a wrong value, with its path; or several optimizers.
    """
    if not isinstance(wrapper, Mapping):
        raise ConfigError(f"must be a mapping, not {shown(wrapper)}", path)
    for key, value in wrapper.items():
        several = isinstance(value, Mapping) and "optimizer" in value
        if key not in READ and not several and (close := closest(str(key), READ, n=1, cutoff=0.8)):
            raise ConfigError(f"unknown key {shown(key)}. Did you mean {close[0]!r}?", path)
    if "optimizer" not in wrapper:
        raise _no_optimizer(wrapper, path)
    where, cfg = join(path, "optimizer"), join(path, "paramwise_cfg")
    optimizer, kind = _optimizer(wrapper["optimizer"], where, scope)
    paramwise = wrapper.get("paramwise_cfg")
    paramwise = {} if paramwise is None else paramwise
    if not isinstance(paramwise, Mapping):
        raise ConfigError(f"must be a mapping or null, not {shown(paramwise)}", cfg)
    classic_keys = fields(find_rule("paramwise"))
    _refuse_unknown(paramwise, classic_keys, cfg)
    paramwise, warnings = _as_constructed(paramwise, wrapper.get("constructor"), path)
    own: OwnKeys = validated(OwnKeys, {k: v for k, v in paramwise.items() if k not in classic_keys}, cfg)
    classic = {key: paramwise[key] for key in classic_keys if key in paramwise}
    if classic:
        classic, more = _checked(classic, optimizer, kind, path)
        warnings += more
    rules = [{"type": "paramwise", "optional": True, **classic}] if classic else []
    restricted = restriction(wrapper, path)
    spec = Spec.of(
        {
            "optimizer": {"type": kind, **optimizer.options},
            "rules": [*rules, *(rule.model_dump() for rule in own.rules), *restricted],
            "zero": own.zero if isinstance(own.zero, bool) else own.zero.model_dump(),
            "implementation": own.implementation,
            "strict": own.strict,
            "watch": own.watch,
            "resume": own.resume.model_dump(),
        }
    )
    paths = _paths(path, cfg, len(rules), len(own.rules))
    paths |= {f"rules[{len(rules) + len(own.rules)}]{key}": join(path, "modules") for key in ("", ".exempt")}
    return Reading(spec, tuple(warnings), paths)


def _optimizer(given: Any, path: str, scope: str | None) -> tuple[OptimizerSpec, str]:
    """Return the config of an optimizer without its scope, and the name by which our registry finds the optimizer."""
    options = plain(given, path)
    if isinstance(options, Mapping) and SCOPE_OF in options:
        scope = options[SCOPE_OF]
        if not isinstance(scope, str):
            raise ConfigError(f"must be the name of a scope, not {shown(scope)}", join(path, SCOPE_OF))
        options = {key: value for key, value in options.items() if key != SCOPE_OF}
    optimizer: OptimizerSpec = validated(OptimizerSpec, options, path)
    try:
        with DefaultScope.overwrite_default_scope(scope):
            kind = resolved_optimizer(optimizer.type)
            find_optimizer(kind)
    except ConfigError as error:
        named = optimizer.type.partition(".")[0] if "." in optimizer.type else scope
        missing = f" {missing_package(named)}" if isinstance(error, UnknownNameError) and named else ""
        raise type(error)(f"{error.message}{missing.rstrip()}", join(path, "type")) from error.__cause__
    return optimizer, kind


def _paths(path: str, cfg: str, classic: int, rules: int) -> dict[str, str]:
    """Return for keys of the spec their paths in this dialect; the classic keys become the first rule."""
    paths = {key: join(cfg, key) for key in fields(OwnKeys)}
    paths |= {"optimizer": join(path, "optimizer"), "": path}
    paths |= {f"rules[{i}]": cfg for i in range(classic)}
    return paths | {f"rules[{classic + i}]": join(cfg, "rules", i) for i in range(rules)}


def _no_optimizer(wrapper: Mapping[str, Any], path: str) -> ConfigError:
    several = [str(key) for key, value in wrapper.items() if isinstance(value, Mapping) and "optimizer" in value]
    if several:
        return ConfigError(
            f"holds {len(several)} optimizers ({listing(several)}), each for the module of its name. A plan is of one: "
            f"give {{'{KEY}': <what stands under {several[0]!r}>}}, and that module. `optimbuild plan` shows them all.",
            path,
        )
    return ConfigError("`optimizer` is required", path)


def _refuse_unknown(paramwise: Mapping[str, Any], classic: list[str], cfg: str) -> None:
    known = [*classic, *fields(OwnKeys)]
    for key in paramwise:
        if key not in known:
            raise ConfigError(f"unknown key {shown(key)}.{suggest(str(key), known)} Known: {', '.join(known)}.", cfg)


def _as_constructed(paramwise: Mapping[str, Any], constructor: Any, path: str) -> tuple[Mapping[str, Any], list[str]]:
    """Return the keys as the config's constructor reads them, and a warning about keys that it ignores."""
    name = DEFAULT if constructor is None else str(constructor).rpartition(".")[2]
    if name not in (OURS, DEFAULT, LAYERED, MULTI):
        raise ConfigError(
            f"how {shown(constructor)} reads `paramwise_cfg` is not known here."
            f"{suggest(name, (OURS, DEFAULT, LAYERED, MULTI))} "
            f"Known: optimbuild.{OURS}, {DEFAULT}, {LAYERED}, {MULTI}.",
            join(path, "constructor"),
        )
    if name == LAYERED and paramwise:
        paramwise = {"layer_decay_rate": 1.0, **paramwise}
    if name == OURS:
        return paramwise, []
    ignored = set(fields(OwnKeys)) | ({"layer_decay_rate"} if name in (DEFAULT, MULTI) else set())
    found = [key for key in paramwise if key in ignored]
    if not found:
        return paramwise, []
    warning = (
        f"{join(path, 'paramwise_cfg')}: {name}, the constructor of this config, ignores {', '.join(found)}; "
        f"the plan is what constructor='optimbuild.{OURS}' would do"
    )
    return paramwise, [warning]


def _checked(
    classic: dict[str, Any], optimizer: OptimizerSpec, kind: str, path: str
) -> tuple[dict[str, Any], list[str]]:
    """Check the classic keys against the optimizer's options, as MMEngine does; return those that count."""
    cfg, given = join(path, "paramwise_cfg"), optimizer.options
    rule = validated(find_rule("paramwise"), classic, cfg)
    for key, custom in rule.custom_keys.items():
        find_optimizer(kind).refuse_unknown(custom.extra, join(cfg, "custom_keys", key))
    by_key = classic.get("custom_keys") or {}

    def multipliers(keys: tuple[str, ...], custom: str) -> list[str]:
        set_there = [key for key in keys if classic.get(key) is not None]
        return [*set_there, *(f"custom_keys[{key!r}].{custom}" for key in by_key if custom in by_key[key])]

    needed = {
        "lr": multipliers(("bias_lr_mult", "dcn_offset_lr_mult", "layer_decay_rate"), "lr_mult"),
        "weight_decay": multipliers(("bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult"), "decay_mult"),
    }
    for option, keys in needed.items():
        if keys and given.get(option) is None:
            where = join(path, "optimizer", option)
            raise ConfigError(f"is required, because paramwise_cfg.{keys[0]} multiplies it", where)
    if given.get("weight_decay") is not None:
        return classic, []
    idle = ["flat_decay_mult"] if classic.get("flat_decay_mult") is not None else []
    if by_key and classic.get("layer_decay_rate") is not None:
        idle.append("custom_keys")
    kept = {key: value for key, value in classic.items() if key not in idle}
    return kept, [f"{join(cfg, key)} does nothing, because the optimizer is given no weight_decay" for key in idle]
