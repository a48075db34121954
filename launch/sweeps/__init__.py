"""Sweeps: many runs from one command, in a folder that a restarted sweep goes on with."""
