"""Repair: every state that stops the project, what ends it, and the way back after a loss. One small file a state."""
