"""Every limit in one place, with its unit. What is larger is refused before it is parsed or held.

The numbers are an order of magnitude above what real adapters need, and small enough that a hostile
input costs a second, not a machine.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

MAX_JSON_DEPTH: Final = 64  # nested arrays and objects
MAX_JSON_INTEGER: Final = 2**53 - 1  # RFC 8785 section 3.2.2.3: IEEE 754 doubles
MAX_JSON_BYTES: Final = 16 * MIB  # any JSON document that has no limit of its own
MAX_BUNDLE_BYTES: Final = 16 * MIB  # a Sigstore bundle: about 60,000 subjects
MAX_STATEMENT_BYTES: Final = 8 * MIB  # the payload inside it
MAX_CONFIG_BYTES: Final = 1 * MIB  # adapter_config.json and other small JSON of an adapter
MAX_POLICY_BYTES: Final = 1 * MIB  # a policy or skill.toml
MAX_TOML_KEYS: Final = 50_000  # names and lists in one, each part of a dotted name: about 1 KiB of memory each
MAX_TRUST_BYTES: Final = 8 * MIB  # trusted_root.json, signing_config.json
MAX_SAFETENSORS_HEADER: Final = 16 * MIB  # about 130,000 tensors in one file; the format itself allows 100 MB
MAX_TENSORS: Final = 1_000_000  # in one file
MAX_FILES: Final = 10_000  # in one adapter
MAX_FOLDERS: Final = 200  # in one adapter; each is held open while it is read
MAX_POLICY_FILES: Final = 1_000  # in one policy's directory
MAX_POLICY_DIRECTORY_BYTES: Final = 4 * MIB  # all files of one policy together
MAX_RULE_MODULE_BYTES: Final = 64 * KIB  # one Python module of a policy: CPython may need its square to read it
MAX_RULE_MODULES_BYTES: Final = 256 * KIB  # all Python modules of one policy together
MAX_POLICY_PACK_BYTES: Final = 16 * MIB  # the same and the bundle, as one file of JSON
MAX_ADAPTER_BYTES: Final = 16 * GIB  # all files of one adapter together
MAX_SKILL_NAME_CHARS: Final = 128  # `organisation/skill`
MAX_VERSION_CHARS: Final = 64  # a SemVer version
MAX_RANGE_CHARS: Final = 128  # a PEP 440 version specifier
MAX_AGE_DAYS: Final = 36_500  # a hundred years: what a policy may call the oldest that it takes
MAX_NAME_CHARS: Final = 512  # a file name, model name, label
MAX_URI_CHARS: Final = 2_048  # a URI, a signer's identity
MAX_MESSAGE_CHARS: Final = 4_096  # why a requirement was not met
MAX_TEXT_CHARS: Final = 10_000  # a description
MAX_LIST_ITEMS: Final = 1_000  # any list in a predicate that has no limit of its own
MAX_LEAF_BYTES: Final = 65_535  # one log entry (C2SP tlog-tiles: a 16-bit length)
READ_CHUNK: Final = 4 * MIB  # bytes read or hashed at a time
