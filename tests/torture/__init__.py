"""The torture campaign: corrupted inputs, kills, full disks and planted faults, outside the normal tests.

`make torture` runs all of it; `python -m tests.torture --help` tells how to run a part. It is resumable: what has been
tried is kept beside the campaign's materials and not tried again. Its report is docs/faults.md.
"""
