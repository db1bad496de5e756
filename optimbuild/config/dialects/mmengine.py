"""The MMEngine dialect: the ``optim_wrapper`` of a runner's config.

Its keys ``optimizer``, ``paramwise_cfg`` and ``constructor`` are read; all others belong to the
wrapper and are left alone. A config file in Python is a program: it is run, and only where somebody
names it by its path.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import mmengine.registry
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.registry.root import OPTIMIZERS as ROOT

from optimbuild.config.reading import Reading
from optimbuild.config.spec import OptimizerSpec, RuleSpec, Spec, Zero, _Part
from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.messages import closest, listing, shown, suggest
from optimbuild.registry import OPTIMIZERS, fill, find_optimizer, find_rule
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.values import Switch, fields, join, plain, validated

KEY = "optim_wrapper"
KEYS = {KEY: None, "_base_": None}
"""What is read of a config."""
READ = ("optimizer", "paramwise_cfg", "constructor")
OURS = "OptimBuildConstructor"
DEFAULT = "DefaultOptimWrapperConstructor"
LAYERED = "LearningRateDecayOptimWrapperConstructor"


class OwnKeys(_Part):
    """The keys under ``paramwise_cfg`` that are ours and not MMEngine's."""

    rules: tuple[RuleSpec, ...] = ()
    """Rules, as in our own dialect; they apply after the classic keys."""
    zero: Zero = False
    """``zero`` of our own dialect."""
    implementation: Literal["auto", "fused", "foreach", "for-loop"] = "auto"
    """``implementation`` of our own dialect."""
    strict: Switch = True
    """``strict`` of our own dialect."""


# --- what a config may be --------------------------------------------------------------------


def recognises(raw: Mapping[str, Any]) -> bool:
    """Say whether this is the config of an MMEngine runner."""
    return KEY in raw


def owns(config: object) -> bool:
    """Say whether a config that is not plain data yet is MMEngine's."""
    return isinstance(config, Config) or (isinstance(config, Mapping) and KEY in config)


def from_file(path: str) -> dict[str, Any]:
    """Run a config file in Python, and return what this dialect reads of it as plain data.

    Args:
        path: A ``.py`` file. **It is run**, with its ``_base_`` files and ``custom_imports``: give
            only what you would run as a program.

    Raises:
        ConfigError: It is missing, raises, or has no ``optim_wrapper``.
    """
    config = _run(path)
    if KEY not in config:
        raise ConfigError(f"{path} has no `{KEY}`, so no optimizer can be read from it")
    return prepared(config)


def model_maker(path: str) -> Callable[[], Any]:
    """Return what builds the ``model`` of a config file in Python.

    Args:
        path: A ``.py`` file. **It is run**, as by :func:`from_file`.

    Raises:
        ConfigError: As :func:`from_file`, or the file has no ``model``.
    """
    config = _run(path)
    if not isinstance(config.get("model"), Mapping):
        raise ConfigError(f"{path} has no `model` to build, so a model must be named beside it")

    def build() -> Any:
        with MODELS.switch_scope_and_registry(config.get("default_scope", "mmengine")) as registry:
            return registry.build(config.model)

    return build


def _run(path: str) -> Config:
    if not os.path.isfile(path):
        raise ConfigError(f"{path}: no such file")
    try:
        return Config.fromfile(path, format_python_code=False)
    except OptimBuildError:
        raise
    except (Exception, SystemExit) as error:  # a program may raise anything
        raise ConfigError(f"{path} cannot be read: {type(error).__name__}: {shown(str(error), 300)}") from error


def prepared(config: Config | Mapping[str, Any]) -> dict[str, Any]:
    """Return what this dialect reads of a config as plain data; classes become registered names.

    >>> prepared({"optim_wrapper": {"optimizer": {"type": "adamw"}, "dtype": print}, "model": print})
    {'optim_wrapper': {'optimizer': {'type': 'adamw'}, 'dtype': None}}
    """
    if KEY not in config:
        whole: dict[str, Any] = plain(config.to_dict() if isinstance(config, Config) else config)
        return whole
    inherited = {key: None for key in ("_base_",) if key in config}
    return {**inherited, KEY: plain_wrapper(config[KEY], KEY)}


