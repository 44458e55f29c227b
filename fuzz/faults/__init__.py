"""Faults that are planted to see whether the fuzzer finds them."""
