"""How many passes over an operand a computation needs, and when one is enough."""
