"""The publisher's half: adapter directory -> statement -> bundle, beside the adapter.

    adapter = read_adapter(directory)
    skill = SkillToml.load(default_path(directory))
    statement = build(adapter, skill, measure_bases(skill))
    bundle = sign(statement, credential=ambient_credential())
    write_bundle(directory, bundle)

Importing it is cheap: sigstore and requests are imported by the functions that talk to a service. It knows nothing
of verification, policies or loading.
"""

from __future__ import annotations

from skillwarrant_attest.adapter import Adapter, read_adapter
from skillwarrant_attest.build import base_from_directory, base_from_facts, build, measure_bases
from skillwarrant_attest.credential import Credential
from skillwarrant_attest.login import ambient_credential, browser_credential
from skillwarrant_attest.policy import build_policy, write_pack, write_policy_bundle
from skillwarrant_attest.sections import NamedBase
from skillwarrant_attest.sign import sign
from skillwarrant_attest.skill_toml import SkillToml, default_path
from skillwarrant_attest.template import template, write_template
from skillwarrant_attest.timing import Timeouts
from skillwarrant_attest.write import write_bundle

__all__ = [
    "Adapter",
    "Credential",
    "NamedBase",
    "SkillToml",
    "Timeouts",
    "ambient_credential",
    "base_from_directory",
    "base_from_facts",
    "browser_credential",
    "build",
    "build_policy",
    "default_path",
    "measure_bases",
    "read_adapter",
    "sign",
    "template",
    "write_bundle",
    "write_pack",
    "write_policy_bundle",
    "write_template",
]
