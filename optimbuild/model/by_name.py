"""MODEL as the command line names it: an inventory file, a callable, a Hugging Face or an MMEngine config."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from optimbuild.errors import MissingPackageError, ModelError, OptimBuildError
from optimbuild.messages import place_raised, printable, shown, suggest, warn
from optimbuild.model.inventory import Inventory

if TYPE_CHECKING:
    from torch import nn

HF = "hf:"
CONFIG = "config.json"
"""The file that ``save_pretrained`` writes into a folder."""
_NAME_ON_A_HUB = re.compile(r"(?!.*\.json$)[\w.-]+(/[\w.-]+)?")
INSTALL = "Install it: pip install 'optimbuild[hf]'"
FORMS = (
    "MODEL is an inventory file (`*.json`, see `optimbuild inventory`), `package.module:callable`, "
    "`hf:CONFIG.json` or `hf:FOLDER` (a local Hugging Face config, or what `save_pretrained` wrote), or an "
    "MMEngine config in Python with a `model` (`*.py`)."
)


def inventory_named(model: str) -> Inventory:
    """Return the inventory of the model that a text names.

    Args:
        model: One of four forms. The path of an inventory file (``*.json``), for which torch is not imported.
            ``package.module:callable``, which is called without arguments on the meta device; modules of the current
            directory can be imported. ``hf:CONFIG.json``, a local Hugging Face config, or ``hf:FOLDER``, a folder
            that ``save_pretrained`` wrote; its model is built on the meta device in its default dtype, nothing is
            downloaded, and a config with its own code is refused. A config that names no architecture gives the model
            without a head, with a warning. The path of an MMEngine config in Python (``*.py``), **which is run**; its
            ``model`` is built likewise.

    Raises:
        ModelError: There is no such file, module or callable, or it gives no model.
        MissingPackageError: The model is a Hugging Face config, and transformers is not installed.

    >>> inventory_named("resnet50")
    Traceback (most recent call last):
    optimbuild.errors.ModelError: no model can be found under 'resnet50'. MODEL is an inventory file...
    """
    if not model.startswith(HF) and model.lower().endswith(".json"):
        return Inventory.read(model)
    make = _hugging_face if model.startswith(HF) else _mmengine if model.endswith(".py") else _callable
    # Our own output goes to stdout; what a model prints while it is built must not be in it.
    with contextlib.redirect_stdout(sys.stderr):
        module = make(model)
    from optimbuild.model.survey import inventory

    return inventory(module)


def _callable(model: str) -> nn.Module:
    """Import ``package.module:callable`` and call it."""
    name, colon, path = model.partition(":")
    if not colon or not all(map(str.isidentifier, [*name.split("."), *path.split(".")])):
        file = f" {printable(model)} is a file, but its name does not end in .json." if os.path.isfile(model) else ""
        raise ModelError(f"no model can be found under {shown(model)}.{file} {FORMS}")
    found: Any = _imported(name, model)
    for attribute in path.split("."):
        with _foreign(f"importing {name}"):  # a module may import its parts on first use
            try:
                found = getattr(found, attribute)
            except AttributeError:
                raise ModelError(f"{model}: {name} has no {attribute!r}.{suggest(attribute, dir(found))}") from None
    from torch import nn

    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ModelError(f"{model} must be a callable that gives a torch.nn.Module; it is {shown(found)}")
        found = _built(found, model)
    if not isinstance(found, nn.Module):
        raise ModelError(f"{model} must give a torch.nn.Module, not {shown(found)}")
    return found


def _import_from_here() -> None:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def _imported(name: str, model: str) -> ModuleType:
    _import_from_here()
    with _foreign(f"importing {name}"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not error.name or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise ModelError(
                f"{model}: there is no module {error.name!r}, neither installed nor in the current directory"
            ) from None


def _built(build: Callable[[], Any], what: str) -> Any:
    """Call a function that builds a model, on the meta device: it takes no memory and computes no numbers."""
    import torch

    with torch.device("meta"), _foreign(what):
        try:
            return build()
        except RuntimeError as error:
            if "meta" not in str(error):
                raise
            first = error
        try:
            with _linspace_on_cpu():
                return build()
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001  # the first error says more
            hint = "It was called on the meta device, where tensors have shapes but no numbers."
            raise _raised(what, first, hint) from first


@contextlib.contextmanager
def _foreign(what: str) -> Iterator[None]:
    """Run foreign code; whatever it raises, but for an interrupt, becomes a ModelError."""
    try:
        yield
    except (OptimBuildError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _raised(what, error) from error


def _linspace_on_cpu() -> contextlib.AbstractContextManager[Any]:
    """Let ``torch.linspace`` compute numbers: many models read their drop path rates from it with ``item()``."""
    import torch
    from torch.overrides import TorchFunctionMode

    class LinspaceOnCpu(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if func is torch.linspace:
                kwargs.setdefault("device", "cpu")
            return func(*args, **kwargs)

    return LinspaceOnCpu()


def _raised(what: str, error: BaseException, hint: str = "") -> ModelError:
    """Return a ModelError for an exception of foreign code, with the file and line that raised it."""
    place = "" if isinstance(error, SyntaxError) else place_raised(error)
    message = f"{what} raised {type(error).__name__}: {shown(str(error), 300)}{f' ({place})' * bool(place)}"
    return ModelError(f"{message}. {hint}" if hint else message)


def _hugging_face(model: str) -> nn.Module:
    """Build the model of a local Hugging Face config with transformers' own classes."""
    path, model = model.removeprefix(HF), printable(model)
    data, own_code = _config(_config_file(path, model), model)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # some models fetch a backbone while they are built
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise MissingPackageError(f"{model} needs transformers ({error}). {INSTALL}") from error
    kind, known = data["model_type"], transformers.CONFIG_MAPPING
    if not isinstance(kind, str) or kind not in known:
        raise ModelError(f"{model}: transformers knows no model_type {shown(kind)}.{_hint(kind, known, own_code)}")
    names = data.get("architectures") or None
    architecture = names[0] if isinstance(names, list) else names
    cls = getattr(transformers, str(architecture), None) if architecture is not None else transformers.PreTrainedModel
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        hint = _hint(architecture, (name for name in dir(transformers) if "For" in name or "Model" in name), own_code)
        raise ModelError(f"{model}: transformers has no architecture {shown(architecture)}.{hint}")

    def build() -> Any:
        config = known[kind].from_dict(data)
        return transformers.AutoModel.from_config(config) if architecture is None else cls(config)

    module: nn.Module = _built(build, model)
    if architecture is None:
        warn(f"{model} names no `architectures`, so the model without a head is planned: {type(module).__name__}")
    return module


