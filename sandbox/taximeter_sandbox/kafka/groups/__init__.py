"""Consumer groups: their members, their generations, and the offsets they commit."""
