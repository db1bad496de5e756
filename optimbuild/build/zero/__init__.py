"""ZeRO stage 1: the optimizer state sharded over ranks."""
