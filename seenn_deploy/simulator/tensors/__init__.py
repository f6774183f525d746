"""The engine that runs in torch, in batches, on a processor or a GPU; only this folder needs it."""