def _mmengine(model: str) -> nn.Module:
    """Run an MMEngine config, and build its model."""
    from torch import nn

    from optimbuild.model.mmengine_config import model_builder

    _import_from_here()
    build, model = model_builder(model), printable(model)
    found = _built(build, f"the model of {model}")
    if not isinstance(found, nn.Module):
        raise ModelError(f"the model of {model} must be a torch.nn.Module, not {shown(found)}")
    return found


def _config_file(path: str, model: str) -> str:
    """Return the path of the config that a path or a name of a model means.

    Raises:
        ModelError: It is a folder without a config, or the name of a model that is not on this disk.
    """
    if os.path.isdir(path):
        inside = os.path.join(path, CONFIG)
        if not os.path.isfile(inside):
            raise ModelError(f"{model} is a folder without {CONFIG}, which `save_pretrained` writes")
        return inside
    if not os.path.lexists(path) and _NAME_ON_A_HUB.fullmatch(path):
        raise ModelError(
            f"{model}: there is no file or folder {shown(path)}, and nothing is downloaded. Where there is a network, "
            f"save the config by `transformers.AutoConfig.from_pretrained({path!r}).save_pretrained('FOLDER')`, and "
            "name it as hf:FOLDER"
        )
    return path


def _config(path: str, model: str) -> tuple[dict[str, Any], bool]:
    """Return a config without ``auto_map``, which names code to run, and whether it had one."""
    try:
        text = Path(path).read_text("utf-8")
        data = json.loads(text, object_hook=lambda part: {key: part[key] for key in part if key != "auto_map"})
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not JSON ({shown(str(error))})"
        raise ModelError(f"{model}: {reason}") from None
    if not isinstance(data, dict) or "model_type" not in data:
        raise ModelError(f"{model}: a Hugging Face config is an object with `model_type`; this is {shown(data)}")
    return data, '"auto_map"' in text


def _hint(name: Any, known: Iterable[str], own_code: bool) -> str:
    if own_code:
        return " The config brings its own code (`auto_map`), which is never run; name it as `package.module:callable`."
    return suggest(name, known) if isinstance(name, str) else ""
