"""Images and event recordings: checked, in a network's shape and units, read as they are asked for."""
