"""The exceptions and the warning of optimbuild."""

from __future__ import annotations

from collections.abc import Mapping

ALL_BELOW = ".*"
"""The end of a key that stands for all below it, whose own paths another dialect does not have."""


class OptimBuildError(Exception):
    """The root of every error that optimbuild raises on purpose.

    The message says what was given, where, and what would be right.

    >>> issubclass(ConfigError, OptimBuildError) and issubclass(ModelError, OptimBuildError)
    True
    """


class ConfigError(OptimBuildError, ValueError):
    """A config that cannot be read, or asks for something that does not exist.

    Args:
        message: What is wrong and what would be right.
        path: The key's path in the config, such as ``rules[1].ratio``.

    >>> print(ConfigError("must be positive", path="rules[1].ratio"))
    rules[1].ratio: must be positive
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.message = message
        self.path = path

    def moved(self, paths: Mapping[str, str]) -> ConfigError:
        """Return the same error with its path in another dialect.

        Args:
            paths: For keys of the canonical config their paths in that dialect; the longest matching key counts. One
                that ends in ``.*`` is for all below it that the dialect itself has no keys for.

        >>> print(ConfigError("must be positive", "rules[1].ratio").moved({"rules[1]": "TRAIN.LR_LAYER_DECAY"}))
        TRAIN.LR_LAYER_DECAY.ratio: must be positive
        """
        ours = _fitting(self.path, paths)
        more = f" (at {self.path} of what it is read as)" if ours.endswith(ALL_BELOW) else ""
        return type(self)(f"{self.message}{more}", path_in(self.path, paths))


def path_in(path: str, paths: Mapping[str, str]) -> str:
    """Return the path in another dialect of a key of the canonical config; the same where it has none there.

    Args:
        path: The key's path.
        paths: As for :meth:`ConfigError.moved`.

    >>> path_in("rules[1].below[0]", {"rules[1].*": "paramwise_cfg", "rules[1].ratio": "paramwise_cfg.decay_rate"})
    'paramwise_cfg'
    """
    ours = _fitting(path, paths)
    return paths.get(ours, "") + ("" if ours.endswith(ALL_BELOW) else path[len(ours) :])


def _fitting(path: str, paths: Mapping[str, str]) -> str:
    """Return the longest key that a path is at or below; an empty text without any."""
    stems = {key: key.removesuffix(ALL_BELOW) for key in paths}
    fitting = [key for key, stem in stems.items() if path == stem or path.startswith((f"{stem}.", f"{stem}["))]
    return max(fitting, key=lambda key: (len(stems[key]), not key.endswith(ALL_BELOW)), default="")


class UnknownNameError(ConfigError):
    """A name that no registry knows, or that several packages have."""


class AmbiguousNameError(UnknownNameError):
    """A name that several packages have."""


class RuleError(ConfigError):
    """A rule that raised an exception of Python, or returned what no plan can use."""


class RegistrationError(OptimBuildError):
    """A rule or optimizer that cannot be registered, for example because its name is taken."""


class ModelError(OptimBuildError):
    """A model, an inventory file, or a hook of a model that cannot be used."""


class CheckpointError(OptimBuildError, ValueError):
    """Optimizer state that cannot be saved, is damaged, or does not fit the optimizer."""


class MissingPackageError(OptimBuildError, ImportError):
    """A package that is needed is not installed."""


class OptimBuildWarning(UserWarning):
    """Something that the user should know, but that stops nothing."""
