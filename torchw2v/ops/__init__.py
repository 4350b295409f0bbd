"""Tensors only: no words, no files, no logging. Everything above hands in arrays and a draw key."""
