"""From desired state to the switch: compile, compare, commit, verify."""
