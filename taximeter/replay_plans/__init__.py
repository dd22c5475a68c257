"""Plans of adjustments at work: derived into a directory, shown, and written into the log part by part. The commands are in `replay_commands`."""
