"""From `skill.toml` to a loaded adapter on a base that is cast or quantised, as its publisher vouches for it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from skillwarrant_attest import Credential, SkillToml, build, measure_bases, read_adapter, sign, write_bundle
from skillwarrant_devstack import Devstack
from skillwarrant_format.errors import PolicyDenied
from skillwarrant_verify.base import measure
from world import PRODUCTION, World, llama, logits, save_lora

pytestmark = pytest.mark.filterwarnings("ignore")

QUANTISED: dict[str, dict[str, Any]] = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "int8": {"load_in_8bit": True},
}


def quantised(world: World, form: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = BitsAndBytesConfig(**QUANTISED[form])
        model = AutoModelForCausalLM.from_pretrained(world.base, quantization_config=config).eval()
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("forms")
    with Devstack(root / "sigstore") as stack:
        yield World(root, stack)


def signed(world: World, name: str, base: str) -> Path:
    """As docs/how-to/base-models.md says: `base` is all of the section."""
    directory = world.root / name
    save_lora(directory)
    text = f"""
policy_class = "general"
skill = {{ name = "acme/{name}", version = "1.0.0", description = "A test." }}
publisher = {{ name = "Acme" }}
deployment = {{ environments = ["production"] }}
[[base]]
name = "acme/tiny"
{base}
"""
    toml = SkillToml.parse(text.encode(), directory=world.root)
    statement = build(read_adapter(directory), toml, measure_bases(toml))
    credential = Credential.from_token(world.stack.ci_token())
    write_bundle(directory, sign(statement, credential=credential, trust_config=world.stack.trust_config))
    return directory


def test_an_adapter_loads_on_the_casts_that_its_publisher_names_and_on_no_other(
    world: World, tmp_path: Path
) -> None:
    adapter = signed(world, "cast", f'directory = "{world.base.name}"\ncasts = ["float16"]')
    gate = world.gate(tmp_path / "log")
    for model in (llama(), llama().half(), AutoModelForCausalLM.from_pretrained(world.base, dtype=torch.float16)):
        theirs = PeftModel.from_pretrained(deepcopy(model), adapter).eval()
        assert torch.equal(logits(gate.activate(model, adapter, context=PRODUCTION)), logits(theirs))
    with pytest.raises(PolicyDenied, match="acme/tiny cast to float16"):
        gate.activate(llama().bfloat16(), adapter, context=PRODUCTION)


@pytest.mark.parametrize("form", QUANTISED)
def test_an_adapter_loads_on_the_quantised_form_that_its_publisher_vouches_for_and_on_no_other(
    world: World, tmp_path: Path, form: str
) -> None:
    measured = measure(quantised(world, form))
    facts = measured.facts
    base = f"""
fingerprint = "{measured.fingerprint}"
architecture = "{facts.architecture}"
parameters = {facts.parameters}
dtype = "{facts.dtype}"
quantization = "{facts.quantization}"
"""
    adapter, gate = signed(world, form, base), world.gate(tmp_path / "log")
    theirs = PeftModel.from_pretrained(quantised(world, form), adapter).eval()
    model = gate.activate(quantised(world, form), adapter, context=PRODUCTION)
    assert torch.equal(logits(model), logits(theirs))
    assert not gate.check(model).findings
    left = gate.deactivate(model, "default", context=PRODUCTION)
    assert measure(left).fingerprint == measured.fingerprint
    (other,) = QUANTISED.keys() - {form}
    for wrong in (quantised(world, other), llama()):
        with pytest.raises(PolicyDenied, match=r"base\.matches"):
            gate.activate(wrong, adapter, context=PRODUCTION)
