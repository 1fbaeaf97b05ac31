"""The models of a folder behind HTTP, in the manner of OpenAI's API. Needs the extra ``serve``."""
