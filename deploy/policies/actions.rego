# METADATA
# title: What the system may do at all
# custom:
#   id: actions
#   type: access
#   owner: platform
#   overridable: true
package opsloop.actions

import rego.v1

default allow := false

# `safety.allowed` says which actions the gate lets through; what the catalogue does not know is never allowed
allow if input.action.known

reasons contains sprintf("%s is not in the catalogue", [input.action.name]) if not input.action.known
