"""What `jaxcifar run --dry-run` shows."""

from pathlib import Path

from jaxcifar.commands.shared.config_file import GivenSettings
from jaxcifar.commands.shared.dry_run import show_costs, show_settings
from jaxcifar.commands.shared.output import screen
from jaxcifar.config.origins import overruled_lines, without_effect_line
from jaxcifar.machine.terminal import line_printer


def show_run_plan(given: GivenSettings, path: Path) -> None:
    """Print the settings of a run, where they come from, and the time and memory that it takes.

    Args:
      given: the settings of the run, and the options.
      path: the folder of the run.

    Raises:
      UsageError: the folder belongs to another run, or training is impossible with these settings.
      RunError: a file of the folder can't be read, or the devices have too little memory.
    """
    from jaxcifar.data import dataset_title
    from jaxcifar.machine.environment import first_devices
    from jaxcifar.runs.folder import RunFolder
    from jaxcifar.runs.task import Task

    config, options = given.config, given.other_options
    console = screen()
    print_line = line_printer(console)
    title = f"{config.network_title} on {dataset_title(config.dataset)}"
    print_line(
        f"dry run         {title}, in {path}: nothing is trained, and nothing is written but JAX's "
        "cache of compiled programs"
    )
    folder = RunFolder(path, options.overwrite)
    folder.require_usable(config)
    if folder.has_begun:
        done = len(folder.read_history())
        print_line(f"begun           {done} of {config.epochs} epochs are done in this folder")
    if given.is_auto:
        print_line("--dataset auto  takes shapes10 instead if CIFAR-10 can't be loaded")
    show_settings(console, {"": given.origins})
    # Lines about overruled settings of a file were printed before.
    for line in overruled_lines({"": given.origins}, lambda _, loser: loser != given.origin):
        print_line(line)
    if line := without_effect_line(config):
        print_line(line)
    task = Task(config, path, overwrite=options.overwrite)
    show_costs(console, [task], options.data_dir, first_devices(options.devices), at_once=1)
