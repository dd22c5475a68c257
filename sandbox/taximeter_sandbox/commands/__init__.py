"""The commands that need the simulators and the demo, a module each; `arguments` is what they take."""
