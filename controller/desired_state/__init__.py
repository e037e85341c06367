"""Desired state as the controller reads it."""
