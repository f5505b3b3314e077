# What an input document must be, field by field: docs/reference/policy-input.md. One table, and nothing recursive:
# every value of the document is looked up by its path, in which # stands for a place in a list.
package skillwarrant.document

import data.skillwarrant.spelling

# The paths of what is wrong; a document with none is well-formed.
wrong contains found if some found in misshapen

misshapen contains found if {
	walk(input, [path, value])
	found := place(path)
	not startswith(found, "evidence/#/predicate/") # whatever others attest
	not startswith(found, "context/operator/claims/")
	not is_good(found, value)
}

wrong contains "deployment window" if {
	count(misshapen) == 0
	some one in manifests
	one.deployment.notBefore >= one.deployment.notAfter
}

wrong contains "base models" if {
	count(misshapen) == 0
	some one in manifests
	prints := [print | some model in one.baseModels; some print in fingerprints(model)]
	count(prints) != count({print | some print in prints})
}

wrong contains "casts" if {
	count(misshapen) == 0
	some one in manifests
	some model in one.baseModels
	count(model.casts) != count({cast.dtype | some cast in model.casts})
}

wrong contains "file names" if {
	count(misshapen) == 0
	some files in [input.warrant.files, input.adapter.files]
	names := [file.name | some file in files]
	names != sort({name | some name in names})
}

wrong contains "operator" if {
	count(misshapen) == 0
	not operator_is_good
}

manifests := array.concat([input.manifest], [one.manifest | some one in input.companions])

fingerprints(model) := array.concat([model.fingerprint], [cast.fingerprint | some cast in object.get(model, "casts", [])])

default operator := null

operator := input.context.operator

is_redacted if input.context.redacted

operator_is_good if operator == null

operator_is_good if {
	is_object(operator)
	operator.verified == false
	object.keys(operator) - {"verified", "name"} == set()
	named
}

operator_is_good if {
	operator.verified == true
	keys := {"verified", "issuer", "audience", "issuedAt", "expiresAt", "keyId"}
	object.keys(operator) == keys | {"name", "claims"}
}

# Names may have been taken out of a document that says so.
operator_is_good if {
	is_redacted
	operator.verified == true
	object.keys(operator) == {"verified", "issuer", "audience", "issuedAt", "expiresAt", "keyId"}
}

named if operator.name

named if is_redacted

# The manifests of companions are read as the manifest is.
place(path) := concat("/", [step(one) | some one in array.slice(path, 2, count(path))]) if {
	path[0] == "companions"
	path[2] == "manifest"
} else := concat("/", [step(one) | some one in path])

step(one) := "#" if is_number(one)

else := one

is_good(path, value) if fits(scalars[path], value)

else if {
	is_object(value)
	required := objects[path].required
	keys := object.keys(value)
	required - keys == set()
	(keys - required) - objects[path].optional == set()
} else if {
	is_array(value)
	count(value) >= lists[path].least
	count(value) <= object.get(lists[path], "most", 1000)
	not repeats(path, value)
} else if {
	is_object(value)
	count(value) >= maps[path].least
	count(value) <= maps[path].most
	every name, _ in value {
		fits(maps[path].names, name)
	}
} else if {
	contains(path, "/")
	above := regex.replace(path, `/[^/]*$`, "")
	fits(maps[above].values, value)
}

repeats(path, value) if {
	lists[path].once
	count(value) != count({one | some one in value})
}

fits(type, value) if is_text(texts[type], value)

else if value in choices[type]

else if {
	is_number(value)
	abs(value) <= numeric[type]
} else if {
	type == "number"
	is_number(value)
	abs(value) >= 1e21 # between the two, it is a whole number beyond what a double holds
} else if {
	is_number(value)
	value >= counts[type]
	value <= most
	floor(value) == value
} else if {
	type == "time"
	is_string(value)
	spelling.time_is_good(value)
} else if {
	type == "paragraphs"
	is_string(value)
	is_text(texts.paragraph, regex.replace(value, `[\n\t]`, " "))
} else if {
	type == "anything"
	is_string(value)
}

is_text(form, value) if {
	is_string(value)
	count(value) <= form.most
	regex.match(form.like, value)
	regex.match(printable, value)
}

printable := `^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$`

