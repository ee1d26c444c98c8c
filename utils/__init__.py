"""What training needs besides mathematics: flags, the loop, checkpoints, metrics, scores."""
