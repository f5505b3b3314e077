# The native requirements, all of them, said again in Rego over the input document; data.config is policy.toml.
# What every policy asks of verified bytes (signature.valid, log.included) is proved where the document is made: here it
# is that the document says so, which document.rego holds to.
package skillwarrant

import data.skillwarrant.document
import data.skillwarrant.packages
import data.skillwarrant.spelling

# A module may not give messages under our codes, so that each has `twin.` before it.
deny contains {"code": "twin.input.malformed", "msg": "not as it must be", "details": some_of_it} if {
	count(document.wrong) > 0
	some_of_it := array.slice(sort(document.wrong), 0, 5)
}

deny contains {"code": concat("", ["twin.", code]), "msg": "not proved"} if {
	count(document.wrong) == 0
	some code in unproved
	not tolerated(code)
}

# As a staged roll-out has it: until then it is no denial.
tolerated(code) if {
	from := data.config.requirements[code].effective_on
	input.now < from
}

manifest := input.manifest

skill := input.manifest.skill

signer := input.warrant.signer

measured := input.base.fingerprint.digest.sha256

# What may be absent has a default here: in OPA, `not f(input.x)` is no answer where input.x is not there.
default operator := {}

operator := input.context.operator

default region := ""

region := input.context.region

installed(name) := object.get(object.get(input, "versions", {}), name, "")

over(key, limit) if object.get(input.adapter, key, 9007199254740991) > limit

trusted contains publisher if {
	some publisher in data.config.publishers
	spelling.identity_matches(publisher, signer)
}

covering contains publisher if {
	some publisher in trusted
	some pattern in publisher.skills
	spelling.name_matches(pattern, skill.name)
}

authorised contains model if {
	some model in manifest.baseModels
	some print in document.fingerprints(model)
	print.digest.sha256 == measured
}

unproved contains "publisher.trusted" if count(covering) == 0

unproved contains "publisher.trusted" if {
	some model in authorised
	count({publisher | some publisher in covering; may_name(publisher, model.name)}) == 0
}

may_name(publisher, _) if not publisher.base_models

may_name(publisher, name) if {
	some pattern in publisher.base_models
	spelling.name_matches(pattern, name)
}

unproved contains "manifest.not-revoked" if {
	some digest in data.config.revocations.manifests
	trim_prefix(digest, "sha256:") == input.warrant.statement.sha256
}

unproved contains "manifest.not-revoked" if {
	some revoked in data.config.revocations.skills
	spelling.name_matches(revoked.name, skill.name)
	is_in(revoked, skill.version)
}

unproved contains "manifest.not-revoked" if {
	some revoked in data.config.revocations.signers
	spelling.identity_matches(revoked, signer)
	input.warrant.signedAt >= object.get(revoked, "since", "0000")
}

is_in(revoked, _) if not revoked.versions

is_in(revoked, version) if spelling.semver_in(version, revoked.versions)

unproved contains "revocations.fresh" if input.now >= data.config.revocations.valid_until

unproved contains "class.allowed" if not manifest.policyClass in data.config.policy_classes

unproved contains "class.allowed" if {
	object.get(input.context, "policyClass", manifest.policyClass) != manifest.policyClass
}

age(signed) := spelling.seconds(input.now) - spelling.seconds(signed)

unproved contains "manifest.age" if age(input.warrant.signedAt) < -300

unproved contains "manifest.age" if age(input.warrant.signedAt) > data.config.max_age_days * 86400

# The highest floor that covers the skill.
unproved contains "version.floor" if {
	some floor in data.config.versions.floors
	spelling.name_matches(floor.skill, skill.name)
	spelling.semver_key(skill.version) < spelling.semver_key(floor.least)
}

unproved contains "version.no-rollback" if {
	data.config.versions.no_rollback
	not input.history
}

unproved contains "version.no-rollback" if {
	data.config.versions.no_rollback
	highest := object.get(input, ["history", "highest"], skill.version)
	spelling.semver_key(skill.version) < spelling.semver_key(highest)
}

unproved contains "files.exact" if {
	{file.name | some file in input.warrant.files} != {file.name | some file in input.adapter.files}
}

unproved contains "files.safe" if {
	some name in {"adapter_config.json", "adapter_model.safetensors"}
	not name in {file.name | some file in input.adapter.files}
}

unproved contains "files.safe" if {
	some file in input.adapter.files
	not is_safe(file)
}

is_safe(file) if file == {"name": "adapter_model.safetensors", "content": "safetensors"}

# No hidden part, and text by its suffix, or a licence by its whole name.
is_safe(file) if {
	file.content == "other"
	regex.match(`^[^./][^/]*(?:/[^./][^/]*)*$`, file.name)
	has_a_name_of_text(file.name)
}

