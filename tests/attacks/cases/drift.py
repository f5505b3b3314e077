"""The right adapter in the wrong place: another base, deployment or company, before and during a load."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import torch
from peft import LoraConfig, PeftModel, inject_adapter_in_model
from torch import nn
from transformers import BitsAndBytesConfig, LlamaForCausalLM, PreTrainedModel

from attack import attack
from insider import NOW
from lab import BOUND, Bound, Delivered, Forged, Second
from skillwarrant_verify import Combination, Policy, StackItem
from skillwarrant_verify.base import measure
from world import save_lora

GROUP = "drift"
WORDS = """\
Nobody changed the adapter: the base model, the deployment or the company is another than it was released for, or
becomes another while the gate works."""

IDP = "https://idp.acme.example"
LOAD = "skillwarrant_verify.loader.load.load"
INJECT = "peft.tuners.tuners_utils.BaseTuner.inject_adapter"
HASH = "skillwarrant_verify.measuring.measurement.hash_all"
FOREIGN = "runtime.unaltered composition.allowed"


def case(name: str, refused_by: str, says: str, *, setup: Any = Delivered, **options: Any) -> Any:
    return attack(GROUP, name, setup=setup, refused_by=refused_by, says=says, **options)


# Another base


def base(name: str, change: Callable[[Any], Any]) -> None:
    """The model is changed, or another one is returned."""

    @case(name, "base.matches", "the base model is not one the publisher vouches for")
    def _(attempt: Delivered) -> None:
        with torch.no_grad():
            changed = change(attempt.model)
            attempt.model = changed if isinstance(changed, PreTrainedModel) else attempt.model


def other(**options: Any) -> Callable[[Any], Any]:
    """A model of the same class with another configuration."""

    def make(model: Any) -> Any:
        torch.manual_seed(0)
        config = model.config.__class__(**{**model.config.to_dict(), **options})
        return type(model)(config).eval()

    return make


def nudge(model: Any) -> None:
    weight = model.model.layers[1].mlp.up_proj.weight
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(1.0))


def sign(model: Any) -> None:
    model.lm_head.weight[0, 0] = -model.lm_head.weight[0, 0]


def permuted(model: Any) -> None:
    weight = model.model.embed_tokens.weight
    weight[[0, 1]] = weight[[1, 0]]


def swapped(model: Any) -> None:
    layers = model.model.layers
    layers[0].self_attn, layers[1].self_attn = layers[1].self_attn, layers[0].self_attn


def merged(model: Any) -> Any:
    found = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    return PeftModel(model, found).merge_and_unload()


def tied(model: Any) -> None:
    model.lm_head.weight = model.model.embed_tokens.weight


def biased(model: Any) -> None:
    model.lm_head.bias = nn.Parameter(torch.zeros(64))


def buffered(model: Any) -> None:
    model.register_buffer("scale", torch.ones(1))


def twin(model: Any) -> Any:
    """Another model under the right name."""
    found = other(initializer_range=0.03)(model)
    found.config._name_or_path = found.name_or_path = "acme/tiny"
    return found


base("one weight is the next number", nudge)
base("one weight has the other sign", sign)
base("two tokens change places", permuted)
base("two layers change their attention", swapped)
base("the last norm is doubled", lambda model: model.model.norm.weight.mul_(2))
base("another adapter was merged into it", merged)
base("the base is cast to bfloat16", lambda model: model.to(torch.bfloat16))
base("the base is cast to float16", lambda model: model.to(torch.float16))
base("the base is cast to float64", lambda model: model.to(torch.float64))
base("the base was cast to bfloat16 and back", lambda model: model.to(torch.bfloat16).to(torch.float32))
base("the last norm is cast to bfloat16", lambda model: model.model.norm.to(torch.bfloat16))
base("the base was trained further", lambda model: [p.add_(1e-6) for p in model.parameters()])
base("the base was initialised from another seed", other(initializer_range=0.5))
base("the base has a layer less", other(num_hidden_layers=1))
base("the base has a layer more", other(num_hidden_layers=3))
base("the base has more tokens", other(vocab_size=65))
base("the output layer is tied to the embeddings", tied)
base("a bias of zeros is added", biased)
base("a buffer is added", buffered)
base("another base has the right name", twin)
base("the last layer is pruned", lambda model: model.model.layers.pop(1))


@case("the base is not in memory", "unavailable", "could not be measured")
def _(attempt: Delivered) -> None:
    attempt.model = attempt.model.to("meta")


@case("the base was made where torch sees no writes", "unavailable", "could not be measured")
def _(attempt: Delivered) -> None:
    with torch.inference_mode():
        attempt.model.lm_head.weight = nn.Parameter(attempt.model.lm_head.weight.clone(), requires_grad=False)


# The base is quantised otherwise

FORMS: Final[dict[str, dict[str, Any]]] = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "nf4 with quantised scales": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
    },
    "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "int8": {"load_in_8bit": True},
}


def quantised(attempt: Forged, form: str) -> Any:
    """The honest base as bitsandbytes quantises it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = BitsAndBytesConfig(**FORMS[form])
        model = LlamaForCausalLM.from_pretrained(attempt.lab.world.base, quantization_config=config).eval()
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # with it, its first answer would pack its weights anew
    return model


