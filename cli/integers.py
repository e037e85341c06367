"""Whole numbers as far as the API's fields hold them; what is sensible is the API's to say."""

from __future__ import annotations

import click

INT32 = click.IntRange(-(2**31), 2**31 - 1)
INT64 = click.IntRange(-(2**63), 2**63 - 1)
