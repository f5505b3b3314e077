"""Scenes for the tests of enforcement, each played in a process of its own: `python enforced.py SCENE ARGUMENT…`.

A scene prints what happened as one line of JSON. Nothing here is patched but by what is tested.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import json
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
Attempt = Callable[[], object]
Outcomes = dict[str, str]

_OPTIONS: Final[dict[str, dict[str, Any]]] = {  # where a method's defaults are too large for the tiny model
    "ADALORA": {"total_step": 10},
    "ADAPTION_PROMPT": {"adapter_layers": 1, "adapter_len": 4},
    "C3A": {"block_size": 8},
    "FOURIERFT": {"n_frequency": 10},
    "IA3": {"feedforward_modules": []},
    "OFT": {"r": 4, "oft_block_size": 0},
    "ROAD": {"group_size": 8},
    "VBLORA": {"vector_length": 8, "num_vectors": 16, "topk": 2},
    "WAVEFT": {"n_frequency": 10},
}


def photo(model: Any) -> str:
    """A digest of what a model is: each module's class, each weight, and what PEFT and transformers noted on it."""
    seen = hashlib.sha256()
    for name, module in model.named_modules():
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        marks = [hasattr(module, "peft_config"), getattr(module, "_hf_peft_config_loaded", None), hooks]
        seen.update(f"{name} {type(module).__qualname__} {marks} {module.training}\n".encode())
        seen.update(f"{sorted(getattr(module, 'peft_config', {}))}\n".encode())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        seen.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.requires_grad}\n".encode())
        seen.update(tensor.detach().contiguous().flatten().numpy().tobytes())
    return seen.hexdigest()


def outcome(attempt: Attempt, *models: Any) -> str:
    """`refused` is our refusal with the models as they were; `opened` is that somebody got through."""
    before = [photo(model) for model in models]
    try:
        attempt()
    except Exception as error:  # noqa: BLE001  # whatever it is, the test is told
        told = "refused" if type(error).__name__ == "NotWarranted" else f"{type(error).__name__}: {error}"
    else:
        told = "opened"
    return told if told == "opened" or before == [photo(model) for model in models] else f"changed, {told}"


def base() -> Any:
    """A small model; X-LoRA demands that it has no cache."""
    from tiny import llama

    return llama(tie_word_embeddings=False, use_cache=False)


# --- every method, every door ----------------------------------------------------------------------------------


