"""The paper's open checks: is confidence tied to being right, and what if images shift."""
