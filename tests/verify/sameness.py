"""Whether two models are the same, and whether one is what it was: everything that can be told of them."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import nn

from catalogue import Case, answers

__all__ = ["assert_identical", "everything", "picture", "same_bits"]


def everything(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor that any module holds, in state or out of it."""
    found: dict[str, torch.Tensor] = {}
    for path, module in model.named_modules():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            found[f"{path}.{name}"] = tensor
        for name, value in vars(module).items():
            if isinstance(value, dict) and name not in ("_parameters", "_buffers", "_modules"):
                held = {key: item for key, item in value.items() if isinstance(item, torch.Tensor)}
                found.update({f"{path}.{name}[{key}]": item for key, item in held.items()})
    return found


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape) or one.is_meta or other.is_meta:
        return False
    return one.detach().contiguous().numpy().tobytes() == other.detach().contiguous().numpy().tobytes()


def assert_identical(ours: PeftModel, theirs: PeftModel, case: Case) -> None:
    """State, flags, configuration, answers."""
    assert type(ours) is type(theirs)
    one, other = everything(ours), everything(theirs)
    assert one.keys() == other.keys()
    for key, tensor in other.items():
        assert same_bits(one[key], tensor), key
        assert one[key].requires_grad == tensor.requires_grad, key
    modules = dict(theirs.named_modules())
    assert all(module.training == modules[name].training for name, module in ours.named_modules())
    configs = {name: vars(config) for name, config in theirs.peft_config.items()}
    assert {name: vars(config) for name, config in ours.peft_config.items()} == configs
    assert ours.active_adapters == theirs.active_adapters
    assert torch.equal(answers(ours, case), answers(theirs, case))


def picture(model: nn.Module, *, identities: bool = True) -> dict[str, Any]:
    """Everything a base is made of."""
    config: Any = model.config
    return {
        "tensors": {key: bytes(one.detach().numpy().tobytes()) for key, one in everything(model).items()},
        "trainable": {key: one.requires_grad for key, one in everything(model).items()},
        "same tensors": {key: id(one) for key, one in everything(model).items() if identities},
        "modules": {name: id(module) if identities else type(module) for name, module in model.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules() if identities},
        "hooks": [len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules()],
        "config": config.to_dict(),
    }
