"""Small runs, which draw no pictures unless a test looks at them."""

from tests.runs.small import no_pictures as no_pictures
from tests.runs.small import operations as operations
from tests.runs.small import pictures as pictures
from tests.runs.small import small as small
