# Versions and ranges of Python packages: PEP 440, for all operators but `~=` and for bounds without a wildcard.
package skillwarrant.packages

import data.skillwarrant.spelling

meets(version, specifier) if {
	found := parsed(version)
	every clause in split(specifier, ",") {
		match := regex.find_all_string_submatch_n(`^ *(==|!=|<=|>=|<|>) *(.*)$`, clause, 1)[0]
		holds(match[1], found, parsed(match[2]))
	}
}

# Parts that are absent are empty strings.
parsed(text) := {
	"public": [number(groups[1]), release, pre, post, dev],
	"base": [number(groups[1]), release],
	"local": local_key(groups[9]),
	"pre": pre_is_there(groups),
	"post": groups[5] != "",
} if {
	groups := regex.find_all_string_submatch_n(
		concat("", [
			`^\s*v?(?:([0-9]+)!)?([0-9]+(?:\.[0-9]+)*)`,
			`(?:[._-]?(alpha|a|beta|b|preview|pre|c|rc)[._-]?([0-9]+)?)?`,
			`(-[0-9]+|[._-]?(?:post|rev|r)[._-]?(?:[0-9]+)?)?`,
			`(?:([._-]?dev)[._-]?([0-9]+)?)?`,
			`(\+([a-z0-9]+(?:[._-][a-z0-9]+)*))?\s*$`,
		]),
		lower(text), 1,
	)[0]
	release := [spelling.whole(one) | some one in split(stripped(groups[2]), ".")]
	pre := pre_key(groups)
	post := post_key(groups[5])
	dev := dev_key(groups)
}

stripped(release) := regex.replace(release, `(\.0+)+$`, "")

pre_is_there(groups) if groups[3] != ""

else if groups[6] != ""

else := false

# Without a pre-release it is after all of them; a development release of no pre- or post-release is before them.
pre_key(groups) := [1, letter(groups[3]), number(groups[4])] if groups[3] != ""

else := [0] if {
	groups[5] == ""
	groups[6] != ""
}

else := [2]

letter(name) := object.get({"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}, name, name)

post_key(text) := [0] if text == ""

else := [1, number(regex.replace(text, `[^0-9]`, ""))]

dev_key(groups) := [1] if groups[6] == ""

else := [0, number(groups[7])]

number(digits) := spelling.whole(concat("", ["0", digits]))

local_key(text) := [] if text == ""

else := [local_part(one) | some one in split(regex.replace(text, `[_-]`, "."), ".")]

local_part(one) := [1, number(one), ""] if regex.match(`^[0-9]+$`, one)

else := [0, 0, one]

holds(">=", found, bound) if {
	bound.local == []
	found.public >= bound.public
}

holds("<=", found, bound) if {
	bound.local == []
	found.public <= bound.public
}

holds("==", found, bound) if same(found, bound)

holds("!=", found, bound) if not same(found, bound)

holds("<", found, bound) if {
	bound.local == []
	found.public < bound.public
	not early(found, bound)
}

holds(">", found, bound) if {
	bound.local == []
	found.public > bound.public
	not late(found, bound)
}

same(found, bound) if {
	found.public == bound.public
	bound.local == []
}

same(found, bound) if {
	found.public == bound.public
	found.local == bound.local
}

# `<2.0` does not mean the pre-releases of 2.0, and `>2.0` not its post-releases.
early(found, bound) if {
	found.pre
	not bound.pre
	found.base == bound.base
}

late(found, bound) if {
	found.post
	not bound.post
	found.base == bound.base
}