def vouch_for(attempt: Forged, model: Any) -> None:
    """The manifest vouches for this model, and no other."""
    (entry,) = attempt.lab.manifest.to_json()["baseModels"]  # type: ignore[misc,union-attr]
    measured = measure(model)
    entry |= {"fingerprint": measured.fingerprint.to_json(), "quantization": measured.facts.quantization}
    attempt.predicate(baseModels=[entry])


def requantised(vouched: str | None, given: str | None) -> None:
    """None: not quantised."""
    name = f"the base is {given or 'not quantised'}, and vouched for {f'as {vouched}' if vouched else 'as it was'}"

    @case(name, "base.matches", "the base model is not one the publisher vouches for", setup=Forged)
    def _(attempt: Forged) -> None:
        if vouched is not None:
            vouch_for(attempt, quantised(attempt, vouched))
        if given is not None:
            attempt.model = quantised(attempt, given)


for _form in FORMS:
    requantised(None, _form)
for _form in list(FORMS)[1:]:
    requantised("nf4", _form)
requantised("nf4", None)
requantised("int8", "nf4")


@case("one scale of the quantised base is changed", "base.matches", "not one the publisher", setup=Forged)
def _(attempt: Forged) -> None:
    attempt.model = quantised(attempt, "nf4")
    vouch_for(attempt, attempt.model)
    state = attempt.model.model.layers[0].mlp.up_proj.weight.quant_state
    state.absmax[0] *= 2


# The base becomes another while the gate works


def write(model: Any) -> None:
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1


def write_past_torch(model: Any) -> None:
    """torch does not count this one."""
    model.lm_head.weight.data[0, 0] += 1


def exchange(model: Any) -> None:
    model.lm_head = deepcopy(model.lm_head)
    write(model)


def in_a_thread(change: Callable[[Any], None]) -> Callable[[Any], None]:
    def run(model: Any) -> None:
        thread = threading.Thread(target=change, args=(model,))
        thread.start()
        thread.join()

    return run


def meanwhile(name: str, target: str, change: Callable[[Any], None], *, extra: str = "") -> None:
    @case(name, "base.wrong", "changed the base model", overwritten=("lm_head.weight",))
    def _(attempt: Delivered) -> None:
        attempt.extra = extra
        attempt.before(target, lambda: change(attempt.model))


meanwhile("between the decision and loading, the base is written to", LOAD, write)
meanwhile("between the decision and loading, the base is written to past torch", LOAD, write_past_torch)
meanwhile("between the decision and loading, a layer is exchanged", LOAD, exchange)
meanwhile("between the decision and loading, another thread writes", LOAD, in_a_thread(write_past_torch))
meanwhile("while PEFT attaches the adapter, the base is written to", INJECT, write)
meanwhile(
    "while PEFT attaches the adapter, another thread writes past torch", INJECT, in_a_thread(write_past_torch)
)
meanwhile(
    "while PEFT attaches the adapter, the base is written to, measured once",
    INJECT,
    write,
    extra='measure = "once-verified"',
)


@case(
    "while it is measured, the base is written to",
    "unavailable",
    "changed while it was measured",
    overwritten=("lm_head.weight",),
)
def _(attempt: Delivered) -> None:
    attempt.after(HASH, lambda: write(attempt.model))


# Another deployment


def context(name: str, code: str, says: str, **changes: Any) -> None:
    @case(name, code, says, setup=Bound)
    def _(attempt: Bound) -> None:
        attempt.context = replace(attempt.context, **changes)