def config_of(method: str, lora: Path) -> Any:
    """A small configuration of a method; `lora` is a saved LoRA, for the method that is made of others."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    cls = PEFT_TYPE_TO_CONFIG_MAPPING[method]
    known = inspect.signature(cls).parameters
    wanted = {"target_modules": ["q_proj", "v_proj"], "r": 4, "num_virtual_tokens": 4}
    options = {name: value for name, value in wanted.items() if name in known}
    if method == "ADAPTION_PROMPT":
        options = {}
    if method == "XLORA":
        options = {"hidden_size": 64, "xlora_depth": 1, "adapters": {"0": str(lora)}}
    return cls(**{"task_type": "CAUSAL_LM", **options, **_OPTIONS.get(method, {})})


def doors(method: str, lora: Path, saved: Path) -> dict[str, tuple[Attempt, Any]]:
    """For one method, each way in, as a caller who holds everything already; and the model it goes for."""
    from peft import PeftModel, get_peft_model, inject_adapter_in_model, set_peft_model_state_dict
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.peft_model import PeftModelForCausalLM
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import get_peft_model_state_dict

    def config() -> Any:
        return config_of(method, lora)

    wearing = PeftModel.from_pretrained(base(), saved)
    weights = get_peft_model_state_dict(wearing)
    bare = [base() for _ in range(5)]
    tuner = PEFT_TYPE_TO_TUNER_MAPPING[method]
    found: dict[str, tuple[Attempt, Any]] = {
        "get_peft_model": (lambda: get_peft_model(bare[0], config()), bare[0]),
        "from_pretrained": (lambda: PeftModel.from_pretrained(bare[1], saved), bare[1]),
        "PeftModel": (lambda: PeftModelForCausalLM(bare[2], config()), bare[2]),
        "inject_adapter_in_model": (lambda: inject_adapter_in_model(config(), bare[3]), bare[3]),
        "load_adapter": (lambda: wearing.load_adapter(str(saved), "second"), wearing),
        "add_adapter": (lambda: wearing.add_adapter("third", config()), wearing),
        "state_dict": (lambda: set_peft_model_state_dict(wearing, weights), wearing),
    }
    if hasattr(tuner, "set_adapter"):  # of the others, the class is that of a prompt's encoder
        found["tuner"] = (lambda: tuner(bare[4], {"default": config()}, "default"), bare[4])
    if hasattr(tuner, "inject_adapter") and method != "XLORA":

        def inject() -> None:
            wearing.base_model.peft_config["fourth"] = config()
            try:
                wearing.base_model.inject_adapter(wearing.base_model.model, "fourth")
            finally:
                wearing.base_model.peft_config.pop("fourth", None)

        found["inject_adapter"] = (inject, wearing)
    for layer in (module for module in wearing.modules() if isinstance(module, BaseTunerLayer)):
        found["layer"] = (lambda layer=layer: layer.update_layer("fifth", config=config()), wearing)  # type: ignore[misc]
        break
    return found


def matrix(directory: str) -> dict[str, dict[str, Outcomes]]:
    """Every method and door twice: as it is, and then enforced. The adapters and references are made before."""
    from peft import get_peft_model
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    from tiny import write_lora

    root = Path(directory)
    write_lora(root / "lora", base())
    prepared = {}
    for method in sorted(str(getattr(key, "value", key)) for key in PEFT_TYPE_TO_CONFIG_MAPPING):
        get_peft_model(base(), config_of(method, root / "lora")).save_pretrained(root / method)
        prepared[method] = [doors(method, root / "lora", root / method) for _ in range(2)]

    def play(take: int) -> dict[str, Outcomes]:
        return {
            method: {name: outcome(attempt, model) for name, (attempt, model) in takes[take].items()}
            for method, takes in prepared.items()
        }

    free = play(0)
    from skillwarrant_verify import enforce

    enforce()
    return {"free": free, "enforced": play(1)}


# --- what else PEFT and transformers offer ---------------------------------------------------------------------


def others(directory: str) -> dict[str, Any]:
    """Doors that are no method's: of transformers, hotswap, combinations; references, subclasses of one's own."""
    import functools

    import peft
    import torch
    from peft import LoraConfig, PeftMixedModel, PeftModel, get_peft_model
    from peft.tuners.lora import Linear, LoraModel
    from peft.utils import hotswap
    from peft.utils.other import ModulesToSaveWrapper
    from transformers import AutoModelForCausalLM, pipeline

    from tiny import write_lora

    root = Path(directory)
    for name in ("lora", "other"):
        write_lora(root / name, base())
    base().save_pretrained(root / "base")
    settings = json.loads((root / "lora" / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str(root / "base")
    (root / "lora" / "adapter_config.json").write_text(json.dumps(settings))
    lora = str(root / "lora")
    config = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
    wearing = PeftModel.from_pretrained(base(), root / "lora")
    wearing.load_adapter(str(root / "other"), "other")
    plain = base()
    native = base()
    native.load_adapter(lora, "default")
    weights = peft.load_peft_weights(lora)
    layer = next(module for module in wearing.modules() if isinstance(module, Linear))
    held_bound = plain.load_adapter
    held_partial = functools.partial(get_peft_model, plain, config)
    held_original = wearing.base_model.__class__.inject_adapter
    ours = type("Ours", (PeftModel,), {"from_pretrained": classmethod(lambda cls, model: cls(model, config))})
    tuner = type("Tuner", (LoraModel,), {"extra": 1})

    def held_closure(held: Any = get_peft_model) -> Any:
        return held(plain, config)

    class Sly(LoraModel):  # type: ignore[misc]
        """A tuner that leaves out everything of PEFT's that it can, down to the layer."""

        def __init__(self, model: Any) -> None:
            torch.nn.Module.__init__(self)
            self.model, self.peft_config, self.active_adapter = model, {"default": config}, "default"
            parent = model.model.layers[0].self_attn
            self._create_and_replace(config, "default", parent.q_proj, "q_proj", parent, "q_proj")

    free = outcome(lambda: Sly(base()))
    from skillwarrant_verify import enforce

    enforce()
    attempts: dict[str, tuple[Attempt, Any]] = {
        "transformers load_adapter": (lambda: plain.load_adapter(lora), plain),
        "transformers load_adapter from memory": (
            lambda: plain.load_adapter(peft_config=config, adapter_state_dict=weights),
            plain,
        ),
        "transformers add_adapter": (lambda: plain.add_adapter(config), plain),
        "transformers hotswap": (lambda: native.load_adapter(str(root / "other"), "default", hotswap=True), native),
        "AutoModel on the adapter's directory": (lambda: AutoModelForCausalLM.from_pretrained(lora), plain),
        "AutoPeftModel": (lambda: peft.AutoPeftModelForCausalLM.from_pretrained(lora), plain),
        "PeftMixedModel": (lambda: PeftMixedModel.from_pretrained(plain, root / "lora"), plain),
        "get_peft_model mixed": (lambda: get_peft_model(plain, config, mixed=True), plain),
        "PeftMixedModel itself": (lambda: PeftMixedModel(plain, config), plain),
        "hotswap": (lambda: hotswap.hotswap_adapter(wearing, str(root / "other"), "default"), wearing),
        "hotswap from memory": (
            lambda: hotswap.hotswap_adapter_from_state_dict(wearing, weights, "default", config),
            wearing,
        ),
        "add_weighted_adapter": (
            lambda: wearing.add_weighted_adapter(
                ["default", "other"], [0.5, 0.5], "mix", combination_type="linear"
            ),
            wearing,
        ),
        "arrow": (lambda: peft.create_arrow_model(plain, [lora], peft.ArrowConfig()), plain),
        "loftq": (lambda: peft.replace_lora_weights_loftq(wearing), wearing),
        "eva": (lambda: peft.initialize_lora_eva_weights(wearing, []), wearing),
        "merge_and_unload": (wearing.merge_and_unload, wearing),
        "merge_adapter": (wearing.merge_adapter, wearing),
        "a layer of its own": (lambda: Linear(plain.lm_head, "default", config, r=4, lora_alpha=4), plain),
        "a layer's further adapter": (lambda: layer.update_layer("mine", 4, lora_alpha=4, config=config), wearing),
        "a module to save": (lambda: ModulesToSaveWrapper(plain.lm_head, "default"), plain),
        "a bound method held": (lambda: held_bound(lora), plain),
        "a partial held": (held_partial, plain),
        "a closure held": (held_closure, plain),
        "a function held": (
            lambda: held_original(wearing.base_model, wearing.base_model.model, "default"),
            wearing,
        ),
        "a subclass of PeftModel": (lambda: ours.from_pretrained(plain), plain),
        "a subclass of a tuner": (lambda: tuner(plain, {"default": config}, "default"), plain),
        "a sly subclass": (lambda: Sly(plain), plain),
        "pipeline": (lambda: pipeline("text-generation", model=lora), plain),
    }
    told = {name: outcome(attempt, model) for name, (attempt, model) in attempts.items()}
    return {"doors": told, "sly before": free, "written": written()}