texts := {
	"any text": {"most": 512, "like": ""},
	"long text": {"most": 2048, "like": ""},
	"paragraph": {"most": 10000, "like": ""},
	"package version": {"most": 128, "like": ""},
	"word": {"most": 64, "like": ""},
	"label": {"most": 512, "like": label},
	"short label": {"most": 64, "like": label},
	"skill": {"most": 128, "like": concat("", ["^", part, "(?:/", part, ")?$"])},
	"skill pattern": {"most": 512, "like": `^[a-z0-9._*-]+(?:/[a-z0-9._*-]+)?$`},
	"version": {
		"most": 64,
		"like": concat("", ["^", nr, `\.`, nr, `\.`, nr, "(?:-", identifier, `(?:\.`, identifier, ")*)?", build]),
	},
	"range": {"most": 128, "like": concat("", ["^", clause, "(?:, ?", clause, ")*$"])},
	"package": {"most": 1000000, "like": `^[a-z0-9]+(?:-[a-z0-9]+)*$`},
	"hex": {"most": 64, "like": `^[0-9a-f]{64}$`},
	# What JSON has no number for is written as Python does.
	"weight": {"most": 100, "like": `^(?:nan|-?inf|-?[0-9.]+e\+[0-9]+)$`},
}

label := `^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`

part := `[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?`

nr := `(?:0|[1-9][0-9]{0,8})`

identifier := `(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)`

build := `(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$`

clause := `(?:~=|==|!=|<=|>=|<|>) ?[0-9A-Za-z][0-9A-Za-z.!+*-]*`

most := 9007199254740991

numeric := {"number": most, "weight": most}

counts := {"whole": 0, "counted": 1}

choices := {
	"api": {"skillwarrant.dev/policy-input/v1"},
	"scheme": {"skillwarrant-tensors-v1"},
	"skill kind": {"peft-adapter"},
	"signer kind": {"uri", "email", "other"},
	"content": {"safetensors", "pickle", "other"},
	"about": {"manifest", "statement", "files"},
	"cast dtype": {"bfloat16", "float16", "float32"},
	"cast kind": {"exact", "rounded"},
	"boolean": {true, false},
	"true": {true},
}

fingerprint := {"required": {"scheme", "digest"}, "optional": set()}

sha256 := {"required": {"sha256"}, "optional": set()}

signer := {"required": {"identity", "issuer", "kind"}, "optional": {"claims"}}

objects := {
	"": {
		"required": {
			"apiVersion", "now", "manifest", "warrant", "adapter", "base", "context", "companions", "evidence",
		},
		"optional": {"versions", "weight", "history"},
	},
	"manifest": manifest,
	"manifest/skill": {"required": {"name", "version", "description", "kind"}, "optional": set()},
	"manifest/publisher": {"required": {"name"}, "optional": {"contact"}},
	"manifest/adapter": {
		"required": {"peftType", "parameters", "tensors", "changesBase"},
		"optional": {"taskType", "peftVersion", "rank", "alpha", "targetModules", "hazards"},
	},
	"manifest/adapter/tensors": {"required": {"count", "scheme", "digest"}, "optional": set()},
	"manifest/adapter/tensors/digest": sha256,
	"manifest/baseModels/#": {
		"required": {"name", "architecture", "parameters", "dtype", "fingerprint"},
		"optional": {"revision", "quantization", "casts"},
	},
	"manifest/baseModels/#/fingerprint": fingerprint,
	"manifest/baseModels/#/fingerprint/digest": sha256,
	"manifest/baseModels/#/casts/#": {"required": {"dtype", "kind", "fingerprint"}, "optional": set()},
	"manifest/baseModels/#/casts/#/fingerprint": fingerprint,
	"manifest/baseModels/#/casts/#/fingerprint/digest": sha256,
	"manifest/deployment": {
		"required": {"environments"},
		"optional": {"notBefore", "notAfter", "regions", "operators", "systemPrompts"},
	},
	"manifest/deployment/systemPrompts/#": sha256,
	"manifest/composition": {"required": {"stackable"}, "optional": {"maxSkills", "allowWith", "denyWith"}},
	"manifest/trainingData/#": {"required": {"name", "licence", "rights"}, "optional": {"uri", "digest"}},
	"manifest/trainingData/#/digest": sha256,
	"manifest/evidence/#": {"required": {"name", "digest"}, "optional": {"uri", "mediaType"}},
	"manifest/evidence/#/digest": sha256,
	"warrant": {
		"required": {"bundle", "files", "log", "signedAt", "signer", "statement"},
		"optional": set(),
	},
	"warrant/bundle": sha256,
	"warrant/statement": sha256,
	"warrant/signer": signer,
	"warrant/log": {"required": {"origin", "logId", "index"}, "optional": {"integratedTime"}},
	"warrant/files/#": {"required": {"name", "digest"}, "optional": set()},
	"warrant/files/#/digest": sha256,
	"adapter": {
		"required": {
			"peftType", "changesBase", "hazards", "targetModules", "parameters", "tensors", "dtypes", "bytes",
			"files",
		},
		"optional": {"taskType", "rank", "scaling", "defaultRank", "defaultAlpha"},
	},
	"adapter/files/#": {"required": {"name", "content"}, "optional": set()},
	"base": {"required": {"alterations"}, "optional": {"fingerprint"}},
	"base/fingerprint": fingerprint,
	"base/fingerprint/digest": sha256,
	"context": {
		"required": {"environment"},
		"optional": {"region", "policyClass", "operator", "systemPrompt", "session", "redacted"},
	},
	"context/operator": {
		"required": {"verified"},
		"optional": {"name", "issuer", "audience", "issuedAt", "expiresAt", "keyId", "claims"},
	},
	"context/systemPrompt": sha256,
	"companions/#": {"required": {"adapterName"}, "optional": {"manifest", "weight"}},
	"evidence/#": {
		"required": {"predicateType", "predicate", "about", "signer", "signedAt", "bundle", "statement"},
		"optional": set(),
	},
	"evidence/#/signer": signer,
	"evidence/#/bundle": sha256,
	"evidence/#/statement": sha256,
	"history": {"required": set(), "optional": {"highest"}},
}

