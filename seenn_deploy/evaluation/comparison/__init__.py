"""Several programs on the same images, with paired intervals."""
