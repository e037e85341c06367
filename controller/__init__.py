"""The controller: desired state in, flows on the switch out."""
