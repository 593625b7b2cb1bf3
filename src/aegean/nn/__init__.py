"""Networks and their building blocks; they know nothing of models."""
