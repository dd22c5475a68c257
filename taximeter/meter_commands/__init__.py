"""`taximeter meters`: what the meters of the settings file make of an event."""
