"""One run: the training loop, the run's folder and its files, and the observers of the run.

The modules are listed in reading order. Each module imports only modules below it in the list:

- `fit`: trains one run, from its folder to its result.
- `training_loop`, `dispatches`: train several runs at a time. This loop alone has side effects.
- `training_progress`, `pace`, `epoch_lines`: the progress bar, the time left and the epoch lines.
- `run`: one run in the loop, which calls `Run.open`, `start`, `end_epoch`, `finish` and `close`.
- `initial_weights`, `continuation`: begin with the weights of another run (`--init`), or where it
  ended (`--continue`).
- `checkpoint_schedule`, `checkpoint`, `checkpoint_keeping`, `checkpoint_metadata`: when and how
  checkpoints are written, which are kept, and the metadata file of a checkpoint.
- `evaluation_file`, `result`, `result_pictures`: the metrics, tables and plots of a run.
- `temperature_limits`: the limits of the softmax temperature in `evaluation_file`.
- `training_images`: a few training images of a run, as they are and augmented.
- `epoch_selection`: the choice of the epoch whose weights are kept.
- `joint_run`: checks that several processes agree when they train one run together.
- `replay`: calls the observers of runs that have ended already.
- `live_curves`: the observer that draws curves in a notebook while a run trains.
- `picture_cache`: draws pictures, each of them once in a process.
- `image_sheets`, `plots`, `curves`: sheets of images, plots of loss and accuracy by epoch, and the
  arrays that are plotted.
- `folder`, `sources`, `weights`, `array_trees`, `image_files`: the files of a run, and the names of
  arrays in them.
- `mistakes`: the choice of the wrongly classified images that a run stores.
- `task`, `observers`: a config to train and its folder, and the observers of a run.
- `config_comparison`: tells whether two configs may be of the same run, and how they differ.
- `file_formats`, `metric_fields`: the fields of the files, checked when they are read.
"""
