# How names, times and versions are spelt, and compared. Nothing here knows a policy.
package skillwarrant.spelling

# `*` stands for any characters but `/`; the patterns here hold letters, digits and . _ - / besides.
name_matches(pattern, name) if {
	escaped := replace(pattern, ".", "[.]")
	regex.match(concat("", ["^", replace(escaped, "*", "[^/]*"), "$"]), name)
}

kind(name) := "uri" if regex.match(`^[a-z][a-z0-9+.-]*://`, name)

else := "email" if regex.match(`^[^/:@\s]+@[^/:@\s]+$`, name)

else := "other"

# Who signed, or who operates: an object with issuer, identity and kind.
identity_matches(pattern, found) if {
	found.issuer == pattern.issuer
	found.kind == kind(pattern.identity)
	covers(pattern.identity, found.identity)
}

covers(pattern, identity) if {
	not contains(pattern, "*")
	identity == pattern
}

covers(pattern, identity) if {
	contains(pattern, "*")
	not endswith(pattern, "/**")
	escaped := replace(pattern, ".", "[.]")
	regex.match(concat("", ["^", replace(escaped, "*", "[^/]+"), "$"]), identity)
	not last_segment(identity) in {".", ".."}
}

covers(pattern, identity) if {
	endswith(pattern, "/**")
	head := trim_suffix(pattern, "**")
	startswith(identity, head)
	rest := split(trim_prefix(identity, head), "/")
	some segment in rest
	segment != ""
	not ".." in rest
	not "." in rest
}

last_segment(identity) := segments[count(segments) - 1] if segments := split(identity, "/")

# An engine may take no number that begins with 0.
whole(digits) := to_number(regex.replace(digits, `^0+([0-9])`, "$1"))

# Times are of one spelling, so that they can be compared as text; a day is counted from 0000-03-01.
time_is_good(text) if {
	regex.match(`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$`, text)
	not startswith(text, "0000")
	whole(substring(text, 8, 2)) <= days_of_month(whole(substring(text, 0, 4)), substring(text, 5, 2))
}

days_of_month(year, month) := 29 if {
	month == "02"
	is_leap(year)
}

else := 28 if month == "02"

else := 30 if month in {"04", "06", "09", "11"}

else := 31

is_leap(year) if {
	year % 4 == 0
	year % 100 != 0
}

is_leap(year) if year % 400 == 0

seconds(text) := (((((day(text) * 24) + part(text, 11)) * 60) + part(text, 14)) * 60) + part(text, 17)

day(text) := (((365 * years) + floor(years / 4)) - floor(years / 100)) + floor(years / 400) + within if {
	shifted := (part(text, 5) + 9) % 12 # March is the first month
	years := whole(substring(text, 0, 4)) - floor(shifted / 10)
	within := floor(((153 * shifted) + 2) / 5) + part(text, 8)
}

part(text, at) := whole(substring(text, at, 2))

# SemVer 2.0.0, section 11, as a list that compares as the version does.
semver_key(text) := [core, pre == "", [identifier(one) | some one in split(pre, ".")]] if {
	main := split(text, "+")[0]
	numbers := split(main, "-")[0]
	core := [whole(one) | some one in split(numbers, ".")]
	pre := trim_prefix(trim_prefix(main, numbers), "-")
}

identifier(one) := [0, count(one), one] if regex.match(`^[0-9]+$`, one)

else := [1, 0, one]

semver_in(version, text) if {
	every clause in split(text, ",") {
		found := regex.find_all_string_submatch_n(`^\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*$`, clause, 1)[0]
		holds(found[1], semver_key(version), semver_key(found[2]))
	}
}

holds("<=", one, other) if one <= other

holds(">=", one, other) if one >= other

holds("==", one, other) if one == other

holds("!=", one, other) if one != other

holds("<", one, other) if one < other

holds(">", one, other) if one > other
