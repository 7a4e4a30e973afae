"""Networks, weights and the fine-tuning itself; fastai is imported by ``learner`` alone."""

import warnings

# fastai 2.8 still scripts two helpers when it is imported: for its authors to change, not for our users to read.
warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
