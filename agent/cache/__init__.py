"""Desired and reported state in memory, kept up to date by the database's stream of changes."""
