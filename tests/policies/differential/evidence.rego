# Further attestations: each item of the policy's evidence needs its signers, each for himself.
package skillwarrant

import data.skillwarrant.document
import data.skillwarrant.spelling

approval := "https://skillwarrant.dev/approval/v1"

certification := "https://skillwarrant.dev/certification/v1"

short := {"approval": approval, "certification": certification}

predicate_type(rule) := object.get(short, rule.predicate_type, rule.predicate_type)

requirement(rule) := object.get(
	{approval: "release.approved", certification: "behaviour.certified"},
	predicate_type(rule),
	"evidence.present",
)

is_independent(rule) if object.get(rule, "independent", predicate_type(rule) == approval)

unproved contains requirement(rule) if {
	some rule in data.config.evidence
	not is_met(rule)
}

# Of any number of signers: here at most two of them must be there.
is_met(rule) if {
	object.get(rule, "distinct", 1) == 1
	some item in input.evidence
	counts(rule, item)
}

is_met(rule) if {
	rule.distinct == 2
	signers := [item.signer | some item in input.evidence; counts(rule, item)]
	some one in signers
	some other in signers
	person(one.identity) != person(other.identity)
	some first, pattern in rule.signers
	spelling.identity_matches(pattern, one)
	some second, another in rule.signers
	first != second
	spelling.identity_matches(another, other)
}

# One workflow whatever its ref, one address however it is written.
person(identity) := split(identity, "@")[0] if spelling.kind(identity) == "uri"

else := lower(identity)

counts(rule, item) if {
	item.predicateType == predicate_type(rule)
	some pattern in rule.signers
	spelling.identity_matches(pattern, item.signer)
	not dependent(rule, item)
	not is_revoked(item)
	age(item.signedAt) >= -300
	age(item.signedAt) <= object.get(rule, "max_age_days", 10000000) * 86400
	says(item)
	not undone(rule, item)
}

is_revoked(item) if {
	some digest in data.config.revocations.manifests
	trim_prefix(digest, "sha256:") == item.statement.sha256
}

is_revoked(item) if {
	some revoked in data.config.revocations.signers
	spelling.identity_matches(revoked, item.signer)
	item.signedAt >= object.get(revoked, "since", "0000")
}

# The same person certified later that it failed.
undone(rule, item) if {
	item.predicateType == certification
	some other in input.evidence
	other.predicateType == certification
	other.about != "files"
	other.signedAt >= item.signedAt
	person(other.signer.identity) == person(item.signer.identity)
	some pattern in rule.signers
	spelling.identity_matches(pattern, other.signer)
	certifies(other.predicate, "failed")
}

dependent(rule, item) if {
	is_independent(rule)
	person(item.signer.identity) == person(signer.identity)
}

dependent(rule, item) if {
	is_independent(rule)
	some publisher in trusted
	spelling.identity_matches(publisher, item.signer)
}

says(item) if not item.predicateType in {approval, certification}

says(item) if {
	item.predicateType == approval
	item.about != "files"
	is_release(item.predicate.skill)
	optional(item.predicate, "comment", "paragraphs")
	not misspelt(item.predicate, {"skill", "comment"})
}

says(item) if {
	item.predicateType == certification
	item.about != "files"
	certifies(item.predicate, "passed")
	not is_over(item.predicate)
}

certifies(predicate, result) if {
	is_release(predicate.skill)
	document.fits("any text", predicate.suite)
	predicate.result == result
	has_report(predicate)
	optional(predicate, "expiresAt", "time")
	not misspelt(predicate, {"skill", "suite", "result", "report", "expiresAt"})
}

is_over(predicate) if input.now >= predicate.expiresAt

is_release(release) if {
	release.name == skill.name
	release.version == skill.version
	not misspelt(release, {"name", "version"})
}

has_report(predicate) if not "report" in object.keys(predicate)

has_report(predicate) if {
	is_object(predicate.report)
	object.keys(predicate.report) == {"sha256"}
	document.fits("hex", predicate.report.sha256)
}

optional(predicate, key, _) if not key in object.keys(predicate)

optional(predicate, key, type) if document.fits(type, predicate[key])

# A field that nobody reads, and that is one of these in another spelling.
misspelt(found, known) if {
	some key in object.keys(found) - known
	some one in known
	folded(key) == folded(one)
}

folded(key) := strings.replace_n({"_": "", "-": "", "ſ": "s", "ß": "ss"}, lower(key))
