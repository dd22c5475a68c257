"""Settings: declared beside the code that uses them, read from the environment and one file, checked all at once.

Read: settings, setting_values, secrets.
"""
