# Nothing that was signed since the freeze began, but for these releases.
package skillwarrant.freeze

begins := "2026-12-18T00:00:00Z"

hotfixes := {{"name": "acme/support-lora", "version": "1.4.3"}}

deny contains {"code": "acme.freeze", "msg": msg, "details": {"signedAt": input.warrant.signedAt}} if {
	# Times in the input are UTC and of one spelling, so that they compare as text.
	not input.warrant.signedAt < begins
	not is_hotfix
	msg := sprintf("%s %s was released during the freeze and is no hotfix", [input.manifest.skill.name, input.manifest.skill.version])
}

is_hotfix if {
	some hotfix in hotfixes
	hotfix.name == input.manifest.skill.name
	hotfix.version == input.manifest.skill.version
}
