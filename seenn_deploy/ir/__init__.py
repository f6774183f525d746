"""What all rooms pass on: the graph, its linear maps, programs and their files."""
