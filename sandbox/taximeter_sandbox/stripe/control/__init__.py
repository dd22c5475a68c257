"""The simulator's own API: `/_control` changes how it behaves, `/_oracle` tells the truth about it."""
