"""Where there is no CUDA device, Triton kernels run in Triton's interpreter: the same tests, on the CPU."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when the kernels are first imported