def _add_parts(model: Any) -> None:
    """A further adapter in one of PEFT's layers, by hand."""
    import torch
    from peft.tuners.lora import Linear

    layer = next(module for module in model.modules() if isinstance(module, Linear))
    layer.lora_A["new"] = torch.nn.Linear(layer.in_features, 4, bias=False)
    layer.lora_B["new"] = torch.nn.Linear(4, layer.out_features, bias=False)
    layer.lora_dropout["new"], layer.scaling["new"] = torch.nn.Identity(), 1.0


def written() -> Outcomes:
    """What enforcement cannot stop, and whether measuring the base again tells."""
    import torch

    from skillwarrant_verify.base import measure

    told = {}
    for name, write in {
        "load_state_dict": lambda model: model.load_state_dict(
            {key: value + 1 for key, value in model.state_dict().items()}
        ),
        "data": lambda model: model.lm_head.weight.data.add_(1),
        "a module of one's own": lambda model: setattr(
            model, "lm_head", torch.nn.Sequential(model.lm_head, torch.nn.Linear(128, 128))
        ),
        "a hook": lambda model: model.lm_head.register_forward_hook(lambda _module, _input, output: output + 1),
        "a forward": lambda model: setattr(model.lm_head, "forward", lambda value: value @ torch.zeros(64, 128)),
        "a parametrization": lambda model: torch.nn.utils.parametrize.register_parametrization(
            model.lm_head, "weight", torch.nn.Linear(64, 64)
        ),
        "a class": lambda model: setattr(type(model), "forward", lambda *_args, **_options: None),
        "what a forward calls": lambda _: setattr(torch.nn.functional, "linear", lambda *_args: None),
    }.items():
        model = base()
        before = measure(model)
        write(model)
        after = measure(model)
        changed = before.fingerprint != after.fingerprint
        told[name] = "measured" if changed else "seen" if after.alterations != before.alterations else "unseen"
    return told


