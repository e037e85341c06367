"""The pipeline as values: tables, registers, matches, flows, groups and meters."""
