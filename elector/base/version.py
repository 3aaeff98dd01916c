"""The version of the distribution, which holds both packages; pyproject.toml reads it here."""

VERSION = "0.2.0"
