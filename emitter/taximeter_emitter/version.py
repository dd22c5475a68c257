"""The version of all distributions of this repository: the one place where it is written."""

__version__ = "0.1.0"
