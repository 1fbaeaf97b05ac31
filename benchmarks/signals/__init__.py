"""Passes over rows: gradients beside a loop, and what is kept through kills."""
