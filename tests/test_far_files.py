"""Corpora that lie elsewhere, or that may not be read."""

import functools
import gzip
import os
import tempfile
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from gensim.test.utils import datapath

from torchw2v import TorchWord2Vec

SETTINGS = {"vector_size": 16, "min_count": 2, "workers": 1, "epochs": 2, "seed": 3, "device": "cpu"}
NOBODY = 65534


@pytest.fixture
def served(tmp_path):
    """A folder and the address under which a server gives out its files."""
    pytest.importorskip("requests", reason="smart_open reads http through requests")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["text.txt", "text.txt.gz"])
def test_a_remote_corpus_is_trained_as_the_local_one(name, served):
    folder, address = served
    local = datapath("lee_background.cor")
    with open(local, "rb") as file:
        text = file.read()
    (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    remote = TorchWord2Vec(corpus_file=f"{address}/{name}", **SETTINGS)
    here = TorchWord2Vec(corpus_file=local, **SETTINGS)
    assert remote.wv.index_to_key == here.wv.index_to_key
    assert np.array_equal(remote.wv.vectors, here.wv.vectors)


def test_a_remote_corpus_that_is_missing_is_an_error(served):
    _, address = served
    with pytest.raises(OSError, match="404"):
        TorchWord2Vec(corpus_file=f"{address}/nowhere.txt", **SETTINGS)


@contextmanager
def without_privileges():
    """Root may read everything; within, this process is somebody else."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_that_may_not_be_read_is_named():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        Path(folder).chmod(0o755)
        path = Path(folder, "secret.txt")
        path.write_text("a b c\n" * 10)
        path.chmod(0)
        with pytest.raises(PermissionError, match=r"secret\.txt"), without_privileges():
            TorchWord2Vec(corpus_file=str(path), **SETTINGS)
