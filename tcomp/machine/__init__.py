"""What is found of the machine: devices, GPUs, compilers."""
