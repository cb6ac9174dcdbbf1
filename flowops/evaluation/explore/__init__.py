"""The page of `flowops explore`: a map beside the true flow, by sliders of its times and its number of steps.

`subject_of_run` and `subject_of_problem` say what is explored, a `View` computes what is seen of it, and `serve` shows
that in a browser; bokeh is needed for the last alone.
"""

from flowops.evaluation.explore.equal_steps import EqualSteps
from flowops.evaluation.explore.page import Page
from flowops.evaluation.explore.problem_names import NAMES
from flowops.evaluation.explore.schedule import Typed
from flowops.evaluation.explore.server import PORT, address, serve, served
from flowops.evaluation.explore.subject import Subject, subject_of_problem, subject_of_run
from flowops.evaluation.explore.view import Choice, Scene, View, Way

__all__ = [
    # what is explored
    "Subject",
    "subject_of_run",
    "subject_of_problem",
    "NAMES",
    "Typed",
    # what is seen of it
    "View",
    "Choice",
    "Scene",
    "Way",
    "EqualSteps",
    # the page
    "Page",
    "serve",
    "served",
    "address",
    "PORT",
]
