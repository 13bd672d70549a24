"""Training methods: what one training step of each is. Knows torch and splits, nothing of measuring."""
