"""Tuning: what moves, how it moves, toward what; one trainer that owns the loop, and the guards that watch it."""
