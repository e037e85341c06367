"""What the switch's meters and drop flows counted."""
