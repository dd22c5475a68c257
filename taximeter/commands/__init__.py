"""One module for each subcommand of `taximeter`: its arguments, what it does, its exit code."""
