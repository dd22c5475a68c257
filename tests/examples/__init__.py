"""The examples, run as a user would, on the broker of the tests."""