# --- a program that knows nothing of us ------------------------------------------------------------------------


def unknowing(directory: str, child: str = "") -> Outcomes:
    """Without a word of ours: what the environment made of PEFT here, and in processes started from here."""
    early = sorted({"peft", "torch", "transformers", "numpy"} & set(sys.modules))
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model, lora = base(), str(Path(directory) / "lora")
    told = {
        "imported before": str(early),
        "peft": outcome(lambda: PeftModel.from_pretrained(model, lora), model),
        "transformers": outcome(lambda: model.load_adapter(lora), model),
        "by itself": outcome(lambda: AutoModelForCausalLM.from_pretrained(lora), model),
    }
    if child:
        return told
    started = subprocess.run(
        [sys.executable, __file__, "unknowing", directory, "child"], capture_output=True, text=True, check=False
    )
    told["child"] = json.loads(started.stdout.splitlines()[-1])["peft"] if started.stdout else started.stderr
    reading, writing = os.pipe()
    if not (forked := os.fork()):
        os.write(writing, outcome(lambda: model.load_adapter(lora), model).encode())
        os._exit(0)
    os.waitpid(forked, 0)
    told["fork"] = os.read(reading, 1000).decode()
    return told


# --- the gate, enforced ----------------------------------------------------------------------------------------


def gate(directory: str) -> dict[str, Any]:
    """The gate's own way in still works; what is on the model stays usable; nothing else gets in beside it."""
    import torch
    from peft import IA3Config, PeftModel, get_peft_model, set_peft_model_state_dict
    from peft.utils.hotswap import hotswap_adapter

    before = functions()
    from skillwarrant_audit.recorder import Recorder
    from skillwarrant_verify import Gate, LoadOptions, Policy, enforce
    from skillwarrant_verify.trust import from_devstack
    from world import PRODUCTION, llama, logits, save_lora

    root = Path(directory)
    free, lora = llama(), root / "adapter"
    expected = logits(PeftModel.from_pretrained(free, lora))
    save_lora(root / "unsigned", seed=9)
    get_peft_model(llama(), IA3Config(target_modules=["k_proj"], feedforward_modules=[])).save_pretrained(
        root / "another"
    )
    imported = functions()
    enforce()
    enforced = functions()
    the_gate = Gate(
        policy=Policy.load(root / "policy.toml"),
        trust_root=from_devstack(root / "sigstore"),
        recorder=Recorder.open(root / "log"),
    )

    def activate(model: Any, name: str, **options: Any) -> Any:
        return the_gate.activate(model, root / name, context=PRODUCTION, options=LoadOptions(**options))

    model = activate(llama(), "adapter")
    told: dict[str, Any] = {"same answer": bool(torch.equal(logits(model), expected))}
    told["functions"] = [
        len(before),
        sum(imported.get(key) != value for key, value in before.items()),
        sum(enforced.get(key) != value for key, value in before.items()),
    ]
    activate(model, "second", adapter_name="second")
    told["two"] = sorted(model.peft_config)
    trained = activate(llama(), "adapter", is_trainable=True)
    trained(input_ids=torch.arange(4)[None], labels=torch.arange(4)[None]).loss.backward()
    told["trains"] = any(parameter.grad is not None for parameter in trained.parameters())
    state = dict(model.state_dict())
    bare, loader = llama(), _the_loader_itself
    told["past the gate"] = {
        "the loader itself": outcome(lambda: loader(bare, root / "unsigned"), bare),
        "the loader itself, through PEFT": outcome(lambda: loader(bare, root / "another"), bare),
        "the loader itself, one more": outcome(lambda: loader(model, root / "unsigned", "third"), model),
        "load_adapter": outcome(lambda: model.load_adapter(str(root / "unsigned"), "third"), model),
        "hotswap": outcome(lambda: hotswap_adapter(model, str(root / "unsigned"), "default"), model),
        "state_dict": outcome(lambda: set_peft_model_state_dict(model, state), model),
        "merge": outcome(model.merge_and_unload, model),
        "the gate's own merging": outcome(lambda: _the_merge_itself(model), model),
        "the gate's own mixing": outcome(lambda: _the_mix_itself(model), model),
        "an unsigned one at the gate": outcome(lambda: activate(model, "unsigned", adapter_name="third"), model),
        "after that": outcome(lambda: model.load_adapter(str(root / "unsigned"), "third"), model),
        "while the gate loads, elsewhere": _while_loading(activate, root),
    }
    model.set_adapter("second")
    with model.disable_adapter():
        told["disabled is the base"] = bool(torch.equal(logits(model), logits(llama())))
    told["copied"] = bool(torch.equal(logits(copy.deepcopy(model)), logits(model)))
    told["pickled"] = bool(torch.equal(logits(pickle.loads(pickle.dumps(model))), logits(model)))  # noqa: S301
    model.delete_adapter("second")
    told["unloaded is the base"] = bool(torch.equal(logits(model.unload()), logits(llama())))
    told["gate"] = _all_of_the_gate(the_gate, root)
    told["findings"] = {
        name: sorted({finding.code for finding in _written_on(the_gate, root, write).findings})
        for name, write in {
            "nothing": lambda _: None,
            "the base": lambda model: model.base_model.model.lm_head.weight.data.add_(1),
            "the adapter": lambda model: next(
                parameter for name, parameter in model.named_parameters() if "lora_B.default" in name
            ).data.add_(1),
            "a hook": lambda model: model.register_forward_hook(lambda _module, _input, output: output),
            "a layer's parts": _add_parts,
        }.items()
    }
    return told