def plain_wrapper(wrapper: Any, path: str) -> Any:
    """Return what this dialect reads of a wrapper's config as plain data; of its other keys only the names are kept.

    Args:
        wrapper: The wrapper's config.
        path: Where it stands.

    Raises:
        ConfigError: Something in it can be no config.
    """
    if not isinstance(wrapper, Mapping):
        raise ConfigError(f"must be a mapping, not {shown(wrapper)}", path)
    made: dict[str, Any] = {}
    for key, value in wrapper.items():
        if key == "optimizer":
            made[key] = _plain_optimizer(value, join(path, key))
        elif key == "paramwise_cfg":
            made[key] = plain(value, join(path, key))
        elif key == "constructor":
            made[key] = value if isinstance(value, str) else getattr(value, "__name__", shown(value))
        elif isinstance(value, Mapping) and "optimizer" in value:
            made[key] = plain_wrapper(value, join(path, key))
        else:
            made[key] = None  # the wrapper's own business; only its name is kept
    return made


def _plain_optimizer(optimizer: Any, path: str) -> Any:
    if not isinstance(optimizer, Mapping):
        raise ConfigError(f"must be a mapping with `type`, not {shown(optimizer)}", path)
    kind = optimizer.get("type")
    named = {"type": kind if isinstance(kind, str) else name_of_class(kind, join(path, "type"))} if kind else {}
    return plain({**dict(optimizer.items()), **named}, path)


# --- names of optimizers ---------------------------------------------------------------------


def name_of_class(cls: Any, path: str = f"{KEY}.optimizer.type") -> str:
    """Return a name under which our registry finds an optimizer class; registers one that has none.

    Args:
        cls: A class, or an entry of our registry.
        path: Where it stands in the config.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(cls, OptimizerType):
        return cls.name
    if not inspect.isclass(cls):
        raise ConfigError(f"must be a registered name or a class, not {shown(cls)}", path)
    fill(ROOT)
    taken = {name.lower() for name in OPTIMIZERS.names()}
    holder = _holder(ROOT, cls)
    if holder is not None:
        return _scoped(*holder)
    name = cls.__name__
    if name.lower() in taken:  # another class of the same name: tell them apart by their modules
        name = f"{cls.__module__}:{cls.__qualname__}".replace(".", "/")
    OPTIMIZERS.register_module(name=name, module=cls, force=True)
    return name


def registered(root: mmengine.registry.Registry, name: str) -> tuple[mmengine.registry.Registry, str] | None:
    """Return the registry that holds what a name means in a runner's config, and the name there.

    Args:
        root: One of MMEngine's own registries.
        name: ``Name`` or ``scope.Name``; or the dotted path of a registered class, as MMEngine writes it when it
            saves a config. Such a path is compared, and never imported.
    """
    if "." not in name:
        return next(((registry, name) for registry in _scopes(root) if name in registry.module_dict), None)
    scope, _, rest = name.partition(".")
    registry = root if scope == root.scope else root.children.get(scope)
    if registry is not None and registry is not OPTIMIZERS:
        registry.import_from_location()
        if rest in registry.module_dict:
            return registry, rest
    module, _, attribute = name.rpartition(".")
    target = vars(sys.modules[module]).get(attribute) if module in sys.modules else None
    return _holder(root, target) if inspect.isclass(target) else None


def _holder(root: mmengine.registry.Registry, cls: type) -> tuple[mmengine.registry.Registry, str] | None:
    for registry in (root, *root.children.values()):
        for name, entry in registry.module_dict.items():
            if entry is cls or (isinstance(entry, OptimizerType) and entry.target is cls and not entry.fixed):
                return registry, name
    return None


def _scopes(root: mmengine.registry.Registry) -> Iterator[mmengine.registry.Registry]:
    """Yield the registries in which MMEngine looks for a name: the runner's default scope, then its own."""
    scope = DefaultScope.get_current_instance()
    child = None if scope is None else root.children.get(scope.scope_name)
    if child is not None and child is not OPTIMIZERS:
        child.import_from_location()
        yield child
    yield root


def _scoped(registry: mmengine.registry.Registry, name: str) -> str:
    return name if registry is OPTIMIZERS else f"{registry.scope}.{name}"


def _meant(name: str) -> str:
    """Return the name by which our registry finds what a name means in a runner's config.

    A name that MMEngine knows, letter by letter, is MMEngine's: ``SGD`` is torch's own, and our ``sgd``
    with Nesterov momentum is not meant.
    """
    found = registered(ROOT, name)
    if found is None and name not in OPTIMIZERS.names():
        fill(ROOT)  # imports torch, so only where the name is not one of ours
        found = registered(ROOT, name)
    return name if found is None else _scoped(*found)


# --- translation -----------------------------------------------------------------------------


def read(raw: Mapping[str, Any]) -> Reading:
    """Translate ``optim_wrapper`` into a spec. Keys outside of it are ignored.

    Raises:
        ConfigError: A misspelt key or a wrong value, with its path.
    """
    if "_base_" in raw:
        raise ConfigError(
            "is followed in Python files only; write the keys out, or load the file with MMEngine", "_base_"
        )
    return of_wrapper(raw[KEY])


