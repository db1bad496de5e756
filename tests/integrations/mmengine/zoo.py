"""Models with everything that MMEngine's constructor asks about, to compare ours with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import parametrizations


class ConvNet(nn.Module):
    """Batch norms and depthwise convolutions, some of them in disguise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.dw = nn.Conv2d(8, 8, 3, groups=8)
        self.dw_norm = nn.SyncBatchNorm(8)
        self.one_channel = nn.Conv2d(1, 4, 3)
        self.grouped = nn.Conv2d(8, 8, 3, groups=4)
        self.dw1d = nn.Conv1d(8, 8, 3, groups=8)
        self.transposed = nn.ConvTranspose2d(8, 8, 3, groups=8)
        self.normed = parametrizations.weight_norm(nn.Conv2d(8, 8, 3, groups=8))
        self.head = nn.Linear(8, 2)


class MyBatchNorm(nn.BatchNorm1d):
    """A norm by inheritance."""


class BareNorm(nn.modules.batchnorm._BatchNorm):
    """A norm by inheritance from a private class."""

    def _check_input_dim(self, input: torch.Tensor) -> None:  # noqa: A002  # torch's own name
        pass


class HomemadeNorm(nn.Module):
    """A norm by its name only, which MMEngine does not take for one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        self.bias = nn.Parameter(torch.zeros(8))


class Norms(nn.Module):
    """One norm of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm1d(8)
        self.bn3 = nn.BatchNorm3d(8)
        self.inst = nn.InstanceNorm2d(8, affine=True)
        self.inst1 = nn.InstanceNorm1d(8, affine=True)
        self.group = nn.GroupNorm(2, 8)
        self.layer = nn.LayerNorm((4, 8))
        self.rms = nn.RMSNorm(8)
        self.mine = MyBatchNorm(8)
        self.bare = BareNorm(8)
        self.homemade = HomemadeNorm()


class Block(nn.Module):
    """Attention and an MLP, with layer norms."""

    def __init__(self) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(8)
        self.attn = nn.MultiheadAttention(8, 2)
        self.ln2 = nn.LayerNorm(8)
        self.ffn = nn.ModuleDict({"fc1": nn.Linear(8, 16), "fc2": nn.Linear(16, 8, bias=False)})
        self.gamma = nn.Parameter(torch.ones(8))


class Transformer(nn.Module):
    """Parameters of the root module, and numbered blocks of which one number begins with another."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 8))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.layers = nn.ModuleList([Block() for _ in range(12)])
        self.norm = nn.LayerNorm(8)


class Nested(nn.Module):
    """The same pieces of names again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"backbone": ConvNet(), "neck": nn.Linear(4, 4)})
        self.neck = nn.ModuleDict({"backbone": nn.Linear(4, 4), "norm": nn.GroupNorm(1, 4)})
        self.bias = nn.Parameter(torch.zeros(4))
        self.listed = nn.ParameterList([torch.zeros(2, 2), torch.zeros(2)])
        self.dicted = nn.ParameterDict({"bias": torch.zeros(2, 2), "weight": torch.zeros(3)})


class Frozen(nn.Module):
    """Parts that do not train, whole modules and single parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Block().requires_grad_(False)
        self.body = Block()
        self.body.ln1.weight.requires_grad_(False)
        self.head = nn.Linear(8, 2)


class Shared(nn.Module):
    """Tensors and modules that stand in several places."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 8)
        self.norm = nn.LayerNorm(8)
        self.first = nn.ModuleDict({"norm": self.norm, "fc": nn.Linear(8, 8)})
        self.second = nn.ModuleDict({"fc": self.first["fc"], "own": nn.Linear(8, 8)})
        self.conv = nn.Conv2d(1, 8, 3)
        self.conv_again = nn.Conv2d(1, 8, 3)
        self.conv_again.weight = self.conv.weight
        self.lm_head = nn.Linear(8, 6)
        self.lm_head.weight = self.embed.weight


class DeformConv2d(nn.Module):
    """Named like one of mmcv's, and none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 4, 3, 3))
        self.conv_offset = nn.Conv2d(4, 18, 3)


class Deformable(nn.Module):
    """Deformable convolutions of mmcv where it is installed, and what only looks like them."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = DeformConv2d()
        self.conv_offset = nn.Conv2d(4, 4, 1)
        try:
            from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2d, ModulatedDeformConv2dPack
        except ImportError:
            return

        class Own(ModulatedDeformConv2d):  # type: ignore[misc, valid-type, unused-ignore]
            def __init__(self) -> None:
                super().__init__(4, 4, 3)
                self.conv_offset = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
                self.conv_offset_norm = nn.BatchNorm2d(4)
                self.conv_offset_linear = nn.Linear(4, 4)
                self.conv_offset_dw = nn.Conv2d(4, 4, 1, groups=4)

        self.pack = DeformConv2dPack(4, 4, 3)
        self.layers = nn.ModuleList([nn.ModuleDict({"dcn": ModulatedDeformConv2dPack(4, 4, 3)}), Own()])


ZOO: dict[str, Callable[[], nn.Module]] = {
    cls.__name__: cls for cls in (ConvNet, Norms, Transformer, Nested, Frozen, Shared, Deformable)
}
ZOO["Root"] = lambda: nn.Linear(4, 4)
ZOO["Deep"] = lambda: nn.Sequential(*[nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)) for _ in range(11)])

MMCV = {
    "__init__.py": "__version__ = '2.0.0'\n",
    "_ext.py": "",
    "ops/__init__.py": "from mmcv.ops.deform_conv import *\n",
    "ops/deform_conv.py": """
import torch
from torch import nn

class _Deformable(nn.Module):
    def __init__(self, inside, outside, size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outside, inside, size, size))
        self.bias = nn.Parameter(torch.zeros(outside))

class DeformConv2d(_Deformable):
    pass

class ModulatedDeformConv2d(_Deformable):
    pass

class DeformConv2dPack(DeformConv2d):
    def __init__(self, inside, outside, size):
        super().__init__(inside, outside, size)
        self.conv_offset = nn.Conv2d(inside, 2 * size * size, size)

class ModulatedDeformConv2dPack(ModulatedDeformConv2d):
    def __init__(self, inside, outside, size):
        super().__init__(inside, outside, size)
        self.conv_offset = nn.Conv2d(inside, 3 * size * size, size)
""",
}
"""A stand-in for mmcv, whose real operators are compiled: the class hierarchy that MMEngine asks about."""
