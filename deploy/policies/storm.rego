# METADATA
# title: In a storm a person looks before anything becomes smaller
# custom:
#   id: storm
#   type: operational
#   owner: platform
package opsloop.storm

import rego.v1

default allow := true

degrade contains {"mode": "approve", "reason": "more than one thing is wrong"} if {
	input.system.storm
	input.action.cost < 0
}
