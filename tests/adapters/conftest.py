"""Runs with parts of other libraries, which draw no pictures unless a test looks at them."""

from tests.runs.small import no_pictures as no_pictures
