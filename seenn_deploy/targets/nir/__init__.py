"""NIR, the exchange format of spiking networks: programs as NIR graphs with a sidecar."""