def _the_loader_itself(model: Any, directory: Path, name: str = "default") -> object:
    from skillwarrant_format.snapshot import Snapshot
    from skillwarrant_verify.loader.load import load

    return load(model, Snapshot.read(directory), adapter_name=name)


def _the_merge_itself(model: Any) -> object:
    from skillwarrant_verify.loader.peft_changes import active_adapters, merge

    return merge(model, active_adapters(model), safe_merge=True)


def _the_mix_itself(model: Any) -> object:
    from skillwarrant_verify.loader.peft_changes import add_weighted
    from skillwarrant_verify.stack import Combination

    combine = Combination(adapter_name="mix", combination_type="linear")
    return add_weighted(model, [("default", 0.5), ("second", 0.5)], combine)


def _all_of_the_gate(the_gate: Any, root: Path) -> list[str]:
    """Every operation of the gate that has PEFT do something, one after the other."""
    from skillwarrant_verify.stack import StackItem
    from world import PRODUCTION, llama

    items = [StackItem(adapter=root / name, adapter_name=name) for name in ("adapter", "second")]
    model = the_gate.activate_stack(llama(), items, context=PRODUCTION)
    the_gate.add_weighted_adapter(model, ["adapter", "second"], [0.5, 0.5], "mix", "linear", context=PRODUCTION)
    seen = sorted(model.peft_config)
    the_gate.deactivate(model, "mix", context=PRODUCTION)
    merged = the_gate.merge_and_unload(model, context=PRODUCTION, adapter_names=["adapter"])
    return [*seen, type(merged).__name__]


def _written_on(the_gate: Any, root: Path, write: Callable[[Any], object]) -> Any:
    from world import PRODUCTION, llama

    model = the_gate.activate(llama(), root / "adapter", context=PRODUCTION)
    write(model)
    return the_gate.check(model)


def functions() -> dict[str, int]:
    """The code of each function of PEFT and transformers, and who sees imports: what a patch would change."""
    found = {f"finder {number}": id(finder) for number, finder in enumerate(sys.meta_path)}
    for name, module in list(sys.modules.items()):
        if name.startswith(("peft", "transformers.")) and isinstance(module, ModuleType):
            holders = [module, *(each for each in list(vars(module).values()) if isinstance(each, type))]
            for holder in holders:
                for key, value in list(vars(holder).items()):
                    if isinstance(value, FunctionType):
                        found[f"{name} {holder.__name__} {key}"] = id(value.__code__)
    return found


