"""The subcommands of `taximeter`, a module each: what it does, its exit code. `arguments` is what they take."""
