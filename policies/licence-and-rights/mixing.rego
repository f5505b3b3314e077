# Data that must be shared alike, trained together with data that must not be shared.
package skillwarrant.mixing

share_alike := {"cc-by-sa-4.0"}

not_shared := {"proprietary"}

# The manifest may declare no data at all, which the policy's own lists refuse.
data_sets := object.get(input.manifest, "trainingData", [])

deny contains {"code": "acme.mixed-licences", "msg": msg, "details": {"shared": one.name, "kept": other.name}} if {
	some one in data_sets
	one.licence in share_alike
	some other in data_sets
	other.licence in not_shared
	msg := sprintf("%s is %s and %s is %s: their terms exclude each other", [one.name, one.licence, other.name, other.licence])
}

# Not wrong, and worth a look: somebody else's licence is all that the publisher has.
warn contains {"code": "acme.public-only", "msg": "all of its data is under public licences"} if {
	count(data_sets) > 0
	every one in data_sets {
		one.rights == "public-licence"
	}
}
