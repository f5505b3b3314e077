package skillwarrant

import rego.v1

config := data.config

skill := input.manifest.skill

day := ((24 * 60) * 60) * 1000000000

now := time.parse_rfc3339_ns(input.now)

signed := time.parse_rfc3339_ns(input.warrant.signedAt)

covers(pattern, name) if glob.match(pattern, ["/"], name)

deny contains "signer" if {
	every publisher in config.publishers {
		not vouches(publisher)
	}
}

vouches(publisher) if {
	publisher.issuer == input.warrant.signer.issuer
	covers(publisher.identity, input.warrant.signer.identity)
	some pattern in publisher.skills
	covers(pattern, skill.name)
}

deny contains "environment" if not input.context.environment in config.environments

deny contains "environment, publisher's" if not input.context.environment in input.manifest.deployment.environments

deny contains "class" if not input.manifest.policyClass in config.policy_classes

deny contains "region" if not input.context.region in config.regions

deny contains "age" if now - signed > config.max_age_days * day

deny contains "policy" if input.now >= config.not_after

deny contains "window" if input.now >= object.get(input.manifest.deployment, "notAfter", "9999")

deny contains "hazards" if {
	some hazard in input.adapter.hazards
	not hazard in config.allow_hazards
}

deny contains "alterations" if {
	some alteration in input.base.alterations
	not split(alteration, ":")[0] in {"accelerate-hook", "active-adapter"}
}

deny contains "base" if not concat(":", [input.base.fingerprint.scheme, measured]) in {one.fingerprint | some one in config.bases}

measured := input.base.fingerprint.digest.sha256

deny contains "base, publisher's" if {
	prints := {print.digest.sha256 |
		some model in input.manifest.baseModels
		some print in array.concat([model.fingerprint], [cast.fingerprint | some cast in object.get(model, "casts", [])])
	}
	not measured in prints
}

deny contains "operator" if not operator_is_trusted

operator_is_trusted if {
	operator := input.context.operator
	operator.verified
	some issuer in config.operators.issuers
	[issuer.issuer, issuer.audience] == [operator.issuer, operator.audience]
	some subject in issuer.subjects
	covers(subject, operator.name)
	input.now < operator.expiresAt
}

deny contains "method" if not input.adapter.peftType in config.limits.methods

deny contains "rank" if not input.adapter.rank <= config.limits.max_rank

deny contains "scaling" if not input.adapter.scaling <= config.limits.max_alpha_over_rank

deny contains "parameters" if not input.adapter.parameters <= config.limits.max_parameters

deny contains "bytes" if not input.adapter.bytes <= config.limits.max_adapter_bytes

deny contains "data" if {
	some one in input.manifest.trainingData
	not one.licence in config.training_data.licences
}

deny contains "rights" if {
	some one in input.manifest.trainingData
	not one.rights in config.training_data.rights
}

deny contains "floor" if {
	some floor in config.versions.floors
	covers(floor.skill, skill.name)
	semver.compare(skill.version, floor.least) < 0
}

deny contains "revoked" if concat("", ["sha256:", input.warrant.statement.sha256]) in config.revocations.manifests

deny contains "revoked skill" if {
	some revoked in config.revocations.skills
	covers(revoked.name, skill.name)
}

names := array.concat([skill.name], [one.manifest.skill.name | some one in input.companions])

deny contains "too many" if count(names) > config.composition.max_active

deny contains "conflict" if {
	some conflict in config.composition.conflicts
	some one in names
	covers(conflict[0], one)
	some other in names
	covers(conflict[1], other)
}

deny contains "pair" if {
	some place, one in names
	some where, other in names
	place < where
	every pair in config.composition.allowed_pairs {
		not is_pair(pair, one, other)
		not is_pair(pair, other, one)
	}
}

is_pair(pair, one, other) if {
	covers(pair[0], one)
	covers(pair[1], other)
}

weights := array.concat([object.get(input, "weight", 1)], [object.get(one, "weight", 1) | some one in input.companions])

deny contains "weight" if {
	some weight in weights
	abs(weight) > config.composition.max_weight
}

deny contains "weights" if sum([abs(weight) | some weight in weights]) > config.composition.max_total_weight
