"""The YAML a person writes, and the options that verbs and recipes share."""