context("the environment is development", "environment.allowed", "does not govern here", environment="development")
context(
    "the environment is production's name in capitals",
    "environment.allowed",
    "does not govern",
    environment="Production",
)
context(
    "the environment is staging, which the policy governs too",
    "environment.allowed",
    "does not sanction",
    environment="staging",
)
context("the deployment is of another class of policy", "class.allowed", "class", policy_class="medical")
context("the region is another", "region.allowed", "does not sanction this region", region="us-east-1")
context("the region is unknown", "region.allowed", "found nothing", region=None)
context("the region's name begins with the right one", "region.allowed", "does not sanction", region="eu-west-1a")
context("the operator is another", "operator.allowed", "does not sanction this operator", operator="casino")
context("the operator is unknown", "operator.allowed", "found nothing", operator=None)
context("the operator's name has a space at its end", "operator.allowed", "does not sanction", operator="bank ")
context(
    "the prompt is another",
    "prompt.allowed",
    "does not sanction this system prompt",
    system_prompt="You are cruel.",
)
context("the prompt is unknown", "prompt.allowed", "found nothing", system_prompt=None)
context(
    "the prompt has a line break more",
    "prompt.allowed",
    "does not sanction",
    system_prompt=f"{BOUND.system_prompt}\n",
)
context(
    "the prompt is in another Unicode form",
    "prompt.allowed",
    "does not sanction",
    system_prompt=str(BOUND.system_prompt).replace("\u00e9", "e\u0301"),
)


@case("the host gives a dictionary for a context", "usage", "context", recorded=False)
def _(attempt: Delivered) -> None:
    attempt.context = {"environment": "production"}  # type: ignore[assignment]


def clock(name: str, code: str, says: str, now: datetime) -> None:
    @case(name, code, says, setup=Bound)
    def _(attempt: Bound) -> None:
        attempt.when = lambda: now


clock("the window ended a second ago", "time.window", "does not cover now", NOW + timedelta(days=10, seconds=1))
clock("the window ends now", "time.window", "does not cover now", NOW + timedelta(days=10))
clock("the window begins in a second", "time.window", "does not cover now", NOW - timedelta(hours=1, seconds=1))


# Another company


@case("an adapter that PEFT loaded is on the model", FOREIGN, "did not come through the gate")
def _(attempt: Delivered) -> None:
    save_lora(attempt.room / "foreign", seed=9)
    attempt.model = PeftModel.from_pretrained(attempt.model, attempt.room / "foreign", adapter_name="foreign")


@case("an adapter that was injected without a wrapper is on the model", FOREIGN, "did not come through")
def _(attempt: Delivered) -> None:
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["k_proj"]), attempt.model, adapter_name="injected")


@case(
    "an adapter from the gate was joined by one that PEFT loaded", "composition.allowed", "'foreign' on this model"
)
def _(attempt: Delivered) -> None:
    attempt.model = attempt.activate()
    save_lora(attempt.room / "foreign", seed=9)
    attempt.model.load_adapter(attempt.room / "foreign", adapter_name="foreign")
    attempt.adapter_name = "second"


def company(name: str, says: str, *, first: bool = False) -> None:
    @case(name, "composition.allowed", says)
    def _(attempt: Delivered) -> None:
        loner = attempt.lab.other("loner", seed=5, alone=True)
        alone, with_others = loner, attempt.adapter
        attempt.adapter = alone if first else with_others
        attempt.model = attempt.activate("first")
        attempt.adapter = with_others if first else alone
        attempt.adapter_name = "second"


company("a skill that must be alone joins another", "must be alone")
company("a skill joins one that must be alone", "must be alone", first=True)


def consumer(name: str, says: str, rule: str) -> None:
    """The consumer's own rules for who may share a model, against honest publishers who allow it."""

    @case(name, "composition.limits", says, setup=Second)
    def _(attempt: Second) -> None:
        attempt.policy = Policy.parse(f"{attempt.lab.world.policy_text()}\n[composition]\n{rule}\n".encode())


consumer("a second adapter comes where the policy wants one", "1", "max_active = 1")
consumer("two adapters come that the policy keeps apart", "acme/", 'conflicts = [["acme/*", "acme/*"]]')
consumer("a pair comes that the policy does not list", "acme/", 'allowed_pairs = [["acme/*", "globex/*"]]')


TRIO = "three skills come that are allowed in pairs and not together"


def trio(
    name: str,
    code: str,
    says: str,
    *,
    rule: str = "",
    composition: str = "",
    at_once: bool = False,
    weight: float | None = None,
) -> None:
    """Two get in together, and the third is one too many; or all come at once."""

    @case(f"{TRIO}: {name}", code, says)
    def _(attempt: Delivered) -> None:
        rules = f"[composition]\n{rule}" if rule else ""
        attempt.policy = Policy.parse(f"{attempt.lab.world.policy_text()}\n{rules}\n".encode())
        items = members(attempt.lab, composition, weight)
        if not at_once:
            attempt.model = attempt.answer(
                lambda: attempt.gate.activate_stack(attempt.model, items[:2], context=attempt.context)
            )
            assert isinstance(attempt.model, PeftModel), attempt.model
            items = items[2:]
        attempt.run = lambda: [stacked(attempt, items)]


