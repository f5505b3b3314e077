"""A publisher whom the policy trusts, and whose `adapter_config.json` tries to do more than add weights."""

from __future__ import annotations

import json
from typing import Any

import torch

from attack import attack
from lab import Beside, Published

GROUP = "configuration"
WORDS = """\
A publisher whom the policy trusts, and who signs what he likes: options that change the base, open further paths,
run code or regular expressions, do not fit the weights, or are read in two ways by two readers."""

BOMB = "(((.*)*)*)*q_proj_"
SAVED = "base_model.model.lm_head.weight"


def case(name: str, refused_by: str, says: str, *, setup: Any = Published) -> Any:
    return attack(GROUP, name, setup=setup, refused_by=refused_by, says=says)


def option(
    name: str, refused_by: str, says: str, *, allowed: str = "", setup: Any = Published, **options: Any
) -> None:
    """The configuration has other options; the manifest is what the signer makes of it."""

    @case(name, refused_by, says, setup=setup)
    def _(attempt: Published) -> None:
        attempt.config.update(options)
        attempt.extra = f"allow_hazards = {json.dumps([allowed])}" if allowed else ""


# Options that do more than add weights


def hazard(name: str, code: str, **options: Any) -> None:
    """Two attacks: the manifest says it, and the policy does not allow it; and the other way round."""
    option(f"{name}: declared, and not allowed", "hazards.allowed", code, **options)

    @case(f"{name}: allowed, and not declared", "adapter.as-declared", code)
    def _(attempt: Published) -> None:
        attempt.config.update(options)
        attempt.extra = f'allow_hazards = ["{code}"]'
        attempt.declare = {"hazards": (), "changes_base": False}


hazard("PiSSA takes its start out of the base", "changes-base", init_lora_weights="pissa_niter_4")
hazard("OLoRA takes its start out of the base", "changes-base", init_lora_weights="olora")
hazard("LoftQ quantises the base anew", "changes-base", init_lora_weights="loftq")
hazard("layers of the base are replicated", "changes-base", layer_replication=[[0, 2], [1, 2]])
hazard("biases of the base are trained", "changes-base", bias="all")
hazard("a module of the base is replaced", "modules-to-save", modules_to_save=["lm_head"])
hazard("a classification head is added by the task type alone", "modules-to-save", task_type="SEQ_CLS")
hazard("a head for tokens is added by the task type alone", "modules-to-save", task_type="TOKEN_CLS")
hazard("a head for answers is added by the task type alone", "modules-to-save", task_type="QUESTION_ANS")
hazard("weights that the file does not set start random", "random-init", init_lora_weights=False)
hazard("a regular expression chooses the modules", "regex-targets", target_modules=r".*\.(q|v)_proj")
hazard("a regular expression that never ends chooses the modules", "regex-targets", target_modules=BOMB)
hazard("a regular expression that never ends is a key of the ranks", "regex-targets", rank_pattern={BOMB: 4})
hazard("a regular expression that never ends excludes modules", "regex-targets", exclude_modules=BOMB)
for name, options in {
    "the modules": {"target_modules": BOMB},
    "the excluded modules": {"exclude_modules": BOMB},
    "the ranks": {"rank_pattern": {BOMB: 4}},
    "the scaling factors": {"alpha_pattern": {BOMB: 4}},
}.items():
    option(
        f"a regular expression that never ends chooses {name}, and the policy allows them",
        "format",
        "regular expression",
        allowed="regex-targets",
        **options,
    )
hazard("bare parameters are targeted", "target-parameters", target_parameters=["q_proj.weight"])
hazard("the adapter sleeps until it reads a trigger", "trigger-tokens", alora_invocation_tokens=[7, 7])
hazard("a module of another library is imported", "imports-modules", megatron_config={"a": 1}, megatron_core="os")
hazard(
    "the model's class is mapped to a foreign library",
    "imports-modules",
    auto_mapping={"base_model_class": "Popen", "parent_library": "subprocess"},
)
hazard("a tokenizer is loaded from a path", "loads-paths", tokenizer_name_or_path="/tmp/evil")
hazard("further adapters are loaded from paths", "loads-paths", adapters={"0": "evil/lora"})


@case("the manifest declares a hazard that is not there, to hide one that is", "adapter.as-declared", "random-init")
def _(attempt: Published) -> None:
    attempt.config["init_lora_weights"] = False
    attempt.extra = 'allow_hazards = ["random-init", "trigger-tokens"]'
    attempt.declare = {"hazards": ("trigger-tokens",)}


@case("the manifest declares one hazard of two", "adapter.as-declared", "regex-targets")
def _(attempt: Published) -> None:
    attempt.config.update(init_lora_weights=False, target_modules=".*[qv]_proj")
    attempt.extra = 'allow_hazards = ["random-init", "regex-targets"]'
    attempt.declare = {"hazards": ("random-init",)}


@case("the manifest declares another method", "adapter.as-declared", "IA3")
def _(attempt: Published) -> None:
    attempt.declare = {"peft_type": "IA3"}


