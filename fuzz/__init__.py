"""The fuzzer: random programs, machines and schedules, oracles that name the guilty pass, a reducer, and campaigns."""