manifest := {
	"required": {"skill", "publisher", "adapter", "baseModels", "deployment", "policyClass", "composition"},
	"optional": {"trainingData", "requires", "evidence"},
}

lists := {
	"manifest/adapter/targetModules": {"least": 1, "once": true},
	"manifest/adapter/hazards": {"least": 1, "once": true},
	"manifest/baseModels": {"least": 1},
	"manifest/baseModels/#/casts": {"least": 1, "most": 3},
	"manifest/deployment/environments": {"least": 1, "once": true},
	"manifest/deployment/regions": {"least": 1, "once": true},
	"manifest/deployment/operators": {"least": 1, "once": true},
	"manifest/deployment/systemPrompts": {"least": 1, "once": true},
	"manifest/composition/allowWith": {"least": 1, "once": true},
	"manifest/composition/denyWith": {"least": 1, "once": true},
	"manifest/trainingData": {"least": 1},
	"manifest/evidence": {"least": 1},
	"warrant/files": {"least": 1, "most": 10000},
	"adapter/files": {"least": 1, "most": 10000},
	"adapter/hazards": {"least": 0, "once": true},
	"adapter/targetModules": {"least": 0, "once": true},
	"adapter/dtypes": {"least": 0},
	"base/alterations": {"least": 0, "most": 100000},
	"companions": {"least": 0},
	"evidence": {"least": 0},
}

# Objects whose keys are names.
maps := {
	"manifest/requires": {"least": 1, "most": 1000, "names": "package", "values": "range"},
	"versions": {"least": 0, "most": 1000000, "names": "package", "values": "package version"},
	"warrant/signer/claims": {"least": 1, "most": 64, "names": "anything", "values": "long text"},
	"evidence/#/signer/claims": {"least": 1, "most": 64, "names": "anything", "values": "long text"},
	"context/session": {"least": 1, "most": 32, "names": "short label", "values": "any text"},
	"context/operator/claims": {"least": 0, "most": 1000000, "names": "anything", "values": "nothing"},
	"evidence/#/predicate": {"least": 0, "most": 1000000, "names": "anything", "values": "nothing"},
}


