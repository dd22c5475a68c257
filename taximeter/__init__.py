"""The command line, on top of everything: run the demo, look at an installation, and prove what it counted.

In: arguments, the environment, taximeter.toml, the topics.  Out: tables and JSON on stdout, messages on stderr, an exit code.
Never: decides what counts or is billed. `repair` and `correct` append by the rules of the package that owns the chain.
Read: cli, command_table, command, commands, connection, stripe_commands, exit_codes.
"""
