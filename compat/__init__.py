"""Proof from outside: comparisons with gensim that anyone can run."""
