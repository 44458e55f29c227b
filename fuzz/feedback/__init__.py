"""What a test has reached: branches of our own code, and what the compiler did."""
