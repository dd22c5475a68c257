"""Tests of the reporter's core."""
