"""Why a member of `TorchWord2Vec` is not gensim's own. `python -m compat.parity` fails for a member without an entry.

An entry without a member is an error, too.
"""

OVERRIDDEN = {
    "__init__": "takes the arguments above and `window=None` (whole sentences); refuses sizes out of range",
    "__reduce_ex__": "within `save`, the pickle is one that plain gensim opens",
    "__setattr__": "gives `wv` files that are written atomically",
    "__getstate__": "engines, devices and encoded corpora stay out of pickles, copies and saved files",
    "estimate_memory": "counts the output rows of the full softmax also with `negative=0`",
    "predict_output_word": "answers for the full softmax also with `negative=0`",
    "create_binary_tree": "gensim takes whole-number tokens for row numbers here",
    "init_weights": "words of `init_from` start from its vectors; output rows for the full softmax, too",
    "update_weights": "the same for the words that `build_vocab(update=True)` adds",
    "save": "plain gensim opens the file; it is written atomically",
    "load": "gives a plain gensim model our class; `device` and `engine` replace the saved ones",
    "make_cum_table": "gensim takes whole-number tokens for row numbers here",
    "prepare_vocab": "remembers the highest count, for the message of an empty vocabulary",
    "scan_vocab": "lines of a `corpus_file` are not cut at 10,000 words",
    "train": "an explicit `start_alpha=0` or `end_alpha=0` counts as given; work memory is let go at the end",
    "_smart_save": "writes atomically",
    "_check_corpus_sanity": "refuses strings, tensors and used-up iterators by name",
    "_check_training_sanity": "checks sizes and `objective`; says why a vocabulary is empty",
    "_do_train_job": "our engine trains the jobs of gensim's loop",
    "_job_producer": "an error of the corpus reaches the caller",
    "_load_specials": "models that plain gensim saved have no `training_history`",
    "_scan_vocab": "counts and encodes in one pass",
    "_train_epoch": "**the engine**: an epoch on an iterable",
    "_train_epoch_corpusfile": "**the engine**: an epoch on a file",
    "_worker_loop": "an error in a worker reaches the caller",
}

ADDED = {
    "averaged_vectors": "input and output rows averaged, as KeyedVectors",
    "output_vectors": "the rows of `syn1neg` as KeyedVectors",
    "checkpoint": "setting: a folder that keeps the run on disk (gensim issue 1997)",
    "checkpoint_seconds": "setting: time between two checkpoints",
    "checkpoint_words": "setting: raw words between two checkpoints",
    "resume": "goes on with a run that was interrupted",
    "init_report": "which words start from the vectors of `init_from`, and which at random",
    "from_embedding": "a model from a torch.nn.Embedding and its words",
    "to_embedding": "`wv` as a torch.nn.Embedding with its vocabulary",
    "from_gensim": "our class from a gensim model",
    "to_gensim": "a gensim model from ours",
    "save_safetensors": "the whole model without pickle (gensim issue 3663)",
    "load_safetensors": "the same, read back",
    "plot_training": "loss, speed and alpha by epoch, as a figure",
    "deterministic": "setting: the same bits whatever `workers` is",
    "device": "setting: where to train",
    "engine": "setting: what trains",
    "most_similar_batch": "many `wv.most_similar` queries at once (gensim issue 2987)",
    "objective": "setting: the full softmax in place of its approximations",
    "cbow_gradient": "setting: CBOW's true gradient in place of word2vec's",
    "optimizer": "setting: AdaGrad's learning rate for each row in place of one for all",
    "progress_bar": "setting: a tqdm bar",
    "running_on": "device and engine in use, and why",
    "training_history": "loss, words, seconds and alpha of each epoch (gensim issue 2617)",
}

ATTRIBUTES = {  # of a trained model, where the type is not the one that gensim's has
    "wv": "a KeyedVectors that writes its files atomically and keeps norms and counts right when words are added; "
    "saved, pickled and copied it is gensim's",
}
