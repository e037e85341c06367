"""`sluicectl`, the command line of an appliance."""
