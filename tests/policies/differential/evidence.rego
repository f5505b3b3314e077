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
	[one.issuer, one.identity] != [other.issuer, other.identity]
	some first, pattern in rule.signers
	spelling.identity_matches(pattern, one)
	some second, another in rule.signers
	first != second
	spelling.identity_matches(another, other)
}

counts(rule, item) if {
	item.predicateType == predicate_type(rule)
	some pattern in rule.signers
	spelling.identity_matches(pattern, item.signer)
	not dependent(rule, item)
	age(item.signedAt) >= -300
	age(item.signedAt) <= object.get(rule, "max_age_days", 10000000) * 86400
	says(item)
}

dependent(rule, item) if {
	is_independent(rule)
	[item.signer.issuer, item.signer.identity] == [signer.issuer, signer.identity]
}

dependent(rule, item) if {
	is_independent(rule)
	some publisher in trusted
	spelling.identity_matches(publisher, item.signer)
}

says(item) if not item.predicateType in {approval, certification}

says(item) if {
	item.predicateType == approval
	is_release(item.predicate.skill)
	optional(item.predicate, "comment", "paragraphs")
	not misspelt(item.predicate, {"skill", "comment"})
}

says(item) if {
	item.predicateType == certification
	is_release(item.predicate.skill)
	document.fits("any text", item.predicate.suite)
	item.predicate.result == "passed"
	has_report(item.predicate)
	optional(item.predicate, "expiresAt", "time")
	not is_over(item.predicate)
	not misspelt(item.predicate, {"skill", "suite", "result", "report", "expiresAt"})
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
