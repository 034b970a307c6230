# METADATA
# title: What cannot be undone needs a lead
# custom:
#   id: irreversible
#   type: security
#   owner: platform
package opsloop.irreversible

import rego.v1

default allow := true

require_approval contains {"role": "lead", "quorum": 1, "reason": "it cannot be undone"} if input.action.irreversible

require_approval contains {"role": "lead", "quorum": 1, "reason": "its risk is high"} if input.action.risk == "high"
