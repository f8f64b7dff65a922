"""The error for an archive of CIFAR that is damaged, or is another archive."""

ARCHIVE_ADVICE = "give a CIFAR archive, or download it again"


class RefusedArchiveError(Exception):
    """The archive is damaged, or has something that no CIFAR archive has, such as a link.

    The message says only what is wrong: `read_archive` adds the path and `ARCHIVE_ADVICE`.
    """
