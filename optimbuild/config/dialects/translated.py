"""The spec that the reading of a published constructor gives, with our own keys behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from optimbuild.config.dialects.mmengine_optimizer import found_optimizer
from optimbuild.config.published import Published, Translation
from optimbuild.config.reading import Reading
from optimbuild.config.spec import ConfigPart, Optimizers, ResumeSpec, RuleSpec, Spec, Zero
from optimbuild.errors import ConfigError, OptimBuildError
from optimbuild.messages import place_raised, shown
from optimbuild.registry import CONSTRUCTORS
from optimbuild.values import Switch, fields, join


class OwnKeys(ConfigPart):
    """Our own keys under ``paramwise_cfg``, beside MMEngine's."""

    optimizers: Optimizers = Field(default_factory=dict)
    """``optimizers`` of our dialect."""
    like: str | None = None
    """The constructor as which to read the keys beside ours, such as ``YOLOv5OptimizerConstructor``."""
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


def spec_of(
    published: Published,
    own: OwnKeys,
    warnings: Sequence[str] = (),
    restricted: Sequence[Mapping[str, Any]] = (),
) -> Reading:
    """Return what the reading of a constructor makes of its keys, with our own keys behind.

    Args:
        published: What the constructor is given.
        own: Our own keys.
        warnings: What the user should know.
        restricted: Rules that restrict the optimizer to some modules.

    Raises:
        ConfigError: A wrong value, with its path.
    """
    translation = _translated(published)
    options = published.optimizer.options if translation.options is None else translation.options
    spec = Spec.of(
        {
            "optimizer": {"type": published.optimizer.type, **options},
            **own.model_dump(exclude={"like"}),
            "optimizers": {name: _found(published, name, each.model_dump()) for name, each in own.optimizers.items()},
            "rules": [*translation.rules, *(rule.model_dump() for rule in own.rules), *restricted],
        }
    )
    paths = _paths(published, translation, len(own.rules))
    last = f"rules[{len(translation.rules) + len(own.rules)}]"
    paths |= {f"{last}{key}": join(published.path, "modules") for key in ("", ".patterns", ".modules")}
    return Reading(spec, (*warnings, *translation.warnings), paths)


def _found(published: Published, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return one of our own further optimizers, with the name by which the scope of the config knows it."""
    found, _ = found_optimizer(given, join(published.cfg, "optimizers", name), published.scope)
    return found.model_dump()


def _translated(published: Published) -> Translation:
    """Return what the reading of a constructor makes of its keys; whatever a plugin raises becomes a ConfigError."""
    try:
        translation = CONSTRUCTORS.get(published.name)(published)
    except OptimBuildError:
        raise
    except Exception as error:
        place = place_raised(error) or str(CONSTRUCTORS.origin(published.name))
        raised = f"{type(error).__name__}: {shown(str(error), 200)}"
        raise ConfigError(f"the reading of {published.name} raised {raised} ({place})", published.cfg) from error
    if not isinstance(translation, Translation) or not translation.is_sound:
        message = f"the reading of {published.name} must return a Translation of rules, not {shown(translation)}"
        raise ConfigError(message, join(published.path, "constructor"))
    return translation


def _paths(published: Published, translation: Translation, rules: int) -> dict[str, str]:
    """Return for keys of the spec their paths in this dialect; the rules of the constructor come first."""
    cfg, translated = published.cfg, len(translation.rules)
    paths = {key: join(cfg, key) for key in fields(OwnKeys)}
    paths |= {"optimizer": published.where, "": published.path}
    whole = cfg if published.paramwise_cfg else published.named_at
    paths |= {f"rules[{i}].*": whole for i in range(translated)} | dict(translation.paths)
    return paths | {f"rules[{translated + i}]": join(cfg, "rules", i) for i in range(rules)}
