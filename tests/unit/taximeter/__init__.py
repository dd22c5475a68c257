"""The command line and the demo's pure parts."""
