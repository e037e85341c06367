"""Desired state: the contract between agent and controller."""
