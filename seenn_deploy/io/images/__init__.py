"""Images and event recordings, checked and read as they are asked for."""