def of_wrapper(wrapper: Any, path: str = KEY) -> Reading:
    """Translate the config of one optimizer wrapper.

    Args:
        wrapper: The wrapper's config, as plain data.
        path: Where it stands.

    Raises:
        ConfigError: A misspelt key or a wrong value, with its path; or it configures several optimizers.
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
    optimizer: OptimizerSpec = validated(OptimizerSpec, plain(wrapper["optimizer"], where), where)
    kind = _meant(optimizer.type)
    try:
        find_optimizer(kind)
    except OptimBuildError as error:
        raise error.moved({"": join(where, "type")}) if isinstance(error, ConfigError) else error from error.__cause__
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
    spec = Spec.of(
        {
            "optimizer": {"type": kind, **optimizer.options},
            "rules": [*rules, *(rule.model_dump() for rule in own.rules)],
            "zero": own.zero if isinstance(own.zero, bool) else own.zero.model_dump(),
            "implementation": own.implementation,
            "strict": own.strict,
        }
    )
    return Reading(spec, tuple(warnings), _paths(path, cfg, len(rules), len(own.rules)))


def _paths(path: str, cfg: str, classic: int, rules: int) -> dict[str, str]:
    """Say where the keys of the spec stand; the classic keys are the first rule."""
    paths = {key: join(cfg, key) for key in fields(OwnKeys)}
    paths |= {"optimizer": join(path, "optimizer"), "": path}
    paths |= {f"rules[{i}]": cfg for i in range(classic)}
    return paths | {f"rules[{classic + i}]": join(cfg, "rules", i) for i in range(rules)}


def _no_optimizer(wrapper: Mapping[str, Any], path: str) -> ConfigError:
    several = [str(key) for key, value in wrapper.items() if isinstance(value, Mapping) and "optimizer" in value]
    if several:
        return ConfigError(
            f"holds {len(several)} optimizers ({listing(several)}), each for the module of its name. A plan is of one: "
            f"give {{'{KEY}': <what stands under {several[0]!r}>}}, and that module.",
            path,
        )
    return ConfigError("`optimizer` is required", path)


def _refuse_unknown(paramwise: Mapping[str, Any], classic: list[str], cfg: str) -> None:
    known = [*classic, *fields(OwnKeys)]
    for key in paramwise:
        if key not in known:
            raise ConfigError(f"unknown key {shown(key)}.{suggest(str(key), known)} Known: {', '.join(known)}.", cfg)


def _as_constructed(paramwise: Mapping[str, Any], constructor: Any, path: str) -> tuple[Mapping[str, Any], list[str]]:
    """Return the keys as the config's constructor reads them, and warnings of those that it ignores."""
    name = DEFAULT if constructor is None else str(constructor).rpartition(".")[2]
    if name not in (OURS, DEFAULT, LAYERED):
        raise ConfigError(
            f"how {shown(constructor)} reads `paramwise_cfg` is not known here."
            f"{suggest(name, (OURS, DEFAULT, LAYERED))} Known: optimbuild.{OURS}, {DEFAULT}, {LAYERED}.",
            join(path, "constructor"),
        )
    if name == LAYERED and paramwise:
        paramwise = {"layer_decay_rate": 1.0, **paramwise}
    if name == OURS:
        return paramwise, []
    ignored = set(fields(OwnKeys)) | ({"layer_decay_rate"} if name == DEFAULT else set())
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
    """Check the classic keys against the optimizer's own options, as MMEngine does, and their extra options."""
    cfg, given = join(path, "paramwise_cfg"), optimizer.options
    rule = validated(find_rule("paramwise"), classic, cfg)
    for key, custom in rule.custom_keys.items():
        find_optimizer(kind).refuse_unknown(custom.extra, join(cfg, "custom_keys", key))
    by_key = classic.get("custom_keys") or {}

    def multipliers(keys: tuple[str, ...], custom: str) -> list[str]:
        given = [key for key in keys if classic.get(key) is not None]
        return [*given, *(f"custom_keys[{key!r}].{custom}" for key in by_key if custom in by_key[key])]

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
    idle = [key for key in ("flat_decay_mult",) if classic.get(key) is not None]
    if by_key and classic.get("layer_decay_rate") is not None:
        idle.append("custom_keys")
    kept = {key: value for key, value in classic.items() if key not in idle}
    return kept, [f"{join(cfg, key)} does nothing, because the optimizer is given no weight_decay" for key in idle]