def members(lab: Any, composition: str, weight: float | None) -> list[StackItem]:
    names = [f"{name}-of-two" if composition else name for name in ("one", "two", "three")]
    paths = [lab.other(name, seed=1, composition=composition) for name in names]
    return [StackItem(adapter=path, adapter_name=path.name, weight=weight) for path in paths]


def stacked(attempt: Delivered, items: list[StackItem]) -> Any:
    combine = None
    if items[0].weight is not None:
        combine = Combination(adapter_name="mixture", combination_type="linear")
    return attempt.answer(
        lambda: attempt.gate.activate_stack(attempt.model, items, context=attempt.context, combine=combine)
    )


TOGETHER = 'conflicts = [["acme/one", "acme/two", "acme/three"]]'
for _at_once in (False, True):
    _how = "all at once" if _at_once else "one after the other"
    trio(f"a conflict of three, {_how}", "composition.limits", "not all of these", rule=TOGETHER, at_once=_at_once)
    trio(f"at most two, {_how}", "composition.limits", "at most 2", rule="max_active = 2", at_once=_at_once)
    trio(
        f"a publisher wants at most two, {_how}",
        "composition.allowed",
        "at most 2 skills",
        composition="max_skills = 2",
        at_once=_at_once,
    )
trio(
    "their weights are too much in sum",
    "composition.weights",
    "add up to 3",
    rule="max_total_weight = 2.5",
    at_once=True,
    weight=1.0,
)


@case("the operator is only claimed, where the policy wants a token", "operator.verified", "operator")
def _(attempt: Delivered) -> None:
    rule = f'require = "verified"\n[[operators.issuers]]\nissuer = "{IDP}"\naudience = "x"\nsubjects = ["bank"]'
    attempt.policy = Policy.parse(f"{attempt.lab.world.policy_text()}\n[operators]\n{rule}\n".encode())
    attempt.context = replace(attempt.context, operator="bank")


def mixed(
    name: str, says: str, weights: list[float], rule: str = "max_weight = 2.0\nmax_total_weight = 2.5"
) -> None:
    """Adapters that are on the model are mixed into one more."""

    @case(name, "composition.weights", says, setup=Second)
    def _(attempt: Second) -> None:
        attempt.policy = Policy.parse(f"{attempt.lab.world.policy_text()}\n[composition]\n{rule}\n".encode())
        other = attempt.activate()
        assert isinstance(other, PeftModel)
        attempt.run = lambda: [
            attempt.answer(
                lambda: attempt.gate.add_weighted_adapter(
                    attempt.model, ["first", "second"], weights, "mixture", "cat", context=attempt.context
                )
            )
        ]


mixed("an adapter is mixed in with more weight than allowed", "max_weight", [0.1, 2.25])
mixed("an adapter is taken away with more weight than allowed", "max_weight", [0.1, -2.25])
mixed("a mixture has more weight in sum than allowed", "max_total_weight", [2.0, 1.0])


# An adapter that is on the model is another than the gate put there

FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.first.weight"
NOT_AS_LOADED = "is not what was loaded any more"


@case("a weight of the first adapter is written to past torch", "load.mismatch", NOT_AS_LOADED, setup=Second)
def _(attempt: Second) -> None:
    attempt.model.get_parameter(FIRST).data[0, 0] += 1


@case("the first adapter is exchanged under its own name", "load.mismatch", NOT_AS_LOADED, setup=Second)
def _(attempt: Second) -> None:
    attempt.model.delete_adapter("first")
    attempt.model.load_adapter(attempt.lab.other("other", seed=2), adapter_name="first")


@case("a weight of the first adapter is exchanged for another tensor", "load.mismatch", NOT_AS_LOADED, setup=Second)
def _(attempt: Second) -> None:
    layer = attempt.model.get_submodule(FIRST.removesuffix(".weight"))
    layer.weight = nn.Parameter(layer.weight.detach() * 2)


@case(
    "the base underneath is given in place of the model with the first adapter",
    "usage",
    "carries adapters already",
    setup=Second,
)
def _(attempt: Second) -> None:
    attempt.model = attempt.model.get_base_model()


# What changes answers and no weight


def altered(name: str, kind: str, change: Callable[[Any], Any]) -> None:
    @case(name, "runtime.unaltered", kind)
    def _(attempt: Delivered) -> None:
        change(attempt.model)


def patched(model: Any) -> None:
    model.lm_head.forward = model.lm_head.forward


altered(
    "a hook runs after a layer", "forward-hook", lambda model: model.lm_head.register_forward_hook(lambda *_: None)
)
altered(
    "a hook runs before a layer",
    "forward-hook",
    lambda model: model.lm_head.register_forward_pre_hook(lambda *_: None),
)
altered("a layer's forward is another function", "patched-forward", patched)
