"""What a call binds to a program: addresses, weights, the state of PyTorch."""