def _while_loading(activate: Callable[..., Any], root: Path) -> str:
    """Another thread tries for as long as the gate loads: a passage is one thread's own."""
    from peft import PeftModel

    from world import llama

    wanted, *ours = [llama() for _ in range(4)]  # made before: torch's seed is not a thread's own
    busy, told = threading.Event(), []

    def meanwhile() -> None:
        while not told or busy.is_set():
            told.append(outcome(lambda: PeftModel.from_pretrained(wanted, root / "unsigned"), wanted))

    thread = threading.Thread(target=meanwhile, daemon=True)
    busy.set()
    thread.start()
    for model in ours:
        activate(model, "adapter")
    busy.clear()
    thread.join()
    return " ".join(sorted(set(told))) if len(told) > 2 else f"only {len(told)} attempts"


# --- diffusers -------------------------------------------------------------------------------------------------


def images(directory: str) -> dict[str, Any]:
    """Diffusers' own doors, on a tiny UNet and a tiny pipeline; and whether every door that we know is there."""
    from importlib import import_module

    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from peft import LoraConfig
    from transformers import CLIPTextConfig, CLIPTextModel

    def unet() -> Any:
        torch.manual_seed(0)
        return UNet2DConditionModel(
            block_out_channels=(4, 8),
            layers_per_block=1,
            sample_size=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=8,
            attention_head_dim=2,
            norm_num_groups=2,
        )

    saved = Path(directory) / "unet-lora"
    given: dict[str, Any] = {"prefix": None, "weight_name": "pytorch_lora_weights.safetensors"}
    config = LoraConfig(r=2, target_modules=["to_q", "to_v"])
    source = unet()
    source.add_adapter(config)
    source.save_lora_adapter(saved)
    text = CLIPTextModel(
        CLIPTextConfig(hidden_size=8, intermediate_size=8, num_attention_heads=2, num_hidden_layers=1, vocab_size=9)
    )
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, latent_channels=4),
        text_encoder=text,
        tokenizer=None,
        unet=unet(),
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    wearing = unet()
    wearing.load_lora_adapter(saved, **given, adapter_name="default")
    plain = unet()
    attempts: dict[str, tuple[Attempt, Any]] = {
        "load_lora_adapter": (lambda: plain.load_lora_adapter(saved, **given), plain),
        "add_adapter": (lambda: plain.add_adapter(config), plain),
        "hotswap": (
            lambda: wearing.load_lora_adapter(saved, **given, adapter_name="default", hotswap=True),
            wearing,
        ),
        "fuse_lora": (lambda: wearing.fuse_lora(lora_scale=0.5), wearing),
        "load_attn_procs": (lambda: plain.load_attn_procs({}), plain),
        "pipeline load_lora_weights": (lambda: pipe.load_lora_weights(saved), pipe.unet),
        "pipeline load_lora_into_unet": (
            lambda: pipe.load_lora_into_unet(source.state_dict(), None, pipe.unet),
            pipe.unet,
        ),
        "pipeline fuse_lora": (pipe.fuse_lora, pipe.unet),
        "textual inversion": (lambda: pipe.load_textual_inversion({"a": torch.zeros(8)}), text),
        "ip adapter": (lambda: pipe.load_ip_adapter({}, subfolder="", weight_name=""), pipe.unet),
    }
    free = {"load_lora_adapter": outcome(lambda: unet().load_lora_adapter(saved, **given))}
    from skillwarrant_verify import enforce
    from skillwarrant_verify.enforcing.doors import required

    enforce()
    told: dict[str, Any] = {name: outcome(attempt, model) for name, (attempt, model) in attempts.items()}
    for door in required():
        parts = door.split(".")
        module = next(n for n in range(len(parts), 0, -1) if _is_module(".".join(parts[:n])))
        import_module(".".join(parts[:module]))
    return {"free": free, "enforced": told, "awaited": list(enforce().awaited)}


def _is_module(name: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        played = globals()[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(played))
