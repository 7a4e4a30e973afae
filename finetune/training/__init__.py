"""The fine-tuning itself; fastai is imported by ``learner`` alone."""

import warnings

# What importing fastai 2.8 draws from newer torch and pandas is for its authors to change, not for our users to read.
warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
warnings.filterwarnings("ignore", message=".*mode.chained_assignment")
