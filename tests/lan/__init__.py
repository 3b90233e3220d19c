"""Tests on several hosts."""
