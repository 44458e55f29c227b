"""Repeated einsums become iterations."""
