"""The deployment files agree with the code and with the formats they claim to be in."""
