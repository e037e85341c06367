"""`sluicectl interconnects`: interconnects, their routes, and the configuration of the other side."""
