"""C99: a folder that needs a C compiler and nothing else, equal to the simulator bit for bit."""
