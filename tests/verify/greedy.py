"""Small files whose configurations ask for a lot: how much memory a refusal takes. `python greedy.py DIRECTORY`

In a process of its own, since what is measured is the process: the highest resident size while it loads, which
Linux counts and lets be reset. One line of JSON.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any, Final

import torch
from peft import get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

import tiny
from skillwarrant_format.adapter_files import CONFIG_NAME
from skillwarrant_format.errors import SkillwarrantError
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.loader import option_shapes, through_peft
from skillwarrant_verify.loader.load import load

HIDDEN: Final = 512
QV: Final = ["q_proj", "v_proj"]
SMALL: Final[dict[str, dict[str, Any]]] = {
    "ADALORA": {"init_r": 4, "target_r": 2, "total_step": 9, "target_modules": QV},
    "ADAPTION_PROMPT": {"adapter_len": 4, "adapter_layers": 2},
    "C3A": {"block_size": 64, "target_modules": QV},
    "CARTRIDGE": {"num_virtual_tokens": 4, "num_frozen_tokens": 1},
    "CPT": {"cpt_token_ids": [1], "cpt_mask": [1], "cpt_tokens_type_mask": [1]},
    "FOURIERFT": {"n_frequency": 20, "target_modules": QV},
    "LORA": {"r": 4, "target_modules": QV, "alora_invocation_tokens": [5]},
    "MULTITASK_PROMPT_TUNING": {"num_virtual_tokens": 3, "num_tasks": 2},
    "OFT": {"oft_block_size": 8, "target_modules": QV},
    "POLY": {"r": 4, "n_tasks": 2, "n_skills": 2, "target_modules": QV},
    "PREFIX_TUNING": {"num_virtual_tokens": 3},
    "PROMPT_TUNING": {"num_virtual_tokens": 3},
    "PSOFT": {"r": 8, "target_modules": QV},
    "P_TUNING": {"num_virtual_tokens": 3, "encoder_hidden_size": 16},
    "PVERA": {"r": 8, "target_modules": ["q_proj", "o_proj"]},
    "RANDLORA": {"r": 8, "target_modules": QV},
    "SHADOW": {"r": 4},
    "SUPERTUNING": {"sparsity": 0.9, "r": 4, "lora_alpha": 4, "target_modules": QV},
    "TINYLORA": {"r": 2, "u": 8, "target_modules": QV},
    "UNILORA": {"r": 4, "theta_d_length": 64, "target_modules": QV},
    "VBLORA": {"r": 2, "num_vectors": 20, "vector_length": 16, "target_modules": QV},
    "VERA": {"r": 8, "target_modules": ["q_proj", "o_proj"]},
    "WAVEFT": {"n_frequency": 20, "target_modules": QV},
}
"""Options of each method that make a small file; of those that are not here, a rank of 4."""
GREEDY: Final[dict[str, dict[str, int]]] = {
    "ADALORA": {"init_r": 4096},
    "ADAPTION_PROMPT": {"adapter_len": 65_536},
    "C3A": {"block_size": 512},
    "CARTRIDGE": {"num_virtual_tokens": 65_536},
    "CPT": {"num_virtual_tokens": 65_536},
    "FOURIERFT": {"n_frequency": 2**24},
    "MULTITASK_PROMPT_TUNING": {"num_virtual_tokens": 65_536},
    "OFT": {"oft_block_size": 512},
    "PREFIX_TUNING": {"num_virtual_tokens": 65_536},
    "PROMPT_TUNING": {"num_virtual_tokens": 65_536},
    "P_TUNING": {"num_virtual_tokens": 65_536},
    "TINYLORA": {"u": 4096, "r": 256},
    "UNILORA": {"theta_d_length": 2**24},
    "VBLORA": {"num_vectors": 16_384, "vector_length": 8192},
    "WAVEFT": {"n_frequency": 2**24},
}
"""What the configuration asks for in place of it; of those that are not here, a rank of 4,096."""
METHODS: Final = tuple(name for name in option_shapes.SHOWN if name not in {"ADAMSS", "BOFT"})
"""All but two, whose blocks PEFT fits into a layer before it makes any."""


def llama() -> Any:
    return tiny.llama(hidden_size=HIDDEN, intermediate_size=64, num_key_value_heads=4)


def write(method: str, directory: Path) -> None:
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[method]
    options = SMALL.get(method, {"r": 4, "target_modules": QV})
    get_peft_model(llama(), kind(task_type="CAUSAL_LM", **options)).save_pretrained(str(directory))
    path = directory / CONFIG_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **GREEDY.get(method, {"r": 4096})}))


def resident(which: str) -> int:
    """`VmRSS`: now; `VmHWM`: at most, since it was reset. In MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{which}:"))


def attempt(model: Any, directory: Path) -> dict[str, Any]:
    """What came of loading, and how many MiB it took at most."""
    snapshot = Snapshot.read(directory)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    try:
        load(model, snapshot)
    except SkillwarrantError as error:
        told = str(error)
    else:
        told = "loaded"
    return {"told": told, "took": resident("VmHWM") - before}


def main(root: Path) -> None:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    for method in METHODS:
        write(method, root / method)
        found[method] = attempt(llama(), root / method)
    through_peft.check_shown = lambda *_: None  # type: ignore[assignment]  # what it is there for
    for method in ("LORA", "PROMPT_TUNING", "HIRA"):
        found[f"{method}, unchecked"] = attempt(llama(), root / method)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
