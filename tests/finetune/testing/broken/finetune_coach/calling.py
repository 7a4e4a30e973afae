"""The callback ``coach``."""

from fastai.callback.core import Callback

from finetune.types import CallbackRequest


def build(request: CallbackRequest) -> Callback:
    """Return a callback that writes the loss of every step down."""
    return Coach(request)


class Coach(Callback):
    """Writes the loss of every step down."""

    def __init__(self, request: CallbackRequest) -> None:
        super().__init__()
        self.file = request.folder / f"{request.phase}.txt"

    def after_loss(self) -> None:
        """Write it down."""
        with self.file.open("a") as file:
            file.write(f"{self.loss_grad}\n")
