package skillwarrant.mixing_test

import data.skillwarrant.mixing

trained_on(licences) := {"manifest": {"trainingData": [
{"name": licence, "licence": licence, "rights": "public-licence"} |
	some licence in licences
]}}

test_mixed_is_denied if {
	some found in mixing.deny with input as trained_on(["cc-by-sa-4.0", "apache-2.0", "proprietary"])
	found.code == "acme.mixed-licences"
	found.details == {"shared": "cc-by-sa-4.0", "kept": "proprietary"}
}

test_each_alone_is_not if {
	count(mixing.deny) == 0 with input as trained_on(["cc-by-sa-4.0", "apache-2.0"])
	count(mixing.deny) == 0 with input as trained_on(["proprietary", "apache-2.0"])
}

test_no_data_is_left_to_the_policy if {
	count(mixing.deny) == 0 with input as {"manifest": {}}
	count(mixing.warn) == 0 with input as {"manifest": {}}
}

test_only_public_licences_warn if {
	count(mixing.warn) == 1 with input as trained_on(["apache-2.0"])
}
