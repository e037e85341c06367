"""Requests to every field that is wrong, by pure functions."""
