"""The page to watch: the runs of a workspace, one that goes on, several beside each other."""