scalars := {
	"apiVersion": "api",
	"now": "time",
	"weight": "weight",
	"manifest/policyClass": "label",
	"manifest/skill/name": "skill",
	"manifest/skill/version": "version",
	"manifest/skill/description": "paragraphs",
	"manifest/skill/kind": "skill kind",
	"manifest/publisher/name": "any text",
	"manifest/publisher/contact": "any text",
	"manifest/adapter/peftType": "label",
	"manifest/adapter/parameters": "counted",
	"manifest/adapter/changesBase": "boolean",
	"manifest/adapter/taskType": "any text",
	"manifest/adapter/peftVersion": "any text",
	"manifest/adapter/rank": "counted",
	"manifest/adapter/alpha": "number",
	"manifest/adapter/targetModules/#": "any text",
	"manifest/adapter/hazards/#": "label",
	"manifest/adapter/tensors/count": "counted",
	"manifest/adapter/tensors/scheme": "scheme",
	"manifest/adapter/tensors/digest/sha256": "hex",
	"manifest/baseModels/#/name": "any text",
	"manifest/baseModels/#/architecture": "any text",
	"manifest/baseModels/#/parameters": "counted",
	"manifest/baseModels/#/dtype": "label",
	"manifest/baseModels/#/revision": "any text",
	"manifest/baseModels/#/quantization": "any text",
	"manifest/baseModels/#/fingerprint/scheme": "scheme",
	"manifest/baseModels/#/fingerprint/digest/sha256": "hex",
	"manifest/baseModels/#/casts/#/dtype": "cast dtype",
	"manifest/baseModels/#/casts/#/kind": "cast kind",
	"manifest/baseModels/#/casts/#/fingerprint/scheme": "scheme",
	"manifest/baseModels/#/casts/#/fingerprint/digest/sha256": "hex",
	"manifest/deployment/environments/#": "label",
	"manifest/deployment/notBefore": "time",
	"manifest/deployment/notAfter": "time",
	"manifest/deployment/regions/#": "label",
	"manifest/deployment/operators/#": "any text",
	"manifest/deployment/systemPrompts/#/sha256": "hex",
	"manifest/composition/stackable": "boolean",
	"manifest/composition/maxSkills": "counted",
	"manifest/composition/allowWith/#": "skill pattern",
	"manifest/composition/denyWith/#": "skill pattern",
	"manifest/trainingData/#/name": "any text",
	"manifest/trainingData/#/licence": "any text",
	"manifest/trainingData/#/rights": "any text",
	"manifest/trainingData/#/uri": "long text",
	"manifest/trainingData/#/digest/sha256": "hex",
	"manifest/evidence/#/name": "any text",
	"manifest/evidence/#/uri": "long text",
	"manifest/evidence/#/mediaType": "any text",
	"manifest/evidence/#/digest/sha256": "hex",
	"warrant/signedAt": "time",
	"warrant/bundle/sha256": "hex",
	"warrant/statement/sha256": "hex",
	"warrant/signer/identity": "long text",
	"warrant/signer/issuer": "long text",
	"warrant/signer/kind": "signer kind",
	"warrant/log/origin": "any text",
	"warrant/log/logId": "hex",
	"warrant/log/index": "whole",
	"warrant/log/integratedTime": "time",
	"warrant/files/#/name": "any text",
	"warrant/files/#/digest/sha256": "hex",
	"adapter/peftType": "label",
	"adapter/taskType": "any text",
	"adapter/changesBase": "boolean",
	"adapter/hazards/#": "label",
	"adapter/targetModules/#": "any text",
	"adapter/parameters": "whole",
	"adapter/tensors": "whole",
	"adapter/dtypes/#": "word",
	"adapter/bytes": "whole",
	"adapter/rank": "counted",
	"adapter/scaling": "number",
	"adapter/files/#/name": "any text",
	"adapter/files/#/content": "content",
	"adapter/defaultRank": "counted",
	"adapter/defaultAlpha": "number",
	"base/fingerprint/scheme": "scheme",
	"base/fingerprint/digest/sha256": "hex",
	"base/alterations/#": "long text",
	"context/environment": "short label",
	"context/region": "short label",
	"context/policyClass": "short label",
	"context/redacted": "true",
	"context/systemPrompt/sha256": "hex",
	"context/operator/verified": "boolean",
	"context/operator/name": "any text",
	"context/operator/issuer": "long text",
	"context/operator/audience": "long text",
	"context/operator/issuedAt": "time",
	"context/operator/expiresAt": "time",
	"context/operator/keyId": "any text",
	"companions/#/adapterName": "any text",
	"companions/#/weight": "weight",
	"evidence/#/predicateType": "long text",
	"evidence/#/about": "about",
	"evidence/#/signedAt": "time",
	"evidence/#/bundle/sha256": "hex",
	"evidence/#/statement/sha256": "hex",
	"evidence/#/signer/identity": "long text",
	"evidence/#/signer/issuer": "long text",
	"evidence/#/signer/kind": "signer kind",
	"history/highest": "version",
}
