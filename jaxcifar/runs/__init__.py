"""One run: the training loop, the run's folder and its files, and the observers of the run.

The modules in reading order. Each imports only modules that stand below it:

- `fit`: trains one run, from its folder to its result.
- `crew`, `dispatches`: train several runs at a time. This is the only loop with side effects.
- `training_progress`, `pace`: the progress bar, the epoch lines and the estimate of the time left.
- `run`: one run in the loop. It begins or resumes, ends epochs, saves and finishes.
- `start`: loads the weights of another run (`--init`).
- `saving`, `checkpoint`, `kept`, `structure`, `checkpoint_notes`: when and how checkpoints are
  written, which ones are kept, whether one fits the program, and the metadata beside each state.
- `finish`, `evaluation_file`, `result`: measure a run, and the figures of its files.
- `joint_run`: what several processes must agree on when they train one run together.
- `observing_again`, `tensorboard`, `weights_and_biases`: observers, and runs shown to them again.
- `plots`: curves by epoch.
- `folder`, `sources`, `weights`: the files of a run.
- `task`, `observers`: what is to be trained, and the list of its observers.
- `saved`, `metric_fields`: the fields of the files, checked when they are read.
"""
