"""Every threshold of every exit rule from one full run."""
