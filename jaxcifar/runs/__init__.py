"""One run: the training loop, the run's folder and its files, and the observers of the run.

The modules are listed in reading order. Each module imports only modules below it in the list:

- `fit`: trains one run, from its folder to its result.
- `crew`, `dispatches`: train several runs at a time. This is the only loop with side effects.
- `training_progress`, `pace`: the progress bar, the epoch lines and the estimate of the time left.
- `run`: one run in the loop. It begins or resumes, ends epochs, saves and finishes.
- `start`: loads the weights of another run (`--init`).
- `saving`, `checkpoint`, `kept`, `structure`, `checkpoint_notes`: when and how checkpoints are
  written, which checkpoints are kept, whether one fits the program, and its metadata file.
- `finish`, `evaluation_file`, `result`: measure a run, and make the figures for its files.
- `joint_run`: what several processes must agree on when they train one run together.
- `observing_again`, `tensorboard`, `weights_and_biases`: the built-in observers, and the replay of
  finished runs.
- `plots`: plots of loss and accuracy by epoch.
- `folder`, `sources`, `weights`: the files of a run.
- `task`, `observers`: a config to train in a folder, and the observers of the run.
- `saved`, `metric_fields`: the fields of the files, checked when they are read.
"""
