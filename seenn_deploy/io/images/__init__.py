"""Images and event recordings, which are checked and read only when they are asked for."""
