"""`sluicectl doctor`: checks of the host, before and after the start; needs no API.

Each module is one subject: facts as a frozen dataclass, `gather`, which reads
them and changes nothing, and `judge`, a pure function from facts to findings.
"""
