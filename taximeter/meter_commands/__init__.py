"""`taximeter meters`: what the meters make of an event, which versions of them are published, and publishing another one."""
