"""The command line, on top of everything: run the demo, look at an installation, and prove what it counted.

In: arguments, the environment, taximeter.toml, the topics.  Out: tables and JSON on stdout, messages on stderr, an exit code.
Never: changes what is counted or billed.
Read: command_table, cli, commands, verification, positions, demo.
"""
