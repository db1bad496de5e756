"""From a module to an inventory: canonical names whatever wraps the model, aliases, owners, kinds."""

from __future__ import annotations

import gc
import os
import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from optimbuild import ModelError, inventory, make_plan
from tests.models import CONFIG, Net, Tied


@pytest.fixture(scope="module")
def process_group(tmp_path_factory):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = dist.FileStore(str(tmp_path_factory.mktemp("store") / "file"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _compiled_inside(model: Net) -> nn.Module:
    model.blocks[1] = torch.compile(model.blocks[1])
    return model


def _checkpointed(model: Net) -> nn.Module:
    for i, block in enumerate(model.blocks):
        model.blocks[i] = checkpoint_wrapper(block)
    return model


def _fully_sharded(model: Net) -> nn.Module:
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


WRAPPERS = {
    "DDP": DistributedDataParallel,
    "compile": torch.compile,
    "compile inside": _compiled_inside,
    "checkpoint": _checkpointed,
    "FSDP2": _fully_sharded,
    "DDP of compile of checkpoint": lambda model: DistributedDataParallel(torch.compile(_checkpointed(model))),
    "compile of DDP": lambda model: torch.compile(DistributedDataParallel(model)),
}


class Hooked(Net):
    def no_weight_decay(self) -> set[str]:
        return {"pos_embed"}

    def lr_decay_keywords(self, ratio: float) -> dict[str, float]:
        return {"blocks.2.": 1.0, "blocks.": ratio, "stem": ratio**2}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("cls", [Net, Hooked])
def test_a_wrapped_model_plans_the_same_as_the_bare_one(wrapper, cls, process_group):
    bare = make_plan(CONFIG, cls())
    wrapped = make_plan(CONFIG, WRAPPERS[wrapper](cls()))
    assert wrapped == bare
    assert wrapped.fingerprint == bare.fingerprint
    assert wrapped.inventory.model == bare.inventory.model


def test_data_parallel_leaves_no_trace_and_a_child_called_module_stays():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)

    assert [p.name for p in inventory(Own())] == ["module.weight", "module.bias"]
    assert [p.name for p in inventory(nn.DataParallel(Own()))] == ["module.weight", "module.bias"]


def test_names_and_order_are_those_of_named_parameters():
    for model in (Net(), Tied(), nn.Transformer(8, 2, 1, 1, 16, batch_first=True)):
        assert [p.name for p in inventory(model)] == [name for name, _ in model.named_parameters()]


def test_shared_tensors_and_modules_are_listed_once_with_their_aliases():
    tied = inventory(Tied())
    assert tied["lm_head.weight"].name == "embed.weight"
    assert tied["embed.weight"].aliases == ("lm_head.weight",)
    block = nn.Linear(2, 2)
    shared = inventory(nn.ModuleDict({"a": block, "b": block}))
    assert [(p.name, p.aliases) for p in shared] == [("a.weight", ("b.weight",)), ("a.bias", ("b.bias",))]


def test_owners_bases_and_kinds():
    class RMSNorm2(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2, 2))

    class MyRMSNorm(RMSNorm2):
        pass

    class Quiet(nn.BatchNorm2d):
        pass

    model = nn.ModuleDict(
        {
            "norm": MyRMSNorm(),
            "bn": Quiet(2),
            "dw": nn.Conv2d(4, 4, 3, groups=4),
            "conv": nn.Conv2d(4, 4, 3),
            "emb": nn.Embedding(3, 2),
            "fc": nn.Linear(2, 2),
            "up": nn.ConvTranspose2d(4, 1, 3),
            "att": nn.MultiheadAttention(4, 2),
        }
    )
    found = {p.name: (p.owner, p.bases, sorted(p.kinds)) for p in inventory(model)}
    assert found["norm.scale"] == ("MyRMSNorm", (), ["norm"])
    assert found["bn.weight"] == ("Quiet", ("BatchNorm2d",), ["norm"])
    assert found["bn.bias"][2] == ["bias", "norm"]
    assert found["dw.weight"][2] == ["conv", "depthwise"]
    assert found["dw.bias"][2] == ["bias", "conv", "depthwise"]
    assert found["conv.weight"][2] == ["conv"]
    assert found["emb.weight"][2] == ["embedding"]
    assert found["fc.weight"] == ("Linear", ("Linear",), ["linear"])
    assert found["up.weight"][2] == ["conv"]
    assert found["att.out_proj.weight"][2] == ["linear"]


