package skillwarrant.freeze_test

import data.skillwarrant.freeze

signed(moment, name, version) := {
	"warrant": {"signedAt": moment},
	"manifest": {"skill": {"name": name, "version": version}},
}

test_before_the_freeze if {
	count(freeze.deny) == 0 with input as signed("2026-12-17T23:59:59Z", "acme/search", "2.0.0")
}

test_from_its_first_second if {
	count(freeze.deny) == 1 with input as signed("2026-12-18T00:00:00Z", "acme/search", "2.0.0")
}

test_a_hotfix_is_let_through if {
	count(freeze.deny) == 0 with input as signed("2026-12-20T08:00:00Z", "acme/support-lora", "1.4.3")
}

test_a_hotfix_is_one_release if {
	count(freeze.deny) == 1 with input as signed("2026-12-20T08:00:00Z", "acme/support-lora", "1.4.4")
}
