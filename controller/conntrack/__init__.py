"""Connection tracking: flushed addresses and the kernel's statistics."""
