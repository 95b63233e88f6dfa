"""The images of a run before it begins: all can be read, have their size, and are in one part."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from foveal.data.checks.images import images_in_both
from foveal.data.checks.readiness import SKIP_IN_TRAINING, Readiness
from foveal.errors import ImageError
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foveal.data.dataset import Dataset
    from foveal.data.loading.batches import BadImages
    from foveal.training.reporters import Reporter

_SHOWN = 3


@contextmanager
def naming_the_way_out(bad_images: BadImages) -> Iterator[None]:
    """Where an image turns out to be broken only when it is decoded, say how to go on without.

    Raises:
        ImageError: as it was raised, with the setting that leaves such images out.
    """
    try:
        yield
    except ImageError as error:
        if bad_images == "skip":
            raise
        raise ImageError(f"{error} Or leave such images out: {SKIP_IN_TRAINING}.") from error


def check_training(data: Dataset, *, bad_images: BadImages, reporter: Reporter) -> Dataset:
    """Look at every image file that is to be trained on.

    Args:
        data: the images.
        bad_images: "skip" leaves out what can't be read, "stop" makes it an error.
        reporter: gets sentences on what goes on and what was left out.

    Returns:
        The images that can be read.

    Raises:
        ImageError: images can't be read and are not to be left out, or none can.
        MissingExtraError: what reads some of them is not installed.
        DataError: files have another size than the annotations say.
    """
    return Readiness(bad_images, say=reporter.say, warn=reporter.warn).make_ready(data)


def check_run(
    training: Dataset, validation: Dataset, *, bad_images: BadImages, reporter: Reporter
) -> tuple[Dataset, Dataset]:
    """Look at every image file of a run, and say which are in both of its parts.

    Those to validate with are decoded as well where broken ones are left out: they are needed
    after every epoch and by all that follows the last one.

    Args:
        training: the images to train on.
        validation: those to validate with.
        bad_images: "skip" leaves out what can't be read, "stop" makes it an error.
        reporter: gets sentences on what goes on, what was left out and what is in both.

    Returns:
        The images of both that can be read.

    Raises:
        ImageError: images can't be read and are not to be left out, or none can.
        MissingExtraError: what reads some of them is not installed.
        DataError: files have another size than the annotations say.
    """
    training = check_training(training, bad_images=bad_images, reporter=reporter)
    ready = Readiness(bad_images, say=reporter.say, warn=reporter.warn, decode=True)
    validation = ready.make_ready(validation)
    both = images_in_both(training, validation)
    if both:
        more = f"; and {len(both) - _SHOWN:,} more" if len(both) > _SHOWN else ""
        reporter.warn(
            f"{len(both):,} of {counted(len(validation), 'validation image')} "
            f"{'is' if len(both) == 1 else 'are'} among the training images too: "
            f"{'; '.join(both[:_SHOWN])}{more}. Validation will praise what was learned by heart, "
            "and so will the best epoch and the score threshold. Take them out of one of both."
        )
    return training, validation
