"""A module of the pack's common library."""

WORD = "shared"