def understated(name: str, says: str, found: Any, /, **options: Any) -> None:
    """The manifest states something of the adapter that its files do not say."""

    @case(f"the manifest states {name}", "adapter.as-declared", says)
    def _(attempt: Published) -> None:
        attempt.config.update(options)
        attempt.declare = found


understated("a small rank over a large one", "found rank 1", {"rank": 1})
understated(
    "a rank that only single modules have", "expected rank 1", {"rank": 64}, r=1, rank_pattern={"q_proj": 64}
)
understated("a weak scaling over a strong one", "alpha 800, found alpha 1", {"alpha": 1}, lora_alpha=800)
understated("another task", "found task type FEATURE", {"task_type": "FEATURE_EXTRACTION"})
understated("one module of two", "found target modules q_proj", {"target_modules": ("q_proj",)})
understated("a module more", "found target modules", {"target_modules": ("q_proj", "v_proj", "lm_head")})
understated("fewer weights than there are", "found parameters 1", {"parameters": 1})
understated("fewer tensors than there are", "found tensors 1", {"tensors": 1})


# A file that its name does not tell


def disguised(name: str, path: str, data: bytes) -> None:
    @case(f"{name} is called {path}", "files.mismatch", "a pickle under another name")
    def _(attempt: Published) -> None:
        attempt.files[path] = data


disguised(
    "a pickle", "tokenizer.model", b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system"
)
disguised("a pickle", "README.md", b"\x80\x02cos\nsystem\n")
disguised("an archive of torch.save", "tokenizer.json", b"PK\x03\x04" + bytes(26) + b"archive/data.pkl")
disguised("an array of objects", "NOTICE", b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}")
disguised("a compressed pickle", "merges.txt", b"\x1f\x8b\x08" + bytes(20))


@case("the manifest declares that nothing of the base changes", "adapter.as-declared", "changes-base")
def _(attempt: Published) -> None:
    attempt.config["bias"] = "all"
    attempt.extra = 'allow_hazards = ["changes-base"]'
    attempt.declare = {"changes_base": False}


# A file that two readers read in two ways


def written(name: str, says: str, text: str | bytes) -> None:
    @case(f"the file {name}", "format", says)
    def _(attempt: Published) -> None:
        honest = json.dumps(attempt.config)[1:-1]
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        attempt.raw_config = data.replace(b"...", honest.encode())


written("has a key twice", "'r' twice", '{..., "r": 64}')
written("has a key twice, once with an escape in it", "'r' twice", '{..., "\\u0072": 64}')
written("has a key twice in an object inside", "twice", '{..., "x": {"a": 1, "a": 2}}')
written("holds NaN", "NaN, which is not JSON", '{..., "x": NaN}')
written("holds Infinity", "Infinity, which is not JSON", '{..., "x": Infinity}')
written("holds a number beyond a double", "beyond a double", '{..., "x": 1e999}')
written("holds a whole number that a double cannot hold", "beyond 2^53", '{..., "x": 9007199254740993}')
written("holds a number of a million digits", "beyond 2^53", '{..., "x": ' + "9" * 1_000_000 + "}")
written("holds NUL", "NUL character", '{..., "x": "\\u0000"}')
written("holds half a character", "lone surrogate", '{..., "x": "\\ud800"}')
written("holds a control character", "not JSON", '{..., "x": "\x01"}')
written("begins with a byte-order mark", "not JSON", "\ufeff{...}")
written("is UTF-16", "not UTF-8", b"\xff\xfe{\x00}\x00")
written("has a comment", "not JSON", "{...} // as PEFT wrote it")
written("has a comma too many", "not JSON", "{...,}")
written("is two documents", "not JSON", "{...}{...}")
written("is nested ten thousand deep", "nested too deeply", '{..., "x": ' + "[" * 10_000 + "]" * 10_000 + "}")
written("is larger than a configuration may be", "too large", "{...}" + " " * 2**20)
written("is empty", "not JSON", "")
written("is a list", "not a JSON object", "[]")
written("says null", "not a JSON object", "null")


# Values of no sound type or size


def value(name: str, key: str, found: Any, *, says: str | None = None) -> None:
    option(name, "format", key if says is None else says, **{key: found})


