# Who may share a model: what publishers say of each other's skills, and what the policy says.
package skillwarrant

import data.skillwarrant.spelling

members := array.concat(
	[object.union({"manifest": input.manifest}, weighed(input))],
	[object.union({key: value | some key, value in one; key == "manifest"}, weighed(one)) | some one in input.companions],
)

weighed(one) := {"weight": object.get(one, "weight", 1)}

unproved contains "composition.allowed" if {
	some member in members
	not member.manifest
	not "active-adapter" in data.config.allow_alterations
}

unproved contains "composition.allowed" if {
	some place, member in members
	some where, other in members
	place != where
	objects(member.manifest, other)
}

unproved contains "composition.allowed" if {
	some member in members
	count(members) > 1
	count(members) > member.manifest.composition.maxSkills
}

objects(one, _) if one.composition.stackable == false

objects(one, other) if {
	some pattern in one.composition.denyWith
	may_be(pattern, other)
}

objects(one, other) if {
	one.composition.allowWith
	count([pattern | some pattern in one.composition.allowWith; is(pattern, other)]) == 0
}

is(pattern, member) if spelling.name_matches(pattern, member.manifest.skill.name)

# Who has no name may be anybody.
may_be(pattern, member) if is(pattern, member)

may_be(_, member) if not member.manifest

unproved contains "composition.limits" if count(members) > data.config.composition.max_active

unproved contains "composition.limits" if {
	some place, one in members
	some where, other in members
	place < where
	not is_allowed_pair(one, other)
}

is_allowed_pair(one, other) if {
	some pair in data.config.composition.allowed_pairs
	is(pair[0], one)
	is(pair[1], other)
}

is_allowed_pair(one, other) if {
	some pair in data.config.composition.allowed_pairs
	is(pair[0], other)
	is(pair[1], one)
}

unproved contains "composition.limits" if {
	some conflict in data.config.composition.conflicts
	count(conflict) == 2
	some first, one in members
	some second, other in members
	first != second
	may_be(conflict[0], one)
	may_be(conflict[1], other)
}

unproved contains "composition.limits" if {
	some conflict in data.config.composition.conflicts
	count(conflict) == 3
	some first, one in members
	some second, other in members
	some third, another in members
	count({first, second, third}) == 3
	may_be(conflict[0], one)
	may_be(conflict[1], other)
	may_be(conflict[2], another)
}

unproved contains "composition.weights" if {
	some member in members
	not is_light(member.weight)
}

unproved contains "composition.weights" if {
	sum([abs(member.weight) | some member in members; is_number(member.weight)]) > data.config.composition.max_total_weight
}

is_light(weight) if {
	is_number(weight)
	abs(weight) <= data.config.composition.max_weight
}
