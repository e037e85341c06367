"""Names: the process that answers machines' questions to their router (RFC 1034, RFC 1035)."""