def test_a_parametrized_module_keeps_the_name_of_its_class():
    model = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    assert inventory(model)["bias"].owner == "Linear"


@pytest.mark.parametrize("thing", [None, 3, [nn.Linear(1, 1)], {"a": 1}, nn.Linear])
def test_what_is_no_module_is_refused(thing):
    with pytest.raises(ModelError, match=r"must be a torch\.nn\.Module"):
        inventory(thing)


def test_a_model_without_parameters_and_a_lazy_one_are_refused():
    with pytest.raises(ModelError, match="ReLU has no parameters"):
        inventory(nn.ReLU())
    with pytest.raises(ModelError, match="lazy"):
        inventory(nn.LazyLinear(3))


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\nb", "[bold]x[/bold]", "<script>", "\u202egnp"])
def test_a_name_that_would_garble_reports_is_refused(name):
    model = nn.Module()
    model.register_parameter(name, nn.Parameter(torch.zeros(2)))
    with pytest.raises(ModelError, match="control characters or markup"):
        inventory(model)


def test_brackets_that_are_no_markup_are_fine():
    assert inventory(nn.ModuleDict({"item[0]": nn.Linear(1, 1)}))["item[0].weight"].shape == (1, 1)


def test_the_old_spelling_of_a_hook_is_heard():
    class Old(Net):
        def lr_decay_keywards(self, ratio: float) -> dict[str, float]:
            return {"head": ratio}

    assert make_plan(CONFIG, Old())["head.weight"].lr == 1e-3 * 0.5


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_tensor_that_will_not_tell_its_shape_is_refused():
    model = nn.Linear(1, 1)
    model.nested = nn.Parameter(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]))
    with pytest.raises(ModelError, match="parameter 'nested' of a lazy Linear has no shape yet"):
        inventory(model)


def test_a_data_parallel_class_without_a_module_attribute_is_no_wrapper():
    class Elsewhere(nn.DataParallel):
        def __init__(self, model: nn.Module) -> None:
            nn.Module.__init__(self)
            self.net = model

    assert inventory(Elsewhere(nn.Linear(2, 2))).names == ("net.weight", "net.bias")


def test_a_model_that_python_cannot_follow_is_refused():
    model: nn.Module = nn.Linear(1, 1)
    for _ in range(sys.getrecursionlimit()):
        model = nn.Sequential(model)
    with pytest.raises(ModelError, match="nested deeper than Python's recursion limit"):
        inventory(model)


def test_a_tensor_that_may_get_sparse_gradients_has_no_fused_kernel():
    model = nn.ModuleDict({"head": nn.Linear(4, 8, bias=False), "table": nn.Embedding(8, 4, sparse=True)})
    model["table"].weight = model["head"].weight
    assert inventory(model).unfused == {"head.weight"}
    assert make_plan({"optimizer": {"type": "sgd", "lr": 0.1}}, model).groups[0].implementation != "fused"


def test_a_walk_leaves_nothing_for_the_garbage_collector():
    model = Tied()
    inventory(model)
    gc.collect()
    gc.disable()
    try:
        inventory(model)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_very_deep_model_is_walked():
    model: nn.Module = nn.Linear(1, 1)
    for _ in range(400):
        model = nn.Sequential(model)
    assert len(inventory(model)) == 2


def test_a_module_that_contains_itself_is_walked_once():
    model = Net()
    model.__dict__["_modules"]["again"] = model
    assert len(inventory(model)) == len(inventory(Net()))


def test_a_wrapped_module_that_contains_itself_gets_no_aliases():
    model = Net()
    model.__dict__["_modules"]["again"] = model
    assert inventory(torch.compile(model)) == inventory(Net())


class Listing(Net):
    """Its hooks list names as it sees them itself, those of wrappers included."""

    def no_weight_decay(self) -> set[str]:
        return {name for name, _ in self.named_parameters() if name.endswith("attn.weight")}

    def lr_decay_keywords(self, ratio: float) -> dict[str, float]:
        return {name: ratio for name, _ in self.named_parameters() if "mlp" in name}


@pytest.mark.parametrize("wrapped", [_compiled_inside, _checkpointed])
def test_hooks_may_list_names_with_or_without_their_wrappers(wrapped):
    assert make_plan(CONFIG, wrapped(Listing())) == make_plan(CONFIG, Listing())
    assert make_plan(CONFIG, wrapped(Listing()))["blocks.1.attn.weight"].weight_decay == 0.0
