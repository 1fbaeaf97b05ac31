"""The family of merges: several models of one shape become one, tensor by tensor."""
