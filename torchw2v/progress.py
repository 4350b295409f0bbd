"""A progress bar on request."""

from __future__ import annotations

from typing import Any

from torchw2v.trainer import EpochReport


class ProgressBar:
    """A tqdm bar of raw words for one epoch, or nothing."""

    def __init__(self, wanted: bool, epoch: int, epochs: int, total: int) -> None:
        self._bar: Any = None
        if wanted:
            try:
                from tqdm.auto import tqdm
            except ImportError as error:
                raise ImportError("progress_bar=True needs tqdm: pip install 'torchw2v[progress]'") from error
            label = f"epoch {epoch + 1}/{epochs}"
            self._bar = tqdm(total=total or None, desc=label, unit=" words", unit_scale=True, leave=True)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, report: EpochReport) -> None:
        """Move to what the report says."""
        if self._bar is not None:
            if report.loss and report.pairs:
                self._bar.set_postfix(loss=f"{report.loss / report.pairs:.3f}", refresh=False)
            self._bar.update(report.raw_words - self._bar.n)
