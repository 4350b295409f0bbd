"""Programs in the wild: their documented examples, run with gensim's Word2Vec and with ours."""