has_a_name_of_text(name) if regex.match(
	concat("", [
		`[^/]\.(?:[jJ][iI][nN][jJ][aA]|[jJ][sS][oO][nN]|[mM][dD]|[mM][oO][dD][eE][lL]|`,
		`[tT][oO][mM][lL]|[tT][xX][tT])$`,
	]),
	name,
)

has_a_name_of_text(name) if regex.match(`(?:^|/)(?:COPYING|LICENCE|LICENSE|NOTICE)$`, name)

unproved contains "adapter.as-declared" if manifest.adapter.peftType != input.adapter.peftType

unproved contains "adapter.as-declared" if manifest.adapter.changesBase != input.adapter.changesBase

unproved contains "adapter.as-declared" if {
	{one | some one in object.get(manifest.adapter, "hazards", [])} != {one | some one in input.adapter.hazards}
}

unproved contains "adapter.as-declared" if manifest.adapter.parameters != input.adapter.parameters

unproved contains "adapter.as-declared" if manifest.adapter.tensors.count != input.adapter.tensors

# What the manifest may leave out; what it leaves out, it does not claim.
unproved contains "adapter.as-declared" if {
	some stated, seen in {"rank": "defaultRank", "alpha": "defaultAlpha", "taskType": "taskType"}
	object.get(input.adapter, seen, null) != manifest.adapter[stated]
}

unproved contains "adapter.as-declared" if {
	stated := manifest.adapter.targetModules
	{one | some one in stated} != {one | some one in input.adapter.targetModules}
}

unproved contains "hazards.allowed" if {
	some hazard in input.adapter.hazards
	not hazard in data.config.allow_hazards
}

unproved contains "hazards.allowed" if {
	input.adapter.changesBase
	not "changes-base" in data.config.allow_hazards
}

unproved contains "adapter.method" if not input.adapter.peftType in data.config.limits.methods

unproved contains "adapter.rank" if over("rank", data.config.limits.max_rank)

unproved contains "adapter.scaling" if over("scaling", data.config.limits.max_alpha_over_rank)

unproved contains "adapter.parameters" if over("parameters", data.config.limits.max_parameters)

unproved contains "adapter.bytes" if over("bytes", data.config.limits.max_adapter_bytes)

unproved contains code if {
	code := {"data.declared", "data.licences", "data.rights"}[_]
	not manifest.trainingData
}

unproved contains "data.licences" if {
	some one in manifest.trainingData
	not one.licence in data.config.training_data.licences
}

unproved contains "data.rights" if {
	some one in manifest.trainingData
	not one.rights in data.config.training_data.rights
}

unproved contains "base.matches" if count(authorised) == 0

unproved contains "base.allowed" if not is_allowed_base

is_allowed_base if {
	some base in data.config.bases
	base.fingerprint == concat(":", [input.base.fingerprint.scheme, measured])
}

unproved contains "base.quantization" if {
	quantizations := {object.get(model, "quantization", "none") | some model in authorised}
	count(quantizations & {one | some one in data.config.quantizations}) == 0
}

ours := {name |
	some companion in input.companions
	companion.manifest
	name := concat(" ", ["active-adapter:", companion.adapterName])
}

unproved contains "runtime.unaltered" if {
	some alteration in input.base.alterations
	not alteration in ours
	not split(alteration, ":")[0] in data.config.allow_alterations
}

unproved contains "operator.verified" if input.now >= operator.expiresAt

unproved contains "operator.verified" if {
	data.config.operators.require == "verified"
	not is_trusted_operator
}

is_trusted_operator if {
	operator.verified
	some issuer in data.config.operators.issuers
	issuer.audience == operator.audience
	some subject in issuer.subjects
	found := {"identity": operator.name, "issuer": operator.issuer, "kind": spelling.kind(operator.name)}
	spelling.identity_matches({"identity": subject, "issuer": issuer.issuer}, found)
}

unproved contains "operator.allowed" if {
	manifest.deployment.operators
	not object.get(operator, "name", "") in manifest.deployment.operators
}

unproved contains "environment.allowed" if not input.context.environment in data.config.environments

unproved contains "environment.allowed" if not input.context.environment in manifest.deployment.environments

unproved contains "region.allowed" if not region in data.config.regions

unproved contains "region.allowed" if {
	manifest.deployment.regions
	not region in manifest.deployment.regions
}

unproved contains "prompt.allowed" if {
	manifest.deployment.systemPrompts
	not object.get(input.context, "systemPrompt", {}) in manifest.deployment.systemPrompts
}

unproved contains "time.window" if input.now < manifest.deployment.notBefore

unproved contains "time.window" if input.now >= manifest.deployment.notAfter

unproved contains "policy.in-force" if input.now < data.config.not_before

unproved contains "policy.in-force" if input.now >= data.config.not_after

unproved contains "requires.met" if {
	some name, range in manifest.requires
	not packages.meets(installed(name), range)
}

unproved contains "dependencies.met" if {
	some name, range in data.config.dependencies
	not packages.meets(installed(name), range)
}