value("an option is not PEFT's", "evil_option", 1)
value("an option is one of Python's own names", "__class__", "os.system")
value("an option is PEFT's own for use at run time", "runtime_config", {"ephemeral_gpu_offload": True})
value("the method is unknown", "peft_type", "EVIL", says="EVIL")
value("the method is spelled in small letters", "peft_type", "lora", says="lora")
value("the method is a number", "peft_type", 1)
value("the method is missing", "peft_type", None)
value("the task is unknown", "task_type", "EVIL")
value("the task is a list", "task_type", ["CAUSAL_LM"])
value("the scaling factor is true", "lora_alpha", True)
value("the scaling factor is a string", "lora_alpha", "16")
value("the scaling factor is a list", "lora_alpha", [16])
value("the rank is zero", "r", 0, says="r ")
value("the rank is negative", "r", -4, says=".r ")
value("the rank is true", "r", True, says=".r ")
value("the rank is a fraction", "r", 4.5, says=".r ")
value("the rank is as large as memory", "r", 2**40, says="r ")
value("the dropout is certain and more", "lora_dropout", 1.5)
value("the dropout is a string", "lora_dropout", "0")
value("the targets are a number", "target_modules", 7)
value("the targets hold a list", "target_modules", [["q_proj"]])
value("the targets hold one name twice", "target_modules", ["q_proj", "v_proj", "q_proj"])
value("the name of the base has a line break", "base_model_name_or_path", "a\nb")
value("the version of PEFT is a number", "peft_version", 0.21)
value("the revision holds an escape sequence", "revision", "\x1b[2J")
value("the mode is a word", "inference_mode", "yes")
value("rank-stabilised is a word", "use_rslora", "no")
value("the ranks of modules are a list", "rank_pattern", ["q_proj", 4])
value("the rank of a module is negative", "rank_pattern", {"q_proj": -4})
value("the rank of a module is a string", "rank_pattern", {"q_proj": "4"})
value("the scaling factor of a module is true", "alpha_pattern", {"q_proj": True})


# Options that do not fit the weights


def unfit(name: str, says: str, *, setup: Any = Published, allowed: str = "", **options: Any) -> None:
    option(name, "load.mismatch", says, allowed=allowed, setup=setup, **options)


MORE, LESS, SHAPE = "does not imply", "lacks a tensor", "another shape"
unfit("fewer modules are targeted than the file has", MORE, target_modules=["q_proj"])
unfit("fewer layers are chosen than the file has", MORE, layers_to_transform=[0])
unfit("modules are excluded that the file has", MORE, exclude_modules=["v_proj"])
unfit("more modules are targeted than the file has", LESS, target_modules=["q_proj", "v_proj", "k_proj"])
unfit("the output layer is targeted too", LESS, target_modules=["q_proj", "v_proj", "lm_head"])
unfit("all linear layers are targeted", LESS, target_modules="all-linear")
unfit("other modules are targeted", LESS, target_modules=["up_proj"])
unfit("no module has the targeted name", "does not fit this model", target_modules=["evil_proj"])
unfit(
    "a module is targeted that PEFT cannot adapt", "does not fit this model", target_modules=["q_proj", "self_attn"]
)
unfit("a layer is chosen that the model has not", "does not fit this model", layers_to_transform=[7])
unfit("the rank is twice the file's", SHAPE, r=8)
unfit("the rank is twice the file's, for one module", SHAPE, rank_pattern={"q_proj": 8})
unfit("DoRA is said, and the file has no magnitudes", LESS, use_dora=True)
unfit("a bias is said, and the file has none", LESS, lora_bias=True)
unfit(
    "a module is to be replaced, and the file has none",
    LESS,
    allowed="modules-to-save",
    modules_to_save=["lm_head"],
)
unfit("the task is one of models with an encoder", "not one of this model", task_type="SEQ_2_SEQ_LM")
unfit("fewer modules are targeted, beside another adapter", MORE, setup=Beside, target_modules=["q_proj"])
unfit(
    "more modules are targeted, beside another adapter",
    LESS,
    setup=Beside,
    target_modules=["q_proj", "v_proj", "o_proj"],
)


# More than the file holds, of methods for which PEFT allocates it before anybody compares

GREEDY = "asks for more than"
unfit("the rank is a thousand times the file's", GREEDY, r=4096, init_lora_weights="mica")
unfit("the rank of one module is a thousand times the file's", GREEDY, rank_pattern={"q": 4096}, use_qalora=True)


def decoy(name: str, columns: int) -> None:
    @case(f"the rank is a thousand times the file's, but for {name}", "load.mismatch", GREEDY)
    def _(attempt: Published) -> None:
        attempt.config.update(r=4096, init_lora_weights="mica")
        attempt.tensors["base_model.model.zz.lora_A.weight"] = torch.zeros(4096, columns)


decoy("a tensor of that rank that holds no number", 0)
decoy("a tensor of that rank that has one column", 1)


@case("sixty thousand virtual tokens are asked for, and the file has four", "load.mismatch", GREEDY)
def _(attempt: Published) -> None:
    attempt.config = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 65_536}
    attempt.tensors = {"prompt_embeddings": torch.zeros(4, 32)}


@case("a gigabyte of vectors is asked for, and the file has sixteen numbers", "load.mismatch", GREEDY)
def _(attempt: Published) -> None:
    attempt.config = {
        "peft_type": "VBLORA",
        "task_type": "CAUSAL_LM",
        "target_modules": ["q_proj"],
        "num_vectors": 16_384,
        "vector_length": 16_384,
    }
    attempt.tensors = {"base_model.vblora_vector_bank": torch.zeros(4, 4)}


@case("a module of the base is replaced in passing, without an option for it", "load.mismatch", "would overwrite")
def _(attempt: Published) -> None:
    """The key that a replaced module has in a file is the base's own."""
    attempt.tensors[SAVED] = torch.zeros(64, 32)
