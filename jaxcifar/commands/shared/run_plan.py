"""What `jaxcifar run --dry-run` shows."""

from pathlib import Path

from jaxcifar.commands.shared.config_file import GivenSettings
from jaxcifar.commands.shared.dry_run import show_costs, show_settings
from jaxcifar.commands.shared.output import screen
from jaxcifar.config.origins import overruled_lines, without_effect_line
from jaxcifar.machine.terminal import line_printer


def show_run_plan(given_settings: GivenSettings, run_folder: Path) -> None:
    """Print the settings of a run, where they come from, and the time and memory that it takes.

    Args:
      given_settings: the settings of the run, and the options.
      run_folder: the folder of the run.

    Raises:
      UsageError: the folder belongs to another run, or training is impossible with these settings.
      RunError: a file of the folder can't be read, or the devices have too little memory.
    """
    from jaxcifar.data import dataset_title
    from jaxcifar.machine.environment import first_devices
    from jaxcifar.runs.folder import RunFolder
    from jaxcifar.runs.task import Task
    from jaxcifar.studies.waiting import is_unfinished

    config, options = given_settings.config, given_settings.other_options
    console = screen()
    print_line = line_printer(console)
    title = f"{config.network_title} on {dataset_title(config.dataset)}"
    print_line(
        f"dry run         {title}, in {run_folder}: nothing is trained, and nothing is written but "
        "JAX's cache of compiled programs"
    )
    folder = RunFolder(run_folder, options.overwrite)
    folder.require_usable(config)
    if folder.has_begun:
        epochs_done = len(folder.read_history())
        print_line(
            f"begun           {epochs_done} of {config.epochs} epochs are done in this folder"
        )
    if given_settings.is_auto_dataset:
        print_line("--dataset auto  takes shapes10 instead if CIFAR-10 can't be loaded")
    settings_of_single_row = {"": given_settings.settings_with_origins}
    show_settings(console, settings_of_single_row)
    # Lines about overruled settings of a file were printed before.
    overruled_recipe_settings = overruled_lines(
        settings_of_single_row,
        lambda winning_origin, overruled_origin: overruled_origin != given_settings.file_name,
    )
    for line in overruled_recipe_settings:
        print_line(line)
    ineffective_settings = without_effect_line(config)
    if ineffective_settings:
        print_line(ineffective_settings)
    task = Task(config, run_folder, overwrite=options.overwrite)
    if not is_unfinished(task):
        print_line("finished        nothing is left to train; --overwrite trains the run again")
        return
    show_costs(console, [task], options.data_dir, first_devices(options.devices), at_once=1)
